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
    program = (
        "pattern p(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {\n  attend o over j {\n    score dot(q, k)\n"
    )
    op = attncc.compile(program + "    normalize softmax\n    mix v\n  }\n}")
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 33, 8) for _ in range(3))
    given = [(q * size).requires_grad_(), k.requires_grad_(), v.requires_grad_()]
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(op(*given, backend="cpu").sum(), given))


@pytest.mark.parametrize(("dtype", "apart"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("extreme", ["max", "min"])
def test_close_to_the_extreme_is_not_equal_to_it(dtype: torch.dtype, apart: float, extreme: str) -> None:
    """What two scores may be apart and share the cotangent of an extreme is a rounding of the type they are computed in, no more."""
    pattern = "pattern p(q[i], k[j], v[j, e]) -> o[i, e], x[i] {\n  attend o over j {\n    score s = q * k\n    normalize softmax\n    mix v\n"
    op = attncc.compile(f"{pattern}    emit x = {extreme}(s)\n  }}\n}}")
    first = 3.0 if extreme == "max" else -3.0
    k = torch.tensor([first * (1 - apart), first, 0.5, first], dtype=dtype, requires_grad=True)
    x = op(torch.ones(5, dtype=dtype), k, torch.randn(4, 2, dtype=dtype), backend="cpu").x
    assert torch.equal(torch.autograd.grad(x.sum(), k)[0], torch.tensor([0, 2.5, 0, 2.5], dtype=dtype))
