"""Derivatives of elementwise expressions, as expressions. Floating-point meaning is kept: nothing is rewritten.

`chain(op, args, k, t)` is t times the derivative of an operation with respect to its k-th argument, which serves forward mode
(t a tangent) and reverse mode (t a cotangent) alike. The forms follow PyTorch's autograd, its conventions at kinks included: relu
has slope 0 at 0, abs too; where two arguments of min or max are equal each gets half; `where` passes t to the branch that is
taken and 0.0 to the other, so that infinities of the other branch do no harm.

`diff` applies it along the tree. Terms that are zero by structure are never written, and a factor 1.0 is left out: `0 + x -> x`
for those zeros and `1 * x -> x` are all the rewrites there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import AttnInternalError, AttnUnsupportedError
from .expr import Along, Apply, Const, Expr, Read, Reduce, apply, kind_of, walk

ONE, ZERO = Const(1.0), Const(0.0)

FLAT = {
    "or", "and", "not", "eq", "ne", "le", "lt", "ge", "gt", "isnan", "exact", "floordiv", "cdiv", "isqrt", "sign", "floor",
    "ceil", "round", "to_int", "stop_grad",
}  # fmt: skip
"""Operations whose derivative is zero everywhere."""


def diff(expr: Expr, wrt: Read) -> Expr:
    """The derivative of an elementwise float expression with respect to one read, every equal read of it included.

    Other reads, of the same value at other positions too, are constants. Returns: `0.0` when nothing depends on it.
    Raises: AttnInternalError when `wrt` is under a reduction or in a fill, AttnUnsupportedError when it passes complex values.
    """
    if wrt.kind != "float":
        raise AttnInternalError(f"no derivative with respect to '{wrt.source}', which is {wrt.kind}")
    found = _tangent(expr, wrt)
    return ZERO if found is None else found


def _tangent(expr: Expr, wrt: Read) -> Expr | None:
    """The derivative, None for a structural zero."""
    if expr == wrt:
        return ONE
    if isinstance(expr, Read):  # its positions are integers, which nothing flows through
        if expr.fill is not None and any(e == wrt for e in walk(expr.fill)):
            raise AttnInternalError(f"'{wrt.source}' is not read elementwise")
        return None
    if isinstance(expr, Reduce | Along):
        if kind_of(expr) in ("float", "complex") and any(e == wrt for e in walk(expr)):
            raise AttnInternalError(f"'{wrt.source}' is not read elementwise")
        return None
    if not isinstance(expr, Apply) or kind_of(expr) in ("bool", "int"):
        return None
    tangents = [_tangent(arg, wrt) for arg in expr.args]
    if expr.op == "where":
        yes, no = tangents[1:]
        if yes is None and no is None:
            return None
        return Apply("where", (expr.args[0], ZERO if yes is None else yes, ZERO if no is None else no))
    out: Expr | None = None
    for k, t in enumerate(tangents):
        term = None if t is None else chain(expr.op, expr.args, k, t)
        if term is not None:
            out = term if out is None else Apply("add", (out, term))
    return out


def chain(op: str, args: tuple[Expr, ...], k: int, t: Expr) -> Expr | None:
    """`t` times the derivative of `op(args)` with respect to argument k; None when that is zero by structure.

    Raises: AttnUnsupportedError for complex arguments.
    """
    if op in FLAT or kind_of(args[k]) in ("bool", "int"):
        return None
    if op in ("complex", "real", "imag") or any(kind_of(arg) == "complex" for arg in args):
        raise AttnUnsupportedError(f"no derivative of '{op}' of complex values")
    if op in _BINARY:
        return _BINARY[op](args[0], args[1], k, t)
    if op == "where":
        return apply("where", args[0], *((t, ZERO) if k == 1 else (ZERO, t)))
    if op in _UNARY:
        return _UNARY[op](args[0], t)
    raise AttnInternalError(f"no derivative of '{op}' is known")


def _times(t: Expr, factor: Expr) -> Expr:
    """t * factor, a float, without a factor 1.0."""
    if t == ONE:
        if isinstance(factor, Const):
            return Const(float(factor.value))
        return factor if kind_of(factor) == "float" else Apply("to_float", (factor,))
    return t if factor == ONE else Apply("mul", (t, factor))


def _pow(a: Expr, b: Expr, k: int, t: Expr) -> Expr | None:
    if k == 1:
        gone = apply("and", apply("eq", a, 0), apply("ge", b, 0))
        return _times(t, apply("where", gone, ZERO, apply("mul", apply("pow", a, b), apply("log", a))))
    if isinstance(b, Const) and not isinstance(b.value, bool):
        if b.value == 0:
            return None
        if b.value == 1:
            return t
        return _times(t, apply("mul", b, a if b.value == 2 else apply("pow", a, b.value - 1)))
    slope = apply("mul", b, apply("pow", a, apply("sub", b, 1)))
    return _times(t, apply("where", apply("eq", b, 0), ZERO, slope))


def _extreme(loses: str) -> Callable[[Expr, Expr, int, Expr], Expr]:
    """min and max: nothing to the argument that loses, half of t where both are equal, else t (nan included)."""

    def rule(a: Expr, b: Expr, k: int, t: Expr) -> Expr:
        mine, other = (a, b) if k == 0 else (b, a)
        tie = apply("where", apply("eq", a, b), _times(t, Const(0.5)), t)
        return apply("where", apply(loses, mine, other), ZERO, tie)

    return rule


_BINARY: dict[str, Callable[[Expr, Expr, int, Expr], Expr | None]] = {
    "add": lambda a, b, k, t: t,
    "sub": lambda a, b, k, t: t if k == 0 else apply("neg", t),
    "mul": lambda a, b, k, t: _times(t, b if k == 0 else a),
    "div": lambda a, b, k, t: apply("div", t, b) if k == 0 else apply("neg", _times(t, apply("div", apply("div", a, b), b))),
    "mod": lambda a, b, k, t: t if k == 0 else apply("neg", _times(t, apply("floordiv", a, b))),
    "pow": _pow,
    "min": _extreme("gt"),
    "max": _extreme("lt"),
}


def _gelu(x: Expr, t: Expr) -> Expr:
    """Phi(x) + x phi(x)."""
    below = apply("mul", 0.5, apply("add", 1.0, apply("erf", apply("mul", x, math.sqrt(0.5)))))
    density = apply("mul", apply("exp", apply("mul", -0.5, apply("mul", x, x))), 1 / math.sqrt(2 * math.pi))
    return _times(t, apply("add", below, apply("mul", x, density)))


def _gelu_tanh(x: Expr, t: Expr) -> Expr:
    """Of x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    scale, cubic = math.sqrt(2 / math.pi), 0.044715
    square = apply("mul", x, x)
    u = apply("mul", scale, apply("add", x, apply("mul", cubic, apply("mul", square, x))))
    tanh = apply("tanh", u)
    du = apply("mul", scale, apply("add", 1.0, apply("mul", 3 * cubic, square)))
    bend = apply("mul", apply("mul", 0.5, x), apply("mul", apply("sub", 1.0, apply("mul", tanh, tanh)), du))
    return _times(t, apply("add", apply("mul", 0.5, apply("add", 1.0, tanh)), bend))


