"""Definitions as Triton kernels, forward and derivative, in float32 against eager in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attncc.backends.triton.backward import gradient
from attncc.backends.triton.configs import Config
from backward_cases import agree
from definition_cases import CASES
from triton_cases import DEVICE

from attncc.runtime.gradient import Gradient
from attncc.schedules.backward import Pull

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def _way(program: Any, outputs: tuple[str, ...]) -> Gradient | None:
    return gradient(program, outputs, Config(16, 16, 4, 1))


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    tape = agree(CASES[name][:2], _way, torch.float32, device=DEVICE)
    by_autograd = {n for m in tape.moves if isinstance(m, Pull) for n in m.outs}
    assert by_autograd == ({"f"} if name == "greatest feature" else set())
