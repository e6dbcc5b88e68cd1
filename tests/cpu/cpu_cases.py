"""Tile sizes for tests of the CPU backend, and the comparison with the oracle in float64."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attends import same
from attncc.backends.cpu.boxes import choose
from attncc.backends.cpu.run import Choose, Runner

import attncc
from attncc.runtime.backends import named
from attncc.schedules.plan import Fused
from attncc.tile.nodes import Program


def small(program: Program, sizes: Mapping[str, int], strip: int) -> dict[str, int]:
    """Tiles small enough that a few dozen positions make several; neither side divides a strip."""
    out: dict[str, int] = {}
    for dim in program.dims:
        if not dim.whole:
            side = {1: 29 if dim.name == program.owner else 13, 2: 5, 3: 3}[len(dim.axes)]
            out |= dict.fromkeys(dim.axes, side)
    return out


def agree(
    made: attncc.Op,
    inputs: dict[str, torch.Tensor],
    *,
    outputs: tuple[str, ...] = (),
    boxes: Choose = small,
    tolerance: float = 1e-5,
    fused: bool = True,
) -> Runner:
    """The kernels give what eager gives in float64: equal infinities, no NaN of their own, errors relative to the largest value.

    fused: whether every attend must be fused, as a whole.
    """
    program = made.specialise({n: t.dim() for n, t in inputs.items()})
    asked = outputs or tuple(o.name for o in program.outputs if not o.on_request)
    runner = Runner(program, asked, boxes)
    if fused:
        left = [s.reason for s in runner.plan.steps if not isinstance(s, Fused)]
        assert not left, left
    found = runner(inputs)
    exact = named("eager").prepare(program, asked)({n: t.double() if t.is_floating_point() else t for n, t in inputs.items()})
    same(found, exact, asked, tolerance)
    return runner


__all__ = ["agree", "choose", "small"]
