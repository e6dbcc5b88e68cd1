"""Gradients of every kind of attend by generated C, in float64 against eager."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attncc.backends.cpu.backward import gradient
from backward_cases import CASES, agree, pulled
from cpu_cases import small

from attncc.runtime.gradient import Gradient


def _way(program: Any, outputs: tuple[str, ...]) -> Gradient | None:
    return gradient(program, outputs, small)


SOME = (
    "normalizer: divided by the root of a sum", "normalizer: both sides", "normalizer: one after the other", "post: sharpened again",
    "emit: greatest of many equal", "emit: entropy", "score: cosine", "score: bias of a key and a head", "score: value of each pair",
    "shape: heads in groups, query axis", "shape: kinds of keys", "shape: chain",
)  # fmt: skip
"""Each takes two compilations; the stages themselves are tested with Triton's interpreter, every one."""


@pytest.mark.parametrize("name", SOME)
def test_gradients(name: str) -> None:
    tape = agree(CASES[name], _way, torch.float64)
    assert list(pulled(tape)) == (["u"] if name == "score: value of each pair" else [])
