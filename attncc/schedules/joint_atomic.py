"""The joint backward pass with atomic additions: one sweep over the pairs, the tiles of keys all at once.

    an owner is a tile of keys: dk and dv in accumulators
    for each tile of rows:  scores and their cotangents once -> dv, dk, and a part of dq that is added to an array in float32
    afterwards, a row at a time: dq = factor * array, in the element type

Five products a pair instead of seven, and one exponential instead of two. Owners meet in the array of dq, so the order of its sums
changes from run to run: results are not deterministic, and only a caller's wish chooses this form.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..errors import AttnUnsupportedError
from ..ir.expr import Apply, Expr, Index, Read, Size, conjoin
from ..ir.nodes import Assign
from ..ir.nodes import Program as WholeProgram
from ..ir.pairs import Final, PairStage, Part, value, value_name
from ..passes.fuse.algebra import replace_part
from ..tile.nodes import Arg, Program
from ..tile.nodes import value as tile_value
from ..tile.verify import verify
from .dilate import inside_rows
from .flash import Flash
from .joint import Axes, Joint, joined, pair_of
from .lists import by_data
from .place import Scope
from .plan import Fused, equal_sizes
from .pointwise import without_factors
from .token import lower_definition

NOTE = "gradients of rows and keys in one sweep: five products; what the rows get is added atomically, in no fixed order"


def joint_atomic(
    step: Fused, arrays: Axes, parts: tuple[Part, ...], program: WholeProgram
) -> tuple[Fused, Axes, tuple[Part, ...]]:
    """A phase of a backward pass with its two sides in one sweep, where it has both. arrays, parts: as in `joint`; they stay."""
    found = pair_of(step.stages)
    if found is None:
        return step, arrays, parts
    rows, keys = (step.stages[n] for n in found)
    try:
        rows, last = _scaled_afterwards(without_factors(rows), step, arrays)
    except AttnUnsupportedError:  # a layout that no sweep over tokens writes: PyTorch converts
        last = ()
        rows = replace(rows, finals=tuple(replace(f, acc=True) for f in rows.finals))
    acc = step.acc | {f.name for f in rows.finals}
    stage = replace(joined(rows, keys), notes=(NOTE,))
    kernel = verify(AtomicJoint(stage, rows, arrays, acc, equal_sizes(program)).program())
    kernels = [kernel if n == found[1] else k for n, k in enumerate(step.kernels) if n != found[0]]
    stages = tuple(stage if n == found[1] else s for n, s in enumerate(step.stages) if n != found[0])
    return replace(step, stages=stages, kernels=(*kernels, *last), acc=acc, grouped=None), arrays, parts


def _scaled_afterwards(rows: PairStage, step: Fused, arrays: Axes) -> tuple[PairStage, tuple[Program, ...]]:
    """The rows' stage with arrays of sums for its finals, and what makes the finals of those: a factor, and the element type."""
    taken = {*arrays, *(f.name for f in rows.finals)}
    features = tuple(dict.fromkeys(s.feature for s in rows.sums if s.feature))
    finals: list[Final] = []
    last: list[Program] = []
    for s, final in zip(rows.sums, rows.finals, strict=True):
        if final.acc and value_name(final.expr):  # the array of sums is what is asked for
            finals.append(final)
            continue
        name = f"{final.name}_sum"
        while name in taken:
            name += "_"
        taken.add(name)
        made = Read(name, tuple(Index(a) for a in final.axes), "float")
        node = Assign(final.name, final.axes, "float", replace_part(final.expr, value(s.name), made))
        acc = step.acc | {name} | ({final.name} if final.acc else set())
        last.append(lower_definition(node, {**arrays, name: final.axes}, features, acc))
        finals.append(replace(final, name=name, acc=True, expr=value(s.name)))
    return replace(rows, finals=tuple(finals)), tuple(last)


class AtomicJoint(Joint):
    """Lowers a joint stage. What the rows' sums take from a tile has no part of rows of the owner (here: keys) beyond the last:
    where ranges are in closed form, an owner's tile that overhangs has no full tiles, and its other tiles are tested."""

    def __init__(
        self,
        stage: PairStage,
        rows: PairStage,
        arrays: Mapping[str, tuple[str, ...]],
        acc: Collection[str],
        sizes: Mapping[str, Expr],
    ) -> None:
        self.listed = by_data(stage.keys[0].mask, (*stage.rows, *stage.keys[0].axes))
        if self.listed:
            rows = replace(rows, sums=inside_rows(rows.sums, stage.rows))
        super().__init__(stage, rows, "", arrays, frozenset(acc), sizes)

    def whole(self) -> Expr | None:
        if self.split is not None or self.listed:
            return None
        parts = [(tile_value(f"{a}.first", "int"), tile_value(f"{a}.box", "int"), Size(a)) for a in self.stage.rows]
        return conjoin([Apply("le", (Apply("add", (first, box)), size)) for first, box, size in parts])

    def fill(self, number: int, scope: Scope, mask: Expr | None) -> None:
        if mask is not None and self.whole() is not None:
            mask = conjoin([mask, *(Apply("lt", (Index(a), Size(a))) for a in self.stage.rows)])
        super().fill(number, scope, mask)

    def program(self) -> Program:
        made = Flash.program(self)
        sums = tuple(Arg(f.name, f.axes, "float", "atomic", True) for _, f in self.added)
        return replace(made, args=(*made.args, *sums))
