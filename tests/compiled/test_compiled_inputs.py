"""Compiling backends on inputs of several kinds: half and mixed precision, strides, extreme scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from attends import SCORE, STRIDES, attend, op, qkv
from ways import WAYS, agree, both, on

HALF = [torch.bfloat16, torch.float16]


@both
@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_half_precision(way: str, dtype: torch.dtype, normalizer: str) -> None:
    inputs = {n: t.to(WAYS[way].device, dtype) for n, t in qkv().items()}
    found = agree(way, op(attend(f"{SCORE}\nmask j <= i + 8\nnormalize {normalizer}\nmix v")), inputs)
    assert found(inputs)["o"].dtype == dtype


@both
def test_mixed_precision_promotes(way: str) -> None:
    inputs = qkv()
    inputs["k"] = inputs["k"].to(torch.bfloat16)
    if way == "cpu":
        inputs["v"] = inputs["v"].to(torch.float64)
    agree(way, op(attend(f"{SCORE}\nnormalize softmax\nmix v")), inputs)


@both
@pytest.mark.parametrize("scale", [1e-30, 1e3, 1e15])
@pytest.mark.parametrize("mask", ["", "mask j <= i"], ids=["all", "causal"])
def test_extreme_logits(way: str, scale: float, mask: str) -> None:
    inputs = qkv()
    inputs["q"] = inputs["q"] * scale
    text = attend(f"{SCORE}\n{mask}\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")
    agree(way, op(text), inputs)


@both
def test_minus_infinity_in_the_score(way: str) -> None:
    text = attend("score dot(q, k) / 4 + u\nnormalize softmax\nmix v\nemit l = lse(s)", ", u[b, j]", ", l[b, h, i]")
    bias = torch.zeros(2, 45)
    bias[0, :40] = float("-inf")
    bias[1] = float("-inf")
    agree(way, op(text), qkv(u=bias))


@pytest.mark.parametrize("change", STRIDES.values(), ids=STRIDES)
@on("dtype", cpu=[torch.float32, torch.bfloat16], triton=[torch.float32])
def test_strides(way: str, change: Callable[[torch.Tensor], torch.Tensor], dtype: torch.dtype) -> None:
    inputs = {n: change(t.to(dtype)) for n, t in qkv().items()}
    agree(way, op(attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")), inputs)
