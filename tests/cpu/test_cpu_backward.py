"""Gradients by generated C against eager, in float64 and float32."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, qkv, rand
from cpu_cases import agree_both

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
