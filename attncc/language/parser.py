"""Text to syntax tree: `parse` for files, `parse_expr` for one expression. The grammar is grammar/attn.lark."""

from __future__ import annotations

import sys
import threading
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cache import fetch, key
from ..errors import Source
from . import tree as T
from .build import Builder
from .diagnose import diagnose
from .limits import check_depth, check_text

if TYPE_CHECKING:
    from lark import Lark

_lock = threading.Lock()
_builder = Builder()
_lark: Lark | None = None
TABLES = "tables"


def parse(source: Source) -> T.File:
    """The tree of an `.attn` text. Raises: AttnSyntaxError."""
    return _run(source, "file")


def parse_expr(source: Source) -> T.Expr:
    """The tree of a text that is one expression. Raises: AttnSyntaxError."""
    return _run(source, "expression")


def _run(source: Source, start: str) -> Any:
    check_text(source)
    with _lock:
        parser = _parser()
        from lark.exceptions import UnexpectedInput

        _builder.source = source
        try:
            node: Any = parser.parse(source.text, start=start)
        except UnexpectedInput as error:
            raise diagnose(error, source) from None
    check_depth(node)
    return node


def _parser() -> Lark:
    """The lark parser, made on first use: importing attncc does not import lark."""
    global _lark
    if _lark is None:
        import lark

        grammar = resources.files("attncc.grammar").joinpath("attn.lark").read_text(encoding="utf-8")
        entry = key([lark.__version__, sys.version_info[:2], grammar])
        _lark = _load(fetch("grammar", entry, partial(_build, grammar))) or _make(grammar)
    return _lark


def _load(folder: Path) -> Lark | None:
    """The parser from its saved tables (30 ms instead of 400), None when they are not readable."""
    import lark

    try:
        with (folder / TABLES).open("rb") as file:
            return lark.Lark.__new__(lark.Lark)._load(file, transformer=_builder)
    except Exception:  # whatever the reason, the parser can be made again
        return None


def _build(grammar: str, folder: Path) -> None:
    with (folder / TABLES).open("wb") as file:
        _make(grammar).save(file, {"transformer"})


def _make(grammar: str) -> Lark:
    import lark

    return lark.Lark(
        grammar, parser="lalr", lexer="contextual", start=["file", "expression"], transformer=_builder,
        keep_all_tokens=True, maybe_placeholders=False,
    )  # fmt: skip
