"""Agent attention over maps that are no squares: windows, a pooled map of keys, a class token, stripes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as nn
from transcribed import Tensors, agree, rands

from attncc.runtime.backends import missing

HEADS, D, AGENTS = 2, 3, 4
SIDE = 2
"""Of the map of agents."""


def table(small: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """[h, a, tokens] from a coarse map, values of rows and values of columns."""
    return (nn.interpolate(small, size, mode="bilinear") + rows + columns).flatten(2)


def core(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, w: Tensors, size: tuple[int, int], sr: int = 1, scale: float = D**-0.5) -> torch.Tensor:
    """[b, n, (h d)] from [b, h, n, d]: the map is `size`, that of the keys sr times smaller. A class token comes first where
    there are biases for one."""
    cls = "ac_bias" in w
    b = len(q)
    small = (size[0] // sr, size[1] // sr)
    tokens = q[:, :, 1:] if cls else q
    pixels = tokens.transpose(2, 3).reshape(b, HEADS * D, *size)
    agents = nn.adaptive_avg_pool2d(pixels, SIDE).reshape(b, HEADS, D, AGENTS).transpose(2, 3)
    gather = table(w["an_bias"], w["ah_bias"][0], w["aw_bias"][0], small)
    give = table(w["na_bias"], w["ha_bias"][0].movedim(-1, 1), w["wa_bias"][0].movedim(-1, 1), size)
    if cls:
        gather = torch.cat([w["ac_bias"][0], gather], -1)
        give = torch.cat([w["ca_bias"][0].transpose(1, 2), give], -1)
    seen = (scale * agents @ k.mT + gather).softmax(-1) @ v
    out = (scale * q @ agents.mT + give.mT).softmax(-1) @ seen
    image = (v[:, :, 1:] if cls else v).transpose(2, 3).reshape(b, HEADS * D, *small)
    if sr > 1:
        image = nn.interpolate(image, size, mode="bilinear")
    local = nn.conv2d(image, w["w_dwc"], w["b_dwc"], padding=1, groups=HEADS * D).flatten(2).mT
    out = out.transpose(1, 2).flatten(2)
    return out + (nn.pad(local, (0, 0, 1, 0)) if cls else local)


def heads(x: torch.Tensor) -> torch.Tensor:
    return x.unflatten(-1, (HEADS, D)).transpose(1, 2)


def plain(x: torch.Tensor, height: int, width: int, kind: str, **w: Any) -> Tensors:
    q, k, v = map(heads, nn.linear(x, w["w_qkv"], w.get("b_qkv")).chunk(3, -1))
    return {"y": nn.linear(core(q, k, v, w, (height, width)), w["w_proj"], w["b_proj"])}


def pooled(x: torch.Tensor, height: int, width: int, sr: int, kind: str, **w: Any) -> Tensors:
    image = x.mT.unflatten(-1, (height, width))
    t = nn.conv2d(image, w["w_sr"], w["b_sr"], stride=sr).flatten(2).mT
    t = nn.layer_norm(t, t.shape[-1:], w["ln_w"], w["ln_b"])
    k, v = map(heads, nn.linear(t, w["w_kv"], w.get("b_kv")).chunk(2, -1))
    q = heads(nn.linear(x, w["w_q"], w.get("b_q")))
    return {"y": nn.linear(core(q, k, v, w, (height, width), sr), w["w_proj"], w["b_proj"])}


def striped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, height: int, width: int, stripe: list[int], kind: str, **w: Any) -> Tensors:
    rows, columns = stripe
    grid = (height // rows, rows, width // columns, columns)

    def windows(x: torch.Tensor) -> torch.Tensor:
        return heads(x.unflatten(1, grid).transpose(2, 3).flatten(3, 4).flatten(0, 2))

    found = core(windows(q), windows(k), windows(v), w, (rows, columns))
    y = found.unflatten(0, (len(q), grid[0], grid[2])).unflatten(3, (rows, columns)).transpose(2, 3)
    return {"y": y.flatten(1, 4)}


def biases(height: int, width: int, sr: int = 1, cls: bool = False) -> Tensors:
    h, a, r, s = HEADS, AGENTS, height // sr, width // sr
    shapes = {
        "an_bias": (h, a, 7, 7), "na_bias": (h, a, 7, 7), "ah_bias": (1, h, a, r, 1), "aw_bias": (1, h, a, 1, s),
        "ha_bias": (1, h, height, 1, a), "wa_bias": (1, h, 1, width, a), "w_dwc": (h * D, 1, 3, 3), "b_dwc": (h * D,),
    }  # fmt: skip
    return rands(50, **shapes, **({"ac_bias": (1, h, a, 1), "ca_bias": (1, h, 1, a)} if cls else {}))


C = HEADS * D
KINDS: dict[str, tuple[Any, Tensors, dict[str, Any]]] = {
    "swin": (plain, rands(x=(2, 15, C), w_qkv=(3 * C, C), w_proj=(C, C), b_proj=(C,)) | biases(3, 5), {"height": 3, "width": 5, "qkv_bias": False}),
    "deit": (plain, rands(x=(1, 13, C), w_qkv=(3 * C, C), b_qkv=(3 * C,), w_proj=(C, C), b_proj=(C,)) | biases(4, 3, cls=True), {"height": 4, "width": 3}),
    "pvt": (
        pooled,
        rands(
            x=(2, 54, C), w_q=(C, C), b_q=(C,), w_kv=(2 * C, C), b_kv=(2 * C,), w_sr=(C, C, 3, 3), b_sr=(C,), ln_w=(C,), ln_b=(C,),
            w_proj=(C, C), b_proj=(C,),
        ) | biases(6, 9, 3),
        {"height": 6, "width": 9, "sr": 3},
    ),
    "cswin": (striped, rands(q=(2, 24, C), k=(2, 24, C), v=(2, 24, C)) | biases(2, 3), {"height": 4, "width": 6, "stripe": [2, 3]}),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "backend"), [*((kind, "eager") for kind in KINDS), ("deit", "cpu")])
def test_kinds(kind: str, backend: str) -> None:
    if missing(backend):
        pytest.skip(missing(backend))
    reference, inputs, params = KINDS[kind]

    def wanted(heads: int, agents: int, qkv_bias: bool = True, **more: Any) -> Tensors:
        return reference(**more)

    agree("agent", {"kind": kind, "heads": HEADS, "agents": AGENTS, **params}, inputs, wanted, backend=backend)
