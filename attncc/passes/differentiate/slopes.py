"""Cotangents and slopes under a condition: where it fails they are 0, whatever they would be times."""

from __future__ import annotations

from ...ir.expr import Apply, Const, Expr
from ..fuse.algebra import is_const, mul, neg


def kept_where(mask: Expr | None, expr: Expr) -> Expr:
    """The expression where the mask holds, 0 elsewhere; the expression for no mask."""
    return expr if mask is None else Apply("where", (mask, expr, Const(0.0)))


def through(slope: Expr, cot: Expr) -> Expr:
    """cot times a slope; where a condition makes the slope 0, so is the result, whatever cot is there: nan or infinity as well."""
    match slope:
        case Apply("where", (cond, no, yes)) if is_const(no, 0):
            return Apply("where", (cond, no, through(yes, cot)))
        case Apply("where", (cond, yes, no)) if is_const(no, 0):
            return Apply("where", (cond, through(yes, cot), no))
        case Apply("mul", (a, b)) if _stops(a):
            return Apply("mul", (through(a, cot), b))
        case Apply("neg", (a,)) if _stops(a):
            return neg(through(a, cot))
    return mul(cot, slope)


def _stops(slope: Expr) -> bool:
    match slope:
        case Apply("where", (_, a, b)):
            return is_const(a, 0) or is_const(b, 0)
        case Apply("mul" | "neg", (a, *_)):
            return _stops(a)
    return False
