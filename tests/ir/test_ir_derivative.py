"""Derivatives: against PyTorch's autograd, against sympy's closed forms, and the exact trees that come out."""

import math

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_exprs import CALM
from ir_values import value

from attncc.errors import AttnInternalError, AttnUnsupportedError
from attncc.ir.algebra import chain, diff
from attncc.ir.derivative import FLAT
from attncc.ir.expr import Apply, Const, Expr, Index, Read, apply
from attncc.ir.ops import OPS
from attncc.ir.parser import parse_expr
from attncc.ir.printer import show_expr

KINDS = {"x": "float", "y": "float", "n": "int", "c": "bool", "z": "complex"}
X, Y = Read("x", (Index("i"),), "float"), Read("y", (), "float")
BINARY = ["add", "sub", "mul", "div", "mod", "pow", "min", "max"]
UNARY = [row.name for row in OPS.values() if row.arity == 1 and row.result in ("float", "number", "abs") and row.name not in FLAT]


def evaluate(expr: Expr, **reads: object) -> torch.Tensor:
    found = value(expr, {"i": 0}, {"i": 1}, lambda name, _: reads[name])
    return found if isinstance(found, torch.Tensor) else torch.tensor(found, dtype=torch.float64)


def autograd(expr: Expr, name: str, **reads: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The derivative by PyTorch, and ours."""
    tensors = {k: torch.tensor(v, dtype=torch.float64, requires_grad=True) for k, v in reads.items()}
    out = evaluate(expr, **tensors)
    theirs = torch.zeros((), dtype=torch.float64)
    if out.requires_grad:
        found = torch.autograd.grad(out, tensors[name], allow_unused=True)[0]
        theirs = theirs if found is None else found
    wrt = X if name == "x" else Y
    ours = evaluate(diff(expr, wrt), **{k: v.detach() for k, v in tensors.items()})
    return theirs, ours


def close(theirs: torch.Tensor, ours: torch.Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("at", [-2.5, -0.75, 0.3, 1.0, 3.25, 20.0])
def test_unary_slopes_match_autograd(op, at):
    close(*autograd(apply(op, X), "x", x=at))


@pytest.mark.parametrize("op", BINARY)
@pytest.mark.parametrize(("a", "b"), [(0.7, 2.5), (3.0, 0.25), (2.0, -1.5), (-2.0, 1.5), (1.5, 1.5), (4.0, 0.5)])
@pytest.mark.parametrize("name", ["x", "y"])
def test_binary_slopes_match_autograd(op, a, b, name):
    close(*autograd(apply(op, X, Y), name, x=a, y=b))
    close(*autograd(apply(op, apply("mul", X, X), apply("add", X, Y)), name, x=a, y=b))


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("relu(x[i])", 0.0),
        ("relu(x[i])", math.nan),
        ("abs(x[i])", 0.0),
        ("max(x[i], y[])", 1.0),
        ("min(x[i], y[])", 1.0),
        ("max(x[i], 1)", 1.0),
        ("max(x[i], y[])", math.nan),
        ("elu(x[i])", 0.0),
        ("x[i] ^ 0", 0.0),
        ("x[i] ^ 1", 0.0),
        ("x[i] ^ 2", 0.0),
        ("x[i] ^ -1", 2.0),
        ("x[i] ^ 0.5", 4.0),
        ("x[i] ^ y[]", 0.0),
        ("y[] ^ x[i]", 0.0),
        ("(x[i] - x[i]) ^ x[i]", 3.0),
        ("x[i] ^ n[]", 3.0),
        ("where(x[i] > 0, x[i] * x[i], log(x[i]))", -1.0),
        ("where(x[i] > 0, log(x[i]), 0)", -1.0),
        ("where(x[i] > 0, 1 / x[i], 0)", 0.0),
        ("where(c[], x[i], x[i] * y[])", 2.0),
        ("stop_grad(x[i]) * x[i]", 3.0),
        ("floor(x[i]) * x[i]", 2.5),
        ("x[i] div 2 + x[i]", 2.5),
        ("to_float(x[i]) * n[]", 2.5),
        ("x[i] * x[i] - x[i] / y[] + exp(x[i] * -y[])", 0.5),
        ("softplus(x[i]) * sigmoid(x[i] * 0.5) + erf(gelu(x[i]))", 0.5),
        ("tanh(x[i] / 30) * 30", 100.0),
        ("1e200 * x[i] * 1e200", 1e-300),
        ("x[i] * 0", math.inf),
        ("sigmoid(x[i])", 800.0),
        ("sigmoid(x[i])", -800.0),
        ("silu(x[i])", 800.0),
        ("softplus(x[i])", 800.0),
        ("logsigmoid(x[i])", -800.0),
        ("exp(-x[i])", math.inf),
        ("sqrt(x[i])", 0.0),
        ("log(x[i])", 0.0),
    ],
)
def test_kinks_and_limits_match_autograd(text, at):
    expr = parse_expr(text, KINDS)
    tensors = {"x": at, "y": 1.0}
    numbers = {"n": 3, "c": True}

    def run(tree, x):
        found = value(
            tree, {"i": 0}, {"i": 1}, lambda name, _: {**numbers, "x": x, "y": torch.tensor(1.0, dtype=torch.float64)}[name]
        )
        return found if isinstance(found, torch.Tensor) else torch.tensor(found, dtype=torch.float64)

    x = torch.tensor(tensors["x"], dtype=torch.float64, requires_grad=True)
    out = run(expr, x)
    theirs = torch.autograd.grad(out, x)[0] if out.requires_grad else torch.zeros((), dtype=torch.float64)
    close(theirs, run(diff(expr, X), x.detach()))


s = sympy.Symbol("s", real=True)
sigmoid = 1 / (1 + sympy.exp(-s))
CLOSED = {
    "sqrt": sympy.sqrt(s),
    "rsqrt": 1 / sympy.sqrt(s),
    "exp": sympy.exp(s),
    "exp2": 2**s,
    "expm1": sympy.exp(s) - 1,
    "log": sympy.log(s),
    "log2": sympy.log(s) / sympy.log(2),
    "log1p": sympy.log(1 + s),
    "sin": sympy.sin(s),
    "cos": sympy.cos(s),
    "tan": sympy.tan(s),
    "atan": sympy.atan(s),
    "tanh": sympy.tanh(s),
    "sigmoid": sigmoid,
    "relu": sympy.Max(s, 0),
    "neg": -s,
    "abs": sympy.Abs(s),
    "gelu": s * (1 + sympy.erf(s / sympy.sqrt(2))) / 2,
    "silu": s * sigmoid,
    "softplus": sympy.log(1 + sympy.exp(s)),
    "to_float": s,
    "gelu_tanh": s * (1 + sympy.tanh(sympy.sqrt(2 / sympy.pi) * (s + sympy.Rational(44715, 10**6) * s**3))) / 2,
    "elu": sympy.Piecewise((s, s > 0), (sympy.exp(s) - 1, True)),
    "erf": sympy.erf(s),
    "logsigmoid": sympy.log(sigmoid),
}


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("at", ["0.375", "1.25", "2.5"])
def test_slopes_match_closed_forms(op, at):
    exact = sympy.diff(CLOSED[op], s).subs(s, sympy.Rational(at)).evalf(30)
    ours = evaluate(diff(apply(op, X), X), x=torch.tensor(float(at), dtype=torch.float64))
    assert abs(float(ours) - float(exact)) <= 4e-16 * 8 * max(1.0, abs(float(exact)))


def test_every_operation_has_a_slope_or_is_flat():
    for row in OPS.values():
        args = tuple(Const(True) if row.name == "where" and k == 0 else Const(0.5) for k in range(row.arity))
        if row.name in ("complex", "real", "imag"):
            with pytest.raises(AttnUnsupportedError):
                chain(row.name, args, 0, Y)
            continue
        found = [chain(row.name, args, k, Y) for k in range(row.arity)]
        assert (row.name in FLAT) == all(f is None for f in found)


@pytest.mark.parametrize(
    ("text", "slope"),
    [
        ("x[i]", "1.0"),
        ("y[]", "0.0"),
        ("x[j]", "0.0"),
        ("n[]", "0.0"),
        ("x[i] + y[]", "1.0"),
        ("x[i] + x[i]", "1.0 + 1.0"),
        ("x[i] - x[i]", "1.0 + -(1.0)"),
        ("x[i] * y[]", "y[]"),
        ("y[] * x[i] * y[]", "y[] * y[]"),
        ("x[i] * x[i]", "x[i] + x[i]"),
        ("x[i] / y[]", "1.0 / y[]"),
        ("x[i] / x[i]", "1.0 / x[i] + -(x[i] / x[i] / x[i])"),
        ("0 * x[i]", "0.0"),
        ("3 * x[i]", "3.0"),
        ("n[] * x[i]", "to_float(n[])"),
        ("x[i] * (n[] * x[i])", "n[] * x[i] + to_float(n[]) * x[i]"),
        ("x[i] * (y[] - y[])", "y[] - y[]"),
        ("x[i] * (y[] / y[])", "y[] / y[]"),
        ("x[i] * (y[] + 0.0)", "y[] + 0.0"),
        ("x[i] * (1.0 * y[])", "1.0 * y[]"),
        ("x[i] * exp(log(y[]))", "exp(log(y[]))"),
        ("x[i] * (0.1 + 0.2)", "0.1 + 0.2"),
        ("x[i] * (y[] ^ 2 * y[] ^ 3)", "y[] ^ 2 * y[] ^ 3"),
        ("x[i] * sqrt(y[]) ^ 2", "sqrt(y[]) ^ 2"),
        ("x[i] * (y[] * (1 / y[]))", "y[] * (1 / y[])"),
        ("(x[i] + y[] + y[] - y[]) * y[]", "y[]"),
        ("exp(log(x[i]))", "1.0 / x[i] * exp(log(x[i]))"),
        ("sqrt(x[i]) ^ 2", "1.0 / (2.0 * sqrt(x[i])) * (2 * sqrt(x[i]))"),
        ("where(c[], x[i], y[])", "where(c[], 1.0, 0.0)"),
        ("where(not x[i] < y[], x[i] * y[], y[])", "where(not x[i] < y[], y[], 0.0)"),
        ("x[i] ^ 3 + (y[] + x[i] * y[])", "3 * x[i] ^ 2 + y[]"),
        ("x[i] * 2.0 + (x[i] * 3.0 + x[i] * 4.0)", "2.0 + (3.0 + 4.0)"),
        ("relu(x[i])", "where(x[i] <= 0, 0.0, 1.0)"),
        ("stop_grad(x[i])", "0.0"),
        ("sum[j](x[j])", "0.0"),
        ("x[n[] + i]", "0.0"),
        ("complex(1, 2) + y[]", "0.0"),
    ],
)
def test_what_a_derivative_looks_like(text, slope):
    assert show_expr(diff(parse_expr(text, KINDS), X)) == slope


SMOOTH = ["sin", "tanh", "sigmoid", "gelu", "silu", "atan", "erf", "neg", "softplus"]


@st.composite
def smooth(draw, depth=4):
    """A float expression that is smooth near the point where it is tested."""
    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(st.sampled_from([X, X, Y, Const(0.5), Const(-1.25), Const(3)]))
    a = draw(smooth(depth - 1))
    match draw(st.sampled_from(["unary", "pair", "pair", "where", "pow"])):
        case "unary":
            return Apply(
                draw(st.sampled_from(["sin", "tanh", "sigmoid", "gelu", "silu", "atan", "erf", "neg", "softplus"])), (a,)
            )
        case "where":
            return apply("where", apply("lt", Y, draw(st.floats(-2, 2))), a, draw(smooth(depth - 1)))
        case "pow":
            return apply("pow", a, draw(st.integers(0, 3)))
    return Apply(draw(st.sampled_from(["add", "sub", "mul"])), (a, draw(smooth(depth - 1))))


@given(smooth(), st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
@settings(CALM, max_examples=150)
def test_derivatives_match_autograd(expr, x, y):
    expr = apply("add", expr, 0.0)
    for name in ("x", "y"):
        theirs, ours = autograd(expr, name, x=x, y=y)
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-9)


def test_what_has_no_derivative():
    for text in ("sum[i](x[i])", "softmax[i](x[i])", "y[] + exp(max[i](x[i]))"):
        with pytest.raises(AttnInternalError, match="'x' is not read elementwise"):
            diff(parse_expr(text, KINDS), X)
    filled = Read("y", (), "float", X)
    with pytest.raises(AttnInternalError, match="'x' is not read elementwise"):
        diff(filled, X)
    with pytest.raises(AttnInternalError, match="no derivative with respect to 'n', which is int"):
        diff(X, Read("n", (), "int"))
    with pytest.raises(AttnUnsupportedError, match="no derivative of 'complex' of complex values"):
        diff(parse_expr("real(complex(x[i], 1))", KINDS), X)
