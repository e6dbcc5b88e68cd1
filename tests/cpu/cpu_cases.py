"""Tile sizes for tests of the CPU backend, and the comparisons with the oracle."""

from __future__ import annotations

import torch
import ways
from attncc.backends.cpu.boxes import choose
from attncc.backends.cpu.run import Choose, Runner

import attncc
from attncc.schedules.backward import Tape

small = ways.boxes
__all__ = ["agree", "agree_both", "choose", "small"]


def agree(
    made: attncc.Op, inputs: dict[str, torch.Tensor], *, outputs: tuple[str, ...] = (), boxes: Choose = small, fused: bool = True
) -> Runner:
    """The kernels give what eager gives in float64. fused: whether every attend must be fused, as a whole."""
    return ways.agree("cpu", made, inputs, outputs=outputs, tiles=boxes, fused=fused)


def agree_both(
    made: attncc.Op, inputs: dict[str, torch.Tensor], dtype: torch.dtype = torch.float64, boxes: Choose = choose
) -> Tape:
    """Outputs and gradients of all float inputs by kernels are those of eager in float64, in boxes that the backend chooses."""
    cast = {n: t.to(dtype) if t.is_floating_point() else t for n, t in inputs.items()}
    return ways.agree_both("cpu", made, cast, tiles=boxes)
