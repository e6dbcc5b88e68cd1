"""Selftok's encoder: two softmaxes of which one is gated, streams that see one another, and the block around them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as nn
from transcribed import Tensors, agree, rands

EPS = 1e-6


def heads(x: torch.Tensor, w: Tensors, name: str, parts: int, h: int) -> tuple[torch.Tensor, ...]:
    made = nn.linear(x, w[f"{name}_weight"], w[f"{name}_bias"])
    return made.unflatten(-1, (parts, h, -1)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
    s = q @ k.mT / math.sqrt(q.shape[-1])
    return (s if seen is None else s.masked_fill(~seen, -torch.inf)).softmax(-1) @ v


def encoder(
    x: torch.Tensor, t: torch.Tensor, mode: str, x_heads: int, t_heads: int, token_causal: bool = False, qk_norm: bool = False,
    stage: str = "", **w: torch.Tensor,
) -> Tensors:  # fmt: skip
    def normed(a: torch.Tensor, name: str) -> torch.Tensor:
        return a * (a.square().mean(-1, keepdim=True) + EPS).rsqrt() * w[f"{name}_weight"] if qk_norm else a

    n, k = x.shape[1], t.shape[1]
    q, i, v = heads(x, w, "qkv", 3, x_heads)
    tq, tk, tv = heads(t, w, "query_linear", 3, t_heads)
    q, i, tq = normed(q, "q_norm"), normed(i, "k_norm"), normed(tq, "query_qnorm")
    if mode == "bi":
        both = attend(torch.cat([q, tq], 2), torch.cat([i, normed(tk, "query_knorm")], 2), torch.cat([v, tv], 2))
        image, tokens = both.split([n, k], 2)
    else:
        sk, sv = heads(x, w, "to_query_kv", 2, t_heads)
        sk, tk = normed(sk, "query_knorm"), normed(tk, "query_knorm")
        before = torch.ones(k, k, dtype=torch.bool).tril() if token_causal else torch.ones(k, k, dtype=torch.bool)
        image = attend(q, i, v)
        if mode == "uni0":
            tokens = w["gate"].tanh() * attend(tq, sk, sv) + attend(tq, tk, tv, before)
        else:
            seen = torch.cat([torch.ones(k, n, dtype=torch.bool), before], 1)
            tokens = attend(tq, torch.cat([sk, tk], 2), torch.cat([sv, tv], 2), seen)
    y_x = nn.linear(image.transpose(1, 2).flatten(2), w["proj_weight"], w["proj_bias"])
    return {"y_x": y_x, "y_t": nn.linear(tokens.transpose(1, 2).flatten(2), w["query_proj_weight"], w["query_proj_bias"])}


def weights(cx: int, ct: int, params: dict[str, Any]) -> Tensors:
    dims = {"qkv": (3 * cx, cx), "query_linear": (3 * ct, ct), "proj": (cx, cx), "query_proj": (ct, ct)}
    if params["mode"] != "bi":
        dims["to_query_kv"] = (2 * ct, cx)
    made = rands(20, **{f"{n}_weight": d for n, d in dims.items()}) | rands(40, **{f"{n}_bias": d[:1] for n, d in dims.items()})
    dx, dt = cx // params["x_heads"], ct // params["t_heads"]
    if params.get("qk_norm"):
        made |= rands(60, q_norm_weight=(dx,), k_norm_weight=(dx,), query_qnorm_weight=(dt,), query_knorm_weight=(dt,))
    return made | (rands(80, gate=(1, params["t_heads"], 1, 1)) if params["mode"] == "uni0" else {})


ATTENTIONS: list[dict[str, Any]] = [
    {"mode": "uni0", "x_heads": 2, "t_heads": 3, "token_causal": True, "qk_norm": True},
    {"mode": "uni0", "x_heads": 1, "t_heads": 2},
    {"mode": "bi", "x_heads": 2, "t_heads": 2, "qk_norm": True},
]


@pytest.mark.parametrize("params", ATTENTIONS, ids=str)
def test_attention(params: dict[str, Any]) -> None:
    cx, ct = 8, 8 if params["mode"] == "bi" else 6
    inputs = rands(x=(2, 5, cx), t=(2, 4, ct)) | weights(cx, ct, params)
    agree("selftok", {"stage": "encoder_attention"} | params, inputs, encoder)


def block(x: torch.Tensor, t: torch.Tensor, ada: torch.Tensor, stage: str, ln_eps: float, **rest: Any) -> Tensors:
    def norm(a: torch.Tensor) -> torch.Tensor:
        return nn.layer_norm(a, a.shape[-1:], eps=ln_eps)

    def mlp(a: torch.Tensor, name: str) -> torch.Tensor:
        inner = nn.gelu(nn.linear(a, rest[f"{name}_fc1_weight"], rest[f"{name}_fc1_bias"]), approximate="tanh")
        return nn.linear(inner, rest[f"{name}_fc2_weight"], rest[f"{name}_fc2_bias"])

    shift, scale, gate, shift2, scale2, gate2 = ada.chunk(6, -1)
    inner = {n.removeprefix("attn_"): v for n, v in rest.items() if "mlp" not in n}
    found = encoder(norm(x), norm(t) * (1 + scale) + shift, **inner)
    x, t = x + found["y_x"], t + gate * found["y_t"]
    return {"y_x": x + mlp(norm(x), "mlp"), "y_t": t + gate2 * mlp(norm(t) * (1 + scale2) + shift2, "q_mlp")}


def test_block() -> None:
    params = {"mode": "uni", "x_heads": 2, "t_heads": 3, "token_causal": True}
    shapes = {
        "fc1_weight": lambda c: (5, c),
        "fc1_bias": lambda c: (5,),
        "fc2_weight": lambda c: (c, 5),
        "fc2_bias": lambda c: (c,),
    }
    mlps = {f"{stream}_{n}": shape(c) for stream, c in (("mlp", 8), ("q_mlp", 6)) for n, shape in shapes.items()}
    inputs = rands(x=(2, 5, 8), t=(2, 4, 6), ada=(4, 36), **mlps) | {f"attn_{n}": v for n, v in weights(8, 6, params).items()}
    agree("selftok", {"stage": "encoder_block", "ln_eps": 1e-3} | params, inputs, block)
