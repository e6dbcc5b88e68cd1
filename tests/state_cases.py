"""Linear attends for the tests of the state schedule: masks, normalizers, factors, grouped heads; and inputs for them."""

from __future__ import annotations

import torch
from attends import rand

MASKS = {
    "none": "",
    "causal": "mask j <= i",
    "strict": "mask j < i",
    "reversed": "mask j >= i",
    "strictly reversed": "mask i < j",
    "band above": "mask j <= i + 5",
    "band below": "mask i - 9 >= j",
    "reversed, shifted": "mask j + 3 >= i",
}

NORMALIZERS = {"plain": "identity", "row sum": "s / (sum[j](s) + 10)"}


def linear(mask: str = "", normalize: str = "identity", factor: str = "", more: str = "", order: str = "right") -> str:
    """A pattern of linear attention. factor: what multiplies the score; more: inputs that it reads."""
    return f"""
    pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]{more}) -> o[b, h, i, e] {{
      attend o over j {{ score s = dot(q, k){factor}   {mask}   normalize {normalize}   mix v   order {order} }}
    }}"""


GROUPED = """
    pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, d], keep[b, j]: bool) -> o[b, i, (g r), d] {
      attend o over j { score dot(q, k) / sqrt(d)   mask j <= i and keep   normalize identity   mix v   order right }
    }"""
"""Query heads in groups, values as wide as keys, keys left out by data."""

FEATURES = """
    pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], a[b, h, i], g[b, h, j]) -> o[b, h, i, e] {
      attend o over j {
        score a * dot(elu(q) + 1, elu(k) + 1) * g
        mask j <= i
        normalize s / (sum[j](s) + 1)
        mix v
        order right
      }
    }"""
"""Feature maps, gains of rows and of keys, and a row sum."""


def qkv(i: int, j: int, d: int = 16, e: int = 24, b: int = 1, h: int = 2) -> dict[str, torch.Tensor]:
    """Queries and keys above 0, so that row sums are."""
    return {"q": rand(b, h, i, d).abs(), "k": rand(b, h, j, d).abs() / 2, "v": rand(b, h, j, e)}


def grouped(i: int, j: int) -> dict[str, torch.Tensor]:
    return {"q": rand(1, i, 4, 16), "k": rand(1, j, 2, 16), "v": rand(1, j, 2, 16), "keep": rand(1, j) > -1}


def featured(i: int, j: int) -> dict[str, torch.Tensor]:
    return {
        "q": rand(1, 2, i, 16), "k": rand(1, 2, j, 16), "v": rand(1, 2, j, 24), "a": rand(1, 2, i).abs(), "g": rand(1, 2, j).abs()
    }  # fmt: skip
