"""The cotangent of a statistic that an earlier stage stored: what later stages' pairs give it, summed over the pairs that read it.

Where a term e of a sum S = sum of e by depends on the statistic as de = alpha e, with alpha the same for all pairs summed, nothing
has to be summed anew:

    statistic of the row:   sum over keys of <dS, by> alpha e = alpha <dS, S>, and <dS, S> is known from what the stage stored
    statistic of the key:   sum over rows of <dS, by> alpha e = alpha <by, d by>, so the sweep for d by comes first

Every other share is summed by a stage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...ir.expr import Expr
from ...ir.pairs import Final, Sum, Term, value, values_in
from ..fuse.algebra import mul, neg
from ..fuse.pieces import Pieces
from .ends import summed
from .monomials import total
from .script import at
from .sides import Entry, Operand

if TYPE_CHECKING:
    from .build import Reverse


def pieces_of(rev: Reverse, *numbers: int) -> Pieces:
    """The attend's pieces with what the backward pass computes at a pair; of some kinds of keys only, if given."""
    kinds = [replace(s.kind, products=tuple(s.products), lets=tuple(s.lets)) for s in rev.sides]
    return replace(rev.of.pieces, kinds=tuple(kinds[n] for n in numbers) if numbers else tuple(kinds))


def statistic(rev: Reverse, final: Final) -> list[Expr]:
    """The cotangent of a stored statistic, as values of its axes to be added up."""
    found = _entries(rev, final.name)
    if not found:
        return []
    pieces, axes = rev.of.pieces, final.axes
    on_rows = set(axes) == set(pieces.rows)
    over = pieces.over if on_rows else tuple(a for a in (*pieces.rows, *rev.of.node.over) if a not in axes)
    closed: list[Expr] = []
    left = list(found)
    if on_rows:
        for entries in _whole(found):
            sums_of = {e.flow.sum for e in entries if e.flow is not None}
            closed += [mul(e.alpha, total([summed(i, axes) for i in _inner(e.flow)])) for e in entries]
            left = [(n, e) for n, e in left if e.flow is None or e.flow.sum not in sums_of]
    swept: list[Operand] = []
    if not on_rows and len(rev.sides) == 1 and set(over) == set(rev.of.free(0)):
        ours = [e for _, e in found if e.flow is not None]
        others = [(n, e) for n, e in found if e.flow is None]
        if ours and not any(_dots(rev, n, e.expr) for n, e in others):
            left = others
            swept = list(dict.fromkeys(e.flow for e in ours if e.flow is not None))
    sums, finals = _operand_sums(rev, swept, axes)
    made = rev.name(f"d_{final.name}")
    if left:
        terms = {n: [e.expr for m, e in left if m == n] for n, _ in left}
        sums.append(Sum(made, tuple(Term(n, total(exprs)) for n, exprs in terms.items())))
        finals.append(Final(made, axes, "float", value(made), acc=True))
    if sums:
        title = rev.name(f"{rev.title}_backward_{final.name}")
        note = f"the cotangent of {final.name}, which all pairs of a {'row' if on_rows else 'key'} share, comes first"
        rev.script.stage(pieces_of(rev).stage(title, over, None, tuple(sums), tuple(finals), (note,)))
    for operand, s in zip(swept, sums, strict=False):
        stored = at(s.name, (*axes, operand.feature))
        alphas = [e.alpha for _, e in found if e.flow is operand]
        closed += [mul(alpha, summed(mul(operand.by, stored), axes)) for alpha in alphas]
    return [*closed, *([at(made, axes)] if left else [])]


def _entries(rev: Reverse, name: str) -> list[tuple[int, Entry]]:
    """What pairs give a statistic: directly, and through weights exp(score - statistic), whose derivative is minus themselves."""
    out: list[tuple[int, Entry]] = []
    for n, side in enumerate(rev.sides):
        for leaf in [r for r in side.cots if r.source == name]:
            out += [(n, e) for e in side.cots.pop(leaf)]
        for p, (_, lse) in side.weights.items():
            if lse.source == name:
                out += [(n, Entry(neg(mul(e.expr, p)), e.flow, e.alpha)) for e in side.cots.get(p, [])]
    return out


def _inner(flow: Operand | None) -> list[Expr]:
    return [] if flow is None else flow.ends.inner[flow.sum.name]


def _whole(found: list[tuple[int, Entry]]) -> list[list[Entry]]:
    """For each sum all of whose terms depend on the statistic alike, the shares that come through its first term."""
    flows = list(dict.fromkeys(e.flow for _, e in found if e.flow is not None))
    out: list[list[Entry]] = []
    for s in dict.fromkeys(f.sum for f in flows):
        terms = [[e for _, e in found if e.flow is f] for f in flows if f.sum == s]
        if len(terms) == len(s.terms) and all([e.alpha for e in t] == [e.alpha for e in terms[0]] for t in terms):
            out.append(terms[0])
    return out


def _dots(rev: Reverse, n: int, expr: Expr) -> bool:
    """Whether an expression reads a product with a cotangent."""
    side = rev.sides[n]
    made = {p.name for p in side.products} - {p.name for p in side.kind.products}
    inside = values_in(expr)
    lets = dict(side.lets)
    return bool(inside & made) or any(_dots(rev, n, lets[name]) for name in inside if name in lets)


def _operand_sums(rev: Reverse, swept: list[Operand], axes: tuple[str, ...]) -> tuple[list[Sum], list[Final]]:
    """Sums over the rows for operands of the keys, which are their gradients too."""
    sums: list[Sum] = []
    finals: list[Final] = []
    for operand in swept:
        name = rev.name(f"d_{operand.by.source}")
        stored = (*axes, operand.feature)
        sums.append(Sum(name, tuple(Term(0, weight, d) for weight, d in operand.parts), "sum", operand.feature))
        finals.append(Final(name, stored, "float", value(name), acc=True))
        rev.sides[0].operands.remove(operand)
        if operand.by.source in rev.live:
            rev.give(operand.by, name, stored)
    return sums, finals
