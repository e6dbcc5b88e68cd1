"""The passes of the front half, one by one, on small programs."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.ir.expr import Apply, Const, Index, Read, Reduce, Size, conjuncts
from attncc.ir.nodes import Assign, Attend
from attncc.ir.printer import show, show_expr
from attncc.passes.canonicalise import rewrite
from attncc.passes.classify import classify
from attncc.passes.predicates import how, solve

I, J = Index("i"), Index("j")


def op(name: str, *args: object) -> Apply:
    return Apply(name, tuple(Const(a) if isinstance(a, int | float) else a for a in args))


@pytest.mark.parametrize(
    ("given", "want"),
    [
        (op("add", I, 0), I),
        (op("mul", 1, I), I),
        (op("mul", I, 0), Const(0)),
        (op("mod", I, 1), Const(0)),
        (op("floordiv", I, 1), I),
        (op("sub", op("add", I, 1), 3), op("sub", I, 2)),
        (op("add", op("sub", I, 3), 3), I),
        (op("le", I, op("add", I, 2)), Const(True)),
        (op("lt", op("add", I, 1), I), Const(False)),
        (op("and", Const(True), op("le", J, I)), op("le", J, I)),
        (op("or", op("le", J, I), Const(True)), Const(True)),
        (op("not", op("not", op("le", J, I))), op("le", J, I)),
        (op("where", Const(False), I, J), J),
        (op("max", op("add", I, 2), I), op("add", I, 2)),
        (op("neg", op("neg", I)), I),
        (op("add", 2, 3), Const(5)),
        (op("floordiv", 7, 0), op("floordiv", 7, 0)),
        (Reduce("sum", ("j",), J, Const(True)), Reduce("sum", ("j",), J)),
    ],
)
def test_integer_arithmetic_has_one_form(given: Apply, want: Apply) -> None:
    assert rewrite(given) == want


@pytest.mark.parametrize(
    "expr",
    [
        op("add", Read("x", (I,), "float"), 0),  # -0.0 + 0 is 0.0
        op("mul", Read("x", (I,), "float"), 0),  # nan, infinities
        op("sub", Read("x", (I,), "float"), Read("x", (I,), "float")),  # inf - inf
        op("div", Read("x", (I,), "float"), Read("x", (I,), "float")),
        op("eq", Read("x", (I,), "float"), Read("x", (I,), "float")),  # nan
        op("add", op("add", Read("x", (I,), "float"), 1.0), 2.0),  # rounding
        op("add", 0.1, 0.2),
        op("where", Const(True), I, Read("x", (I,), "float")),  # the kind would change
    ],
)
def test_floats_keep_their_tree(expr: Apply) -> None:
    assert rewrite(expr) == expr


def test_times_one_is_exact_for_floats() -> None:
    x = Read("x", (I,), "float")
    assert rewrite(op("mul", x, 1)) == x and rewrite(op("div", x, 1)) == x


R = Read("x", (Index("t"),), "float")


@pytest.mark.parametrize(
    ("cond", "first", "words"),
    [
        (op("eq", op("floordiv", Index("t"), 2), Index("p")), "p == t div 2", "scatter"),
        (op("eq", Index("r"), op("add", op("mul", 2, Index("t")), 1)), "r == 2 * t + 1", "scatter"),
        (op("eq", op("sub", Index("r"), Index("t")), op("neg", 3)), None, "scatter"),
        (op("eq", Index("t"), op("add", I, 1)), "t == i + 1", "read"),
        (op("eq", Index("t"), op("floordiv", I, 2)), "t == i div 2", "read"),
        (op("and", op("le", I, Index("t")), op("gt", op("add", I, 4), Index("t"))), "t >= i", "window"),
        (op("eq", op("mul", Index("t"), Index("t")), I), None, "scatter"),
        (op("ne", Index("t"), I), None, "tested at every position"),
    ],
)
def test_such_that_conditions_are_solved(cond: Apply, first: str | None, words: str) -> None:
    solved = solve(Reduce("sum", ("t",), R, cond))
    assert isinstance(solved, Reduce) and words in how(solved)
    if first is not None:
        assert show_expr(conjuncts(solved.cond)[0]) == first


@pytest.mark.parametrize(
    "text",
    [
        "pattern f(x[t], y[p]) -> o[p] { o = y + sum[t | t div 3 == p](x) }",
        "pattern f(x[t], y[p]) -> o[p] { o = y + mean[t | 2 * p - t == 1 and t > 2](x) }",
        "pattern f(x[t], y[p]) -> o[p] { o = y + max[t | t >= 2 * p and t < 2 * p + 3](where(x > 0, x, 0)) }",
        "pattern f(x[t], y[p]) -> o[p] { o = y + sum[t | t == p + 1](x) }",
        "pattern f(x[t], y[p]) -> o[p] { o = y * count[t | t mod 2 == 0 and t <= p]() }",
        "pattern f(x[t], y[p]) -> o[p] { o = y + prod[t | (t - p) mod 3 == 0](x) }",
    ],
)
@pytest.mark.parametrize(("t", "p"), [(7, 3), (3, 7), (1, 1), (0, 2), (12, 5)])
def test_solved_conditions_mean_the_same(text: str, t: int, p: int) -> None:
    """Against plain enumeration: the same reduction with a condition too tangled to solve."""
    x, y = torch.randn(t, dtype=torch.float64), torch.randn(p, dtype=torch.float64)
    bar, end = text.index("|") + 1, text.index("](", text.index("|"))
    tangled = text[:bar] + " not not (" + text[bar:end] + ") and (t * t >= 0 or t < 0)" + text[end:]
    a, b = attncc.compile(text)(x, y), attncc.compile(tangled)(x, y)
    torch.testing.assert_close(a, b)


def test_pair_values_are_not_stored() -> None:
    program = attncc.compile("""
    pattern f(q[i, d], k[j, d], v[j, e], slope[i]) -> o[i, e] {
      bias = -slope * abs(i - j)
      attend o over j { score dot(q, k) + bias   normalize softmax   mix v }
    }""").ir
    assert [type(n) for n in program.nodes] == [Attend]
    assert "slope[i] * abs(i - j)" in show(program)


def test_rewrites_keep_the_order_of_the_axes_of_pairs() -> None:
    """A term that vanishes, or a value put in place, must not turn the map that is read by the score's axes."""
    text = """
    pattern f(q[i, d], k[j, d], v[j, e]; slope: int = 0) -> o[i, e] {
      bias[j, i] = 0.5 * abs(i - j)
      attend o over j { score bias + slope * (j - i) + dot(q, k)   normalize softmax   mix v }
    }"""
    q, k, v = torch.randn(4, 3), torch.randn(4, 3), torch.randn(4, 2)
    far = (torch.arange(4)[:, None] - torch.arange(4)).abs()
    torch.testing.assert_close(attncc.compile(text)(q, k, v), torch.softmax(q @ k.T + 0.5 * far, -1) @ v)


