"""Integers through sympy: conversion both ways and simplification, evaluated at every position of small sizes."""

import itertools
import math

import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_exprs import CALM, exprs
from ir_values import Undefined, value

from attncc.ir.algebra import from_sympy, holds, simplify_int, to_sympy
from attncc.ir.bridge import NoExpr
from attncc.ir.expr import Apply, Const, Expr, Index, Read, Reduce, Size, apply, axes_of, kind_of, walk
from attncc.ir.parser import parse_expr
from attncc.ir.printer import show_expr

AXES = ("i", "j", "k")
KINDS = {"t": "int", "u": "int", "x": "float", "y": "float", "c": "bool"}
SIZES = [dict(zip(AXES, sizes, strict=True)) for sizes in [(1, 1, 1), (2, 3, 4), (3, 0, 2), (0, 0, 0), (5, 2, 1), (4, 4, 0)]]


def read(name, index):
    """A fixed but irregular table."""
    if name in ("x", "y"):
        import torch

        return torch.tensor([0.5, -1.0, math.nan, math.inf, 0.0][sum(index) % 5], dtype=torch.float64)
    number = (hash((name, index)) % 7) - 3
    return number > 0 if name == "c" else number


@st.composite
def integers(draw, depth=4):
    """An int expression over the axes, opaque ints, and conditions with an opaque part."""
    if depth == 0 or draw(st.integers(0, 5)) == 0:
        leaves = [Const(draw(st.integers(-3, 5))), Read("t", (), "int"), *map(Index, AXES), *map(Size, AXES)]
        return draw(st.sampled_from([*leaves, Read("u", (Index("i"),), "int")]))
    a = draw(integers(depth - 1))
    match draw(st.sampled_from(["pair", "pair", "pair", "divide", "divide", "unary", "pow", "where", "sum", "count", "truth"])):
        case "pair":
            return Apply(draw(st.sampled_from(["add", "sub", "mul", "min", "max"])), (a, draw(integers(depth - 1))))
        case "divide":
            divisors = st.one_of(st.integers(1, 4).map(Const), st.sampled_from(AXES).map(Size), integers(depth - 1))
            return Apply(draw(st.sampled_from(["floordiv", "mod", "cdiv", "exact"])), (a, draw(divisors)))
        case "unary":
            return Apply(draw(st.sampled_from(["neg", "abs", "sign", "isqrt", "to_int", "floor"])), (a,))
        case "pow":
            return Apply("pow", (a, Const(draw(st.integers(0, 3)))))
        case "where":
            return Apply("where", (draw(conditions(depth - 1)), a, draw(integers(depth - 1))))
        case "sum":
            return Reduce("sum", (draw(st.sampled_from(AXES)),), a, draw(conditions(depth - 1)))
        case "count":
            return Reduce("count", (draw(st.sampled_from(AXES)),), Const(True), draw(conditions(depth - 1)))
    return apply("add", a, draw(conditions(depth - 1)))


@st.composite
def conditions(draw, depth=4):
    """A bool expression over the same."""
    if depth == 0:
        opaque = [Read("c", (), "bool"), apply("lt", Read("x", (Index("i"),), "float"), 0)]
        return draw(st.sampled_from([Const(True), Const(False), *opaque]))
    match draw(st.sampled_from(["compare", "compare", "logic", "not"])):
        case "compare":
            op = draw(st.sampled_from(["eq", "ne", "le", "lt", "ge", "gt"]))
            return Apply(op, (draw(integers(depth - 1)), draw(integers(depth - 1))))
        case "logic":
            op = draw(st.sampled_from(["and", "or", "eq", "ne"]))
            return Apply(op, (draw(conditions(depth - 1)), draw(conditions(depth - 1))))
    return Apply("not", (draw(conditions(depth - 1)),))


def positions(expr: Expr):
    """Every position of an expression, in every set of sizes."""
    for sizes in SIZES:
        axes = axes_of(expr)
        for here in itertools.product(*(range(sizes[a]) for a in axes)):
            yield dict(zip(axes, here, strict=True)), sizes


def same_everywhere(before: Expr, after: Expr) -> None:
    assert set(axes_of(after)) <= set(axes_of(before))
    assert kind_of(after) == kind_of(before)
    for at, sizes in positions(before):
        try:
            wanted = value(before, at, sizes, read)
        except Undefined:
            continue
        found = value(after, at, sizes, read)
        assert found == wanted and type(found) is type(wanted), (show_expr(before), show_expr(after), at, sizes)


def round_trip(expr: Expr, nonempty: bool) -> Expr:
    try:
        back = from_sympy(to_sympy(expr, nonempty))
    except NoExpr:
        return expr
    return Apply("to_int", (back,)) if kind_of(expr) == "int" and kind_of(back) == "bool" else back


@given(integers())
@settings(CALM, max_examples=150)
def test_simplified_integers_are_equal(expr):
    found = simplify_int(expr)
    assert sum(1 for _ in walk(found)) <= sum(1 for _ in walk(expr))
    same_everywhere(expr, found)


