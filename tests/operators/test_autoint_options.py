"""AutoInt: layers of different widths, one head, a prediction without residuals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as nn
from transcribed import Tensors, agree, rand

C, FIELDS = 6, 5


def reference(
    x: torch.Tensor, form: str, heads: int, units: list[int], has_residual: bool, predict: bool, **w: torch.Tensor
) -> Tensors:
    code = form == "code"
    out: Tensors = {}
    for n, wide in enumerate(units):

        def projected(kind: str, n: int = n, x: torch.Tensor = x) -> torch.Tensor:
            t = x @ w[f"w{kind}{n}"]
            return nn.relu(t + w[f"b{kind}{n}"]) if code else t

        q, k, v = (projected(kind).unflatten(-1, (heads, wide // heads)).transpose(1, 2) for kind in "qkv")
        out[f"attn{n}"] = (q @ k.mT / ((wide // heads) ** 0.5 if code else 1)).softmax(-1)
        core = (out[f"attn{n}"] @ v).transpose(1, 2).flatten(2)
        x = nn.relu(core + (projected("r") if has_residual else 0))
        x = nn.layer_norm(x, (wide,), w[f"ln_gamma{n}"], w[f"ln_beta{n}"], 1e-8) if code else x
    out["y"] = x
    return {**out, "logit": x.flatten(1) @ w["w_pred"] + w["b_pred"]} if predict else out


def weights(code: bool, units: list[int], has_residual: bool, predict: bool) -> Tensors:
    out, before = {"x": rand(3, FIELDS, C)}, C
    for n, wide in enumerate(units):
        for kind in "qkvr" if has_residual else "qkv":
            out[f"w{kind}{n}"] = rand(before, wide, seed=ord(kind) + n)
            out |= {f"b{kind}{n}": rand(wide, seed=ord(kind) + n)} if code else {}
        out |= {f"ln_{kind}{n}": rand(wide, seed=n + len(kind)) for kind in ("gamma", "beta")} if code else {}
        before = wide
    return out | ({"w_pred": rand(FIELDS * before, 1), "b_pred": rand()} if predict else {})


ROWS: dict[str, tuple[str, int, list[int], bool, bool]] = {
    "widths that grow and shrink": ("code", 2, [4, 10, 6], True, False),
    "a prediction without residuals": ("code", 1, [3, 5], False, True),
    "the paper's, with a prediction": ("paper", 3, [6, 3], False, True),
}


@pytest.mark.parametrize("name", ROWS)
def test_options(name: str) -> None:
    form, heads, units, has_residual, predict = ROWS[name]
    params: dict[str, Any] = {"form": form, "heads": heads, "units": units, "has_residual": has_residual, "predict": predict}
    agree("autoint", params, weights(form == "code", units, has_residual, predict), reference)
