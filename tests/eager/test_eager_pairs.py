"""What the oracle does at pairs that a mask leaves out."""

from __future__ import annotations

import pytest
import torch

import attncc

BIASED = """
pattern p(q[n, d], k[n, d], v[n, e], t[r]) -> o[n, e] {
  attend o over n' { score dot(q, k') + t[r = n' - n + 2]   mask abs(n - n') <= 2   normalize softmax   mix v' }
}"""


def test_a_read_outside_an_axis_is_right_where_the_mask_leaves_the_pair_out() -> None:
    q, k, v, t = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((7, 4), (7, 4), (7, 3), (5,)))
    op = attncc.compile(BIASED)
    far = torch.arange(7) - torch.arange(7)[:, None]
    score = q @ k.mT + t[(far + 2).clamp(0, 4)]
    want = score.masked_fill(far.abs() > 2, float("-inf")).softmax(-1) @ v
    got = op(q, k, v, t, backend="eager")
    torch.testing.assert_close(got, want)
    for have, exact in zip(*(torch.autograd.grad(x.sin().sum(), (q, k, v, t)) for x in (got, want)), strict=True):
        torch.testing.assert_close(have, exact)
    with pytest.raises(attncc.AttnShapeError, match="position 4, outside an axis of 4"):
        op(q, k, v, t[:4], backend="eager")


def test_sums_along_the_keys_so_far_see_admitted_pairs_alone() -> None:
    text = """pattern p(q[n, d], k[n, d], v[n, e]) -> o[n, e] {
      attend o over n' { score s = dot(q, k')   mask n' > n   normalize s * cumsum[n'](s) + cumprod[n'](s)   mix v' } }"""
    q, k, v = (torch.randn(6, 3, dtype=torch.float64) for _ in range(3))
    keep = torch.ones(6, 6, dtype=torch.bool).triu(1)
    s = q @ k.mT
    weight = (s * (s * keep).cumsum(-1) + torch.where(keep, s, 1.0).cumprod(-1)) * keep
    torch.testing.assert_close(attncc.compile(text)(q, k, v), weight @ v)