def test_a_reduction_over_pairs_stays_stored() -> None:
    program = attncc.compile("""
    pattern f(q[i, d], k[j, d], v[j, e]) -> o[i, e] {
      bias = dist2(q, k)
      attend o over j { score bias   normalize exp   mix v }
    }""").ir
    assert [type(n) for n in program.nodes] == [Assign, Attend]


def test_classes() -> None:
    found = {c.node: c.kind for c in classify(attncc.compile("""
    pattern f(x[n, c], w[e, c], g[n]: int, u[c, dy: 3]) -> a[n, e], b[n, c], c0[n, c], d[c], e0[n, c] {
      a = linear(x, w)
      b = x[n = g]
      c0 = sum[dy](u * x[n = n + dy - 1 else 0])
      d = sum[n](x)
      e0 = x * 2
    }""").ir)}  # fmt: skip
    assert found == {"a": "gemm", "b": "gather", "c0": "stencil", "d": "reduce", "e0": "map"}


def test_sizes_stay_symbols() -> None:
    program = attncc.load("softmax").ir
    assert any(isinstance(e, Size) for n in program.nodes for e in _all(n))


def _all(node: object) -> list[object]:
    from attncc.ir.expr import walk
    from attncc.ir.nodes import exprs_of

    return [e for root in exprs_of(node) for e in walk(root)]
