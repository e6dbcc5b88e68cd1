"""Reversed attention with normed queries and keys, biases, and tokens kept by what they receive."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nn
from transcribed import Tensors, agree, rands


def reference(
    x: torch.Tensor, m_in: torch.Tensor, heads: int, temperature: float, scale: float, prune_ratio: float, prune_index: int,
    **w: torch.Tensor,
) -> Tensors:  # fmt: skip
    n, d = x.shape[1], w["qn_w"].shape[0]
    q, k, v = nn.linear(x, w["w_qkv"], w["b_qkv"]).unflatten(-1, (3, heads, d)).permute(2, 0, 3, 1, 4)
    q, k = nn.layer_norm(q, (d,), w["qn_w"], w["qn_b"]), nn.layer_norm(k, (d,), w["kn_w"], w["kn_b"])
    chosen = (x @ w["w_sel"].mT / temperature).softmax(-1).mT
    m = m_in * torch.sigmoid(nn.gelu(x @ w["w_m1"].mT) @ w["w_m2"].mT).squeeze(-1)
    sent = (scale * q @ k.mT).softmax(-1) * (chosen * m[:, None])[..., None]
    received = sent.detach().sum((1, 2))
    kept = math.floor((1 - prune_index * prune_ratio) / (1 - (prune_index - 1) * prune_ratio) * n)
    y = nn.linear((sent.mT @ v).transpose(1, 2).flatten(2), w["w_o"], w["b_o"])
    return {
        "y": y, "m_out": m, "dep": sent.detach().sum(1).mT, "recv": received,
        "keep": received.topk(kept).indices.sort().values,
    }  # fmt: skip


def test_every_option() -> None:
    weights = rands(
        w_qkv=(24, 10), b_qkv=(24,), w_sel=(2, 10), w_m1=(5, 10), w_m2=(1, 5), w_o=(10, 8), b_o=(10,), qn_w=(4,), qn_b=(4,), kn_w=(4,),
        kn_b=(4,),
    )  # fmt: skip
    inputs = rands(30, x=(2, 9, 10), m_in=(2, 9)) | weights
    inputs["m_in"] = inputs["m_in"].sigmoid()
    params = {"heads": 2, "temperature": 0.4, "scale": 0.8, "prune_ratio": 0.3, "prune_index": 2}
    agree("reversed", params, inputs, reference)
