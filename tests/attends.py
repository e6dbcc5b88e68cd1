"""Attends for the tests of every compiling backend: clauses by name, whole patterns as text, and inputs for them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

import attncc


@functools.cache
def op(text: str, **params: object) -> attncc.Op:
    return attncc.compile(text, **params)


def attend(clauses: str, more: str = "", outputs: str = "", over: str = "j") -> str:
    """A pattern of self or cross attention with four axes."""
    return (
        f"pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]{more}) -> o[b, h, i, e]{outputs} {{\n"
        f"  attend o over {over} {{\n    {clauses}\n  }}\n}}\n"
    )


def qkv(
    b: int = 2, h: int = 2, i: int = 37, j: int = 45, d: int = 16, e: int = 24, **more: torch.Tensor
) -> dict[str, torch.Tensor]:
    """Inputs of `attend`'s patterns."""
    generator = torch.Generator().manual_seed(i * 1000 + j)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {"q": rand(b, h, i, d), "k": rand(b, h, j, d), "v": rand(b, h, j, e), **more}


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


SCORE = "score dot(q, k) / sqrt(d)"
DISTANCE = "score -dist2(q, k) / 8"

NORMALIZERS = {
    "softmax": "softmax",
    "softmax of another temperature": "softmax(s / 3)",
    "sink": "softmax(s; sink = 0.5)",
    "plus one": "softmax(s; plus_one = true)",
    "sigmoid": "sigmoid",
    "sigmoid with a bias": "sigmoid(s - log(j.size))",
    "relu squared": "relu(s) ^ 2",
    "relu squared by its sum": "relu(s) ^ 2 / (sum[j](relu(s) ^ 2) + 1e-6)",
    "gelu": "gelu",
    "silu": "silu",
    "exp": "exp",
    "identity": "identity",
    "sum": "exp(s) / (1 + sum[j](exp(s)))",
    "l1": "l1",
    "l2": "l2",
    "softplus over the root of the sum": "softplus(s) / sqrt(sum[j](softplus(s)))",
}

SCORES = {
    "distance": DISTANCE,
    "distance in a metric": "score -dist2(q * w, k * w) / 8",
    "cosine": "score dot(unit[d](q), unit[d](k)) * exp(t)",
    "bilinear": "score dot(q * w, k) + dot(q, k) ^ 2 / 40",
    "two products": "score dot(q, k) / 4 + dot(q, w) * dot(k, w) / 8",
    "mean": "score mean[d](q * k)",
    "soft cap": "score 5 * tanh(dot(q, k) / 5)",
    "bias by distance": "score dot(q, k) / 4 - exp(t) * abs(i - j)",
    "bias by key": "score dot(q, k) / 4 + u",
    "table": "score dot(q, k) / 4 + r[c = min(max(j - i + 8, 0), 16)]",
    "table with a fill": "score dot(q, k) / 4 + r[c = j - i + 8 else -1]",
    "pairs given": "score dot(q, k) / 4 + g",
    "where": "score where(j > 2 * i, dot(q, k), -dot(q, k)) / 4",
}

POSTS: dict[str, tuple[str, dict[str, tuple[str, tuple[int, ...]]]]] = {
    "gain by key": ("post p * u", {"u": ("b, j", (2, 45))}),
    "gain by row and key": ("post p * t * exp(u)", {"t": ("h, i", (2, 37)), "u": ("b, j", (2, 45))}),
    "some keys": ("post where(j mod 3 == 0, 2 * p, p / 2)", {}),
    "not linear": ("post p ^ 2", {}),
    "threshold": ("post where(p > 0.03, p, 0)", {}),
    "sharpened again": ("post w = p ^ 2\npost w / sum[j](w)", {}),
}

EMITS = {
    "lse": "l[b, h, i] = lse(s)",
    "greatest": "l[b, h, i] = max[j](s)",
    "entropy": "l[b, h, i] = -sum[j](p * log(p))",
    "expected position": "l[b, h, i] = sum[j](p * j)",
    "sum of squares": "l[b, h, i] = sum[j](p ^ 2)",
    "how many": "l[b, h, i] = count[j]()",
    "such that": "l[b, h, i] = sum[j | j mod 2 == 0](p)",
    "by key": "l[b, h, j] = sum[i](p)",
    "by key, absolute": "l[b, j] = sum[h, i](abs(p) * t)",
    "in all": "l[b, h] = sum[i, j](p * abs(i - j)) / i.size",
}

MASKS = {
    "causal": "j <= i",
    "bottom right": "j <= i + j.size - i.size",
    "window": "abs(i - j) <= 6",
    "window or first keys": "j < 4 or (j <= i and i - j < 10)",
    "blocks": "i div 8 == j div 8",
    "dilated": "(i - j) mod 4 == 0",
    "dilated window": "(i - j) mod 3 == 0 and abs(i - j) <= 12",
    "lengths": "j < n",
    "documents": "g == m",
    "kept keys": "c",
    "kept keys, causal": "c and j <= i",
    "prefix": "j <= i or j < n",
    "not a window": "not (abs(i - j) <= 6)",
    "products of positions": "(i * j) mod 7 < 3",
    "nothing": "j < 0",
}

STRIDES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "b n h d": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
    "features first": lambda t: t.transpose(2, 3).contiguous().transpose(2, 3),
    "every other": lambda t: torch.stack([t, t], -1).flatten(-2)[..., ::2],
    "one for all batches": lambda t: t[:1].expand_as(t),
    "backwards storage": lambda t: t.flip(2).contiguous().flip(2),
}

GROUPED = """
pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e], slope[(g r)]) -> o[b, i, (g r), e], l[b, (g r), i] {
  attend o over j {
    score      dot(q, k) / sqrt(d) - slope * abs(i - j)
    mask       j <= i
    normalize  softmax
    mix        v
    emit       l = lse(s)
  }
}
"""

SEGMENTS = """
pattern t(q[b, i, d], k[b, j, d], v[b, j, e], mk[m, d], mv[m, e]) -> o[b, i, e], l[b, i] {
  attend o {
    over j { score dot(q, k) / 4    mask j <= i   mix v }
    over m { score dot(q, mk) / 4                 mix mv }
    normalize NORMALIZER
    emit l = lse(s)
  }
}
"""

GRIDS = {
    1: "pattern t(q[b, x, d], k[b, x, d], v[b, x, e]) -> o[b, x, e] { attend o over x' { ",
    2: "pattern t(q[b, y, x, d], k[b, y, x, d], v[b, y, x, e]) -> o[b, y, x, e] { attend o over (y', x') { ",
    3: "pattern t(q[b, z, y, x, d], k[b, z, y, x, d], v[b, z, y, x, e]) -> o[b, z, y, x, e] { attend o over (z', y', x') { ",
}

UNFUSED = {
    "scores by the absolute difference": ("score sum[d](abs(q - k))", "no matrix product"),
    "weights of another pair": ("score dot(q, k)\nnormalize p = softmax\npost w = p[i = max(i - 1, 0)]\nmix v", "another pair"),
    "rows without a key": ("score dot(q, k)\nmask j <= i\nnormalize softmax\nmix v\nempty error", "error"),
}
