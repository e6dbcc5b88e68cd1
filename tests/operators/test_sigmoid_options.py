"""Sigmoid attention: position normalizers, paddings that shift the diagonal, a bias that is the number of keys."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from transcribed import Tensors, agree, prefix, rands

SLOPES = torch.tensor([2.0**-4, 2.0**-8, 2.0**-2], dtype=torch.float64)
"""ALiBi of three heads: those of two, then the first of four."""


def core(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, key_mask: torch.Tensor | None = None, logit_bias: float | None = None,
    log_temp: float = 0, causal: bool = False, pos: str = "none", normalizer: str = "sigmoid", key_padding: bool = False,
) -> Tensors:  # fmt: skip
    n, m = q.shape[2], k.shape[2]
    i, j = torch.arange(n)[:, None], torch.arange(m)
    s = q @ k.mT / math.sqrt(q.shape[-1]) + (SLOPES[:, None, None] * (j - i) if pos == "alibi" else 0)
    p = torch.sigmoid(s * math.exp(log_temp) + (-math.log(m) if logit_bias is None else logit_bias))
    admitted = (j <= i) | (not causal)
    p = torch.where(admitted if key_mask is None else admitted & key_mask[:, None, None], p, 0.0)
    p = p / {"sigmoid": 1, "sigmoid_div_pos": i + 1, "sigmoid_div_sqrt_pos": (i + 1.0).double().sqrt()}[normalizer]
    return {"core": p @ v, "attn": p}


CORE: list[dict[str, Any]] = [
    {"normalizer": "sigmoid_div_pos", "causal": True, "key_padding": True, "pos": "alibi"},
    {"normalizer": "sigmoid_div_sqrt_pos", "log_temp": -0.7},
    {"key_padding": True, "logit_bias": 1.5},
]


@pytest.mark.parametrize("params", CORE, ids=str)
def test_core(params: dict[str, Any]) -> None:
    inputs = rands(q=(2, 3, 7, 5), k=(2, 3, 7, 5), v=(2, 3, 7, 5))
    agree("sigmoid_core", params, inputs | ({"key_mask": prefix([0, 4], 7)} if params.get("key_padding") else {}), core)


def test_core_of_two_lengths() -> None:
    agree("sigmoid_core", {"causal": True}, rands(q=(2, 1, 9, 3), k=(2, 1, 5, 3), v=(2, 1, 5, 4)), core)


def flash(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alibi_slopes: torch.Tensor, key_mask: torch.Tensor,
    query_mask: torch.Tensor, window_left: int, causal: bool, logit_bias: float, **_: object,
) -> Tensors:  # fmt: skip
    q, k, v = (x.transpose(1, 2).repeat_interleave(q.shape[2] // x.shape[2], 1) for x in (q, k, v))
    i, j = torch.arange(q.shape[2])[:, None], torch.arange(k.shape[2])
    at = (i + (key_mask.sum(1) - query_mask.sum(1))[:, None, None])[:, None]
    s = q @ k.mT / math.sqrt(q.shape[-1]) - alibi_slopes[:, :, None, None] * abs(at - j) + logit_bias
    admitted = (j >= at - window_left) & ((j <= at) | (not causal)) & key_mask[:, None, None] & query_mask[:, None, :, None]
    return {"o": (torch.where(admitted, torch.sigmoid(s), 0.0) @ v).transpose(1, 2)}


def test_flash_with_both_paddings() -> None:
    inputs = rands(q=(2, 9, 4, 5), k=(2, 12, 2, 5), v=(2, 12, 2, 5), alibi_slopes=(2, 4))
    masks = {"key_mask": prefix([12, 5], 12), "query_mask": prefix([4, 9], 9)}
    flags = {"key_padding": True, "query_padding": True, "pos": "alibi_abs"}
    agree(
        "sigmoid_flash", {"causal": True, "window_left": 3, "logit_bias": -0.5} | flags, inputs | masks, flash, ("alibi_slopes",)
    )
