"""One call of a program by a compiling backend: fused attends by kernels, other nodes by the eager backend, as planned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import torch
from attncc.backends.eager.named import Named, aligned
from attncc.backends.fitting import fitting

from attncc.ir.expr import sources_of
from attncc.ir.nodes import Node, Program, values_of
from attncc.ir.sizes import check, solve
from attncc.schedules.steps import Fused, Plan, Torch

if TYPE_CHECKING:
    from attncc.backends.eager.evaluate import Evaluator

Tensors = Mapping[str, torch.Tensor]
Recipe = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
_KINDS = {"int": torch.int64, "bool": torch.bool}
_KNOWN = 1024


@dataclass(frozen=True)
class Stored:
    """How an output is stored. axes: in their order there, None where its array has that order; shape: None where every
    dim is one axis."""

    name: str
    value: str
    kind: str
    axes: tuple[str, ...] | None
    shape: tuple[int, ...] | None


@dataclass(frozen=True)
class Fit:
    """What shapes, element types and devices of inputs say about a call. inputs: shapes with one dim an axis, None for one that is
    so. asks: inputs whose data is checked. ready: what a backend keeps for such calls."""

    sizes: Mapping[str, int]
    dtype: torch.dtype
    device: torch.device
    inputs: tuple[tuple[str, tuple[int, ...] | None], ...]
    outputs: tuple[Stored, ...]
    asks: frozenset[str]
    ready: dict[Any, Any] = field(default_factory=dict)


def fit(plan: Plan, inputs: Tensors) -> Fit:
    """Raises what the eager backend raises for inputs that do not fit."""
    program = plan.program
    solved = solve(program, {n: tuple(t.shape) for n, t in inputs.items()})
    check(program, solved)
    sizes = plan.extended(solved)
    dtype, device = fitting(program, inputs)
    given = tuple((i.name, None if _plain(i.dims) else tuple(sizes[a] for d in i.dims for a in d)) for i in program.inputs)
    stored = []
    for out in program.outputs:
        axes = tuple(a for d in out.dims for a in d)
        shape = None if _plain(out.dims) else tuple(prod(sizes[a] for a in d) for d in out.dims)
        stored.append(Stored(out.name, out.value, out.kind, None if plan.arrays[out.value] == axes else axes, shape))
    asks: set[str] = set()
    if device.type == "cpu":  # elsewhere the answer would have to be waited for
        asks = asks.union(*(sources_of(c.cond) for c in program.checks if c.data))
    return Fit(sizes, dtype, device, given, tuple(stored), frozenset(asks))


def assume(program: Program, inputs: Tensors, known: Fit) -> None:
    """Check what a program assumes about its inputs' data. Raises AttnValueError."""
    from attncc.backends.eager.interpreter import assumed, prepare

    assumed(prepare(program, inputs, known.sizes, known.asks)[0], program)


def _plain(dims: tuple[tuple[str, ...], ...]) -> bool:
    return all(len(d) == 1 for d in dims)


class Steps(ABC):
    """One call. arrays: every value so far with one dim an axis, in the element type of the call or an exact one.

    dtype: the element type where it is not the one that the inputs promote to, as statistics among them have their own. fits: what is
    known of calls of this plan. Raises what the eager backend raises for inputs that do not fit.
    """

    def __init__(self, plan: Plan, inputs: Tensors, fits: dict[Any, Fit], dtype: torch.dtype | None = None) -> None:
        self.plan, self.inputs, self.program = plan, inputs, plan.program
        key = (torch.get_default_dtype(), *[(n, t.shape, t.dtype, t.device) for n, t in inputs.items()])
        found = fits.get(key)
        if found is None:
            if len(fits) >= _KNOWN:
                fits.clear()
            found = fits[key] = fit(plan, inputs)
        self.fit, self.sizes, self.device = found, found.sizes, found.device
        self.dtype = found.dtype if dtype is None else dtype
        self.arrays = {n: inputs[n] if shape is None else inputs[n].reshape(shape) for n, shape in found.inputs}
        self.eager: Evaluator | None = None
        if found.asks:
            assume(self.program, inputs, found)

    @abstractmethod
    def launch(self, step: Fused, spare: torch.Tensor | None = None) -> Mapping[str, torch.Tensor]:
        """The values of a step, one dim an axis, from `arrays`. spare: the array `step.over`, where nothing else needs it: a backend
        may give it back with the value in it."""

    def recipe(self, outputs: Sequence[str]) -> Recipe | None:
        """Some outputs of a call like this one, which has been made, from tensors in the order of its inputs; None where a backend has no
        shorter way to them."""
        return None

    def outputs(self) -> dict[str, torch.Tensor]:
        """The asked outputs, stored as the signature says."""
        for step in self.plan.steps:
            if isinstance(step, Torch):
                self.run(step.node)
                continue
            for node in step.before:
                self.run(node)
            found = self.launch(step)
            for value in step.values:
                self.arrays[value.name] = found[value.name]
                if self.eager is not None:
                    self.eager.values[value.name] = self._named(value.name)
            for node in step.after:
                self.run(node)
        return {o.name: self._stored(o) for o in self.fit.outputs}

    def run(self, node: Node) -> None:
        """A node on PyTorch; its values are kept in the element type of the call, statistics in the accumulation type."""
        from attncc.backends.eager.interpreter import execute, prepare

        if self.eager is None:
            self.eager, _ = prepare(self.program, self.inputs, self.sizes)
        for name in self.arrays:
            if name not in self.eager.values:
                self.eager.values[name] = self._named(name)
        execute(self.eager, node, self.program)
        acc = {name for step in self.plan.steps if isinstance(step, Fused) for name in step.acc}
        for value in values_of(node):
            made = self.eager.values[value.name]
            named = made if isinstance(made, Named) else Named(torch.as_tensor(made, device=self.device), ())
            array = aligned(named, value.axes).expand([self.sizes[a] for a in value.axes])
            self.arrays[value.name] = array.to(self.dtype) if value.kind == "float" and value.name not in acc else array

    def _named(self, name: str) -> Named:
        array = self.arrays[name]
        assert self.eager is not None
        return Named(array.to(self.eager.acc) if array.is_floating_point() else array, self.plan.arrays[name])

    def _stored(self, out: Stored) -> torch.Tensor:
        """An output in its stored layout and type."""
        array = self.arrays[out.value]
        if out.axes is not None:
            array = aligned(Named(array, self.plan.arrays[out.value]), out.axes).expand([self.sizes[a] for a in out.axes])
        if out.shape is not None:
            array = array.reshape(out.shape)
        dtype = _KINDS.get(out.kind, self.dtype)
        return (array if array.dtype == dtype else array.to(dtype)).contiguous()
