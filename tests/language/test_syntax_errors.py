"""Texts that do not parse: each error at its place, with what was expected and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from parsing import IN_BODY, file

from attncc.errors import AttnSyntaxError, Source
from attncc.language.parser import parse

PROGRAMS = {p.stem: p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parent / "programs").glob("*.attn"))}
RANDOM = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


BODY_ERRORS = [
    ("y =", 3, 1, "expected an expression, found '}'", ""),
    ("y = x = 3", 2, 9, "expected an operator, a new statement or '}', found '='", "'==' compares"),
    ("y == 3", 2, 5, "expected '=', found '=='", "one '='"),
    ("y = f(x, a = 3", 3, 1, "expected ')' to close the '(' opened at line 2, found '}'", ""),
    ("y = x[a, b", 3, 1, "expected ']' to close the '[' opened at line 2, found '}'", ""),
    ("y = f(x y)", 2, 11, "expected ',' or ')', found 'y'", "missing before 'y'"),
    ("y = x y", 3, 1, "expected '=', found '}'", "an operator is missing"),
    ("y = f(x\n  z = 3", 3, 3, "expected ')' to close the '(' opened at line 2, found 'z'", "missing before 'z'"),
    ("y = x ** 2", 2, 9, "'**' is not part of the language", "'^'"),
    ("y = x // 2", 2, 9, "'//' is not part of the language", "'div'"),
    ("y = x % 2", 2, 9, "'%' is not part of the language", "'mod'"),
    ("y = a && b", 2, 9, "'&&' is not part of the language", "'and'"),
    ("y = a || b", 2, 9, "'||' is not part of the language", "'or'"),
    ("y = !a", 2, 7, "'!' is not part of the language", "'not'"),
    ("y = x @ x", 2, 9, "'@' is not part of the language", "sum[m](a * b)"),
    ("y += 3", 2, 5, "'+=' is not part of the language", "x = x + y"),
    ("y = +a", 2, 7, "expected an expression, found '+'", "no sign '+'"),
    ("y = .5", 2, 7, "expected an expression, found '.'", "0.5"),
    ("y = 1.", 3, 1, "expected a name, found '}'", "1.0"),
    ("y = 2d", 2, 7, "'2d' is no number", "'*'"),
    ("y = 99999999999999999999", 2, 7, "this integer does not fit in 64 bits", ""),
    ("y = 1e999", 2, 7, "this number is too large for a float", "inf"),
    ("y = x if a else b", 2, 14, "expected an operator or '{', found 'else'", "where(cond, a, b)"),
    ("y = a ? b : c", 2, 9, "expected an operator, a new statement or '}', found '?'", "where(cond, a, b)"),
    ("y = lambda x: x", 2, 15, "expected '=', found ':'", "'define'"),
    ("y = [t for t in x]", 2, 10, "expected ',' or ']', found 'for'", "no comprehensions"),
    ("for n in 0 .. 3 { }", 2, 7, "expected '=', found 'n'", "'fold n in a .. b { }'"),
    ("while a { }", 2, 9, "expected '=', found 'a'", "'fold n in a .. b { }'"),
    ("with s_* { }", 2, 8, "expected '=', found 's_'", "no 'with'"),
    ("assert a", 2, 10, "expected '=', found 'a'", "'require'"),
    ("y = x is a", 2, 12, "expected '=', found 'a'", ""),
    ("if a { y = 1 } else if b { }", 2, 23, "expected '{', found 'if'", "'else { if cond { } }'"),
    ("if a { y = 1 } elif b { }", 2, 23, "expected '=', found 'b'", "'else { if cond { } }'"),
    ("attend y over j { mask = a }", 2, 26, "expected an expression, found '='", "a local value cannot be called 'mask'"),
    ("attend y over j { score }", 2, 27, "expected an expression, found '}'", ""),
    ("attend y over j k { }", 2, 19, "expected an operator or '{', found 'k'", ""),
    ("attend over { }", 2, 15, "expected a name, '(' or '*', found '{'", ""),
    ("normalize softmax", 2, 13, "expected '=', found 'softmax'", "only inside an attend"),
    ("y = 'abc'", 2, 7, '"\'" is not part of the language', "double quotes"),
    ('y = "abc', 2, 7, "this string is not closed on its line", "closing"),
    ("y = f(a: 3)", 2, 10, "expected ',' or ')', found ':'", "'='"),
    ("y = f(a, )", 2, 12, "expected an expression, found ')'", "leave out the ','"),
    ("y = f(a, *)", 2, 12, "expected an expression, found '*'", "'...'"),
    ("in = 3", 2, 3, "expected a statement or '}', found the reserved word 'in'", ""),
    ("y = and 3", 2, 7, "expected an expression, found the reserved word 'and'", ""),
    ("y = a;", 2, 8, "expected an operator, a new statement or '}', found ';'", "no ';'"),
    ("y = é", 2, 7, "the character 'é' (U+00E9) may not appear here", "ASCII"),
    ("y = x \0", 2, 9, "the character U+0000 may not appear here", ""),
    ("y = x # \0", 2, 11, "the character U+0000 may not appear here", ""),
    ("y = w{a b}", 2, 8, "expected an operator, a new statement or '}', found '{'", "one expression, or 'n in range'"),
    ("y = w{0 .. 3}", 2, 8, "a range in a family brace needs a name", "{n in 0 .. 3}"),
    ("fold n 0 .. 3 { }", 2, 10, "expected 'in', found '0'", ""),
    ("y = x)", 2, 8, "')' closes nothing", ""),
    ("y[2] = x", 2, 5, "a dim of size 2 needs an axis name", "'z: 2'"),
    ("pattern q(x) -> y { }", 2, 3, "expected '}' to close the pattern opened at line 1, found 'pattern'", ""),
]
TOP_ERRORS = [
    ("patern p() -> y { }", 1, 1, "expected 'pattern', 'define' or 'bundle', found 'patern'", ""),
    ("import x", 1, 1, "expected 'pattern', 'define' or 'bundle', found 'import'", "prelude"),
    ("}", 1, 1, "'}' closes nothing", ""),
    ("pattern p(x[b, n]) { }", 1, 20, "expected '->', found '{'", "names its outputs"),
    ("pattern p(x; a) -> y { }", 1, 15, "expected ':', found ')'", "needs a type"),
    ("pattern p(x; a = 3) -> y { }", 1, 16, "expected ':', found '='", "needs a type"),
    ("pattern p(x = 3) -> y { }", 1, 13, "expected ',' or ')', found '='", "parameters come after ';'"),
    ("pattern p(x[b n]) -> y { }", 1, 15, "expected ',' or ']', found 'n'", ""),
    ("pattern p(x: float) -> y { }", 1, 14, "'float' is no type of a tensor: expected int, bool or const", "leave ': float' out"),
    ("pattern p(x; a: integer) -> y { }", 1, 17, "unknown type 'integer': expected", "'int'"),
    ("pattern p(x; a: int[3) -> y { }", 1, 22, "expected ']' to close the '[' opened at column 20, found ')'", ""),
    ("pattern p(s_*) -> y { }", 1, 14, "expected ':', found ')'", "'s_*: its_name'"),
    ("pattern attend(x) -> y { }", 1, 9, "expected a name, found the reserved word 'attend'", ""),
    ("pattern p(x,) -> y { }", 1, 13, "expected a name or '*', found ')'", "leave out the ','"),
    ("pattern p(x) -> y where h { }", 1, 27, "expected '=', found '{'", ""),
    ("pattern p(x) -> y {\n  attend y {\n    mix a\n", 3, 10, "expected '}' to close the attend opened at line 2, found", ""),
    ("define f(x) -> y = x", 1, 13, "expected '{' or '=', found '->'", "a define has no outputs"),
    ("define f(x)", 1, 12, "expected '{' or '=', found the end of the text", ""),
    ("bundle b(x", 1, 11, "expected ')' to close the '(' opened at column 9, found the end of the text", ""),
]  # fmt: skip


ERRORS = [(IN_BODY.format(text), *error) for text, *error in BODY_ERRORS] + TOP_ERRORS


@pytest.mark.parametrize(("text", "line", "column", "message", "help"), ERRORS)
def test_syntax_errors(text: str, line: int, column: int, message: str, help: str) -> None:
    with pytest.raises(AttnSyntaxError) as caught:
        parse(Source("bad.attn", text))
    error = caught.value
    assert (error.file, error.line, error.column) == ("bad.attn", line, column)
    assert error.message.startswith(message)
    assert help in error.help
    assert f"bad.attn:{line}:{column}: {message}" in str(error) and "^" in str(error)


def test_the_innermost_open_construct_is_named() -> None:
    for text, what in {
        "pattern p(x) -> y { attend o over j { score a if b {": "if opened at column 47",
        "pattern p(x) -> y { attend o { over j {": "over opened at column 32",
        "pattern p(x) -> y { attend o { over j if a {": "over opened at column 32",
        "pattern p(x) -> y { fold n in a {": "fold opened at column 21",
        "define f(x) { a = 1": "define opened at column 1",
        "define f(x) { return x } vjp (g) {": "vjp opened at column 26",
        "pattern p(x) -> y { if a { b = 1 } else {": "else opened at column 36",
        "pattern p(x; r: {a: int": "record type opened at column 17",
    }.items():
        with pytest.raises(AttnSyntaxError, match=what):
            file(text)
