"""The gradient protocol on kernels: a forward plan that leaves what the backward pass reads, and a tape of moves in reverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce

import torch
from attncc.backends.eager.named import Named, aligned
from attncc.backends.steps import Recipe, Steps

from attncc.ir.nodes import Attend, used_by
from attncc.schedules.steps import Fused, Plan
from attncc.schedules.tapes import Launch, Passes, Pull, Tape

Tensors = Mapping[str, torch.Tensor]
Start = Callable[[Plan, Tensors, torch.dtype | None], Steps]
"""Starts a call of a plan, with the element type of its values where it is not what all inputs promote to."""


class KernelGradient:
    """Forward and backward of a program, attends by kernels. start: starts a call of a plan."""

    def __init__(self, made: Passes, start: Start) -> None:
        from attncc.runtime.gradient import Saved

        self.made, self.start = made, start
        self.saved: tuple[Saved, ...] = tuple(Saved(v.name, v.axes, v.name in made.acc, v.kind) for v in made.saved)

    def forward(self, inputs: Tensors) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """The outputs, and what is saved."""
        run = self.start(self.made.forward, inputs, None)
        return run.outputs(), [run.arrays[v.name] for v in self.made.saved]

    def again(self, inputs: Tensors, outputs: Sequence[str]) -> Recipe | None:
        """The outputs of a call that has been made, for tensors laid out like these."""
        return self.start(self.made.forward, inputs, None).recipe(outputs)

    def backward(
        self, inputs: Tensors, saved: Sequence[torch.Tensor], grads: Tensors, needs: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """Gradients of the inputs in `needs`; a missing one is zero."""
        tape = self.tape(inputs, needs, tuple(grads))
        kept = {v.name: t for v, t in zip(self.made.saved, saved, strict=True)}
        run = self.start(tape.plan, {**inputs, **kept}, self._dtype(inputs))
        found = Reversed(self.made, tape, run, grads).cotangents()
        return {n: found[n].reshape(inputs[n].shape) for n in needs if n in found}

    def tape(self, inputs: Tensors, needs: Sequence[str], outputs: Sequence[str]) -> Tape:
        """The moves of a backward pass."""
        return self.made.backward(needs, outputs)

    def _dtype(self, inputs: Tensors) -> torch.dtype:
        floats = [inputs[i.name].dtype for i in self.made.program.inputs if i.kind == "float"]
        return reduce(torch.promote_types, floats) if floats else torch.get_default_dtype()


class Reversed:
    """One backward pass. cots: cotangents of values, one dim an axis. own: names of those whose arrays are of this pass alone, so
    that what is computed from them may take their place; once: shares of one cotangent each."""

    def __init__(self, made: Passes, tape: Tape, run: Steps, grads: Tensors) -> None:
        self.made, self.tape, self.run = made, tape, run
        self.acc = torch.float64 if run.dtype == torch.float64 else torch.float32
        self.cots: dict[str, torch.Tensor] = {}
        names = [p.name for m in tape.moves if isinstance(m, Launch) for p in m.parts]
        self.once = {n for n in names if names.count(n) == 1}
        self.own: set[str] = set()
        for out in made.program.outputs:
            if out.name in grads:
                axes = tuple(a for d in out.dims for a in d)
                self._add(out.value, grads[out.name].reshape([run.sizes[a] for a in axes]), axes, made.forward.arrays[out.value])

    def cotangents(self) -> dict[str, torch.Tensor]:
        """Those of all values, after every move."""
        for move in self.tape.moves:
            if isinstance(move, Launch):
                self._launch(move)
            else:
                self._pull(move)
        return self.cots

    def _add(self, name: str, array: torch.Tensor, stored: tuple[str, ...], axes: tuple[str, ...]) -> None:
        """Add to a cotangent an array that is summed over axes beyond the value's."""
        extra = [n for n, a in enumerate(stored) if a not in axes]
        left = [a for a in stored if a in axes]
        several = [n for n in extra if array.shape[n] != 1]  # a sum of one term would be a copy
        array = (array.sum(several, keepdim=True) if several else array).squeeze(extra)
        array = array.permute([left.index(a) for a in axes if a in left])
        if len(left) < len(axes):
            array = aligned(Named(array, tuple(a for a in axes if a in left)), axes).expand([self.run.sizes[a] for a in axes])
        self.cots[name] = self.cots[name].to(self.acc) + array if name in self.cots else array

    def _launch(self, move: Launch) -> None:
        run = self.run
        if not any(name in self.cots for name in move.grads):  # autograd of what follows found no dependence
            return
        wide = {name for phase in move.phases for name in phase.acc}
        for name, grad in move.grads.items():
            dtype = self.acc if name in self.made.acc or grad in wide else run.dtype
            if name in self.cots:
                run.arrays[grad] = self.cots[name].to(dtype)
            else:
                shape = [run.sizes[a] for a in self.tape.axes[name]]
                run.arrays[grad] = torch.zeros(shape, dtype=dtype, device=run.device)
        for phase in move.phases:
            for node in phase.before:
                run.run(node)
            if phase.definitions or phase.kernels:
                found = run.launch(phase, self._spare(move, phase))
                for value in phase.values:
                    run.arrays[value.name] = found[value.name]
        for name in move.grads:  # done with
            self.cots.pop(name, None)
        for part in move.parts:
            if part.source in self.cots or (part.stored == part.axes and part.name in self.once):
                self.own.add(part.source)
            self._add(part.source, run.arrays[part.name], part.stored, part.axes)

    def _spare(self, move: Launch, phase: Fused) -> torch.Tensor | None:
        """The array of a cotangent that the phase's one value may be written over: nothing else needs it, and their types are the same."""
        for name, grad in move.grads.items():
            if grad == phase.over and name in self.own:
                array = self.run.arrays[grad]
                return array if array.dtype == (self.acc if phase.values[0].name in phase.acc else self.run.dtype) else None
        return None

    def _pull(self, move: Pull) -> None:
        """Autograd of one node, computed again from what it reads."""
        from attncc.backends.eager.evaluate import Evaluator
        from attncc.backends.eager.interpreter import execute

        from attncc.runtime.gradient import dispatching

        run, made = self.run, self.made
        outs = [n for n in move.outs if n in self.cots]
        if not outs:
            return
        with dispatching(), torch.enable_grad():
            ev = Evaluator(run.sizes, self.acc, run.device)
            leaves: dict[str, torch.Tensor] = {}
            for name in sorted(used_by(move.node) & set(run.arrays)):
                array = run.arrays[name].detach()
                array = array.to(self.acc) if array.is_floating_point() else array
                if name in move.wrt:
                    leaves[name] = array.requires_grad_()
                ev.values[name] = Named(array, self.tape.plan.arrays[name])
            execute(ev, move.node, made.program)
            heads, cots = [], []
            for name in outs:
                value = ev.values[name]
                if isinstance(value, Named) and value.t.requires_grad:
                    heads.append(value.t)
                    cots.append(self._like(value, name))
            got = torch.autograd.grad(heads, list(leaves.values()), cots, allow_unused=True) if heads and leaves else ()
        if not isinstance(move.node, Attend):  # of an attend, kernels may read them as well
            for name in outs:
                del self.cots[name]
        for name, g in zip(leaves, got, strict=False):
            if g is not None:
                axes = self.tape.plan.arrays[name]
                self._add(name, g, axes, axes)

    def _like(self, value: Named, name: str) -> torch.Tensor:
        """The cotangent of a value, with the axes of an array of it."""
        cot = self.cots[name].to(value.t.dtype)
        axes = self.tape.axes[name]
        extra = [n for n, a in enumerate(axes) if a not in value.axes]
        cot = cot.sum(extra) if extra else cot
        left = [a for a in axes if a in value.axes]
        return cot.permute([left.index(a) for a in value.axes]).expand(value.t.shape)
