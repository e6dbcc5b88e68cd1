"""One call of a program by a compiling backend: fused attends by kernels, other nodes by the eager backend, as planned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import reduce
from typing import TYPE_CHECKING

import torch
from attncc.backends.eager.named import Named, aligned
from attncc.backends.fitting import fitting

from attncc.ir.nodes import Node, Output, values_of
from attncc.ir.sizes import check, solve
from attncc.schedules.steps import Fused, Plan, Torch

if TYPE_CHECKING:
    from attncc.backends.eager.evaluate import Evaluator

Tensors = Mapping[str, torch.Tensor]


class Steps(ABC):
    """One call. arrays: every value so far with one dim an axis, in the element type of the call or an exact one.

    Raises what the eager backend raises for inputs that do not fit.
    """

    def __init__(self, plan: Plan, inputs: Tensors) -> None:
        self.plan, self.inputs = plan, inputs
        program = self.program = plan.program
        self.sizes = self.solved({n: tuple(t.shape) for n, t in inputs.items()})
        self.dtype, self.device = fitting(program, inputs)
        self.arrays = {i.name: inputs[i.name].reshape([self.sizes[a] for d in i.dims for a in d]) for i in program.inputs}
        self.eager: Evaluator | None = None
        if self.device.type == "cpu" and any(c.data for c in program.checks):  # elsewhere the answer would have to be waited for
            from attncc.backends.eager.interpreter import assumed, prepare

            self.eager, _ = prepare(program, inputs, self.sizes)
            assumed(self.eager, program)

    def solved(self, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, int]:
        """Sizes of all axes, from the shapes of the inputs."""
        sizes = solve(self.program, shapes)
        check(self.program, sizes)
        return self.plan.extended(sizes)

    @abstractmethod
    def launch(self, step: Fused, spare: torch.Tensor | None = None) -> Mapping[str, torch.Tensor]:
        """The values of a step, one dim an axis, from `arrays`. spare: the array `step.over`, where nothing else needs it: a backend
        may give it back with the value in it."""

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
        return {o.name: self._stored(o) for o in self.program.outputs}

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

    def _stored(self, out: Output) -> torch.Tensor:
        """An output in its stored layout and type."""
        axes, wanted = self.plan.arrays[out.value], tuple(a for d in out.dims for a in d)
        array = self.arrays[out.value]
        if axes != wanted:
            array = aligned(Named(array, axes), wanted).expand([self.sizes[a] for a in wanted])
        shape = [reduce(lambda n, a: n * self.sizes[a], d, 1) for d in out.dims]
        kinds = {"float": self.dtype, "int": torch.int64, "bool": torch.bool}
        return array.reshape(shape).to(kinds[out.kind]).contiguous()
