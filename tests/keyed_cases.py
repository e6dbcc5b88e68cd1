"""Histograms of pairs: emits by name, with what they read beside q, k and v."""

from __future__ import annotations

import pytest
import torch
from attends import GRIDS, GROUPED, SEGMENTS, attend, qkv, rand

from attncc.ir.expr import TRUE, Const
from attncc.tile import bands


def cut(monkeypatch: pytest.MonkeyPatch, number: int = 5) -> None:
    """Every keyed sum that can be cut into bands is, into so many."""
    monkeypatch.setattr(bands, "cheaper", lambda program, processors: TRUE)
    monkeypatch.setattr(bands, "count", lambda program, processors: Const(number))


def whole(*shape: int, high: int) -> torch.Tensor:
    return torch.randint(0, high, shape, generator=torch.Generator().manual_seed(sum(shape)))


HISTOGRAMS: dict[str, tuple[str, str, dict[str, tuple[str, torch.Tensor]]]] = {
    "by difference": ("l[b, h, r]", "sum[i, j | i - j + 44 == r](p)", {}),
    "by difference, reversed": ("l[b, h, r]", "sum[i, j | r == j - i + 36](p)", {}),
    "by difference, some outside": ("l[b, h, r]", "sum[i, j | j - i - 4 == r](p)", {}),
    "by distance": ("l[b, h, r]", "sum[i, j | abs(i - j) == r](p * t)", {"t": ("h", rand(2))}),
    "by bucket": ("l[b, h, r]", "sum[i, j | z[c = i - j + 44] == r](p)", {"z": ("c: 81, int", whole(81, high=9))}),
    "by clusters": ("l[b, h, x, y]", "sum[i, j | m[n = i] == x and m[n = j] == y](p)", {"m": ("n: 45, int", whole(45, high=5))}),
    "by key's cluster, for each row": ("l[b, h, i, r]", "sum[j | m == r](p)", {"m": ("b, j, int", whole(1, 45, high=7))}),
    "by key's cluster": ("l[b, h, r]", "sum[i, j | m == r](p ^ 2)", {"m": ("b, j, int", whole(1, 45, high=7))}),
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


_SCORE = "score s = dot(q, k) / 4 + "
_END = "normalize softmax\nmix v"
_PLANE = "score dot(q, k') / 4 + r[g = y - y' + 4, f = x - x' + 6]\nnormalize softmax\nmix v' } }"
TABLES: dict[str, tuple[str, dict[str, torch.Tensor]]] = {
    "difference": (attend(f"{_SCORE}r[c = j - i + 36]\n{_END}", ", r[h, c: 81]"), qkv(r=rand(2, 81))),
    "clamped": (
        attend(f"{_SCORE}r[c = min(max(j - i + 8, 0), 16)]\nmask j <= i + 9\n{_END}", ", r[h, c: 17]"),
        qkv(b=1, r=rand(2, 17)),
    ),
    "with a fill": (
        attend(f"{_SCORE}r[c = j - i + 8 else -1]\nnormalize sigmoid\nmix v", ", r[h, c: 17]"),
        qkv(b=1, r=rand(2, 17)),
    ),
    "buckets": (
        attend(f"{_SCORE}r[c = z[y = i - j + 44]]\n{_END}", ", r[h, c: 9], z[y: 81]: int"),
        qkv(b=1, r=rand(2, 9), z=whole(81, high=9)),
    ),
    "plane": (
        GRIDS[2].replace("v[b, y, x, e])", "v[b, y, x, e], r[g: 9, f: 13])") + _PLANE,
        {"q": rand(2, 5, 7, 16), "k": rand(2, 5, 7, 16), "v": rand(2, 5, 7, 8), "r": rand(9, 13)},
    ),
    "clusters": (
        attend(f"{_SCORE}r[c = g, y = m]\n{_END}", ", r[h, c: 4, y: 5], g[b, i]: int, m[b, j]: int"),
        qkv(b=1, r=rand(2, 4, 5), g=whole(1, 37, high=4), m=whole(1, 45, high=5)),
    ),
    "gain": (
        attend("score s = dot(q, k) / 4\nnormalize p = softmax\npost p * r[c = j - i + 36]\nmix v", ", r[h, c: 81]"),
        qkv(b=1, r=rand(2, 81)),
    ),
    "two tables": (
        attend(f"{_SCORE}r[c = j - i + 36] + z[y = abs(i - j) else 0]\nmask j <= i + 9\n{_END}", ", r[h, c: 81], z[y: 20]"),
        qkv(b=1, r=rand(2, 81), z=rand(20)),
    ),
    "grouped heads": (
        GROUPED.replace("slope[(g r)])", "slope[(g r)], t[(g r), c: 81])").replace("slope * abs(i - j)", "slope * t[c = i - j + 44]"),
        {"q": rand(1, 37, 4, 16), "k": rand(1, 45, 2, 16), "v": rand(1, 45, 2, 8), "slope": rand(4), "t": rand(4, 81)},
    ),
    "one for all heads": (
        attend(f"{_SCORE}broadcast[c -> h](r)\n{_END}", ", r[c, i, j]"),
        qkv(b=1, r=rand(1, 37, 45)),
    ),
    "two kinds of keys": (
        SEGMENTS.replace("NORMALIZER", "softmax")
        .replace("mv[m, e])", "mv[m, e], t[c: 81])")
        .replace("score dot(q, k) / 4 ", "score dot(q, k) / 4 + t[c = i - j + 44]"),
        {"q": rand(2, 37, 16), "k": rand(2, 45, 16), "v": rand(2, 45, 8), "mk": rand(5, 16), "mv": rand(5, 8), "t": rand(81)},
    ),
    "dilated": (
        attend(f"{_SCORE}r[c = j - i + 36]\nmask (i - j) mod 3 == 0 and abs(i - j) < 20\n{_END}", ", r[c: 81]"),
        qkv(b=1, r=rand(81)),
    ),
    "products with a table": (
        attend(f"score dot(q, k) / 4 + dot(q, r[c = j - i + 8 else 0]) / 4\nmask j <= i + 9\n{_END}", ", r[h, c: 17, d]"),
        qkv(b=1, r=rand(2, 17, 16)),
    ),
    "documents": (
        attend(f"{_SCORE}r[c = j - i + 36]\nmask g == m and j <= i\n{_END}", ", r[c: 81], g[b, i]: int, m[b, j]: int"),
        qkv(r=rand(81), g=torch.arange(37).repeat(2, 1) // 9, m=torch.arange(45).repeat(2, 1) // 9),
    ),
}
"""Tables read at pairs: patterns, and inputs for them."""
