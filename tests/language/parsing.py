"""Texts to trees, for the tests of the parser."""

from __future__ import annotations

from attncc.errors import Source
from attncc.language import tree as T
from attncc.language.parser import parse, parse_expr

IN_BODY = "pattern p(x[b, n]; a: int = 1) -> y[b] {{\n  {}\n}}\n"


def expr(text: str) -> T.Expr:
    return parse_expr(Source("test", text))


def file(text: str) -> T.File:
    return parse(Source("test", text))
