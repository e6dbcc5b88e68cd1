"""Turns lark's refusal into an AttnSyntaxError in the words of the language."""

from __future__ import annotations

from typing import Any

from ..errors import AttnSyntaxError, Source, Span


def diagnose(error: Any, source: Source) -> AttnSyntaxError:
    token = getattr(error, "token", None)
    at = error.pos_in_stream or 0
    return AttnSyntaxError(f"unexpected {token or source.text[at:at + 1]!r}", Span(source, at, at + max(1, len(token or ""))))
