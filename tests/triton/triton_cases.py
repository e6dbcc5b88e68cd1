"""Tiles for tests of Triton kernels, and the comparison with the oracle in float64."""

from __future__ import annotations

import warnings

import torch
from attends import attend, op, qkv, rand, same
from attncc.backends.triton.configs import Config
from attncc.backends.triton.run import Runner

import attncc
from attncc.runtime.backends import named
from attncc.schedules.plan import Fused

__all__ = ["DEVICE", "SMALL", "agree", "attend", "op", "qkv", "rand"]

SMALL = Config(32, 32, 4, 1)
"""Tiles small enough that a few dozen positions make several."""

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def agree(
    made: attncc.Op,
    inputs: dict[str, torch.Tensor],
    *,
    outputs: tuple[str, ...] = (),
    config: Config = SMALL,
    tolerance: float = 3e-5,
    fused: bool = True,
) -> Runner:
    """The fused kernels give what eager gives in float64: equal infinities, no NaN of their own, errors relative to the largest value.

    fused: whether every attend must be fused, as a whole.
    """
    inputs = {n: t.to(DEVICE) for n, t in inputs.items()}
    program = made.specialise({n: t.dim() for n, t in inputs.items()})
    asked = outputs or tuple(o.name for o in program.outputs if not o.on_request)
    runner = Runner(program, asked, config)
    if fused:
        left = [s.reason for s in runner.plan.steps if not isinstance(s, Fused)]
        assert not left, left
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # numpy, of log 0 in the interpreter
        found = runner(inputs)
    exact = named("eager").prepare(program, asked)({n: t.double() if t.is_floating_point() else t for n, t in inputs.items()})
    same(found, exact, asked, tolerance)
    return runner
