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


def test_a_class_without_weight_leaves_the_confidence_finite() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "emb": (5, 6),
        "logits": (5, 4),
        "anchors": (4, 1, 6),
        "wq": (4, 6),
        "bq": (4,),
        "wk": (4, 6),
        "bk": (4,),
        "wv": (4, 6),
    }
    shapes |= {"bv": (4,), "mha_in_w": (12, 4), "mha_in_b": (12,), "mha_out_w": (4, 4), "mha_out_b": (4,)}
    inputs = {n: torch.randn(s, generator=generator).requires_grad_() for n, s in shapes.items()}
    inputs["logits"] = torch.tensor([[400.0, 0, 0, 0]] * 5).requires_grad_()  # exp(-400) is 0 in float32
    op = attncc.load("arbex", kind="reliability_balancing", trust=0.5)
    found = op(**inputs, labels=torch.zeros(5, dtype=torch.int64), outputs=("prob_corrected", "conf"), backend="eager")
    assert torch.equal(found.conf, torch.ones(5, 1))
    grads = torch.autograd.grad(found.prob_corrected.square().sum(), list(inputs.values()), allow_unused=True)
    assert all(g is None or bool(g.isfinite().all()) for g in grads)
