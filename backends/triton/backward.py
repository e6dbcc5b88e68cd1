"""Gradients of programs whose attends are differentiated by Triton kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attncc.backends.backward import KernelGradient
from attncc.backends.steps import Steps

from attncc.ir.nodes import Program
from attncc.runtime.gradient import Gradient
from attncc.schedules.backward import differentiated
from attncc.schedules.plan import Plan

from .configs import Config
from .run import Planned, begin


def gradient(program: Program, outputs: Sequence[str], override: Config | None = None) -> Gradient | None:
    """Kernels for both passes; None for programs without an attend that has backward stages. override: tiles of every kernel, for
    tests."""
    made = differentiated(program, outputs)
    if made is None:
        return None
    runners: dict[int, Planned] = {}

    def start(plan: Plan, inputs: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Steps:
        known = runners.get(id(plan))
        if known is None or known.plan is not plan:
            known = runners[id(plan)] = Planned(plan, override)
        return begin(known, inputs, dtype)

    return KernelGradient(made, start)
