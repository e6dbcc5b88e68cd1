"""Routing that no golden case has: a context of its own, masks, the author's variant with keys of their own."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as nn
from transcribed import Tensors, agree, rands


def picked(x: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
    """x[b, h, l, ..] at positions [b, h, c, w]."""
    return x[torch.arange(len(x))[:, None, None, None], torch.arange(x.shape[1])[:, None, None], at]


def port(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, means: torch.Tensor, window_size: int, query_mask: torch.Tensor,
    key_mask: torch.Tensor, mem_key: torch.Tensor, mem_value: torch.Tensor, context_window_size: int, commitment: float,
    ema_decay: float, shared_qk: bool = False, **_: object,
) -> Tensors:  # fmt: skip
    b, h, t, d = q.shape
    z = nn.normalize(torch.cat([q, k], 2), dim=-1)
    near = torch.einsum("bhld,hcd->bhcl", z.detach(), means)
    chosen = near.argmax(2)
    aux = commitment * (z - means[torch.arange(h)[:, None], chosen]).square().mean()
    at, keys_at = near[..., :t].topk(window_size).indices, near[..., t:].topk(context_window_size).indices
    s = d**-0.5 * picked(q, at) @ picked(k, keys_at).mT
    rows = torch.arange(b)[:, None, None, None]
    s = s.where(query_mask[rows, at][..., None] & key_mask[rows, keys_at][..., None, :], -torch.finfo(s.dtype).max)
    s = s.masked_fill(at[..., None] == keys_at[..., None, :], -5e4) if shared_qk else s
    s = torch.cat([d**-0.5 * picked(q, at) @ mem_key.mT, s], -1)
    o = s.softmax(-1) @ torch.cat([mem_value.expand(b, *mem_value.shape), picked(v, keys_at)], 3)
    places = nn.one_hot(at.flatten(2), t).to(q.dtype)
    members = nn.one_hot(chosen, means.shape[1]).to(q.dtype)
    total = torch.einsum("bhlc,bhld->hcd", members, z.detach())
    new = torch.where(members.sum((0, 2))[..., None] > 0, nn.normalize(total, dim=-1), means)
    core = torch.einsum("bhkt,bhkd->bhtd", places, o.flatten(2, 3)) / (places.sum(2)[..., None] + 1e-5)
    ema = ema_decay * means + (1 - ema_decay) * new
    return {"core": core, "aux": aux, "indices": at, "kv_indices": keys_at, "means_new": new, "means_ema": ema}


@pytest.mark.parametrize("shared", [False, True])
def test_context_with_masks(shared: bool) -> None:
    inputs = rands(q=(2, 2, 11, 6), k=(2, 2, 7, 6), v=(2, 2, 7, 6), means=(2, 3, 6), mem_key=(2, 3, 1, 6), mem_value=(2, 3, 1, 6))
    masks = {"query_mask": torch.arange(22).view(2, 11) % 5 > 0, "key_mask": torch.arange(14).view(2, 7) % 4 > 0}
    windows = {"window_size": 4, "context_window_size": 3, "receives_context": True, "shared_qk": shared}
    training = {"train": True, "commitment": 0.3, "ema_decay": 0.25}
    agree("routing_core", {"variant": "torch"} | windows | training, inputs | masks, port, ("means",))


def author(q: torch.Tensor, v: torch.Tensor, means: torch.Tensor, window_size: int, k: torch.Tensor | None = None,
           causal: bool = False, **_: object) -> Tensors:  # fmt: skip
    q = nn.layer_norm(q, q.shape[-1:], eps=1e-6)
    k = q if k is None else nn.layer_norm(k, k.shape[-1:], eps=1e-6)
    near = [torch.einsum("bhld,hcd->bhcl", x.detach(), means) for x in (q, k)]
    losses = [
        (x - means[torch.arange(q.shape[1])[:, None], n.argmax(2)]).square().mean() for x, n in zip((q, k), near, strict=True)
    ]
    at, keys_at = (n.topk(window_size).indices.sort(-1).values for n in near)
    values = picked(v, keys_at)
    hidden = (values == 0).all(-1)[..., None, :] | (causal & ~torch.ones(window_size, window_size, dtype=torch.bool).tril())
    o = (picked(q, at) @ picked(k, keys_at).mT - 1e9 * hidden).softmax(-1) @ values
    places = nn.one_hot(at.flatten(2), q.shape[2]).to(q.dtype)
    core = torch.einsum("bhkt,bhkd->bhtd", places, o.flatten(2, 3)) / (places.sum(2)[..., None] + 1e-2)
    return {"core": core, "aux": 1e-4 * sum(losses), "indices": at, "kv_indices": keys_at}


OWN: list[dict[str, Any]] = [{}, {"shared_qk": True, "causal": True}]


@pytest.mark.parametrize("params", OWN, ids=str)
def test_authors_variant(params: dict[str, Any]) -> None:
    inputs = rands(q=(2, 2, 13, 6), k=(2, 2, 13, 6), v=(2, 2, 13, 6), means=(2, 3, 6))
    inputs["v"][:, :, ::4] = 0  # taken for padding
    kept = {n: t for n, t in inputs.items() if n != "k" or not params}
    agree("routing_core", {"variant": "tf", "window_size": 5} | params, kept, author, ("means",))
