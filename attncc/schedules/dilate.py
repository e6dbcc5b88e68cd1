"""Dilated masks: i = j (mod D) splits both axes into ranks within D groups, where a dilated window is an interval again.

    i = D i_rank + i_group      j = D j_rank + (i_group + c) mod D

The group is an axis of the grid, tiles hold ranks. A tile of ranks of one group meets only keys of its own group, so full tiles
exist and D times fewer tiles are visited. The last rank of a group may lie outside the axis: loads and stores of computed positions
ask for that anyway, and what is summed over the rows is 0 there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..ir.expr import Apply, Const, Expr, Index, Read, Size, axes_of, conjoin, rebuild, substitute, walk
from ..ir.pairs import Keyed, Keys, PairStage, Softmax, Sum, Term
from ..passes.masks import MaskPlan, analyse
from .lists import by_data


@dataclass(frozen=True)
class Dilation:
    """plan: of the mask, in ranks. ranks: of the split axes. groups: the grid axis of each split row axis. positions: of the split
    axes, in ranks and groups."""

    plan: MaskPlan
    ranks: Mapping[str, str]
    groups: Mapping[str, str]
    positions: Mapping[str, Expr]
    last: Mapping[str, Expr]
    sizes: tuple[tuple[str, Expr], ...]

    def renamed(self, expr: Expr) -> Expr:
        """An expression of the plan in the stage's new axes."""
        if isinstance(expr, Index) and expr.axis in self.ranks:
            return Index(self.ranks[expr.axis])
        if isinstance(expr, Read) and not expr.index and "." in expr.source:
            axis, what = expr.source.split(".", 1)
            if what == "group":
                return Index(self.groups[axis])
            if axis in self.ranks:
                found = Read(f"{self.ranks[axis]}.{what}", (), expr.kind)
                return Apply("min", (found, self.last[axis])) if what == "last" else found
        return rebuild(expr, self.renamed)

    def axis(self, name: str) -> str:
        return self.ranks.get(name, name)

    def placed(self, expr: Expr) -> Expr:
        """An expression of positions, in ranks and groups."""
        at = {a: e for a, e in self.positions.items() if a in axes_of(expr)}
        return substitute(expr, at) if at else expr


def dilation(stage: PairStage, sizes: Mapping[str, Expr], taken: Iterable[str]) -> Dilation | None:
    """How the axes of a stage are split; None when nothing is gained. taken: names of axes."""
    mask = stage.keys[0].mask
    if len(stage.keys) != 1 or mask is None or by_data(mask, (*stage.rows, *stage.keys[0].axes)):
        return None
    if not any(isinstance(e, Apply) and e.op == "mod" for e in walk(mask)):
        return None
    plan = analyse(mask, stage.rows, stage.keys[0].axes, sizes)
    if not plan.splits or not plan.forward.can_be_full:
        return None
    used = set(taken)

    def fresh(hint: str) -> str:
        while hint in used:
            hint += "_"
        used.add(hint)
        return hint

    ranks: dict[str, str] = {}
    groups: dict[str, str] = {}
    for s in plan.splits:
        ranks |= {s.row: fresh(f"{s.row}_rank"), s.key: fresh(f"{s.key}_rank")}
        groups[s.row] = fresh(f"{s.row}_group")
    new = Dilation(plan, ranks, groups, {}, {}, ())
    positions: dict[str, Expr] = {}
    made: list[tuple[str, Expr]] = []
    for s in plan.splits:
        for axis, own in ((s.row, s.group), (s.key, s.key_group)):
            positions[axis] = Apply("add", (Apply("mul", (Const(s.modulus), Index(ranks[axis]))), new.renamed(own)))
            made.append((ranks[axis], Apply("cdiv", (Size(axis), Const(s.modulus)))))
        made.append((groups[s.row], Const(s.modulus)))
    limits = {**plan.forward.limits, **plan.transposed.limits}
    last = {axis: replace(new, ranks={}).renamed(limits[axis]) for axis in ranks}
    return Dilation(plan, ranks, groups, positions, last, tuple(made))


def split_stage(stage: PairStage, of: Dilation) -> PairStage:
    """The stage over ranks and groups. Its mask stays as it was: `of.plan` knows it in ranks. Finals keep the axes of their arrays."""
    keys = stage.keys[0]
    products = tuple(replace(p, row=_read(of, p.row), key=_read(of, p.key)) for p in keys.products)
    lets = tuple((n, of.placed(e)) for n, e in keys.lets)
    new = Keys(tuple(map(of.axis, keys.axes)), keys.repeat, products, lets, keys.mask)
    return replace(
        stage,
        grid=(*stage.grid, *(of.groups[s.row] for s in of.plan.splits)),
        rows=tuple(map(of.axis, stage.rows)),
        keys=(new,),
        softmax=None if stage.softmax is None else _split_softmax(stage.softmax, of),
        sums=split_sums(stage.sums, of),
        finals=tuple(replace(f, expr=of.placed(f.expr)) for f in stage.finals),
        keyed=tuple(Keyed(k.sum, k.axes, tuple(of.placed(x) for x in k.index)) for k in stage.keyed),
    )


def _split_softmax(softmax: Softmax, of: Dilation) -> Softmax:
    guard = None if softmax.guard is None else of.placed(softmax.guard)
    return replace(softmax, score=of.placed(softmax.score), guard=guard)


def inside_rows(sums: tuple[Sum, ...], rows: tuple[str, ...]) -> tuple[Sum, ...]:
    """Sums with 0 for rows beyond the last: a tile may overhang, and what is summed over rows must not see that."""
    tests: list[Expr] = [Apply("lt", (Index(axis), Size(axis))) for axis in rows]
    inside = conjoin(tests)
    if inside is None:
        return sums
    terms = [tuple(replace(t, expr=Apply("where", (inside, t.expr, Const(0.0)))) for t in s.terms) for s in sums]
    return tuple(replace(s, terms=t) for s, t in zip(sums, terms, strict=True))


def split_sums(sums: tuple[Sum, ...], of: Dilation) -> tuple[Sum, ...]:
    """Sums over ranks and groups."""
    terms = [tuple(Term(t.keys, of.placed(t.expr), None if t.by is None else _read(of, t.by)) for t in s.terms) for s in sums]
    return tuple(replace(s, terms=t) for s, t in zip(sums, terms, strict=True))


def _read(of: Dilation, read: Read) -> Read:
    found = of.placed(read)
    assert isinstance(found, Read)
    return found
