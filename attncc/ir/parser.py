"""Text to IR: `parse` for programs and `parse_expr` for expressions, the inverse of `printer.show`. Grammar: grammar/ir.lark.

The text of a read does not say the kind of what it reads; it is that of the definition, which must come before.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any

from ..errors import AttnSyntaxError, Source, Span
from .build import Builder
from .expr import Expr
from .nodes import Program

if TYPE_CHECKING:
    from lark import Lark


def parse(text: str | Source) -> Program:
    """The program of a text. Nodes, inputs, outputs and checks carry the span of their statement.

    Raises: AttnSyntaxError for text that is not a program, AttnNameError for a read of a name that is not defined before it.
    """
    source, tree = _tree(text, "program")
    return Builder(source).program(tree)


def parse_expr(text: str | Source, kinds: Mapping[str, str] | None = None) -> Expr:
    """The expression of a text. kinds: the kind of each name it may read. Raises: AttnSyntaxError, AttnNameError."""
    source, tree = _tree(text, "expression")
    return Builder(source, kinds).expr(tree.children[0])


def _tree(text: str | Source, start: str) -> tuple[Source, Any]:
    from lark.exceptions import UnexpectedInput

    source = text if isinstance(text, Source) else Source("<ir>", text)
    try:
        return source, _lark().parse(source.text, start=start)
    except UnexpectedInput as error:
        raise _refusal(error, source) from None


@functools.cache
def _lark() -> Lark:
    """The lark parser, made on first use: importing attncc does not import lark."""
    import lark

    grammar = resources.files("attncc.grammar").joinpath("ir.lark").read_text(encoding="utf-8")
    return lark.Lark(grammar, parser="lalr", lexer="contextual", start=["program", "expression"], propagate_positions=True)


def _refusal(error: Any, source: Source) -> AttnSyntaxError:
    """An AttnSyntaxError at the place where lark gave up, with what could have stood there."""
    token = getattr(error, "token", None)
    expected: Iterable[str] = getattr(error, "accepts", None) or getattr(error, "allowed", None) or ()
    words = sorted({_term(name) for name in expected})
    help = f"expected {', '.join(words[:12])}{', ...' if len(words) > 12 else ''}" if words else ""
    if token is not None and token.type == "$END":
        end = len(source.text.rstrip())
        return AttnSyntaxError("the text ends too early", Span(source, end, end), help)
    start = error.pos_in_stream if token is None else token.start_pos
    found = source.text[start] if token is None else str(token)
    blank = re.match(r"\s*", found)
    skip = blank.end() if blank and blank.end() < len(found) else 0
    shown = "end of line" if not found.strip() else f"'{found.strip()}'"
    return AttnSyntaxError(f"unexpected {shown}", Span(source, start + skip, start + max(len(found.rstrip()), skip + 1)), help)


def _term(name: str) -> str:
    """A terminal of the grammar in words."""
    special = {"NAME": "a name", "NUMBER": "a number", "_END": "end of line", "$END": "end of text", "KEYS": "'over' or 'keys'"}
    if name in special:
        return special[name]
    pattern = _lark().get_terminal(name).pattern
    return f"'{pattern.value}'" if pattern.type == "str" else name.lower()
