"""Sums of pairs for each key: `sum[i, j | key(i, j) == r](x)` with r free, a histogram of the pairs.

The condition is solved for the free axes, one key each: then every pair belongs to one element of the result, and the sum is a
sweep over the pairs that adds each to its own.
"""

from __future__ import annotations

from collections.abc import Collection

from ...errors import AttnUnsupportedError, Span
from ...ir.expr import ONE, Apply, Const, Expr, Index, Reduce, axes_of, conjoin, conjuncts, kind_of, substitute, walk
from ..masks.algebra import Algebra
from ..masks.linear import NotWhole, to_expr


def bins(red: Reduce, pair_axes: Collection[str]) -> tuple[str, ...]:
    """The free axes of a reduction over pairs that are no axes of the pairs."""
    return tuple(a for a in axes_of(red) if a not in pair_axes) if set(red.axes) & set(pair_axes) else ()


def has_bins(expr: Expr, pair_axes: Collection[str]) -> bool:
    """Whether some reduction over pairs has one value for each position of further axes."""
    return any(isinstance(e, Reduce) and bool(bins(e, pair_axes)) for e in walk(expr))


def solved(red: Expr, wanted: tuple[str, ...], span: Span | None) -> tuple[dict[str, Expr], Expr]:
    """The key along each of the wanted axes, and what a pair adds there.

    Raises AttnUnsupportedError for a reduction that is no sum, or whose condition does not give every wanted position.
    """
    assert isinstance(red, Reduce)
    if red.op not in ("sum", "count"):
        raise AttnUnsupportedError(f"{red.op} of pairs for each {', '.join(wanted)} is not fused", span)
    keys: dict[str, Expr] = {}
    rest: list[Expr] = []
    for cond in conjuncts(red.cond):
        found = _key(cond, [a for a in wanted if a not in keys])
        if found is None:
            rest.append(cond)
        else:
            keys[found[0]] = found[1]
    missing = [a for a in wanted if a not in keys]
    if missing:
        text = f"a sum of pairs for each {', '.join(missing)} whose condition does not say which pairs belong there is not fused"
        raise AttnUnsupportedError(text, span)
    body = substitute(red.body if red.op == "sum" else ONE, keys)
    kept = conjoin([substitute(c, keys) for c in rest])
    if kind_of(body) != "float":
        body = Apply("to_float", (body,))
    return keys, body if kept is None else Apply("where", (kept, body, Const(0.0)))


def _key(cond: Expr, wanted: list[str]) -> tuple[str, Expr] | None:
    """(axis, key) where a condition says that the position along a wanted axis is the key."""
    here = [a for a in wanted if a in axes_of(cond)]
    if len(here) != 1 or not isinstance(cond, Apply) or cond.op != "eq":
        return None
    axis, (a, b) = here[0], cond.args
    for side, other in ((a, b), (b, a)):
        if side == Index(axis) and axis not in axes_of(other) and kind_of(other) == "int":
            return axis, other
    try:
        alg = Algebra()
        gap = alg.linear(a) - alg.linear(b)
    except NotWhole:
        return None
    sign = dict(gap.terms).get(Index(axis), 0)
    rest = gap - alg.linear(Index(axis)) * sign
    key = to_expr(rest * -sign)
    return (axis, key) if abs(sign) == 1 and axis not in axes_of(key) else None
