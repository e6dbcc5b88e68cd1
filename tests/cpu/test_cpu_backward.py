"""Gradients by generated C against eager, in float64 and float32."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, qkv, rand
from attncc.backends.backward import KernelGradient

import attncc
from attncc.runtime.backends import named
from attncc.runtime.gradient import gradient


def agree(made: attncc.Op, inputs: dict[str, torch.Tensor], tolerance: float, dtype: torch.dtype = torch.float64) -> None:
    """Gradients of all float inputs by kernels are those of eager in float64, for cotangents drawn at random."""
    inputs = {n: t.to(dtype) if t.is_floating_point() else t for n, t in inputs.items()}
    floats = [n for n, t in inputs.items() if t.is_floating_point()]
    program = made.specialise({n: t.dim() for n, t in inputs.items()})
    asked = tuple(o.name for o in program.outputs)
    way = gradient(program, named("cpu"), asked)
    assert isinstance(way, KernelGradient)
    found, saved = way.forward(inputs)
    generator = torch.Generator().manual_seed(7)
    grads = {n: torch.randn(t.shape, generator=generator).to(t) for n, t in found.items()}
    have = way.backward(inputs, saved, grads, floats)
    leaves = {n: inputs[n].double().requires_grad_() for n in floats}
    exact = named("eager").prepare(program, asked)({**inputs, **leaves})
    for name in asked:
        assert torch.equal(found[name].isposinf(), exact[name].isposinf()), name
        assert torch.equal(found[name].isneginf(), exact[name].isneginf()), name
    total = sum((exact[o].nan_to_num(0, 0, 0) * g.double()).sum() for o, g in grads.items())
    for (name, leaf), want in zip(leaves.items(), torch.autograd.grad(total, list(leaves.values())), strict=True):
        assert have[name].shape == leaf.shape and torch.isfinite(have[name]).all(), name
        error = (have[name].double() - want).abs().max().item()
        assert error <= tolerance * max(1.0, want.abs().max().item()), f"{name}: error {error:.2e}"


CLAUSES = {
    "softmax": "mask j < i - 5\nnormalize softmax",
    "sink": "mask j <= i\nnormalize softmax(s; sink = 1)",
    "sigmoid": "mask j <= i\nnormalize sigmoid",
    "linear post": "normalize p = softmax\npost p * s",
    "post": "mask j <= i + 4\nnormalize p = softmax\npost p ^ 2",
}


@pytest.mark.parametrize("clauses", CLAUSES.values(), ids=CLAUSES)
def test_weights(clauses: str) -> None:
    made = op(attend(f"score s = dot(q, k) / 4\n{clauses}\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]"))
    agree(made, qkv(), 1e-12)
    agree(made, qkv(i=1, j=70), 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types(dtype: torch.dtype) -> None:
    made = op(attend("score s = dot(q, k) / 4\nmask j <= i\nnormalize softmax\nmix v"))
    agree(made, qkv(), 5e-5 if dtype == torch.float32 else 3e-2, dtype)


def test_grouped_heads_with_a_slope() -> None:
    text = """
    pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e], slope[(g r)]) -> o[b, i, (g r), e] {
      attend o over j { score dot(q, k) / sqrt(d) - slope * abs(i - j)   mask j <= i   normalize softmax   mix v }
    }"""
    agree(op(text), {"q": rand(2, 37, 6, 16), "k": rand(2, 45, 3, 16), "v": rand(2, 45, 3, 8), "slope": rand(6)}, 1e-12)
