"""The scale of gradients that cancel: that of the terms, which a wrong kernel exceeds by far."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.runtime.backends import named
from attncc.testing.terms import first_terms
from attncc.testing.tolerances import tolerance

NORMALIZERS = (
    "softmax",
    "softmax[i]",
    "softmax(s; sink = 0.5)",
    "sum(eps = 1)",
    "relu(s) / (1 + sqrt(sum[j](relu(s) ^ 2)))",
    "sigmoid",
)


def gradients(normalizer: str, keys: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Output and gradient by q of a program, and of the one with first terms."""
    source = f"""pattern p(q[i, d], k[j, d], v[j, e]) -> o[i, e] {{
  attend o over j {{ score s = dot(q, k)   mask j <= i   normalize {normalizer}   mix v }}
}}"""
    program = attncc.compile(source).ir
    made = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(n, 4, generator=made, dtype=torch.float64) for n in (keys, keys, keys))
    g, out = torch.randn(keys, 4, generator=made, dtype=torch.float64), []
    for one in (program, first_terms(program)):
        leaf = q.clone().requires_grad_()
        o = named("eager").prepare(one, ("o",))({"q": leaf, "k": k, "v": v})["o"]
        out += [o.detach(), torch.autograd.grad(o, leaf, g)[0]]
    return out[0], out[1], out[2], out[3]


@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_values_are_the_same_and_terms_are_not_smaller(normalizer: str) -> None:
    o, grad, same, term = gradients(normalizer, 6)
    torch.testing.assert_close(o, same)
    if normalizer == "sigmoid":
        assert torch.equal(grad, term), "nothing is subtracted"
    else:
        assert not torch.allclose(grad, term)


def test_a_row_of_one_key() -> None:
    """Its gradient is 0, that of p dp is p dp k: what kernels round."""
    _, grad, _, term = gradients("softmax", 1)
    assert grad.abs().max() == 0 and term.abs().max() > 0.1


def test_a_kernel_without_delta_is_still_found_out() -> None:
    _, grad, _, term = gradients("softmax", 6)
    assert (term - grad).abs().max() > 1e3 * tolerance(torch.float32, 24, float(term.abs().max()))
