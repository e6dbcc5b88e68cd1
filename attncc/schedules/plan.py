"""The plan of a program: which attends become kernels, which nodes run on PyTorch, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ..errors import AttnUnsupportedError
from ..ir.expr import Expr
from ..ir.graph import live
from ..ir.nodes import Assign, Attend, Node, Program, Value, values_of
from ..ir.pairs import PairStage
from ..passes.fuse import fuse
from ..tile.nodes import Program as Tiles
from .flash import lower


@dataclass(frozen=True)
class Torch:
    """A node that runs on PyTorch. reason: why, in words."""

    node: Node
    reason: str


@dataclass(frozen=True)
class Fused:
    """An attend as kernels: definitions before, stages with their tile programs, definitions after.

    acc: names of values in the accumulation type. values: what the step leaves for later nodes.
    """

    node: Attend
    before: tuple[Assign, ...]
    stages: tuple[PairStage, ...]
    kernels: tuple[Tiles, ...]
    after: tuple[Assign, ...]
    acc: frozenset[str]
    values: tuple[Value, ...]


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
        dims = (d for s in self.steps if isinstance(s, Fused) for k in s.kernels for d in k.dims)
        return tuple(dict.fromkeys(d.axes[0] for d in dims if d.whole))


def plan(program: Program, outputs: Collection[str]) -> Plan:
    """How to compute some outputs."""
    program = live(program, outputs)
    arrays = {i.name: tuple(a for dim in i.dims for a in dim) for i in program.inputs}
    kinds = {i.name: i.kind for i in program.inputs}
    steps: list[Step] = []
    for node in program.nodes:
        step = _step(program, node, arrays)
        steps.append(step)
        made = [*values_of(node)]
        if isinstance(step, Fused):
            made += [*step.values, *(Value(a.name, a.axes, a.kind) for a in step.before)]
        for value in made:
            arrays[value.name], kinds[value.name] = value.axes, value.kind
    return Plan(program, tuple(steps), arrays, kinds)


def _step(program: Program, node: Node, arrays: Mapping[str, tuple[str, ...]]) -> Step:
    if not isinstance(node, Attend):
        return Torch(node, "no attend")
    try:
        fusion = fuse(program, node)
        known = {**arrays, **{a.name: a.axes for a in fusion.before}}
        sizes = _equal_sizes(program)
        acc = set(fusion.acc)
        kernels: list[Tiles] = []
        made: list[Value] = []
        for stage in fusion.stages:
            kernels.append(lower(stage, known, frozenset(acc), sizes))
            for final in stage.finals:
                known[final.name] = final.axes
                made.append(Value(final.name, final.axes, final.kind))
                if final.acc:
                    acc.add(final.name)
    except AttnUnsupportedError as reason:
        return Torch(node, reason.message)
    return Fused(node, fusion.before, fusion.stages, tuple(kernels), fusion.after, frozenset(acc), tuple(made))


def _equal_sizes(program: Program) -> dict[str, Expr]:
    """Sizes given by equations, for the analysis of masks."""
    return {a.name: a.size for a in program.axes if a.size is not None}

