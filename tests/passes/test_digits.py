"""Sums that cancel keep their digits in kernels."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.passes.digits import with_digits

MAP = "pattern features(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] {{ attend o over j {{ score dot({0}, {1})   normalize sum(eps = 1e-6)   mix v }} }}"


@pytest.mark.parametrize("shape", ["elu({0}) + 1", "1 + elu({0})"])
def test_elu_and_one_are_an_exponential(shape: str) -> None:
    op = attncc.compile(MAP.format(shape.format("q"), shape.format("k")))
    assert "elu" in repr(op.ir)
    assert "elu" not in repr(with_digits(op.ir))


def test_another_sum_stays() -> None:
    op = attncc.compile(MAP.format("elu(q) + 2", "elu(k) * 1"))
    assert with_digits(op.ir) == op.ir


def test_far_below_zero_a_feature_map_has_all_its_digits() -> None:
    generator = torch.Generator().manual_seed(5)
    q, k = (torch.randn(1, 2, 9, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    k, v = k - 15, torch.randn(1, 2, 9, 3, generator=generator, dtype=torch.float64)
    k[0, 0, 0], k[0, 0, 1, 0] = 0, 200  # the slope at 0 is that of x + 1; exp(200) is infinite in float32
    exact, single = [[x.to(dtype).requires_grad_() for x in (q, k, v)] for dtype in (torch.float64, torch.float32)]
    a, b = (torch.where(x >= 0, x + 1, x.clamp(max=0).exp()) for x in exact[:2])
    weights = a @ b.mT
    want = weights @ exact[2] / (weights.sum(-1, keepdim=True) + 1e-6)
    got = attncc.load("linear")(*single, backend="cpu")
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)
    for found, expected in zip(torch.autograd.grad(got.sum(), single), torch.autograd.grad(want.sum(), exact), strict=True):
        torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
