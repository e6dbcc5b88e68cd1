"""Rows of several query heads in one tile: where heads share their keys, a tile of keys is read and multiplied once for all of them.

A grid axis that no operand of the keys has (the query heads r of a key head) may as well be an axis of the rows:

    grid (b, g, r), rows (i)   ->   grid (b, g), rows (r, i)

With few queries, as in decoding, a tile of one head's rows is almost empty, and the keys are read once for each head. With many, tiles
are full either way, and a plain stretch of one axis costs least. Both are kept, and the sizes of a call choose.
Source of the sharing: Ainslie et al. 2023 (arXiv 2305.13245).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from ..ir.expr import Apply, Const, Expr, Size, axes_of
from ..ir.pairs import PairStage
from ..tile.nodes import Program
from .flash import lower
from .steps import Grouped

KIND = "grouped"
"""Of programs whose tiles hold rows of several heads."""
FEW = 64
"""Up to how many rows a head shares its tiles with others of its group."""


def shared_axes(stage: PairStage) -> tuple[str, ...]:
    """Axes of a stage's grid whose positions have the same keys: no operand of the keys has them, and every result does."""
    operands = [p.key for k in stage.keys for p in k.products]
    operands += [t.by for s in stage.sums for t in s.terms if t.by is not None]
    own = {a for read in operands for a in axes_of(read)}
    if stage.keyed or not operands:
        return ()
    return tuple(a for a in stage.grid if a not in own and all(a in f.axes for f in stage.finals))


def stacked(stage: PairStage, axes: Sequence[str]) -> PairStage:
    """The stage with some axes of its grid as the first ones of its rows."""
    return replace(stage, grid=tuple(a for a in stage.grid if a not in axes), rows=(*axes, *stage.rows))


def grouped(
    stages: Sequence[PairStage],
    kernels: Sequence[Program],
    arrays: Mapping[str, tuple[str, ...]],
    acc: Collection[str],
    sizes: Mapping[str, Expr],
) -> Grouped | None:
    """The kernels of some stages with rows of several heads in a tile, None where no stage allows that.

    kernels: those with the heads on the grid. arrays: axes of every value that the stages read, each other's results among them. acc:
    what is kept in the accumulation type. sizes: as in `lower`.
    """
    made, found = list(kernels), dict.fromkeys(a for s in stages for a in shared_axes(s))
    if not found:
        return None
    names = {k.name for k in kernels}
    rows: dict[str, None] = {}
    for n, stage in enumerate(stages):
        axes = shared_axes(stage)
        if not axes:
            continue
        rows |= dict.fromkeys(stage.rows)
        name = f"{stage.name}_{KIND}"
        while name in names:
            name += "_"
        names.add(name)
        note = f"a tile has rows of every {', '.join(axes)}, which share their keys: for up to {FEW} of {', '.join(stage.rows)}"
        stage = replace(stacked(stage, axes), name=name, notes=(*stage.notes, note))
        made[n] = replace(lower(stage, arrays, frozenset(acc), sizes), kind=KIND)
    heads, queries = product_of(tuple(found)), product_of(tuple(rows))
    pays = Apply("and", (Apply("lt", (Const(1), heads)), Apply("le", (queries, Const(FEW)))))
    return Grouped(tuple(made), tuple(found), pays)


def product_of(axes: Sequence[str]) -> Expr:
    """The number of positions of some axes, one at least."""
    out: Expr = Size(axes[0])
    for axis in axes[1:]:
        out = Apply("mul", (out, Size(axis)))
    return out
