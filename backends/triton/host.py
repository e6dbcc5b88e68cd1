"""Numbers of the caller as Python text: sizes and the scalars made from them, in double precision."""

from __future__ import annotations

import math
from collections.abc import Callable

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Apply, Const, Expr, Size, walk
from attncc.ir.sizes import scalar

_INFIX = {
    "add": ("+", 7), "sub": ("-", 7), "mul": ("*", 8), "div": ("/", 8), "exact": ("//", 8), "floordiv": ("//", 8),
    "mod": ("%", 8), "pow": ("**", 10), "eq": ("==", 5), "ne": ("!=", 5), "le": ("<=", 5), "lt": ("<", 5), "ge": (">=", 5),
    "gt": (">", 5), "and": ("and", 3), "or": ("or", 2),
}  # fmt: skip
_CALLS = {"min": "min", "max": "max", "abs": "abs", "to_float": "float", "to_int": "int", "round": "round"} | {
    name: f"math.{name}"
    for name in ("floor", "ceil", "isqrt", "sqrt", "exp", "exp2", "log", "log2", "log1p", "expm1", "sin", "cos", "tanh", "erf")
}


def number(expr: Expr, size: Callable[[str], str]) -> str:
    """Python text of a scalar expression. size: the text of an axis's size."""
    return _print(expr, size)[0]


def _infinite(expr: Expr) -> float | None:
    """The value of an expression of numbers if it is infinite or none, as of log(0): Python's own functions raise there."""
    if not all(isinstance(e, Apply | Const) for e in walk(expr)):
        return None
    value = scalar(expr, {})
    return value if isinstance(value, float) and not math.isfinite(value) else None


def _print(expr: Expr, size: Callable[[str], str]) -> tuple[str, int]:
    def at(e: Expr, level: int) -> str:
        text, own = _print(e, size)
        return text if own >= level else f"({text})"

    edge = _infinite(expr)
    if edge is not None:
        return f'float("{edge}")', 20
    match expr:
        case Const(value):
            return repr(value), 20 if value >= 0 else 9
        case Size(axis):
            return size(axis), 20
        case Apply("neg", (a,)):
            return f"-{at(a, 9)}", 9
        case Apply("not", (a,)):
            return f"not {at(a, 4)}", 4
        case Apply("where", (c, a, b)):
            return f"{at(a, 2)} if {at(c, 2)} else {at(b, 1)}", 1
        case Apply("cdiv", (a, b)):
            return f"-(-{at(a, 9)} // {at(b, 9)})", 9
        case Apply("rsqrt", (a,)):
            return f"{at(a, 11)} ** -0.5", 10
        case Apply("sigmoid", (a,)):
            return f"1 / (1 + math.exp(-{at(a, 9)}))", 8
        case Apply(op, (a, b)) if op in _INFIX:
            sign, level = _INFIX[op]
            left = level + 1 if op == "pow" or level == 5 else level
            right = 9 if op == "pow" else level + 1
            return f"{at(a, left)} {sign} {at(b, right)}", level
        case Apply(op, args) if op in _CALLS:
            return f"{_CALLS[op]}({', '.join(_print(a, size)[0] for a in args)})", 20
    what = expr.op if isinstance(expr, Apply) else type(expr).__name__
    raise AttnUnsupportedError(f"the Triton backend computes no {what} of sizes")
