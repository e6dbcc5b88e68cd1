"""Gaussian adaptive attention along negative axes, with padding in a block, and heads that are no divisors."""

from __future__ import annotations

import math
from typing import Any

import torch
from transcribed import Tensors, agree, rand, rands


def layer(x: torch.Tensor, offset: torch.Tensor, c: torch.Tensor, axis: int, heads: int, padding: float | None, eps: float) -> Tensors:
    """Head by head, over slices of the axis; the last one has what is left."""
    x = x.movedim(axis, -1)
    size = x.shape[-1] // heads
    parts = []
    for h in range(heads):
        one = x[..., h * size : (h + 1) * size if h < heads - 1 else None]
        real = torch.ones_like(one, dtype=torch.bool) if padding is None else one != padding
        kept = torch.where(real, one, 0)
        mean, var = kept.mean(-1, keepdim=True), kept.var(-1, keepdim=True) + eps
        w = torch.ones_like(one)
        for shift, s in zip(offset[h], c[h], strict=True):
            w = w * torch.exp(-(((one - mean - shift) / var.sqrt()) ** 2) / (2 * s**2)) / (2 * math.pi * s**2).sqrt()
        attn = w / w.sum(-1, keepdim=True).clamp(min=eps)
        parts.append((torch.where(real, one * attn, one), attn))
    y, attn = (torch.cat(p, -1).movedim(-1, axis) for p in zip(*parts, strict=True))
    return {"y": y, "attn": attn}


def reference(
    x: torch.Tensor, offset: torch.Tensor, c: torch.Tensor, form: str, norm_axis: int, heads: int, padding_value: float, eps: float
) -> Tensors:
    out = layer(x, offset, c, norm_axis, heads, padding_value, eps)
    attn = out["attn"].detach()
    return {**out, "importance": (attn - attn.min()) / (attn.max() - attn.min())}


def block(x: torch.Tensor, form: str, layers: list[dict[str, int]], padding_value: float, eps: float, **w: Any) -> Tensors:
    out: Tensors = {}
    for n, one in enumerate(layers):
        found = layer(x, w[f"l{n}_offset"], w[f"l{n}_c"], one["norm_axis"], one["heads"], padding_value, eps)
        x, out[f"attn{n}"] = x + found["y"], found["attn"]
    return {"y": x, **out}


def test_an_axis_counted_from_the_end() -> None:
    x = rand(2, 11, 3)
    x[0, 3:6] = -1.5
    params = {"form": "multihead", "norm_axis": -2, "heads": 4, "padding_value": -1.5, "eps": 1e-3}
    agree("gaam", params, {"x": x, **rands(offset=(4, 3), c=(4, 3))}, reference)


def test_layers_of_a_block() -> None:
    x = rand(7, 5)
    x[2, 1:4] = 0.25
    layers = [{"norm_axis": -1, "heads": 2}, {"norm_axis": 0, "heads": 3}]
    weights = rands(l0_offset=(2, 2), l0_c=(2, 2), l1_offset=(3, 1), l1_c=(3, 1))
    agree("gaam", {"form": "block", "layers": layers, "padding_value": 0.25, "eps": 1e-6}, {"x": x, **weights}, block)
