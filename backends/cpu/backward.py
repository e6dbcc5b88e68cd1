"""Gradients of programs whose attends are differentiated by generated C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from threading import Thread

import torch
from attncc.backends.backward import KernelGradient
from attncc.backends.plans import both
from attncc.backends.steps import Steps

from attncc.ir.nodes import Program
from attncc.runtime.gradient import Gradient
from attncc.schedules.steps import Plan

from . import boxes
from .run import Choose, Run, Runner


class _Planned(Runner):
    """A runner of a plan made elsewhere."""

    def __init__(self, made: Plan, choose: Choose) -> None:
        self.program, self.outputs, self.choose = made.program, (), choose
        self.plan = made
        self._caches()


def gradient(program: Program, outputs: Sequence[str], choose: Choose = boxes.choose) -> Gradient | None:
    """Kernels for both passes; None for programs without an attend that has backward stages. choose: the tile sizes of a kernel."""
    made = both(program, outputs, "attncc.schedules.joint.joint", capped=True)
    if made is None:
        return None
    runners: dict[int, _Planned] = {}

    def start(plan: Plan, inputs: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> Steps:
        known = runner(plan)
        if plan is made.forward:
            needs = [n for n, t in inputs.items() if t.requires_grad]
            known.meanwhile = (lambda sizes, dtype: ahead(needs, sizes, dtype)) if needs else None
        return Run(known, inputs, dtype)

    def runner(plan: Plan) -> _Planned:
        known = runners.get(id(plan))
        if known is None or known.plan is not plan:
            known = runners[id(plan)] = _Planned(plan, choose)
        return known

    def ahead(needs: list[str], sizes: Mapping[str, int], dtype: torch.dtype) -> None:
        """The backward pass is compiled beside the forward pass."""

        def work() -> None:
            with suppress(Exception):  # whoever calls the backward pass is told
                tape = made.backward(needs, outputs)
                if tape.plan.steps:
                    runner(tape.plan).loaded(tape.plan.extended(dict(sizes)), dtype)

        Thread(target=work, name="attncc-ahead").start()

    return KernelGradient(made, start)