@given(conditions())
@settings(CALM, max_examples=100)
def test_axes_can_be_kept(cond):
    found = simplify_int(cond, keep_axes=True)
    assert axes_of(found) == axes_of(cond)
    same_everywhere(cond, found)


@given(integers())
@settings(CALM, max_examples=150)
def test_converted_integers_are_equal(expr):
    same_everywhere(expr, round_trip(expr, False))


@given(integers(), st.sampled_from(["le", "lt", "eq", "ne"]), integers())
@settings(CALM, max_examples=150)
def test_what_holds_holds_everywhere(a, op, b):
    cond = Apply(op, (a, b))
    always = holds(cond)
    for at, sizes in positions(cond):
        try:
            found = value(cond, at, sizes, read)
        except Undefined:
            continue
        assert always is None or found == always


@given(exprs())
@settings(CALM, max_examples=100)
def test_any_expression_converts_and_simplifies(drawn):
    expr, kinds = drawn
    to_sympy(expr)
    found = simplify_int(expr)
    assert kind_of(found) == kind_of(expr)
    assert set(axes_of(found)) <= set(axes_of(expr))
    assert parse_expr(show_expr(found), kinds) == found


@pytest.mark.parametrize(
    ("text", "simpler"),
    [
        ("i + 1 - 1", "i"),
        ("(i * |j| + j) div |j|", "i"),
        ("(i * |j| + j) mod |j|", "j"),
        ("((i * |j| + j) * |k| + k) div (|j| * |k|)", "i"),
        ("((i * |j| + j) * |k| + k) div |k| mod |j|", "j"),
        ("i div |i|", "0"),
        ("cdiv(4 * i + 1, 4)", "i + 1"),
        ("(3 * i + 7) div 3", "i + 2"),
        ("i div 4 div 3", "i div 12"),
        ("12 /! 4", "3"),
        ("i /! 1", "i"),
        ("isqrt(17)", "4"),
        ("abs(-i)", "i"),
        ("max(min(i + 3, |i| - 1), 0)", "min(i + 3, |i| - 1)"),
        ("max(|i|, 1) + i", "i + |i|"),
        ("max(|j|, 1)", "max(|j|, 1)"),
        ("where(i < |i|, i, t[])", "i"),
        ("where(c[], i, i + 0)", "i"),
        ("i + 1 <= j + 1", "i <= j"),
        ("not i < j", "i >= j"),
        ("i < |i|", "true"),
        ("i div 4 * 4 <= i and i - 4 < i div 4 * 4", "true"),
        ("min(i + 3, |i| - 1) < |i|", "true"),
        ("t[] mod 4 < 4", "true"),
        ("i == i + 1", "false"),
        ("|j| >= 0", "true"),
        ("|j| > 0", "|j| > 0"),
        ("c[] and (i < |i|)", "c[]"),
        ("sum[j | j < |j|](u[j + 1 - 1])", "sum[j](u[j])"),
        ("sum[j](u[|j| - 1 - 0] * (j div |j|))", "sum[j](0)"),
        ("x[i + 0] * (i - i)", "x[i] * 0"),
        ("x[i] + (i + 1 + 1)", "x[i] + (i + 2)"),
        ("x[i] + 1 + 1", "x[i] + 1 + 1"),
    ],
)
def test_what_simplifies(text, simpler):
    kinds = {**KINDS, "x": "float"}
    assert show_expr(simplify_int(parse_expr(text, kinds))) == simpler


def test_facts_are_those_of_the_expression():
    some = parse_expr("|j| > 0")
    assert holds(some) is None
    assert holds(some, nonempty=["j"]) is True
    assert simplify_int(some, nonempty=["j"]) == Const(True)
    assert to_sympy(some) not in (sympy.true, sympy.false)
    assert to_sympy(some, nonempty=True) == sympy.true


@pytest.mark.parametrize("op", ["i div {}", "i mod {}", "cdiv(i, {})", "i /! {}"])
def test_a_divisor_that_is_chosen_stays_a_divisor(op):
    expr = parse_expr(op.format("where(c[], j, 0)"), KINDS)
    assert simplify_int(expr) == expr
    assert from_sympy(to_sympy(expr)) == expr


def test_tables_are_deep():
    expr: Expr = Const(0)
    for k in range(150):
        expr = apply("where", apply("eq", Index("i"), k), k * k + 2, expr)
    assert simplify_int(expr) == expr
    assert parse_expr(show_expr(expr)) == expr
    assert holds(apply("ge", expr, 0)) in (True, None)


def test_axes_are_kept_when_asked():
    text = parse_expr("j + i + 0 * i + (k - k + 1 - 1)")
    assert show_expr(simplify_int(text)) == "i + j"
    assert axes_of(simplify_int(text, keep_axes=True)) == ("j", "i", "k")
    assert (
        show_expr(simplify_int(parse_expr("x[i + 1 - 1] * (j + i - 1 + 1)", KINDS), keep_axes=True)) == "x[i] * (j + i - 1 + 1)"
    )


