"""Every shipped pattern that the Triton backend fuses, on a GPU, forward and backward against the oracle."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from gpu_cases import CUDA, DEVICE

import attncc
from attncc.cli.opening import open_sample
from attncc.errors import AttnError
from attncc.runtime.backends import named
from attncc.testing.lengths import sensible
from attncc.testing.oracle import check_call

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
SEEDS = 4
"""Samples tried where one cannot be judged, because rounding decides it."""


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16] if CUDA else [torch.float32], ids=str)
@pytest.mark.parametrize("name", [p.name for p in attncc.patterns()])
def test_pattern(name: str, dtype: torch.dtype) -> None:
    tokens, features = (200, 64) if CUDA else (20, 16)
    for seed in range(SEEDS):
        wish = partial(sensible, tokens=tokens, features=features)
        try:
            opened, sample = open_sample(name, None, {}, dtype=dtype, device=DEVICE, seed=seed, wish=wish)
        except AttnError as error:
            pytest.skip(f"{name} needs parameters of one's own: {error.message}")
        refused = named("triton").refuses(sample.program)
        if refused:
            pytest.skip(f"{name} is not fused: {refused[0]}")
        report = check_call(opened.op, sample.tensors, ["eager", "triton"], seed=seed, self_check=False)
        if not report.undecided:
            assert not report.failures, report.text()
            return
    pytest.skip(f"{name}: every sample is {report.undecided}")
