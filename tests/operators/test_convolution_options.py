"""Operators without scores: kernels made from the input, chains of gates, slow nets, with the options that golden cases leave out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as nn
from transcribed import Reference, Tensors, agree, rand, rands


def pixels(w: torch.Tensor, x: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    """A linear map of channels."""
    out = torch.einsum("oc,bchw->bohw", w, x)
    return out if b is None else out + b[:, None, None]


def atconv(x: torch.Tensor, kernel_size: int, act: str, layout: str, height: int, width: int, bias: bool, **w: torch.Tensor) -> Tensors:
    image = x.mT.unflatten(-1, (height, width))
    kp, v = (pixels(w[f"w_{n}"], image, w.get(f"b_{n}")) for n in "kv")
    pooled = nn.adaptive_avg_pool1d(kp.flatten(2), kernel_size**2)
    r = nn.linear(nn.silu(pooled), w["w_gen"], w.get("b_gen"))
    kernel = (r - w["lam"].sigmoid()[:, None] * r.mean(-1, keepdim=True)).unflatten(-1, (kernel_size, kernel_size))
    b, c = kernel.shape[:2]
    core = nn.conv2d(v.flatten(0, 1)[None], kernel.flatten(0, 1)[:, None], padding=kernel_size // 2, groups=b * c)[0].unflatten(0, (b, c))
    return {"y": pixels(w["w_o"], core, w.get("b_o")).flatten(2).mT}


def hornet(x: torch.Tensor, order: int, scale: float, spatial_mixer: str, **w: torch.Tensor) -> Tensors:
    widths = [x.shape[1] >> n for n in range(order - 1, -1, -1)]
    p, a = pixels(w["w_in"], x, w["b_in"]).split([widths[0], sum(widths)], 1)

    def normed(t: torch.Tensor, n: int) -> torch.Tensor:
        return nn.layer_norm(t.movedim(1, -1), t.shape[1:2], w[f"ln{n}_w"], w[f"ln{n}_b"], 1e-6).movedim(-1, 1)

    near, far = normed(a, 1).chunk(2, 1)
    near = nn.conv2d(near, w["w_dw3"][:, None], padding=1, groups=near.shape[1])
    h, width = x.shape[2:]
    filt = nn.interpolate(w["filt"].movedim(-1, 0), (h, width // 2 + 1), mode="bilinear", align_corners=True)
    spectrum = torch.fft.rfft2(far, norm="ortho") * torch.complex(filt[0], filt[1])
    far = torch.fft.irfft2(spectrum, s=(h, width), norm="ortho")
    gates = (scale * normed(torch.stack([near, far], 2).flatten(1, 2), 2)).split(widths, 1)
    p = p * gates[0]
    for n, gate in enumerate(gates[1:]):
        p = pixels(w[f"w_pw{n}"], p, w[f"b_pw{n}"]) * gate
    return {"y": pixels(w["w_out"], p, w["b_out"])}


def slow(coords: torch.Tensor, **w: torch.Tensor) -> torch.Tensor:
    """[o, positions] of a slow net without a context. coords: [i, positions]."""
    f = torch.sin(torch.einsum("lui,ip->lup", w["filt_w"], coords) + w["filt_b"][..., None])
    t = f[0]
    for n in range(len(w["lin_w"])):
        t = f[n + 1] * (w["lin_w"][n] @ t + w["lin_b"][n][:, None]) + w["bias_p"].flatten()
    return w["out_w"] @ t + w["out_b"][:, None]


def interact(yin: torch.Tensor, op: str, **w: torch.Tensor) -> Tensors:
    of_channels = slow(w["c_coords"], **{n[2:]: t for n, t in w.items() if n != "c_coords"})[0]
    score = torch.sigmoid(of_channels * yin.mean((2, 3)) ** 2)
    return {"y": yin * score[..., None, None], "score": score}


def wide(x: torch.Tensor, z: torch.Tensor, op: str, coords: torch.Tensor, **w: torch.Tensor) -> Tensors:
    return {"y": (x * slow(coords.flatten(1), **w).unflatten(-1, x.shape[2:])) @ z}


def net(inputs: int, outputs: int, grid: tuple[int, ...], prefix: str = "") -> Tensors:
    layers, u = 2, 5
    made = rands(
        70, coords=(inputs, *grid), filt_w=(layers + 1, u, inputs), filt_b=(layers + 1, u), lin_w=(layers, u, u), lin_b=(layers, u),
        bias_p=grid, out_w=(outputs, u), out_b=(outputs,),
    )  # fmt: skip
    return {prefix + n: t for n, t in made.items()}


def square(c: int, names: str, bias: bool = True) -> Tensors:
    return {f"{kind}_{n}": rand(*((c, c) if kind == "w" else (c,)), seed=ord(n)) for n in names for kind in ("wb" if bias else "w")}


def convolved(size: int, bias: bool) -> Tensors:
    c, t = 3, size**2
    return {"x": rand(2, 35, c), "w_gen": rand(t, t), "lam": rand(c, seed=3), **square(c, "kvo", bias), **({"b_gen": rand(t)} if bias else {})}


def gated(order: int, c: int, h: int, w: int) -> Tensors:
    widths = [c >> n for n in range(order - 1, -1, -1)]
    s = sum(widths)
    out = rands(
        20, x=(2, c, h, w), w_in=(widths[0] + s, c), b_in=(widths[0] + s,), ln1_w=(s,), ln1_b=(s,), ln2_w=(s,), ln2_b=(s,),
        w_dw3=(s // 2, 3, 3), filt=(s // 2, 4, 3, 2), w_out=(c, c), b_out=(c,),
    )  # fmt: skip
    for n in range(order - 1):
        out |= {f"w_pw{n}": rand(widths[n + 1], widths[n], seed=n), f"b_pw{n}": rand(widths[n + 1], seed=n)}
    return out


Row = tuple[str, Reference, Tensors, dict[str, Any], tuple[str, ...]]
ROWS: dict[str, Row] = {
    f"atconv {size} {bias}": (
        "atconv", atconv, convolved(size, bias),
        {"kernel_size": size, "act": "silu", "layout": "bnc", "height": 5, "width": 7, "bias": bias}, (),
    )
    for size, bias in ((1, True), (5, False))
} | {
    f"hornet {w} wide": ("hornet", hornet, gated(2, 8, 5, w), {"order": 2, "scale": 0.5, "spatial_mixer": "global_local_filter"}, ())
    for w in (6, 7)
} | {
    "hyperzzw channels": ("hyperzzw", interact, {"yin": rand(2, 4, 3, 5), **net(1, 1, (4,), "c_")}, {"op": "channel_interact"}, ()),
    "hyperzzw rows and columns": ("hyperzzw", wide, {**rands(x=(2, 3, 4, 4), z=(2, 3, 4, 5)), **net(2, 3, (4, 4))}, {"op": "global"}, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_options(name: str) -> None:
    slug, reference, inputs, params, fixed = ROWS[name]
    agree(slug, params, inputs, reference, fixed)


def test_a_single_pixel() -> None:
    """Every neighbour is outside, every frequency is the mean."""
    agree("hornet", {"order": 2, "scale": math.pi, "spatial_mixer": "global_local_filter"}, gated(2, 8, 1, 1), hornet)
