"""Attends put together at random agree with the float64 oracle, forward and backward, on every backend that compiles."""

from __future__ import annotations

import pytest
import torch
from random_attends import Sample, sample

import attncc
from attncc.runtime.backends import named
from attncc.testing.oracle import check_call

LONGEST = {"cpu": 200, "triton": 33}
"""Of an axis; Triton's interpreter is slow."""

FEW = {"cpu": range(8), "triton": range(100, 103)}


def _check(found: Sample, backend: str) -> None:
    op = attncc.compile(found.source)
    decisions = [decision for _, decision, _ in named(backend).notes(op.program(**found.tensors))]
    assert "fused" in decisions, f"nothing runs as a kernel: {decisions}\n{found.source}"
    report = check_call(op, found.tensors, (backend,), seed=1)
    assert not report.skipped, report.notes
    shapes = {n: tuple(t.shape) for n, t in found.tensors.items()}
    assert not report.failures, f"{report.text()}\n{found.source}\n{shapes}"


@pytest.mark.parametrize(("backend", "seed"), [(backend, seed) for backend, seeds in FEW.items() for seed in seeds])
def test_a_few(backend: str, seed: int) -> None:
    _check(sample(seed, LONGEST[backend]), backend)


@pytest.mark.parametrize(("backend", "seed"), [("cpu", 332), ("triton", 2002)])
def test_rows_of_one_key(backend: str, seed: int) -> None:
    """Gradients of scores that are exactly 0: what is left of p (dp - delta) is the rounding of both terms."""
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

SHARP = """
pattern f(q[i, d], k[j, d]) -> most[i] {
  attend over j { score s = dot(q, k)   normalize softmax   emit most = max(p) }
}
"""


@pytest.mark.parametrize("backend", LONGEST)
def test_the_greatest_of_sharp_weights_is_found_again(backend: str) -> None:
    """Logits of some hundred: weights that are computed again differ by as many units in the last place."""
    torch.manual_seed(0)
    q, k = torch.randn(40, 16) * 6, torch.randn(60, 16) * 6
    k[1::2] = k[::2] + torch.randn(30, 16) * 0.02  # rivals, so that no weight is 1
    op, found = attncc.compile(SHARP), []
    for name, dtype in ((backend, torch.float32), ("eager", torch.float64)):
        leaves = [t.to(dtype).requires_grad_() for t in (q, k)]
        found.append(torch.autograd.grad(op(*leaves, backend=name).sum(), leaves))
    for got, want in zip(*found, strict=True):
        assert want.abs().max() > 0.01
        rows = (got - want).abs().amax(-1) / want.abs().amax(-1).clamp(min=1e-3)
        assert rows.max() < 0.2, "a lost extreme is a row without a gradient"


GREATEST = """
pattern f(q[i, d], k[j, d]) -> most[i] {
  attend over j { score s = 0.3 * dot(q, k)   mask j <= i   normalize softmax   emit most = max(s) }
}
"""


@pytest.mark.parametrize("backend", LONGEST)
def test_a_greatest_score_near_zero_is_found_again(backend: str) -> None:
    """Its terms cancel, so that rounding is all there is to it."""
    torch.manual_seed(1)
    q, k = torch.randn(60, 64), torch.randn(3, 64)
    q[:, 0], k[:, 0] = 0, 1
    hidden = torch.arange(3) > torch.arange(60)[:, None]
    q[:, 0] = -(q @ k.T).masked_fill(hidden, float("-inf")).amax(1) + torch.randn(60) * 1e-4
    op, found = attncc.compile(GREATEST), []
    for name, dtype in ((backend, torch.float32), ("eager", torch.float64)):
        leaf = q.to(dtype).requires_grad_()
        found.append(torch.autograd.grad(op(leaf, k.to(dtype), backend=name).sum(), leaf)[0])
    assert (found[0] - found[1]).abs().max() < 1e-5
