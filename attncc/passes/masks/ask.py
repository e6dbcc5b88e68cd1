"""The test that a loop may make for each tile: what its ranges do not say about whether the tile holds a pair.

For an atom that gave no range the test is whether it may hold on the tile. For a congruence the interval of its sum is first
cut down by the other atoms: a tile of i = j (mod D), |i - j| <= w is needed exactly when a multiple of D lies in the interval
that the tile and the window leave to i - j.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.expr import TRUE, Apply, Expr, Index, substitute
from .algebra import Algebra
from .halflines import isolate
from .interval import Box, both, either, extreme, holds_multiple, may
from .linear import Linear, term, to_expr
from .normal import Compare, Congruent, Formula
from .plan import Level, first, last

_SUM = Index("~sum")


def tile_test(box: Box, found: list[tuple[Formula, ...]], unused: list[set[Formula]], levels: tuple[Level, ...]) -> Expr:
    """Whether a tile inside the ranges can hold a pair; `unused` are the atoms of each conjunction without a range."""
    tests = [both(*(_ask(box, p, conj) for p in conj if p in unused[k])) for k, conj in enumerate(found)]
    if len(found) <= 1 or all(t == TRUE for t in tests):
        return tests[0] if len(found) == 1 else TRUE
    parts = []
    for k, test in enumerate(tests):
        inside = [Apply("le", (first(v.axis), v.extents[k].hi)) for v in levels]
        inside += [Apply("le", (v.extents[k].lo, last(v.axis))) for v in levels]
        parts.append(both(*inside, test))
    return either(*parts)


def _ask(box: Box, part: Formula, conj: tuple[Formula, ...]) -> Expr:
    if isinstance(part, Congruent):
        low, high = extreme(box, part.linear, False), extreme(box, part.linear, True)
        if low is not None and high is not None:
            ends = [sum_range(box.alg, part.linear, c.linear) for c in conj if isinstance(c, Compare)]
            low = box.alg.pick("max", [low, *(x for lo, _ in ends for x in lo)])
            high = box.alg.pick("min", [high, *(x for _, hi in ends for x in hi)])
            return holds_multiple(box.alg, low, high, part.modulus)
    return may(box, part)


def sum_range(alg: Algebra, lin: Linear, known: Linear) -> tuple[tuple[Linear, ...], tuple[Linear, ...]]:
    """Lower and upper ends of the sum `lin` where `known` >= 0, as far as `known` depends on positions through that sum alone."""
    for t, c in lin.terms:
        if isinstance(t, Index) and abs(c) == 1 and alg.moves(t):
            at = (term(_SUM) - lin + term(t, c)) * c
            free = replace(alg, facts={**alg.facts, _SUM: (None, None)}, memo={})
            value = free.linear(substitute(to_expr(known), {t.axis: to_expr(at)}))
            half = None if alg.moves(to_expr(value)) else isolate(free, value, _SUM.axis)
            return ((), ()) if half is None else (half.lo, half.hi)
    return (), ()
