"""Variants of kernels on a GPU: results through descriptors, orders of tiles, programs that take several, the warp-specialized form."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attncc.backends.triton.backward import gradient
from attncc.backends.triton.configs import Config
from gpu_cases import CUDA, DEVICE, ODD

import attncc
from attncc.runtime.backends import named

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
PLAIN = Config(64, 64, 4, 2) if CUDA else Config(32, 32, 4, 1)
VARIANTS = {
    "plain": PLAIN,
    "stored": replace(PLAIN, stored=True),
    "stored, descriptors inside": replace(PLAIN, stored=True, inside=True),
    "stored, operands by pointers": replace(PLAIN, stored=True, described=False),
    "longest tile first": replace(PLAIN, order=1),
    "groups of heads": replace(PLAIN, order=3, stored=True),
    "persistent": replace(PLAIN, persistent=1),
    "persistent, heads first": replace(PLAIN, persistent=2, order=2, stored=True),
    "persistent, descriptors inside": replace(PLAIN, persistent=2, order=3, inside=True),
    "special": replace(PLAIN, owner=128 if CUDA else 32, warps=8 if CUDA else 4, special=4, inside=True),
    "special, stored, early": replace(
        PLAIN, owner=128 if CUDA else 32, warps=8 if CUDA else 4, special=4, inside=True, stored=True, early=True, flat=True
    ),
}
GROUPED = """
pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e]) -> o[b, i, (g r), e] {{
  attend o over j {{ score dot(q, k) / sqrt(d) {} normalize {} mix v }}
}}
"""


@pytest.mark.parametrize("n", [ODD, 512] if CUDA else [ODD, 64])
@pytest.mark.parametrize("mask", ["", "mask j <= i"], ids=["all", "causal"])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
def test_variant(config: Config, weights: str, mask: str, n: int) -> None:
    """Both passes of grouped heads, in the configuration, against eager in float64."""
    d, dtype = (64, torch.bfloat16) if CUDA else (16, torch.float32)
    generator = torch.Generator().manual_seed(n)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(DEVICE, dtype)

    inputs = {"q": rand(2, n, 6, d), "k": rand(2, n, 3, d), "v": rand(2, n, 3, d)}
    program = attncc.compile(GROUPED.format(mask, weights)).ir
    way = gradient(program, ("o",), config)
    assert way is not None
    found, saved = way.forward(inputs)
    up = rand(*found["o"].shape)
    have = way.backward(inputs, saved, {"o": up}, list(inputs))
    leaves = {name: t.double().requires_grad_() for name, t in inputs.items()}
    exact = named("eager").prepare(program, ("o",))(leaves)["o"]
    want = torch.autograd.grad(exact, list(leaves.values()), up.double())
    close = 2e-2 if dtype == torch.bfloat16 else 1e-4
    for name, h, w in [("o", found["o"], exact), *((m, have[m], w) for m, w in zip(inputs, want, strict=True))]:
        error = (h.double() - w).abs().max().item()
        assert error <= close * w.abs().max().item(), f"{name}: {error:.2e}"
