"""Gradients of programs whose attends are differentiated by Triton kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attncc.backends.backward import KernelGradient, Start
from attncc.backends.derived import differentiated
from attncc.backends.steps import Steps

from attncc.ir.nodes import Program
from attncc.ir.sizes import solve
from attncc.runtime.gradient import Gradient
from attncc.schedules.backward import Differentiated, Tape
from attncc.schedules.plan import Plan
from attncc.tile.nodes import Program as Tiles

from .configs import Config
from .forms import Forms, Pinned
from .pins import REGISTRY
from .run import Planned, begin, target_of
from .space import Setting


def gradient(program: Program, outputs: Sequence[str], override: Config | None = None) -> Gradient | None:
    """Kernels for both passes; None for programs without an attend that has backward stages. override: tiles of every kernel, for
    tests."""
    made = differentiated(program, outputs)
    if made is None:
        return None
    runners: dict[int, Planned] = {}

    def start(plan: Plan, inputs: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> Steps:
        known = runners.get(id(plan))
        if known is None or known.plan is not plan:
            known = runners[id(plan)] = Planned(plan, override)
        return begin(known, inputs, dtype)

    return FormedGradient(made, start)


class FormedGradient(KernelGradient):
    """Gradients whose backward pass is split or joint, as `forms` says."""

    def __init__(self, made: Differentiated, start: Start) -> None:
        super().__init__(made, start)
        self.forms = Forms(made)

    def tape(self, inputs: Mapping[str, torch.Tensor], needs: Sequence[str], outputs: Sequence[str]) -> Tape:
        return self.forms.tape(needs, outputs, self._pinned(inputs) if REGISTRY.filled() else None)

    def _pinned(self, inputs: Mapping[str, torch.Tensor]) -> Pinned:
        """Whether a configuration is pinned for a kernel on these inputs, read in whichever way."""
        sizes = solve(self.made.program, {n: tuple(t.shape) for n, t in inputs.items()})
        target, bits = target_of(next(iter(inputs.values())).device), torch.finfo(self._dtype(inputs)).bits

        def pinned(kernel: Tiles) -> bool:
            features = {d.axes[0]: sizes[d.axes[0]] for d in kernel.dims if d.whole and d.axes[0] in sizes}
            return any(REGISTRY.find(kernel, features, Setting(target, bits, how)) is not None for how in (True, False))

        return pinned
