"""Ops as PyTorch operators: opcheck, torch.compile without graph breaks or recompiles, gradients asked for, autocast."""

from __future__ import annotations

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import attncc
from attncc.runtime.backends import named
from attncc.runtime.operators import operator

TEXT = """
pattern sigmoid_bias(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], gain[h]?; bias: float = -log(j)) -> o[b, h, i, e], lse[b, h, i], best[b, h, i]: int {
  attend o over j { score dot(q, k) / sqrt(d) * (gain ?? 1) + bias   mask j <= i + 2   normalize sigmoid   mix v   emit lse = lse(s) }
  best = argmax[j](dot(q, k))
}
"""


def qkv(i: int = 5, j: int = 7, dtype: torch.dtype = torch.float32, grad: bool = True) -> list[torch.Tensor]:
    shapes = ((2, 3, i, 4), (2, 3, j, 4), (2, 3, j, 6))
    return [torch.randn(s, dtype=dtype, requires_grad=grad) for s in shapes]


@pytest.fixture
def op() -> attncc.Op:
    return attncc.compile(TEXT)


def test_opcheck(op: attncc.Op) -> None:
    made = operator(op.program(*qkv()), named("eager"), ("o", "lse", "best"))
    for tensors in (qkv(), qkv(1, 9), [t.detach() for t in qkv()], [t.transpose(0, 1).contiguous().transpose(0, 1) for t in qkv()]):
        torch.library.opcheck(made.overload, tuple(t.detach().requires_grad_(t.requires_grad) for t in tensors))


def test_compiles_whole_and_once(op: attncc.Op) -> None:
    counter = CompileCounter()

    @torch.compile(backend=counter, fullgraph=True, dynamic=None)
    def model(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return op(q * 2, k, v).o.relu()

    for n, length in enumerate((17, 33, 48, 65, 100)):
        tensors = qkv(length, length + 3, grad=False)
        torch.testing.assert_close(model(*tensors), op(tensors[0] * 2, *tensors[1:]).o.relu())
        assert counter.frame_count <= min(n + 1, 2), "no recompile after the second length"


def test_compiled_gradients(op: attncc.Op) -> None:
    model = torch.compile(lambda *x: op(*x).o.sin().sum(), backend="aot_eager", fullgraph=True)
    tensors = qkv()
    grads = torch.autograd.grad(model(*tensors), tensors)
    torch.testing.assert_close(grads, torch.autograd.grad(op(*tensors).o.sin().sum(), tensors))


def test_only_the_asked_gradients(op: attncc.Op) -> None:
    made = operator(op.program(*qkv()), named("eager"), ("o", "lse", "best"))
    q, k, v = qkv()
    o, lse, best = made.overload(q, k.detach(), v.detach())
    assert o.requires_grad and lse.requires_grad and not best.requires_grad
    (g,) = torch.autograd.grad(lse.sum(), q)
    torch.testing.assert_close(g, torch.autograd.grad(op(q, k, v).lse.sum(), q)[0])


def test_second_derivatives(op: attncc.Op) -> None:
    made = operator(op.program(*qkv()), named("eager"), ("o", "lse", "best"))
    tensors = qkv(2, 3, torch.float64)
    assert torch.autograd.gradgradcheck(lambda *x: made.overload(*x)[0], tensors)


def test_aliases_are_copied() -> None:
    same = attncc.compile("pattern same(x[n]) -> y[n], z[n] { y = x   z = x }")
    made = operator(same.ir, named("eager"), ("y", "z"))
    x = torch.randn(4)
    y, z = made.overload(x)
    assert len({t.data_ptr() for t in (x, y, z)}) == 3
    torch.library.opcheck(made.overload, (x,))


def test_autocast(op: attncc.Op) -> None:
    q, k, v = qkv()
    with torch.autocast("cpu", torch.bfloat16):
        out = op(q, k, v)
        want = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert out.o.dtype == want.dtype == torch.bfloat16 and out.best.dtype == torch.int64
    with torch.autocast("cpu", torch.bfloat16):
        assert op(*(t.double() for t in (q, k, v))).o.dtype == torch.float64


def test_names_that_python_reserves() -> None:
    f = attncc.compile("pattern f(global[n], lambda[n]) -> class[n], o[n] { class = global * lambda   o = global }")
    x = torch.randn(3)
    out = f(x, x)
    torch.testing.assert_close(out[0], x * x)
    torch.testing.assert_close(f(**{"global": x, "lambda": x}, outputs=("class",)), x * x)


def test_a_gradient_inside_a_pattern() -> None:
    f = attncc.compile("pattern f(x[n], w[n]) -> g[n], l { l = sum(w * x ^ 3)   g = stop_grad(grad(l, x)) }")
    made = operator(f.ir, named("eager"), ("g", "l"))
    x, w = torch.randn(4, requires_grad=True), torch.randn(4)
    torch.testing.assert_close(made.overload(x, w)[0], 3 * w * x.detach() ** 2)


@pytest.mark.parametrize("backend", ["eager", "cpu"])
def test_more_tensors_than_an_operator_has_arguments(backend: str) -> None:
    names = [f"x{n}" for n in range(66)]
    total = " + ".join(names)
    many = attncc.compile(
        f"pattern many({', '.join(f'{n}[b, i, d]' for n in names)}) -> o[b, i, d] {{"
        f" t = {total}   attend o over i' {{ score dot(x0, x1') / sqrt(d)   normalize softmax   mix t' }} }}"
    )
    tensors = [torch.randn(1, 3, 2, requires_grad=n % 7 != 3) for n in range(66)]

    def plain(*x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(x[0] @ x[1].mT / 2**0.5, -1) @ sum(x[1:], x[0])

    wanted = [t for t in tensors if t.requires_grad]
    want = plain(*tensors)
    grads = torch.autograd.grad(want.sin().sum(), wanted)
    compiled = torch.compile(lambda *x: many(*x, backend=backend), backend="aot_eager", fullgraph=True)
    for call in (lambda *x: many(*x, backend=backend), compiled):
        got = call(*tensors)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(torch.autograd.grad(got.sin().sum(), wanted), grads, rtol=1e-4, atol=1e-4)
    made = operator(many.program(*tensors), named("eager"), ("o",))
    torch.library.opcheck(made.overload, (tensors,))
