"""The gradient protocol on kernels: a forward plan that keeps statistics, and a backward plan for the inputs that need it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING

import torch
from attncc.backends.eager.named import Named, aligned
from attncc.backends.steps import Steps

from attncc.ir.sizes import solve
from attncc.schedules.backward import Differentiated
from attncc.schedules.plan import Plan

if TYPE_CHECKING:
    from attncc.runtime.gradient import Gradient, Saved

Tensors = Mapping[str, torch.Tensor]
Start = Callable[[Plan, Tensors, torch.dtype], Steps]
"""Starts a call of a plan, with the element type of its values."""


class KernelGradient:
    """Forward and backward of one fused attend.

    rest: how inputs without a backward stage are differentiated. start: starts a call of a plan.
    """

    def __init__(self, made: Differentiated, rest: Gradient, start: Start) -> None:
        from attncc.runtime.gradient import Saved

        self.made, self.rest, self.start = made, rest, start
        self.saved: tuple[Saved, ...] = tuple(Saved(v.name, v.axes, v.name in made.acc) for v in made.saved)

    def forward(self, inputs: Tensors) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """The outputs, and what is saved."""
        run = self.start(self.made.forward, inputs, self._dtype(inputs))
        return run.outputs(), [run.arrays[v.name] for v in self.made.saved]

    def backward(
        self, inputs: Tensors, saved: Sequence[torch.Tensor], grads: Tensors, needs: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """Gradients of the inputs in `needs`; a missing one is zero."""
        if any(n in self.made.opaque for n in needs):
            return self.rest.backward(inputs, [], grads, needs)
        plan, parts = self.made.backward(needs)
        if not plan.steps:
            return {}
        dtype = self._dtype(inputs)
        kept = {v.name: t for v, t in zip(self.made.saved, saved, strict=True)}
        run = self.start(plan, {**inputs, **kept, **self._cotangents(inputs, grads, dtype)}, dtype)
        run.outputs()
        found: dict[str, torch.Tensor] = {}
        for part in parts:
            array = run.arrays[part.name]
            extra = [n for n, a in enumerate(part.stored) if a not in part.axes]
            left = [a for a in part.stored if a in part.axes]
            array = (array.sum(extra) if extra else array).permute([left.index(a) for a in part.axes])
            found[part.source] = found[part.source] + array if part.source in found else array
        return {n: t.reshape(inputs[n].shape) for n, t in found.items()}

    def _dtype(self, inputs: Tensors) -> torch.dtype:
        floats = [inputs[i.name].dtype for i in self.made.program.inputs if i.kind == "float"]
        return reduce(torch.promote_types, floats) if floats else torch.get_default_dtype()

    def _cotangents(self, inputs: Tensors, grads: Tensors, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        """Cotangents of the outputs with one dim an axis, zeros for those not given."""
        program = self.made.program
        sizes = solve(program, {n: tuple(t.shape) for n, t in inputs.items()})
        device = next(iter(inputs.values())).device
        given = {self.made.grads[o.name]: (o, grads[o.name]) for o in program.outputs if o.name in grads}
        out: dict[str, torch.Tensor] = {}
        for value in self.made.given:
            if value.name in (v.name for v in self.made.saved):
                continue
            if value.name not in given:
                out[value.name] = torch.zeros([sizes[a] for a in value.axes], dtype=dtype, device=device)
                continue
            stored, grad = given[value.name]
            axes = tuple(a for d in stored.dims for a in d)
            out[value.name] = aligned(Named(grad.to(dtype).reshape([sizes[a] for a in axes]), axes), value.axes)
        return out
