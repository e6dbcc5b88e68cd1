"""Details of the papers' own code that other values of the golden cases' inputs bring out."""

from __future__ import annotations

import torch

import attncc


def test_the_bias_of_dynamic_masks_is_a_line_above_20() -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(1, 1, 6, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    w, gain = 12 * torch.randn(1, 4, generator=generator, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    v[0, 0, 0] = 21 * w[0] / (w[0] @ w[0])  # where e^-x is 7e-10
    op = attncc.load("dynamic_mask_core", bias_form="linear", select="per_query", window=6)
    delta = op(q=q, k=k, v=v, w_dt=w, A=gain, outputs=("delta",), backend="eager")
    torch.testing.assert_close(delta[0, 0], torch.nn.functional.softplus(v[0, 0] @ w[0]), rtol=1e-14, atol=1e-14)
