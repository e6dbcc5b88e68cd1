"""What a plan is made of. Planning is `plan.py`; whoever runs a plan from disk imports no more than this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..ir.expr import Expr
from ..ir.nodes import Assign, Attend, Node, Program, Value
from ..ir.pairs import PairStage
from ..ir.printer import show_expr
from ..ir.sizes import Unknown, scalar
from ..tile.nodes import Program as Tiles

if TYPE_CHECKING:
    from ..passes.fuse import Fusion
    from .order import Right


@dataclass(frozen=True)
class Torch:
    """A node that runs on PyTorch. reason: why, in words."""

    node: Node
    reason: str


@dataclass(frozen=True)
class Grouped:
    """The kernels of a step, in order, with rows of several heads in a tile where a stage allows it. axes: of those heads. pays: when
    these kernels run, in sizes."""

    kernels: tuple[Tiles, ...]
    axes: tuple[str, ...]
    pays: Expr

    def chosen(self, sizes: Mapping[str, int]) -> bool:
        """Whether these kernels run for a call's sizes."""
        return bool(scalar(self.pays, sizes))

    def told(self, sizes: Mapping[str, int] | None) -> tuple[str, str]:
        """The decision and its reason, in words. sizes: those that are known."""
        heads = ", ".join(self.axes)
        reason = (
            f"positions of {heads} have the same keys; one tile for all reads them once, and pays where {show_expr(self.pays)}"
        )
        try:
            chosen = self.chosen(sizes or {})
        except Unknown:
            return f"on a CPU one tile for rows of every {heads}, or a tile each: the sizes say which", reason
        here = f"one tile for rows of every {heads}" if chosen else f"a tile for each {heads}"
        return f"on a CPU {here}, for these sizes", f"{reason}; a GPU has a tile for each, which gives it more to do at a time"

    def several(self, sizes: Mapping[str, int]) -> bool:
        """Whether they run for other lengths of the rows, if not for these: there are several heads."""
        return any(sizes[a] > 1 for a in self.axes)


@dataclass(frozen=True)
class Fused:
    """An attend as kernels: definitions before, stages with their tile programs, definitions after; or definitions of the program
    itself, in one kernel.

    node: the attend, or the last of the definitions, of which earlier ones are in `beside`. over: an array that the one value of
    a definition's kernel may be written over, as it reads it at its own token alone.

    right: the same kernels from the right, for calls where that costs less. grouped: the same with rows of several heads in a tile, for
    calls with few of them. fusion: what the stages were made from.

    definitions: tile programs of what runs before, in order. before, after: definitions that run on PyTorch instead, because
    one of them is no sweep over tokens. acc: names of values in the accumulation type. values: what the step leaves for later
    nodes.
    """

    node: Attend | Assign
    before: tuple[Assign, ...]
    definitions: tuple[Tiles, ...]
    stages: tuple[PairStage, ...]
    kernels: tuple[Tiles, ...]
    after: tuple[Assign, ...]
    acc: frozenset[str]
    values: tuple[Value, ...]
    right: Right | None = None
    fusion: Fusion | None = None
    beside: tuple[Assign, ...] = ()
    over: str = ""
    grouped: Grouped | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes of the program that this is."""
        return (*self.beside, self.node)

    def chosen(self, sizes: Mapping[str, int], swept: bool = False) -> tuple[Tiles, ...]:
        """The kernels that run for a call's sizes. swept: causal states are carried along in one sweep."""
        if self.right is not None and self.right.chosen(sizes):
            return self.right.swept if swept else self.right.kernels
        return self.grouped.kernels if self.grouped is not None and self.grouped.chosen(sizes) else self.kernels

    def held(self, sizes: Mapping[str, int], swept: bool = False) -> tuple[Tiles, ...]:
        """The kernels for the sizes of a call and for other lengths of its rows."""
        chosen, shared = self.chosen(sizes, swept), self.grouped
        if shared is None or not shared.several(sizes) or not (chosen is self.kernels or chosen is shared.kernels):
            return chosen
        return (*self.kernels, *(k for k, other in zip(shared.kernels, self.kernels, strict=True) if k is not other))

    @property
    def all_kernels(self) -> tuple[Tiles, ...]:
        grouped = self.grouped.kernels if self.grouped is not None else ()
        return (*self.kernels, *grouped, *(self.right.kernels if self.right is not None else ()))


Step = Torch | Fused


@dataclass(frozen=True)
class Plan:
    """Steps in order. arrays: the axes of every value by name."""

    program: Program
    steps: tuple[Step, ...]
    arrays: Mapping[str, tuple[str, ...]]
    kinds: Mapping[str, str]

    @property
    def features(self) -> tuple[str, ...]:
        """Axes whose sizes the kernels are compiled for."""
        dims = (d for s in self.steps if isinstance(s, Fused) for k in (*s.definitions, *s.all_kernels) for d in k.dims)
        return tuple(dict.fromkeys(d.axes[0] for d in dims if d.whole))

    @property
    def twins(self) -> dict[str, str]:
        """Axes that kernels add under a second name, to the axis that they equal."""
        steps = (s.right for s in self.steps if isinstance(s, Fused) and s.right is not None)
        return {a: axis for right in steps for form in right.forms for a, axis in form.sep.twins.items()}

    def extended(self, sizes: Mapping[str, int]) -> dict[str, int]:
        """Sizes of a call with those of the axes that kernels add."""
        out = dict(sizes)
        for step in self.steps:
            if isinstance(step, Fused) and step.right is not None:
                out = step.right.extended(out)
            for axis, size in (pair for k in step.kernels for pair in k.made) if isinstance(step, Fused) else ():
                out[axis] = int(scalar(size, out))
        return out
