"""Programs whose definitions run as kernels."""

from __future__ import annotations

import torch
from attends import rand

Case = tuple[str, dict[str, torch.Tensor], tuple[str, ...]]
"""Text, inputs, and the definitions of the program that run as kernels."""


def _program(definitions: str, score: str, mix: str = "v", more: str = "", after: str = "", out: str = "o") -> str:
    return (
        f"pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]{more}) -> {out}[b, h, i, e] {{\n  {definitions}\n"
        f"  attend o over j {{ score {score} / 4   normalize sum(eps = 1e-3)   mix {mix} }}\n  {after}\n}}\n"
    )


def _inputs(**more: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"q": rand(1, 2, 19, 8), "k": rand(1, 2, 23, 8), "v": rand(1, 2, 23, 6), **more}


CASES: dict[str, Case] = {
    "feature map": (_program("f = elu(q) + 1\n  g = elu(k) + 1", "dot(f, g)"), _inputs(), ("f",)),
    "chain in one kernel": (
        _program("f = exp(q * 0.5)\n  g = f / (f + 1)\n  s = g * q + f", "dot(g, relu(k)) + dot(s, relu(k))"),
        _inputs(),
        ("f", "g", "s"),
    ),
    "gate of the result": (
        _program(
            "f = silu(q) * 2", "dot(f, relu(k) ^ 2)", more=", g[b, h, i, e], w[h]", after="y = o * sigmoid(g) + w * g", out="y"
        ),
        _inputs(g=rand(1, 2, 19, 6), w=rand(2)),
        ("f", "y"),
    ),
    "weights of features and of tokens": (
        _program("f = tanh(q * w + u)", "dot(f, sigmoid(k))", more=", w[d], u[b, h, i]"),
        _inputs(w=rand(8), u=rand(1, 2, 19)),
        ("f",),
    ),
    "norm": (
        _program("f = q * w / sqrt(mean[d](q ^ 2) + 1e-5)\n  g = k / (sum[d](abs(k)) + 1)", "dot(f, g) ^ 2", more=", w[d]"),
        _inputs(w=rand(8)),
        ("f", "g"),
    ),
    "greatest feature": (_program("f = q - max[d](q)", "dot(exp(f), relu(k))"), _inputs(), ("f",)),
}
