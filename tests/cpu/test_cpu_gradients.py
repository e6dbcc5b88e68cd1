"""Gradients by generated C beside those of tests/compiled: a program of several steps as an operator, extreme scores."""

from __future__ import annotations

import pytest
import torch
from attends import rand
from attncc.backends.backward import KernelGradient

import attncc
from attncc.runtime.backends import named
from attncc.runtime.operators import operator

STEPS = """
pattern picked(q[b, i, d], k[b, j, d], v[b, j, e], w[d, d']) -> o[b, i, e], lse[b, i] where c = 3 {
  x[b, i, d'] = sum[d](q * w)
  weight[b, j] = sum[d](k ^ 2)
  best = topk[j -> c](weight)
  attend o over c { score s = dot(x, k[j = best, d = d']) / 2   normalize softmax   mix v[j = best]   emit lse = lse(s) }
}
"""


def test_a_program_of_several_steps_as_an_operator() -> None:
    """Opcheck, with integers among what is saved; and autograd, in float64."""
    made = attncc.compile(STEPS)
    tensors = [rand(1, 5, 4), rand(1, 7, 4), rand(1, 7, 6), rand(4, 4)]
    tensors = [t.double().requires_grad_() for t in tensors]
    found = operator(made.program(*tensors), named("cpu"), ("o", "lse"))
    assert isinstance(found.way, KernelGradient)
    assert {s.kind for s in found.way.saved} == {"float", "int"}
    torch.library.opcheck(found.overload, tuple(tensors))
    got = [torch.autograd.grad(sum(t.sin().sum() for t in made(*tensors, backend=b)), tensors) for b in ("cpu", "eager")]
    for have, want in zip(*got, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [1e4, 1e20, 1e36])
def test_gradients_of_extreme_logits_are_finite(size: float) -> None:
    """The rounding of a score of 1e20 is far above 1: weights that are computed again are at most 1 all the same."""
    program = "pattern p(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {\n  attend o over j {\n    score dot(q, k)\n"
    op = attncc.compile(program + "    normalize softmax\n    mix v\n  }\n}")
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 33, 8) for _ in range(3))
    given = [(q * size).requires_grad_(), k.requires_grad_(), v.requires_grad_()]
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(op(*given, backend="cpu").sum(), given))
