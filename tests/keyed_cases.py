"""Histograms of pairs: emits by name, with what they read beside q, k and v."""

from __future__ import annotations

import torch
from attends import rand


def whole(*shape: int, high: int) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(sum(shape)))


HISTOGRAMS: dict[str, tuple[str, str, dict[str, tuple[str, torch.Tensor]]]] = {
    "by difference": ("l[b, h, r]", "sum[i, j | i - j + 44 == r](p)", {}),
    "by difference, reversed": ("l[b, h, r]", "sum[i, j | r == j - i + 36](p)", {}),
    "by difference, some outside": ("l[b, h, r]", "sum[i, j | j - i - 4 == r](p)", {}),
    "by distance": ("l[b, h, r]", "sum[i, j | abs(i - j) == r](p * t)", {"t": ("h", rand(2))}),
    "by bucket": ("l[b, h, r]", "sum[i, j | z[c = i - j + 44] == r](p)", {"z": ("c: 81, int", whole(81, high=9))}),
    "by clusters": ("l[b, h, x, y]", "sum[i, j | m[n = i] == x and m[n = j] == y](p)", {"m": ("n: 45, int", whole(45, high=5))}),
    "by key's cluster, for each row": ("l[b, h, i, r]", "sum[j | m == r](p)", {"m": ("b, j, int", whole(2, 45, high=7))}),
    "by key's cluster": ("l[b, h, r]", "sum[i, j | m == r](p ^ 2)", {"m": ("b, j, int", whole(2, 45, high=7))}),
    "such that": ("l[b, h, r]", "sum[i, j | j mod 2 == 0 and i - j + 44 == r and r > 10](p)", {}),
    "how many": ("l[b, h, r]", "count[i, j | abs(i - j) == r]() * 1.0", {}),
    "admitted": ("l[b, h, r]", "sum[i, j | admitted and abs(i - j) == r](1.0 + j)", {}),
    "mean by key": ("l[b, h, r]", "sum[i, j | abs(i - j) == r](p) / max(count[i, j | abs(i - j) == r](), 1)", {}),
    "of all heads": ("l[b, r]", "sum[h, i, j | i - j + 44 == r](p)", {}),
    "log weights": ("l[b, h, r]", "sum[i, j | i - j + 44 == r](s * p)", {}),
}
"""name: (the emit's name and axes, its value, what it reads: (axes, tensor))."""


def histogram(name: str, normalizer: str, mask: str) -> tuple[str, dict[str, torch.Tensor]]:
    """A pattern that emits a histogram, and what it reads beside q, k and v."""
    out, expr, more = HISTOGRAMS[name]
    inputs = ""
    for n, (axes, _) in more.items():
        kind = ": int" if axes.endswith("int") else ""
        inputs += f", {n}[{axes.removesuffix(', int')}]{kind}"
    sizes = {"r": "r = 81", "x": "x = 5, y = 5"}
    where = next(text for axis, text in sizes.items() if axis in out)
    text = (
        f"pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]{inputs}) -> o[b, h, i, e], {out} where {where} {{\n"
        f"  attend o over j {{\n    score s = dot(q, k) / 4\n    mask {mask}\n    normalize p = {normalizer}\n    mix v\n"
        f"    emit l = {expr}\n  }}\n}}\n"
    )
    return text, {n: t for n, (_, t) in more.items()}
