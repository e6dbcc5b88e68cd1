"""AttenCraft: masks from several words a concept, sharpened or left as they are, their loss against concepts in another order."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nn
from transcribed import Tensors, agree, rands


def minmax(z: torch.Tensor) -> torch.Tensor:
    least, most = z.amin((1, 2), keepdim=True), z.amax((1, 2), keepdim=True)
    return (z - least) / (most - least)


def reference(
    cross_q: torch.Tensor, cross_k: torch.Tensor, self_q: torch.Tensor, self_k: torch.Tensor, self_size: int, cross_size: int,
    concept_tokens: list[int], mask_of_concept: list[int], power: int, cross_power: int, threshold: float, token_sets: list[list[int]],
) -> Tensors:  # fmt: skip
    def maps(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        return (q[:, 0] @ k[:, 0].mT / q.shape[-1] ** 0.5).softmax(-1).mean((0, 1))

    def resized(z: torch.Tensor) -> torch.Tensor:
        small = z.reshape(1, -1, cross_size, cross_size)
        return nn.interpolate(small, (self_size, self_size), mode="bicubic", align_corners=False)[0]

    words = maps(cross_q, cross_k).mT
    z = minmax(resized(torch.stack([words[tokens].amax(0) for tokens in token_sets])) ** cross_power)
    spread = minmax(torch.linalg.matrix_power(minmax(maps(self_q, self_k)[None])[0], power)[None])[0]
    refined = minmax((z.flatten(1) @ spread.mT).unflatten(-1, (self_size, self_size)))
    order = refined.topk(2, 0)
    clear = order.values[0] - order.values[1] > threshold
    classes = torch.where(clear, order.indices[0], 3)
    sums = torch.stack([torch.stack([(refined[m] * (classes == c)).sum() for m in range(3)]) for c in range(3)])
    cross_norm = minmax(resized(words[concept_tokens]))
    mine = cross_norm.flatten(1).softmax(-1)
    mask = torch.stack([(classes == c).double().flatten().softmax(-1) for c in mask_of_concept])
    middle = (mine + mask) / 2
    each = 0.5 * (mine * (mine + 1e-16).log() + mask * (mask + 1e-16).log()) - middle * (middle + 1e-16).log()
    return {"refined": refined, "classes": classes, "mask_token": sums.argmax(1), "cross_norm": cross_norm, "jsd": each.sum(1).mean()}


@pytest.mark.parametrize(("power", "cross_power", "threshold"), [(0, 1, 0.0), (1, 3, 0.4)])
def test_masks(power: int, cross_power: int, threshold: float) -> None:
    shapes = {"cross_q": (2, 2, 2, 9, 4), "cross_k": (2, 2, 2, 7, 4), "self_q": (1, 2, 3, 49, 4), "self_k": (1, 2, 3, 49, 4)}
    params = {
        "self_size": 7, "cross_size": 3, "concept_tokens": [1, 5, 6], "mask_of_concept": [2, 0, 1], "power": power,
        "cross_power": cross_power, "threshold": threshold, "token_sets": [[1, 2, 3], [5, 2], [6]],
    }  # fmt: skip
    agree("attencraft", params, rands(3, **shapes), reference)
