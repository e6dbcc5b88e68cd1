"""The order of mixing of a step's kernels: (Q K^T) V from the left, or (Q)(K^T V) from the right where its stages are separable.

Both are kept. Which one runs follows from the sizes of a call, by comparing whole numbers, or from the pattern's `order`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import AttnUnsupportedError
from ..ir.expr import TRUE, Apply, Expr, Size, walk
from ..ir.pairs import PairStage
from ..ir.sizes import Unknown, scalar
from ..tile.nodes import Program as Tiles
from .flash import lower
from .state import Form, form_of, groups, left_cost, plus, right_cost
from .state_apply import apply_program
from .state_chunks import chunk_programs, total_programs
from .state_sweep import sweep_program

Arrays = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Right:
    """kernels: the step's from the right, in order. swept: the same with causal states carried along in one sweep.

    sizes: of the axes that they add, in sizes that are known. cheaper: when they cost less. forms: what was found of each stage
    that has states.
    """

    kernels: tuple[Tiles, ...]
    swept: tuple[Tiles, ...]
    sizes: tuple[tuple[str, Expr], ...]
    cheaper: Expr
    forms: tuple[Form, ...]

    def chosen(self, sizes: Mapping[str, int]) -> bool:
        """Whether these kernels run for a call's sizes."""
        return bool(scalar(self.cheaper, sizes))

    def extended(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Sizes with those of the added axes."""
        out = dict(sizes)
        for axis, size in self.sizes:
            out[axis] = int(scalar(size, out))
        return out

    def flip(self, sizes: Mapping[str, int] | None = None) -> str:
        """From what length of rows and keys on these kernels cost less, in words. sizes: those known; else heads of 64 features."""
        lengths = {a for form in self.forms for a in (form.stage.rows[0], form.axis)}
        features = {a for form in self.forms for s in form.states for a in s.axes}
        assumed = {e.axis: 64 if e.axis in features else 1 for e in walk(self.cheaper) if isinstance(e, Size)}
        given = {a: n for a, n in (sizes or {}).items() if a in features}
        at = self.flips_at({**assumed, **given}, sorted(lengths))
        wide = ", ".join(f"{a} = {given.get(a, 64)}" for a in sorted(features))
        return f"never for {wide}" if at is None else f"from {at} rows and keys on for {wide}"

    def flips_at(self, sizes: Mapping[str, int], lengths: Sequence[str]) -> int | None:
        """The least length of some axes from which on these kernels cost less, None when there is none."""
        try:
            low, high = 0, 1 << 24
            if not self.chosen({**sizes, **dict.fromkeys(lengths, high)}):
                return None
            while high - low > 1:
                middle = (low + high) // 2
                if self.chosen({**sizes, **dict.fromkeys(lengths, middle)}):
                    high = middle
                else:
                    low = middle
        except Unknown:
            return None
        return high


def right_order(
    stages: Sequence[PairStage], arrays: Arrays, acc: frozenset[str], sizes: Mapping[str, Expr], asked: str = "auto"
) -> Right | None:
    """The kernels of some stages from the right; None where none of them has a state, or the pattern asks for the left.

    arrays: axes of what the stages read. acc: what is kept in the accumulation type. asked: the pattern's order.
    """
    if asked == "left":
        return None
    known = dict(arrays)
    kernels: list[Tiles] = []
    swept: list[Tiles] = []
    forms: list[Form] = []
    left: list[Expr] = []
    right: list[Expr] = []
    for stage in stages:
        made, single, form = _stage(stage, known, acc, sizes)
        kernels += made
        swept += single
        forms += form
        for one in form:
            known |= one.arrays
            left.append(left_cost(one.stage, one.sep.causal is not None))
            right.append(right_cost(one))
        for final in stage.finals:
            known[final.name] = final.axes
            acc = acc | {final.name} if final.acc else acc
    if not forms:
        return None
    added: list[tuple[str, Expr]] = []
    for form_ in forms:
        added += [(twin, Size(axis)) for twin, axis in form_.sep.twins.items()]
        added.append((form_.chunk, form_.chunks))
    cheaper = TRUE if asked == "right" else Apply("lt", (plus(*right), plus(*left)))
    made_ = Right(tuple(kernels), tuple(swept), tuple(dict.fromkeys(added)), cheaper, tuple(forms))
    why = "the pattern asks for it" if asked == "right" else f"costs less {made_.flip()}"
    return replace(made_, kernels=_noted(kernels, why), swept=_noted(swept, why))


def _noted(kernels: Sequence[Tiles], why: str) -> tuple[Tiles, ...]:
    """Kernels whose header says when they run."""
    return tuple(replace(k, notes=(*k.notes, f"this order of mixing: {why}")) for k in kernels)


Found = tuple[list[Tiles], list[Tiles], list[Form]]
"""Kernels, the same with sweeps, and what was found of stages that have states."""


def _stage(stage: PairStage, arrays: Arrays, acc: frozenset[str], sizes: Mapping[str, Expr]) -> Found:
    """The kernels of one stage: with states as a whole, or those of its groups of sums that have states."""
    try:
        return _with_states(form_of(stage, arrays, acc, sizes))
    except AttnUnsupportedError:
        pass
    parts = groups(stage) if len(stage.keys) == 1 and stage.softmax is None and not stage.keyed else (stage,)
    kernels: list[Tiles] = []
    swept: list[Tiles] = []
    forms: list[Form] = []
    known = dict(arrays)
    for part in parts if len(parts) > 1 else ():
        try:
            made, single, found = _with_states(form_of(part, known, acc, sizes))
            forms += found
            known |= found[0].arrays
        except AttnUnsupportedError:
            made = single = [lower(part, known, acc, sizes)]
        kernels += made
        swept += single
    if forms:
        return kernels, swept, forms
    left = [lower(stage, arrays, acc, sizes)]
    return left, left, []


def _with_states(form: Form) -> Found:
    made = [*chunk_programs(form), *total_programs(form), *(apply_program(form, part) for part in groups(form.stage))]
    return made, made if form.sep.causal is None else [sweep_program(form)], [form]
