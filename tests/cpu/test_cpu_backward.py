"""Gradients by generated C against eager, in float64 and float32."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, qkv, rand
from cpu_cases import agree_both

from attncc.testing.tolerances import tolerance

CLAUSES = {
    "softmax": "mask j < i - 5\nnormalize softmax",
    "sink": "mask j <= i\nnormalize softmax(s; sink = 1)",
    "sigmoid": "mask j <= i\nnormalize sigmoid",
    "linear post": "normalize p = softmax\npost p * s",
    "post": "mask j <= i + 4\nnormalize p = softmax\npost p ^ 2",
}


@pytest.mark.parametrize("clauses", CLAUSES.values(), ids=CLAUSES)
def test_weights(clauses: str) -> None:
    made = op(attend(f"score s = dot(q, k) / 4\n{clauses}\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]"))
    agree_both(made, qkv())
    agree_both(made, qkv(i=1, j=70))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types(dtype: torch.dtype) -> None:
    made = op(attend("score s = dot(q, k) / 4\nmask j <= i\nnormalize softmax\nmix v"))
    agree_both(made, qkv(), dtype)


def test_grouped_heads_with_a_slope() -> None:
    text = """
    pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e], slope[(g r)]) -> o[b, i, (g r), e] {
      attend o over j { score dot(q, k) / sqrt(d) - slope * abs(i - j)   mask j <= i   normalize softmax   mix v }
    }"""
    agree_both(op(text), {"q": rand(2, 37, 6, 16), "k": rand(2, 45, 3, 16), "v": rand(2, 45, 3, 8), "slope": rand(6)})


@pytest.mark.parametrize("bias", [False, True])
def test_all_weight_on_one_key(bias: bool) -> None:
    """The backward pass finds that weight to be 1, however great the score: scores are rounded alike in all kernels."""
    made = op(attend(f"score s = dot(q, k) / 8{' + w' if bias else ''}\nnormalize softmax\nmix v", ", w[j]" if bias else ""))
    chosen = torch.arange(40) * 7 % 40
    k = rand(1, 1, 40, 64).sign().float()
    inputs = {"q": k[:, :, chosen] * 53.7 + rand(1, 1, 40, 64).float(), "k": k, "v": rand(1, 1, 40, 8).float().requires_grad_()}
    out = made(**inputs, **({"w": rand(40).float()} if bias else {}), backend="cpu")
    cotangent = rand(1, 1, 40, 8).float()
    (found,) = torch.autograd.grad(out, inputs["v"], cotangent)
    want = torch.zeros_like(found).index_add(2, chosen, cotangent)
    assert (found - want).abs().max() <= tolerance(torch.float32, 1, float(want.abs().max()))
