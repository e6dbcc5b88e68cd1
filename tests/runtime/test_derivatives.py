"""Derivatives of derivatives, batches of them and transforms in graphs: each gives what the eager backend gives, none gives zeros."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.autograd import forward_ad

import attncc
from attncc.errors import AttnUnsupportedError
from attncc.testing.tolerances import tolerance

OP = attncc.compile("""
pattern p(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] { attend o over j { score dot(q, k)  normalize softmax  mix v } }
""")
Function = Callable[[torch.Tensor], torch.Tensor]


def dual(f: Function, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(f(forward_ad.make_dual(x, t))).tangent


def third(f: Function, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    found = f(x.requires_grad_()).square().sum()
    for _ in range(3):
        (g,) = torch.autograd.grad(found, x, create_graph=True)
        found = (g * t).sum()
    return g.detach()


def total(f: Function) -> Function:
    return lambda x: f(x).square().sum()


def batched(f: Function, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Several gradients of one result."""
    x = x.requires_grad_()
    out = f(x)
    return torch.vmap(lambda g: torch.autograd.grad(out, x, g)[0])(torch.stack([t, 2 * t, -t]))


CASES: dict[str, Callable[[Function, torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "grad": lambda f, x, t: torch.func.grad(total(f))(x),
    "jvp": lambda f, x, t: torch.func.jvp(f, (x,), (t,))[1],
    "dual numbers": dual,
    "mapped gradients": lambda f, x, t: torch.vmap(torch.func.grad(total(f)))(torch.stack([x, t])),
    "gradients of what is mapped": lambda f, x, t: torch.func.grad(lambda y: torch.vmap(f)(y).square().sum())(
        torch.stack([x, t])
    ),
    "jacobian": lambda f, x, t: torch.func.jacrev(f)(x),
    "hessian": lambda f, x, t: torch.func.hessian(total(f))(x),
    "hessian times a vector": lambda f, x, t: torch.autograd.functional.hvp(total(f), x, t)[1],
    "third derivatives": third,
    "a batch of gradients": batched,
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("case", CASES)
def test_as_eager(case: str) -> None:
    made = torch.Generator().manual_seed(0)
    q, t = (torch.randn(2, 3, 4, generator=made, dtype=torch.float64) for _ in range(2))
    k, v = (torch.randn(2, 5, 4, generator=made, dtype=torch.float64) for _ in range(2))
    want, got = (CASES[case](lambda x, b=b: OP(x, k, v, backend=b), q.clone(), t).detach() for b in ("eager", None))
    assert want.abs().max() > 0.01
    assert (got - want).abs().max() < tolerance(torch.float64, 20, float(want.abs().max()))


def test_one_tensor_in_several_places() -> None:
    made = torch.Generator().manual_seed(0)
    x, t = (0.5 * torch.randn(2, 5, 4, generator=made, dtype=torch.float64) for _ in range(2))
    want, got = (third(lambda y, b=b: OP(y, y, y, backend=b), x.clone(), t) for b in ("eager", None))
    assert (got - want).abs().max() < tolerance(torch.float64, 20, float(want.abs().max()))


def test_a_graph_is_left_for_a_transform() -> None:
    torch._dynamo.reset()
    q, k, v = (torch.randn(2, 5, 4) for _ in range(3))

    def slope(x: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda y: OP(y, k, v).square().sum())(x)

    torch.testing.assert_close(torch.compile(slope, backend="eager")(q), slope(q))


def test_the_older_way_of_batches_says_what_to_do() -> None:
    q, k, v = (torch.randn(2, 5, 4) for _ in range(3))
    with pytest.raises(AttnUnsupportedError) as caught:
        torch.autograd.functional.jacobian(lambda x: OP(x, k, v, backend="cpu"), q, vectorize=True)
    assert "torch.func" in caught.value.help
