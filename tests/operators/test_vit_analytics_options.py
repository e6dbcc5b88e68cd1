"""Readings of a map beside two class tokens, on a grid that is not square, for every distance."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from transcribed import Tensors, agree, rands

Metric = Literal["chebyshev", "manhattan", "euclidean_floor"]


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, grid: list[int], n_cls: int, metric: Metric, scale: float
) -> Tensors:
    a = (scale * q @ k.mT).softmax(-1)
    rows = a[:, :, n_cls:]
    between, (height, width) = rows[..., n_cls:], grid
    y, x = torch.arange(height * width) // width, torch.arange(height * width) % width
    dy, dx = y - y[:, None], x - x[:, None]
    far = (dy**2 + dx**2).double().sqrt()
    ring = {"chebyshev": torch.maximum(abs(dy), abs(dx)), "manhattan": abs(dy) + abs(dx), "euclidean_floor": far.floor().long()}[
        metric
    ]
    patches = len(y)

    def total(bins: torch.Tensor, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        member = torch.nn.functional.one_hot(bins, number).double()
        return torch.einsum("bhij,ijr->bhr", between, member), member.sum((0, 1)).clamp(min=1)

    rings, of_ring = total(ring, int(ring.max()) + 1)
    offsets, of_offset = total((dy + height - 1) * (2 * width - 1) + dx + width - 1, (2 * height - 1) * (2 * width - 1))
    return {
        "core": a @ v,
        "hop_mass": rings / patches,
        "hop_strength": rings / of_ring,
        "offset_profile": (offsets / of_offset).unflatten(-1, (2 * height - 1, 2 * width - 1)),
        "mean_distance": (between * far).sum((-1, -2)) / patches,
        "entropy": torch.special.entr(rows).sum((-1, -2)) / patches,
        "received": rows.sum(-2) / patches,
        "cls_to_patch": a[:, :, 0, n_cls:],
    }


@pytest.mark.parametrize("metric", ["chebyshev", "manhattan", "euclidean_floor"])
def test_two_class_tokens(metric: Metric) -> None:
    inputs = rands(q=(2, 2, 14, 3), k=(2, 2, 14, 3), v=(2, 2, 14, 3))
    agree("vit_analytics_core", {"grid": [3, 4], "n_cls": 2, "metric": metric, "scale": 0.9}, inputs, reference)
