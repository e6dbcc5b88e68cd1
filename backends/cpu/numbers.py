"""Numbers of the caller, made from sizes alone: in double precision, with the meaning that floating point gives to 1 / 0 and
log 0."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Apply, Const, Expr, Size
from attncc.ir.sizes import WHOLE

_OPERATORS: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    **WHOLE, "exact": WHOLE["floordiv"], "neg": lambda a: -a, "min": min, "max": max, "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b, "le": lambda a, b: a <= b, "lt": lambda a, b: a < b, "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b, "and": lambda a, b: bool(a and b), "or": lambda a, b: bool(a or b), "not": lambda a: not a,
    "abs": abs, "floor": math.floor, "ceil": math.ceil, "round": round, "isqrt": math.isqrt, "to_float": float, "to_int": int,
    "sqrt": lambda a: math.sqrt(a) if a >= 0 else math.nan, "exp": lambda a: _exp(a, math.exp),
    "exp2": lambda a: _exp(a, math.exp2), "expm1": lambda a: _exp(a, math.expm1), "log": lambda a: _log(a, math.log),
    "log2": lambda a: _log(a, math.log2), "log1p": lambda a: _log(1.0 + a, lambda _: math.log1p(a)), "sin": math.sin,
    "cos": math.cos, "tan": math.tan, "atan": math.atan, "tanh": math.tanh, "erf": math.erf,
    "sigmoid": lambda a: 1.0 / (1.0 + _exp(-a, math.exp)), "relu": lambda a: max(a, 0.0), "isnan": lambda a: a != a,
    "sign": lambda a: (a > 0) - (a < 0), "stop_grad": lambda a: a,
}  # fmt: skip


def number(expr: Expr, sizes: Mapping[str, int]) -> float:
    """The value of an expression of sizes. Raises AttnUnsupportedError for an operation that is not known."""
    match expr:
        case Const(value):
            return value
        case Size(axis):
            return sizes[axis]
        case Apply("where", (cond, a, b)):
            return number(a if number(cond, sizes) else b, sizes)
        case Apply("div", (a, b)):
            return _divided(float(number(a, sizes)), float(number(b, sizes)))
        case Apply("rsqrt", (a,)):
            return _divided(1.0, number(Apply("sqrt", (a,)), sizes))
        case Apply("pow", (a, b)):
            return _power(number(a, sizes), number(b, sizes))
        case Apply(op, args) if op in _OPERATORS:
            return _OPERATORS[op](*(number(a, sizes) for a in args))
    what = expr.op if isinstance(expr, Apply) else type(expr).__name__
    raise AttnUnsupportedError(f"the CPU backend computes no {what} of sizes")


def _divided(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)
    return a / b


def _exp(a: float, function: Callable[[float], float]) -> float:
    try:
        return function(a)
    except OverflowError:
        return math.inf


def _log(a: float, function: Callable[[float], float]) -> float:
    return -math.inf if a == 0 else math.nan if a < 0 else function(a)


def _power(a: float, b: float) -> float:
    try:
        found = a**b
        return math.nan if isinstance(found, complex) else found
    except ZeroDivisionError:
        return math.inf
    except OverflowError:
        return math.inf
