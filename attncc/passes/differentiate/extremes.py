"""Sums of pairs that are no plain sums: extremes, whose cotangent equal values share, and sums for each key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import AttnUnsupportedError
from ...ir.expr import Apply, Const, Expr, Read
from ...ir.pairs import Final, Keyed, Sum, Term, value
from ..fuse.algebra import add, contains, mul
from .ends import Ends
from .script import at
from .slopes import kept_where
from .weights import exponents, weighted

if TYPE_CHECKING:
    from .build import Reverse

NEAR = 2.0**-5
"""Of how far a value lies from the extreme of its row this part has to vanish beside the extreme for the two to be equal: they are then
apart by at most 2^4 units in the last place of the type the kernel computes in. Tiles of another shape sum products in another order."""

NEAR_WEIGHT = 0.5
"""A weight exp(score - lse) may be further off for every 1 of |lse|, by this much of it: exp makes the rounding of both relative."""


def shared(rev: Reverse, ends: Ends, n: int, s: Sum, expr: Expr, cotangent: Read) -> Expr:
    """What a value at a pair gets of the cotangent of its row's extreme: equal values share it, others get nothing."""
    share = rev.shares.get(s.name)
    if share is None:
        share = rev.shares[s.name] = _share(rev, ends, s, cotangent)
    return Apply("where", (_reached(rev, n, ends, s, expr), share, Const(0.0)))


def _reached(rev: Reverse, n: int, ends: Ends, s: Sum, expr: Expr) -> Expr:
    """Whether a value is its row's extreme, up to rounding: extreme + NEAR (value - extreme) rounds to the extreme. So the unit is that of
    the type the kernel computes in, which the IR does not know, and nothing overflows."""
    top = ends.sum_kept(s)
    near: Expr = Const(NEAR)
    for weight, lse in exponents(rev, n):
        if contains(expr, weight):
            near = Apply("div", (near, add(Const(1.0), mul(Const(NEAR_WEIGHT), Apply("abs", (lse,))))))
    return Apply("eq", (Apply("add", (top, Apply("mul", (near, Apply("sub", (expr, top)))))), top))


def _share(rev: Reverse, ends: Ends, s: Sum, cotangent: Read) -> Read:
    """The cotangent by the number of equal extremes, which a stage counts."""
    from .statistics import pieces_of

    count = rev.name(f"{s.name}_ties")
    terms = []
    for t in s.terms:
        found = _reached(rev, t.keys, ends, s, weighted(rev, ends, t.keys, t.expr))
        mask = rev.mask(ends.stage, t.keys)
        found = found if mask is None else Apply("and", (mask, found))
        terms.append(Term(t.keys, Apply("where", (found, Const(1.0), Const(0.0)))))
    final = Final(count, ends.rows, "float", value(count), acc=True)
    title = rev.name(f"{rev.title}_backward_{count}")
    note = f"equal extremes of {s.name} share its cotangent, so they are counted first"
    over = rev.of.over_of(ends.stage)
    rev.script.stage(pieces_of(rev).stage(title, over, None, (Sum(count, tuple(terms)),), (final,), (note,)))
    number = Apply("max", (at(count, ends.rows), Const(1.0)))
    return rev.script.define(f"{s.name}_share", ends.rows, Apply("div", (cotangent, number)))


def keyed_sum(rev: Reverse, ends: Ends, keyed: Keyed) -> None:
    """Every pair gets the cotangent of the element that it was added to."""
    if {*ends.stage.grid, *ends.stage.rows} != set(rev.of.pieces.rows):
        raise AttnUnsupportedError(f"no backward stage for {keyed.name}, which is the same for all rows", rev.of.node.span)
    cotangent = Read(rev.of.grads[keyed.name], keyed.index, "float", Const(0.0))
    for term in keyed.sum.terms:
        mask = rev.mask(ends.stage, term.keys)
        rev.pull(term.keys, weighted(rev, ends, term.keys, term.expr), kept_where(mask, cotangent))
