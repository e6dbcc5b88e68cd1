"""The IR as text: printing and parsing are inverse, and bad text is refused where it goes wrong."""

import math
import textwrap

import pytest
from hypothesis import given, settings
from ir_exprs import CALM, exprs
from ir_programs import programs

import attncc.ir.printer
from attncc.errors import AttnNameError, AttnSyntaxError
from attncc.ir.expr import Along, Const, Index, Read, Reduce, Size, apply
from attncc.ir.nodes import Axis, Program
from attncc.ir.parser import parse, parse_expr
from attncc.ir.printer import RESERVED, ident, show, show_expr, show_node
from attncc.ir.verify import verify


@given(programs())
@settings(CALM, max_examples=150)
def test_programs_round_trip(program):
    verify(program)
    text = show(program)
    again = parse(text)
    assert again == program
    assert show(again) == text


@given(exprs())
@settings(CALM, max_examples=300)
def test_expressions_round_trip(drawn):
    expr, kinds = drawn
    assert parse_expr(show_expr(expr), kinds) == expr


def test_the_example_of_the_printer_is_its_own_output():
    doc = attncc.ir.printer.__doc__
    text = textwrap.dedent(doc[doc.index("    program") : doc.index("A read always")]).strip() + "\n"
    program = verify(parse(text))
    assert show(program) == text
    assert text.count(show_node(program.nodes[0])) == 1


i, j, x, y = Index("i"), Index("j"), Read("x", (), "float"), Read("y", (), "float")


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (apply("sub", i, apply("sub", j, 1)), "i - (j - 1)"),
        (apply("sub", apply("sub", i, j), 1), "i - j - 1"),
        (apply("add", apply("add", i, j), apply("mul", i, j)), "i + j + i * j"),
        (apply("mul", i, apply("add", j, 1)), "i * (j + 1)"),
        (apply("floordiv", i, apply("mod", j, 2)), "i div (j mod 2)"),
        (apply("exact", Size("c"), Size("h")), "|c| /! |h|"),
        (apply("pow", apply("pow", x, 2), 3), "(x[] ^ 2) ^ 3"),
        (apply("pow", x, apply("pow", y, 3)), "x[] ^ y[] ^ 3"),
        (apply("pow", x, -2), "x[] ^ -2"),
        (apply("neg", apply("pow", x, 2)), "-x[] ^ 2"),
        (apply("pow", apply("neg", x), 2), "(-x[]) ^ 2"),
        (apply("neg", apply("pow", 3, 2)), "-3 ^ 2"),
        (apply("pow", -3, 2), "(-3) ^ 2"),
        (Const(-3), "-3"),
        (apply("neg", 3), "-(3)"),
        (apply("neg", -3), "-(-3)"),
        (apply("neg", apply("neg", x)), "--x[]"),
        (apply("mul", x, apply("neg", y)), "x[] * -y[]"),
        (apply("sub", i, -3), "i - -3"),
        (Const(-0.0), "-0.0"),
        (apply("neg", 0.0), "-(0.0)"),
        (Const(math.inf), "inf"),
        (Const(-math.inf), "-inf"),
        (apply("neg", math.inf), "-(inf)"),
        (Const(math.nan), "nan"),
        (Const(1e-6), "1e-06"),
        (Const(1), "1"),
        (Const(1.0), "1.0"),
        (Const(True), "true"),
        (apply("not", apply("eq", i, j)), "not i == j"),
        (apply("eq", apply("lt", i, j), True), "(i < j) == true"),
        (apply("and", apply("not", True), apply("or", True, False)), "not true and (true or false)"),
        (apply("or", True, apply("or", True, False)), "true or (true or false)"),
        (apply("min", x, y), "min(x[], y[])"),
        (Reduce("min", ("i",), x), "min[i](x[])"),
        (Reduce("min", (), x), "min[](x[])"),
        (Reduce("count", ("i",), Const(True), apply("lt", i, Size("d"))), "count[i | i < |d|]()"),
        (Reduce("sum", ("i",), x, apply("lt", Size("d"), 3)), "sum[i | |d| < 3](x[])"),
        (Reduce("sum", (), x, Const(True)), None),
        (Along("softmax", ("j",), x, None, y), "softmax[j](x[], sink = y[])"),
        (Read("x", (), "float", Const(0)), "x[else 0]"),
        (Read("x", (apply("sub", i, 1), j), "float", Const(0.0)), "x[i - 1, j else 0.0]"),
        (Read("mask", (i,), "bool"), "mask[i]"),
        (Read("not", (i,), "bool"), "`not`[i]"),
        (Index("y'"), "y'"),
        (Size("m~1"), "|m~1|"),
    ],
)
def test_expression_text(expr, text):
    kinds = {"x": "float", "y": "float", "mask": "bool", "not": "bool"}
    if text is not None:
        assert show_expr(expr) == text
    assert parse_expr(show_expr(expr), kinds) == expr


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_reserved_words_are_names_in_quotes(word):
    text = f"program `{word}`\naxis `{word}` = 3\n`{word}`[`{word}`]: int = `{word}` + |`{word}`|\n"
    assert ident(word) == f"`{word}`"
    assert show(parse(text)) == text


