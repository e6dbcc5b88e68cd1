"""Edits of attention maps, all at once: their order is part of the definition."""

from __future__ import annotations

import math

import torch
from transcribed import Tensors, agree, rands


def maps(q: torch.Tensor, k: torch.Tensor) -> list[torch.Tensor]:
    return list((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1).unbind(0))


def cross(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, reweight_weight: float, reweight_word: int, erase_weight: float,
    erase_token: int, erase_start: float, erase_end: float, replace_word: int,
) -> Tensors:  # fmt: skip
    w, t, words = maps(q, k), q.shape[2], torch.arange(k.shape[2])
    for row, word in ((0, 0), (1, reweight_word)):
        w[row] = w[row] + reweight_weight * ((words == word + 1) | (words == word + 2)).double()
    times = (torch.arange(t) >= int(t * erase_start)) & (torch.arange(t) < int(t * erase_end))
    erased = times[:, None] & ((words == erase_token) | (words == erase_token + 1))
    w[1] = torch.where(erased, w[1] * erase_weight, w[1])
    w[1] = torch.where(words == replace_word + 1, w[1], w[0])
    return {"out_core": torch.stack(w) @ v}


def test_cross_edits() -> None:
    params = {"reweight_weight": -0.9, "reweight_word": 2, "erase_weight": 0.3, "erase_token": 3, "erase_start": 0.1, "erase_end": 0.9,
              "replace_word": 2}  # fmt: skip
    agree("motionclr_core", params, rands(q=(3, 2, 13, 3), k=(3, 2, 9, 3), v=(3, 2, 9, 3)), cross)


def within(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, query_rows: torch.Tensor, time_shift_ratio: float, **_: bool
) -> Tensors:
    t = q.shape[2]
    rotated = (torch.arange(t) + int(t * time_shift_ratio)) % t
    q = torch.stack([q[0], *(q[0][:, at] for at in query_rows)])  # examples come after the style, and replace it
    q, k, v = (torch.cat([x[:1], source[:1, :, rotated], x[2:]]) for x, source in ((q, q), (k, k), (v, v)))
    w = maps(q, k)
    w[1] = w[0]
    return {"out_core": torch.stack(w) @ v}


def test_self_edits() -> None:
    params = {"style_transfer": True, "example_based": True, "time_shift_ratio": 0.5, "replace_map": True}
    rows = torch.tensor([[4, 5, 2, 3, 0, 1], [1, 1, 0, 5, 4, 3]])
    inputs = rands(q=(3, 2, 6, 3), k=(3, 2, 6, 3), v=(3, 2, 6, 3)) | {"query_rows": rows}
    agree("motionclr_self_core", params, inputs, within)
