"""Tiles for tests of Triton kernels, and the comparisons with the oracle."""

from __future__ import annotations

from collections.abc import Collection

import torch
import ways
from attends import attend, op, qkv, rand
from attncc.backends.triton.configs import Config
from attncc.backends.triton.run import Runner

import attncc
from attncc.schedules.backward import Tape

__all__ = ["DEVICE", "SMALL", "agree", "agree_both", "attend", "op", "qkv", "rand"]

SMALL: Config = ways.WAYS["triton"].tiles()
DEVICE = ways.WAYS["triton"].device


def agree(
    made: attncc.Op, inputs: dict[str, torch.Tensor], *, outputs: tuple[str, ...] = (), config: Config = SMALL, fused: bool = True
) -> Runner:
    """The kernels give what eager gives in float64. fused: whether every attend must be fused, as a whole."""
    return ways.agree("triton", made, inputs, outputs=outputs, tiles=config, fused=fused)


def agree_both(
    made: attncc.Op,
    inputs: dict[str, torch.Tensor],
    needs: Collection[str] = (),
    config: Config = SMALL,
    zero: Collection[str] = (),
    whole: bool = False,
) -> Tape:
    """Outputs and gradients by kernels are those of eager in float64, of the inputs in `needs` (empty: every float). zero: outputs
    without a cotangent. whole: errors are relative to the largest of all gradients."""
    return ways.agree_both("triton", made, inputs, needs=needs, zero=zero, tiles=config, whole=whole)