def _silu(x: Expr, t: Expr) -> Expr:
    s = apply("sigmoid", x)
    return _times(t, apply("mul", s, apply("add", 1.0, apply("mul", x, apply("sub", 1.0, s)))))


def _square(op: str, x: Expr) -> Expr:
    return apply("mul", apply(op, x), apply(op, x))


_UNARY: dict[str, Callable[[Expr, Expr], Expr]] = {
    "neg": lambda x, t: apply("neg", t),
    "to_float": lambda x, t: t,
    "abs": lambda x, t: _times(t, apply("sign", x)),
    "sqrt": lambda x, t: apply("div", t, apply("mul", 2.0, apply("sqrt", x))),
    "rsqrt": lambda x, t: _times(t, apply("mul", -0.5, apply("pow", apply("rsqrt", x), 3))),
    "exp": lambda x, t: _times(t, apply("exp", x)),
    "exp2": lambda x, t: _times(t, apply("mul", apply("exp2", x), math.log(2))),
    "expm1": lambda x, t: _times(t, apply("exp", x)),
    "log": lambda x, t: apply("div", t, x),
    "log2": lambda x, t: apply("div", t, apply("mul", x, math.log(2))),
    "log1p": lambda x, t: apply("div", t, apply("add", x, 1.0)),
    "sin": lambda x, t: _times(t, apply("cos", x)),
    "cos": lambda x, t: apply("neg", _times(t, apply("sin", x))),
    "tan": lambda x, t: _times(t, apply("add", 1.0, _square("tan", x))),
    "atan": lambda x, t: apply("div", t, apply("add", apply("mul", x, x), 1.0)),
    "tanh": lambda x, t: _times(t, apply("sub", 1.0, _square("tanh", x))),
    "sigmoid": lambda x, t: _times(t, apply("mul", apply("sigmoid", x), apply("sub", 1.0, apply("sigmoid", x)))),
    "relu": lambda x, t: apply("where", apply("le", x, 0), ZERO, t),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "softplus": lambda x, t: _times(t, apply("sigmoid", x)),
    "elu": lambda x, t: apply("where", apply("gt", x, 0), t, _times(t, apply("exp", x))),
    "erf": lambda x, t: _times(t, apply("mul", 2 / math.sqrt(math.pi), apply("exp", apply("neg", apply("mul", x, x))))),
    "logsigmoid": lambda x, t: _times(t, apply("sigmoid", apply("neg", x))),
}
