"""Weights under a known log-sum-exp, which are computed again: exp(score - lse) by name at a pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ir.expr import Apply, Const, Expr, Read, walk
from ...ir.pairs import value, value_name
from ..fuse.algebra import contains, replace_part
from .ends import INF, Ends

if TYPE_CHECKING:
    from .build import Reverse


def weighted(rev: Reverse, ends: Ends, n: int, expr: Expr) -> Expr:
    """The expression with weights under a known log-sum-exp by name: the softmax's own, and those of earlier stages."""
    soft = ends.stage.softmax
    if soft is not None and contains(expr, value(soft.name)):
        expr = replace_part(expr, value(soft.name), own_weight(rev, ends, n))
    for e in list(walk(expr)):
        match e:
            case Apply("exp", (Apply("sub", (score, Read() as lse)),)) if _is_lse(rev, lse):
                expr = replace_part(expr, e, _weight(rev, n, score, lse, lse, "weight"))
    return expr


def own_weight(rev: Reverse, ends: Ends, n: int) -> Read:
    """The weight of a stage's softmax."""
    soft = ends.stage.softmax
    assert soft is not None
    return _weight(rev, n, soft.score, ends.lse_kept(), ends.statistic(), soft.name, soft.whole)


def exponents(rev: Reverse, n: int) -> list[tuple[Read, Expr]]:
    """The weights exp(score - lse) of a kind of keys by name, each with its lse."""
    lets = dict(rev.sides[n].lets)
    out: list[tuple[Read, Expr]] = []
    for made in rev.sides[n].weights:
        match lets[value_name(made)]:
            case Apply("exp", (Apply("sub", (_, lse)) | Apply("min", (Apply("sub", (_, lse)), _)),)):
                out.append((made, lse))
    return out


def _is_lse(rev: Reverse, read: Read) -> bool:
    """Whether it is a log-sum-exp that an earlier stage stored, +inf for a row without a key."""
    if read.source not in rev.of.finals:
        return False
    final = rev.of.finals[read.source][1]
    return isinstance(final.expr, Apply) and final.expr.op == "where" and final.expr.args[1] == INF


def _weight(rev: Reverse, n: int, score: Expr, lse: Expr, statistic: Read, hint: str, whole: Expr | None = None) -> Read:
    """exp(score - lse), at most 1 but for rounding (|score| 2^-23 of it, as in the forward pass), which overflows for float32
    scores beyond 1e9 unless it is capped.

    statistic: what lse is computed from. whole: what is differentiated in place of the score."""
    side, whole = rev.sides[n], whole or score
    for known, parts in side.weights.items():
        if parts == (whole, statistic):
            return known
    below: Expr = Apply("sub", (score, lse))
    if rev.of.capped:
        below = Apply("min", (below, Const(0.0)))
    made = rev.let(n, hint, Apply("exp", (below,)))
    side.weights[made] = whole, statistic
    return made
