"""The joint backward pass: one sweep over the pairs for both sides, five products instead of seven.

An owner is a tile of keys. What the keys get (dk, dv) is summed in accumulators; what the rows get (dq) is added to an array, tile by
tile. Tiles of keys at one grid position run one after the other, so the array needs no atomics and the order of its sums is fixed.
Where there are fewer grid positions than processors, the tiles are shared out over a few shares, each with an array of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..ir.expr import Expr, Index
from ..ir.nodes import Program as WholeProgram
from ..ir.pairs import Final, Keys, PairStage, Part, Sum
from ..passes.differentiate.script import reads_of
from ..tile.nodes import Arg, Dot, Program, Reduce, Store
from ..tile.verify import verify
from .body import Body
from .flash import Flash
from .place import Scope
from .plan import Fused, equal_sizes

SHARE = "share"
"""The axis of shares. Its size is the backend's choice."""


Axes = dict[str, tuple[str, ...]]


def joint(step: Fused, arrays: Axes, parts: tuple[Part, ...], program: WholeProgram) -> tuple[Fused, Axes, tuple[Part, ...]]:
    """A phase of a backward pass with its two sides in one sweep, where it has both; what the rows get has an axis of shares.

    arrays: axes of values, those of the phase included. parts: how the values add up to gradients.
    """
    found = pair_of(step.stages)
    if found is None:
        return step, arrays, parts
    rows, keys = (step.stages[n] for n in found)
    share = SHARE
    while share in {a for axes in arrays.values() for a in axes}:
        share += "_"
    stage = joined(rows, keys)
    names = {f.name for f in rows.finals}
    acc = step.acc | names
    kernel = lower_joint(stage, rows, share, arrays, acc, equal_sizes(program))
    stages = [stage if n == found[1] else s for n, s in enumerate(step.stages) if n != found[0]]
    kernels = [kernel if n == found[1] else k for n, k in enumerate(step.kernels) if n != found[0]]
    arrays = {**arrays, **{f.name: (share, *f.axes) for f in rows.finals}}
    values = tuple(replace(v, axes=arrays[v.name]) for v in step.values)
    new = replace(step, stages=tuple(stages), kernels=tuple(kernels), acc=acc, values=values, grouped=None)
    return new, arrays, tuple(replace(p, stored=(share, *p.stored)) if p.name in names else p for p in parts)


def pair_of(stages: tuple[PairStage, ...]) -> tuple[int, int] | None:
    """Two stages that are the two sides of the same pairs: the rows' and the keys'."""
    for a, rows in enumerate(stages):
        for b, keys in enumerate(stages):
            names = {f.name for f in rows.finals}
            if a != b and _sides(rows, keys) and not any(names & reads_of(s) for s in stages):
                return a, b
    return None


def _sides(rows: PairStage, keys: PairStage) -> bool:
    if len(rows.keys) != 1 or len(keys.keys) != 1 or rows.softmax is not None or keys.softmax is not None:
        return False
    if rows.keyed or keys.keyed:
        return False
    there, back = rows.keys[0], keys.keys[0]
    exchanged = rows.rows == back.axes and keys.rows == there.axes and not there.repeat
    same = set(rows.grid) == {*keys.grid, *back.repeat} and there.mask == back.mask
    plain = all(len(s.terms) == 1 and s.op == "sum" and not s.scaled for s in rows.sums)
    lets = dict(back.lets)
    agree = all(lets.get(name, expr) == expr for name, expr in there.lets)
    return exchanged and same and plain and agree


def joined(rows: PairStage, keys: PairStage) -> PairStage:
    """The keys' stage with every product and pointwise value that the rows' sums need."""
    there, back = rows.keys[0], keys.keys[0]
    known = {p.name for p in back.products}
    products = (*back.products, *(p.turn() for p in there.products if p.name not in known))
    lets = (*back.lets, *((n, e) for n, e in there.lets if n not in dict(back.lets)))
    note = "gradients of rows and keys in one sweep: five products; what the rows get is added to their array tile by tile"
    new: Keys = replace(back, products=products, lets=lets)
    return replace(keys, name=keys.name.removesuffix("_keys"), keys=(new,), notes=(note,))


def lower_joint(
    stage: PairStage,
    rows: PairStage,
    share: str,
    arrays: Mapping[str, tuple[str, ...]],
    acc: Collection[str],
    sizes: Mapping[str, Expr],
) -> Program:
    """The tile program of a joint stage, whose rows' side adds the sums of `rows` to arrays with an axis `share`."""
    return verify(Joint(stage, rows, share, arrays, frozenset(acc), sizes).program())


class Joint(Flash):
    """share: the axis of shares, "" without one."""

    def __init__(
        self,
        stage: PairStage,
        rows: PairStage,
        share: str,
        arrays: Mapping[str, tuple[str, ...]],
        acc: frozenset[str],
        sizes: Mapping[str, Expr],
    ) -> None:
        super().__init__(stage, dict(arrays), acc, sizes, rows.sums)
        self.added = tuple(zip(self.more, rows.finals, strict=True))
        self.share = share

    def fill(self, number: int, scope: Scope, mask: Expr | None) -> None:
        _Body(self, self.stage.keys[number], number, scope, mask).emit()

    def program(self) -> Program:
        made = super().program()
        sums = tuple(Arg(f.name, (self.share, *f.axes), "float", "sum", True) for _, f in self.added)
        return replace(made, args=(*made.args, *sums), grid=(*made.grid, self.share), shares=self.share)


class _Body(Body):
    flash: Joint

    def _terms(self) -> None:
        super()._terms()
        for s, final in self.flash.added:
            self._give(s, final)

    def _give(self, s: Sum, final: Final) -> None:
        """What one sum of the rows gets from a tile of pairs."""
        term = s.terms[0]
        tile = self._tile(term, "sum")
        part = self.place.name(f"{s.name}_part")
        if term.by is None:
            self.scope.body.append(Reduce(part, "sum", tile, self.owner, (self.loop,)))
            dims: tuple[str, ...] = (self.loop,)
        else:
            by = self.place.load(term.by, self.scope, own=True)
            dims = (self.loop, s.feature)
            self.scope.body.append(Dot(tile, by.source, self.owner, (self.loop, s.feature), out=part, cast=by.source))
        share = (Index(self.flash.share),) if self.flash.share else ()
        index = (*share, *(self.flash.position(a) for a in final.axes))
        self.scope.body.append(Store(final.name, index, part, dims, add=True))