def test_axes_round_trip():
    axes = (
        Axis("b"),
        Axis("y'", Size("b")),
        Axis("r", None, (("b",), ("y'", "b"))),
        Axis("s", apply("add", Size("b"), 1), (("b",), (), ("y'", "b"))),
        Axis("t", None, (("b",),)),
        Axis("u", Size("b"), (("b",),)),
        Axis("v", None, (("b", "y'"),)),
        Axis("w", None, ((),)),
    )
    program = Program("p", axes, (), (), (), ())
    text = show(program)
    assert text.splitlines()[1:] == [
        "axis b",
        "axis y' = |b|",
        "axis r = b ++ (y' b)",
        "axis s = b ++ () ++ (y' b) = |b| + 1",
        "axis t = b",
        "axis u = b = |b|",
        "axis v = (b y')",
        "axis w = ()",
    ]
    assert parse(text) == program


def test_layout_and_comments_mean_nothing():
    tidy = parse("program p\naxis b = 3\na[b]: int = b + 1\nc[b]: int = a[b]\n")
    loose = parse("\n# hello\n program p ; axis b=3;;\n\n a[b]:int=b+ # more\n  1\n c [ b ] : int = a[\n b];\n")
    assert loose == tidy
    assert loose.nodes[0].span.line == 5


S, N = AttnSyntaxError, AttnNameError


@pytest.mark.parametrize(
    ("text", "error", "message", "mark"),
    [
        ("a[b]: float = x y", S, "unexpected 'y'", "y"),
        ("a[b]: float = (3 +", S, "the text ends too early", ""),
        ("a[]: int = 3 $ 4", S, "unexpected '$'", "$"),
        ("a[]: int = (3\n)", S, "unexpected end of line", "\n"),
        ("a[]: flaot = 3", N, "unknown kind 'flaot'", "flaot"),
        ("a[]: int = q[b]", N, "unknown value 'q'", "q"),
        ("a[]: int = b[]\nb[]: int = 3", N, "unknown value 'b'", "b"),
        ("a[]: int = foo(3)", N, "unknown function 'foo'", "foo"),
        ("a[]: int = sum(3)", N, "unknown function 'sum'", "sum"),
        ("a[]: int = foo[i](3)", N, "unknown reduction 'foo'", "foo"),
        ("a[]: int = exp(3, 4)", S, "'exp' takes one argument, found 2", "exp(3, 4)"),
        ("a[]: int = where(3)", S, "'where' takes 3 arguments, found 1", "where(3)"),
        ("a[]: int = sum[i](3, 4)", S, "'sum' takes one argument, found 2", "sum[i](3, 4)"),
        ("a[]: int = sum[i + 1](3)", S, "a reduction runs over axes, not positions", "i + 1"),
        ("a[]: int = sum[i else 3](3)", S, "'else' belongs to reads, not to reductions", "i else 3"),
        ("a[]: int = a[i | i]", S, "'|' belongs to reductions, not to reads", "i | i"),
        ("a[]: int = sum[i](3, sink = 4)", S, "there is no argument 'sink' here", "sink = 4"),
        ("a[]: float = softmax[i](3, sink = 4, sink = 4)", S, "'sink' is given twice", "sink = 4"),
        ("a[]: int = pick argmax[i](3, 4)", S, "'argmax' takes one argument, found 2", None),
        ("attend rows () over (j) { mask true; mask true }", S, "'mask' is given twice", "mask true"),
        ("attend rows () keys (j) { mask true }", S, "'mask' has no place outside a segment", "mask true"),
        ("attend rows () over (j) { over (k) { } }", S, "'over' has no place beside 'over'", "over (k) { }"),
        ("attend rows () keys (j) { over (k) { order auto } }", S, "'order' has no place in a segment", "order auto"),
        ("fold n = 1 .. 2 by 1 { return x }", S, "'return' has no place here", "return x"),
        ("a[]: int = call vjp() { return x; return y }", S, "'return' is given twice", "return y"),
        ("a[]: int = call vjp() { cotangent x { } }", S, "a cotangent ends with 'return NAME'", "cotangent x { }"),
    ],
)  # fmt: skip
def test_bad_text_is_refused(text, error, message, mark):
    with pytest.raises(error) as caught:
        parse("program p\n" + text)
    assert caught.value.message == message
    assert type(caught.value) is error
    span = caught.value.span
    assert "^" in str(caught.value)
    if mark is not None:
        assert span.source.text[span.start : span.end] == mark


def test_an_empty_text_is_refused():
    with pytest.raises(AttnSyntaxError, match="the text ends too early"):
        parse("")