def test_symbols_keep_kinds_apart():
    whole, part = (apply("to_int", Read("x", (), kind)) for kind in ("int", "float"))
    a, b = to_sympy(Read("x", (), "int")), to_sympy(Read("x", (), "float"))
    assert a.name == b.name and a != b
    assert from_sympy(to_sympy(whole)) == Read("x", (), "int")
    assert from_sympy(to_sympy(part)) == part
    assert to_sympy(Const(1)) != to_sympy(Const(1.0)) != to_sympy(Const(True))


def test_what_sympy_says_and_the_ir_does_not():
    half = to_sympy(Index("i")) / 2
    for strange in (half, sympy.sin(to_sympy(Index("i"))), sympy.Symbol("q"), sympy.Float(0.5), sympy.zoo):
        with pytest.raises(NoExpr):
            from_sympy(strange)


def test_division_by_a_zero_constant_stays():
    for op in ("floordiv", "mod", "cdiv", "exact"):
        expr = apply(op, Index("i"), 0)
        assert simplify_int(expr) == expr
        assert from_sympy(to_sympy(expr)) == expr


# ------------------------------------------------------------------------------------------------------------ floats

x, y = sympy.symbols("x y", real=True)
p = sympy.symbols("p", positive=True)

BLOCKED = [
    ("x[i] - x[i]", x - x, 0),
    ("0 * x[i]", 0 * x, 0),
    ("0.0 * x[i]", sympy.Integer(0) * x, 0),
    ("x[i] / x[i]", x / x, 1),
    ("x[i] + 0.0", x + sympy.Integer(0), x),
    ("1.0 * x[i]", sympy.Integer(1) * x, x),
    ("exp(log(x[i]))", sympy.exp(sympy.log(x)), x),
    ("log(exp(x[i]))", sympy.log(sympy.exp(x)), x),
    ("sqrt(x[i]) ^ 2", sympy.sqrt(x) ** 2, x),
    ("sqrt(x[i] ^ 2)", sympy.sqrt(x**2), sympy.Abs(x)),
    ("x[i] * (1 / x[i])", x * (1 / x), 1),
    ("x[i] / y[i] * y[i]", x / y * y, x),
    ("x[i] + y[i] - y[i]", x + y - y, x),
    ("x[i] + (y[i] + 1.0)", x + (y + 1), (x + y) + 1),
    ("y[i] + x[i]", y + x, x + y),
    ("x[i] + x[i]", x + x, 2 * x),
    ("x[i] * x[i]", x * x, x**2),
    ("x[i] ^ 2 * x[i] ^ 3", x**2 * x**3, x**5),
    ("exp(x[i]) * exp(y[i])", sympy.exp(x) * sympy.exp(x), sympy.exp(2 * x)),
    ("2 * (x[i] + y[i])", 2 * (x + y), 2 * x + 2 * y),
    ("x[i] ^ 0", x**0, 1),
    ("0.1 + 0.2 + x[i]", sympy.Rational(1, 10) + sympy.Rational(2, 10) + x, x + sympy.Rational(3, 10)),
    ("max(x[i], x[i])", sympy.Max(x, x), x),
    ("abs(abs(x[i]))", sympy.Abs(sympy.Abs(x)), sympy.Abs(x)),
    ("--x[i]", sympy.Mul(-1, -x), x),
    ("tanh(-x[i])", sympy.tanh(-x), -sympy.tanh(x)),
    ("1 / 3 + x[i]", sympy.Integer(1) / 3 + x, x + sympy.Rational(1, 3)),
]


@pytest.mark.parametrize(("text", "theirs", "rewritten"), BLOCKED)
def test_floats_stay_as_they_are(text, theirs, rewritten):
    assert theirs == rewritten  # sympy does rewrite
    expr = parse_expr(text, KINDS)
    assert from_sympy(to_sympy(expr)) == expr
    assert simplify_int(expr) == expr


CONDITIONS = [
    ("x[i] == x[i]", sympy.Eq(x, x), sympy.true),
    ("not x[i] < y[i]", sympy.Not(x < y), x >= y),
    ("x[i] < y[i] or x[i] >= y[i]", sympy.Or(x < y, x >= y), sympy.true),
    ("x[i] < y[i] and x[i] >= y[i]", sympy.And(x < y, x >= y), sympy.false),
    ("x[i] - x[i] == 0", sympy.Eq(x - x, 0), sympy.true),
    ("x[i] ^ 2 >= 0", x**2 >= 0, sympy.true),
    ("exp(x[i]) > 0", sympy.exp(x) > 0, sympy.true),
]


@pytest.mark.parametrize(("text", "theirs", "rewritten"), CONDITIONS)
def test_comparisons_of_floats_stay_as_they_are(text, theirs, rewritten):
    assert theirs == rewritten
    expr = parse_expr(text, KINDS)
    assert simplify_int(expr) == expr
    assert holds(expr) is None
    assert from_sympy(to_sympy(expr)) in (expr, *swapped(expr))


def swapped(expr):
    """The order of two conditions joined by and, or may change."""
    if isinstance(expr, Apply) and expr.op in ("and", "or"):
        yield Apply(expr.op, expr.args[::-1])
