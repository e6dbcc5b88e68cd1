"""The least and greatest value of a sum over a box of positions, and whether a formula may or must hold there.

A box gives some axes an interval of positions, as sums of scalars; an axis that is not in the box stays symbolic. The result is
exact where each position pulls one way only (then it is the value at a corner); otherwise it is a bound on the safe side:
`extreme` is never less than the greatest value and never more than the least, `may` is implied by truth anywhere in the box,
`must` implies truth everywhere in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ...ir.expr import FALSE, TRUE, Along, Apply, Const, Expr, Index, Read, Reduce, axes_of
from .algebra import Algebra
from .linear import Linear, constant, term, to_expr
from .normal import All, Any, Atom, Compare, Congruent, Formula, Opaque, at_least_zero, atom_expr, normal


@dataclass(frozen=True)
class Box:
    """Axes with the interval of their positions. loosen: an axis whose `mod` terms may take any of their values."""

    alg: Algebra
    at: Mapping[str, tuple[Linear, Linear]]
    loosen: str = ""

    def moves(self, expr: Expr) -> bool:
        """Whether an expression depends on a position of the box, or of the loosened axis."""
        return any(axis in self.at or axis == self.loosen for axis in axes_of(expr))


def extreme(box: Box, lin: Linear, greatest: bool) -> Linear | None:
    """The greatest (or least) value of a sum over the box; None when nothing is known, as for data."""
    out = constant(lin.const)
    for t, c in lin.terms:
        part = _term(box, t, greatest == (c > 0))
        if part is None:
            return None
        out = out + part * c
    return out


def _of(box: Box, expr: Expr, greatest: bool) -> Linear | None:
    return extreme(box, box.alg.linear(expr), greatest)


def _term(box: Box, t: Expr, up: bool) -> Linear | None:
    alg = box.alg
    match t:
        case Index(axis):
            return box.at[axis][up] if axis in box.at else term(t)
        case Read():
            return None if alg.moves(t) else term(t)
        case Reduce() | Along():
            return None
        case Apply("mod", (_, Const(int() as period))) if box.loosen in axes_of(t) and period > 0:
            return constant(period - 1 if up else 0)
    if not box.moves(t):
        return None if alg.reads_data(t) else term(t)
    match t:
        case Apply("floordiv", (x, d)) if not box.moves(d) and alg.divides(d) and alg.least(alg.linear(d)) >= 0:
            inner = _of(box, x, up)
            return None if inner is None else alg.floordiv(inner, alg.linear(d))
        case Apply("mod", (x, Const(int() as period))) if period > 0:
            return _mod(box, x, period, up)
        case Apply("min" | "max" as op, args):
            parts = [_of(box, a, up) for a in args]
            known = [p for p in parts if p is not None]
            if len(known) < len(parts) and ((op == "max") == up or not known):
                return None
            return alg.pick(op, known)
        case Apply("abs", (x,)):
            return _size(box, x, up)
        case Apply("pow", (x, Const(2))):
            size = _size(box, x, up)
            return None if size is None else alg.square(size)
        case Apply("isqrt", (x,)):
            inner = _of(box, x, up)
            return None if inner is None else alg.root(inner)
        case Apply("where", (cond, a, b)):
            return _where(box, cond, a, b, up)
        case Apply("mul", (a, b)):
            return _product(box, a, b, up)
    return None


def _mod(box: Box, x: Expr, d: int, up: bool) -> Linear:
    """Inside one period the remainder of the end, else the end of the period."""
    alg, by = box.alg, constant(d)
    low, high = _of(box, x, False), _of(box, x, True)
    loose = constant(d - 1 if up else 0)
    if low is None or high is None:
        return loose
    same = Apply("eq", (to_expr(alg.floordiv(low, by)), to_expr(alg.floordiv(high, by))))
    return alg.where(same, alg.mod(high if up else low, by), loose)


def _size(box: Box, x: Expr, up: bool) -> Linear | None:
    """The extreme of |x|; a maximum with 0 marks it as not negative."""
    low, high = _of(box, x, False), _of(box, x, True)
    if up:
        return None if low is None or high is None else box.alg.pick("max", [high, -low, constant(0)])
    ends = ([low] if low is not None else []) + ([-high] if high is not None else [])
    return box.alg.pick("max", [*ends, constant(0)])


def _where(box: Box, cond: Expr, a: Expr, b: Expr, up: bool) -> Linear | None:
    alg = box.alg
    first, second = _of(box, a, up), _of(box, b, up)
    sometimes, always = may(box, normal(alg, cond)), must(box, normal(alg, cond))
    if always == TRUE or sometimes == FALSE:
        return first if always == TRUE else second
    if first is None or second is None:
        return None
    if not box.moves(cond):
        return alg.where(cond, first, second)
    either = alg.pick("max" if up else "min", [first, second])
    return alg.where(always, first, alg.where(sometimes, either, second))


def _product(box: Box, a: Expr, b: Expr, up: bool) -> Linear | None:
    alg = box.alg
    if box.moves(a) and not box.moves(b):
        a, b = b, a
    if not box.moves(a) and alg.least(alg.linear(a)) >= 0:
        inner = _of(box, b, up)
        return None if inner is None else alg.product(alg.linear(a), inner)
    ends = [[_of(box, x, greatest) for greatest in (False, True)] for x in (a, b)]
    corners = [alg.product(p, q) for p in ends[0] if p is not None for q in ends[1] if q is not None]
    return alg.pick("max" if up else "min", corners) if len(corners) == 4 else None


# ------------------------------------------------------------------------------------------------------------ truth on a box


def both(*conds: Expr) -> Expr:
    """The and of some conditions, folded."""
    return _joined("and", conds, TRUE, FALSE)


def either(*conds: Expr) -> Expr:
    """The or of some conditions, folded."""
    return _joined("or", conds, FALSE, TRUE)


def negated(cond: Expr) -> Expr:
    """The negation of a condition, folded."""
    return FALSE if cond == TRUE else TRUE if cond == FALSE else Apply("not", (cond,))


def _joined(op: str, conds: tuple[Expr, ...], neutral: Expr, final: Expr) -> Expr:
    out: Expr | None = None
    for cond in dict.fromkeys(conds):
        if cond == final:
            return final
        if cond != neutral:
            out = cond if out is None else Apply(op, (out, cond))
    return neutral if out is None else out


def nonneg(alg: Algebra, lin: Linear) -> Expr:
    """lin >= 0 as a condition, a constant where it is proven."""
    return TRUE if alg.nonneg(lin) else FALSE if alg.nonneg(-lin - 1) else at_least_zero(lin)


def holds_multiple(alg: Algebra, low: Linear, high: Linear, modulus: int) -> Expr:
    """Whether a multiple of the modulus lies in low .. high."""
    return nonneg(alg, alg.floordiv(high, constant(modulus)) * modulus - low)


def may(box: Box, formula: Formula) -> Expr:
    """Whether a formula can hold somewhere in the box."""
    return _truth(box, formula, _may)


def must(box: Box, formula: Formula) -> Expr:
    """Whether a formula is sure to hold everywhere in the box."""
    return _truth(box, formula, _must)


def _truth(box: Box, formula: Formula, atom: Callable[[Box, Atom], Expr]) -> Expr:
    match formula:
        case All(parts):
            return both(*(_truth(box, p, atom) for p in parts))
        case Any(parts):
            return either(*(_truth(box, p, atom) for p in parts))
    return atom(box, formula)


def _may(box: Box, atom: Atom) -> Expr:
    match atom:
        case Compare(lin):
            high = extreme(box, lin, True)
            return TRUE if high is None else nonneg(box.alg, high)
        case Congruent(lin, modulus):
            low, high = extreme(box, lin, False), extreme(box, lin, True)
            return TRUE if low is None or high is None else holds_multiple(box.alg, low, high, modulus)
        case Opaque(expr, _):
            return expr if _settled(box, expr) else TRUE


def _must(box: Box, atom: Atom) -> Expr:
    match atom:
        case Compare(lin):
            low = extreme(box, lin, False)
            return FALSE if low is None else nonneg(box.alg, low)
        case Congruent(lin, modulus):
            low, high = extreme(box, lin, False), extreme(box, lin, True)
            if low is None or high is None:
                return FALSE
            return both(nonneg(box.alg, low - high), atom_expr(Congruent(low, modulus)))
        case Opaque(expr, _):
            return expr if _settled(box, expr) else FALSE


def _settled(box: Box, expr: Expr) -> bool:
    """Whether a condition is a scalar of the tile."""
    return not box.alg.moves(expr) and not box.alg.reads_data(expr)
