"""Gradients by generated C against eager, in float64 and float32."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, qkv, rand
from cpu_cases import agree_both

import attncc
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


def test_points_far_from_the_origin() -> None:
    """Distances of 1 between points at 30: scores are of 30^2 / 2 before they cancel, and rounded there. Weights under that rounding are
    the same in both passes, so gradients are as good as the scores."""
    made = attncc.load("gaussian_kernel")
    far = torch.full((64,), 30.0 / 8, dtype=torch.float64)
    q, k, v, up = torch.randn(4, 1, 2, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inputs = [x.float().requires_grad_() for x in (q / 2 + far, k / 2 + far, v, torch.ones(1))]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    cotangent = up.float()
    found = torch.autograd.grad(made(*inputs, outputs="core", backend="cpu"), inputs, cotangent)
    want = torch.autograd.grad(made(*exact, outputs="core", backend="eager"), exact, cotangent.double())
    for name, a, b in zip("qkv", found, want, strict=False):
        error = float((a - b).abs().max())
        assert error <= tolerance(torch.float32, 1, 450.0) * float(b.abs().max()), f"{name}: {error}"
