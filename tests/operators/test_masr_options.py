"""Frames of a video: segments of different lengths, more frames asked for than there are candidates, steps of the dilation."""

from __future__ import annotations

import pytest
import torch
from transcribed import Tensors, agree, rands


def reference(
    query: torch.Tensor, frames: torch.Tensor, captions: torch.Tensor, segment: torch.Tensor, alpha: float, k_segments: int, k_frames: int,
    radius: int, dilation: int,
) -> Tensors:  # fmt: skip
    def cosine(bank: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cosine_similarity(query[:, None], bank, -1)

    sim = alpha * cosine(frames) + (1 - alpha) * cosine(captions)
    clips = int(segment[-1]) + 1
    coarse = torch.stack([sim[:, segment == s].mean(1) for s in range(clips)], 1)
    best = coarse.topk(k_segments).indices
    indices = torch.full((len(sim), k_frames), -1)
    mask = torch.zeros(sim.shape, dtype=torch.bool)
    for row, scores in enumerate(sim):
        candidates = [n for n in range(len(scores)) if int(segment[n]) in best[row].tolist()]
        chosen = sorted(candidates, key=lambda n, scores=scores: -scores[n].item())[:k_frames]
        indices[row, : len(chosen)] = torch.tensor(chosen)
        for n in chosen:
            for step in range(-radius, radius + 1):
                if 0 <= n + step * dilation < len(scores):
                    mask[row, n + step * dilation] = True
    return {"sim": sim, "coarse": coarse, "segment_indices": best, "indices": indices, "mask": mask}


@pytest.mark.parametrize(("k_segments", "k_frames", "radius", "dilation"), [(1, 5, 0, 1), (2, 3, 3, 2), (4, 30, 1, 5), (3, 1, 2, 1)])
def test_options(k_segments: int, k_frames: int, radius: int, dilation: int) -> None:
    segment = torch.repeat_interleave(torch.arange(4), torch.tensor([3, 1, 6, 7]))
    inputs = rands(query=(3, 5), frames=(3, 17, 5), captions=(3, 17, 5)) | {"segment": segment}
    params = {"alpha": 0.3, "k_segments": k_segments, "k_frames": k_frames, "radius": radius, "dilation": dilation}
    agree("masr", params, inputs, reference)
