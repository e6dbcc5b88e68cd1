"""Attends put together at random agree with the float64 oracle, forward and backward, on every backend that compiles."""

from __future__ import annotations

import pytest
import torch
from random_attends import Sample, sample

import attncc
from attncc.testing.oracle import check_call

LONGEST = {"cpu": 200, "triton": 33}
"""Of an axis; Triton's interpreter is slow."""

FEW = {"cpu": range(8), "triton": range(100, 103)}


def _check(found: Sample, backend: str) -> None:
    report = check_call(attncc.compile(found.source), found.tensors, (backend,), seed=1)
    shapes = {n: tuple(t.shape) for n, t in found.tensors.items()}
    assert not report.failures, f"{report.text()}\n{found.source}\n{shapes}"


@pytest.mark.parametrize(("backend", "seed"), [(backend, seed) for backend, seeds in FEW.items() for seed in seeds])
def test_a_few(backend: str, seed: int) -> None:
    _check(sample(seed, LONGEST[backend]), backend)


@pytest.mark.slow
@pytest.mark.parametrize("backend", LONGEST)
def test_many(backend: str) -> None:
    for seed in range(1000, 1100):
        _check(sample(seed, LONGEST[backend]), backend)


BELOW_ZERO = """
pattern f(q[i, d], k[j, d], v[j, e]) -> o[i, e], least[i], most[i], least_weight[i] {
  attend o over j {
    score s = -dist2(q, k) - 1   mask abs(i - j) <= 3   normalize softmax   mix v
    emit least = min(s), most = max(s), least_weight = min(p)
  }
}
"""

ROWS_OF_ZEROS = """
pattern f(q[i, d], k[j, d], v[j, e]) -> o[i, e] {
  attend o over j { score s = -dist2(q, k)   normalize relu(s) / (1 + sqrt(sum[j](relu(s) ^ 2)))   mix v }
}
"""


@pytest.mark.parametrize("backend", LONGEST)
@pytest.mark.parametrize("source", [BELOW_ZERO, ROWS_OF_ZEROS], ids=["extremes of hidden pairs", "slopes of zero times infinity"])
def test_that_hidden_pairs_and_flat_slopes_leave_nothing(source: str, backend: str) -> None:
    torch.manual_seed(0)
    _check(Sample(source, {"q": torch.randn(7, 4), "k": torch.randn(9, 4), "v": torch.randn(9, 5)}), backend)
