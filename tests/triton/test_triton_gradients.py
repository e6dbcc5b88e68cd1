"""Gradients by Triton kernels beside those of tests/compiled: of some inputs, and by which kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attncc.backends.triton.backward import gradient
from attncc.backends.triton.configs import Config
from backward_cases import CASES, agree, kernels
from triton_cases import DEVICE

from attncc.runtime.gradient import Gradient

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def _way(program: Any, outputs: tuple[str, ...]) -> Gradient | None:
    return gradient(program, outputs, Config(16, 16, 4, 1))


@pytest.mark.parametrize("name", ["normalizer: both sides", "shape: kinds of keys"])
@pytest.mark.parametrize("one", [True, False])
def test_some_inputs(name: str, one: bool) -> None:
    names = list(CASES[name][1])
    agree(CASES[name], _way, torch.float32, names[:1] if one else names[1:], DEVICE)


def test_a_statistic_of_the_keys_comes_with_the_gradient_of_the_values() -> None:
    """The query axis: the log-sum-exp's cotangent is <v, dv>, so dv comes first and no other sweep is needed."""
    tape = agree(CASES["normalizer: query axis"], _way, torch.float32, device=DEVICE)
    assert kernels(tape) == ["o_backward_lse", "o_backward_rows", "o_backward_keys"]


def test_a_division_needs_no_sweep_of_its_own() -> None:
    tape = agree(CASES["normalizer: divided by the sum"], _way, torch.float32, device=DEVICE)
    assert kernels(tape) == ["o_backward_rows", "o_backward_keys"]
