"""Keys along several axes, of which operands have some: a box of axes does not step evenly through an array that lacks one."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.runtime.backends import missing

pytestmark = pytest.mark.skipif(bool(missing("cpu")), reason=missing("cpu"))

TEXT = """
pattern f(q[l, h, i, d], k[l, h, j, d], v[r, j, e]) -> o[r, i, e] {
  attend o over (l, h, j) { score dot(q, k) / sqrt(d)   normalize softmax[j]   post p / (l.size * h.size)   mix v }
}
"""


@pytest.mark.parametrize("lengths", [(2, 2, 5, 7, 4, 3, 2), (3, 2, 16, 9, 3, 1, 1), (2, 1, 33, 40, 8, 5, 1)])
def test_the_mean_of_maps_over_other_axes(lengths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layers, heads, i, j, d, e, r = lengths
    shapes = [(layers, heads, i, d), (layers, heads, j, d), (r, j, e)]
    op = attncc.compile(TEXT)
    q, k, v = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    want = (q @ k.mT / d**0.5).softmax(-1).mean((0, 1)) @ v
    head = torch.randn_like(want)
    grads = torch.autograd.grad(want, (q, k, v), head)
    given = [t.detach().float().requires_grad_() for t in (q, k, v)]
    found = op(*given, backend="cpu")
    got = torch.autograd.grad(found, given, head.float())
    for a, b in zip((found, *got), (want, *grads), strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-5)
