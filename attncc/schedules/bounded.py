"""Scores with provable bounds: their softmax needs no running maximum.

With lo <= s <= hi the weights exp(s - hi) are between exp(lo - hi) and 1, so a constant shift is as safe as the maximum of a row, if
the smallest weight is still a normal number of every element type. That saves the maximum of each tile and moving the sums to a new
one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ..ir.expr import Apply, Const, Expr
from ..ir.pairs import PairStage
from .base2 import LOG2E
from .pointwise import inlined

Interval = tuple[float, float]
Join = Callable[[Interval, Interval], Interval]

SPAN = 14.0
"""The most binary orders between the smallest and the largest weight: 2^-14 is the smallest normal number of fp16."""

_RANGE: dict[str, Interval] = {"tanh": (-1.0, 1.0), "sigmoid": (0.0, 1.0), "sin": (-1.0, 1.0), "cos": (-1.0, 1.0), "erf": (-1.0, 1.0)}


def constant_shift(stage: PairStage) -> float | None:
    """The upper bound of a stage's scores, in base 2, where it can stand in for the running maximum; None where not."""
    if stage.softmax is None or len(stage.keys) != 1:
        return None
    found = interval(inlined(stage.keys[0], stage.softmax.score))
    if found is None or (found[1] - found[0]) * LOG2E > SPAN:
        return None
    return found[1] * LOG2E


def interval(expr: Expr) -> Interval | None:
    """(least, greatest) value of an expression for finite inputs; None where it has no bounds that can be seen."""
    match expr:
        case Const(value) if not isinstance(value, bool):
            return (float(value), float(value)) if math.isfinite(value) else None
        case Apply(op, _) if op in _RANGE:
            return _RANGE[op]
        case Apply("where", (_, a, b)):
            return _both(a, b, lambda x, y: (min(x[0], y[0]), max(x[1], y[1])))
        case Apply("add", (a, b)):
            return _both(a, b, lambda x, y: (x[0] + y[0], x[1] + y[1]))
        case Apply("sub", (a, b)):
            return _both(a, b, lambda x, y: (x[0] - y[1], x[1] - y[0]))
        case Apply("mul", (a, b)):
            return _both(a, b, _product)
        case Apply("div", (a, Const(value))) if not isinstance(value, bool) and value and math.isfinite(value):
            return _both(a, Const(1.0 / value), _product)
        case Apply("neg", (a,)):
            return _both(a, Const(-1.0), _product)
    return None


def _both(a: Expr, b: Expr, join: Join) -> Interval | None:
    x, y = interval(a), interval(b)
    return None if x is None or y is None else join(x, y)


def _product(x: Interval, y: Interval) -> Interval:
    ends = [p * q for p in x for q in y]
    return min(ends), max(ends)
