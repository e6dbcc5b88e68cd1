"""The eager backend: edges, dtypes, gradients, blocks of rows, memory."""

from __future__ import annotations

import math

import pytest
import torch
from attncc.backends.eager import Eager

import attncc
from attncc.testing.tolerances import tolerance

F64 = torch.float64


def op(clauses: str, extra: str = "", out: str = "o[b, h, i, e]", params: str = "", **given: object) -> attncc.Op:
    text = f"pattern f(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]{extra}{'; ' + params if params else ''}) -> {out} {{ attend o over j {{ {clauses} }} }}"
    return attncc.compile(text, **given)


SOFTMAX = "score dot(q, k) / sqrt(d)   normalize softmax   mix v"


def qkv(i: int, j: int, dtype: torch.dtype = F64, grad: bool = False) -> list[torch.Tensor]:
    shapes = ((2, 3, i, 4), (2, 3, j, 4), (2, 3, j, 5))
    return [torch.randn(s, dtype=dtype, requires_grad=grad) for s in shapes]


@pytest.mark.parametrize(("i", "j"), [(1, 1), (0, 3), (3, 0), (0, 0), (1, 7), (7, 1)])
def test_small_and_empty_axes(i: int, j: int) -> None:
    q, k, v = qkv(i, j)
    out = op(SOFTMAX)(q, k, v)
    want = torch.softmax(q @ k.mT / 2, -1) @ v if j else torch.zeros(2, 3, i, 5, dtype=F64)
    torch.testing.assert_close(out, want)
    q, k, v = qkv(i, j, grad=True)
    for kind in ("softmax", "sigmoid", "relu(s) ^ 2", "sum(eps = 1e-6)", "exp"):
        grads = torch.autograd.grad(op(f"score dot(q, k) normalize {kind} mix v")(q, k, v).sum(), (q, k, v))
        assert all(torch.isfinite(g).all() for g in grads)


def test_fully_masked_rows_give_zero_and_no_gradient() -> None:
    q, k, v = qkv(4, 6, grad=True)
    keep = torch.rand(2, 6) > 0.4
    keep[0, 0], keep[1] = True, False
    f = op(SOFTMAX + "   mask keep   emit lse = lse(s)", ", keep[b, j]: bool", "o[b, h, i, e], lse[b, h, i]")
    o, lse = f(q, k, v, keep)
    assert (o[1] == 0).all() and (lse[1] == -math.inf).all() and torch.isfinite(lse[0]).all()
    grads = torch.autograd.grad(o.sum() + lse[0].sum(), (q, k, v))
    assert all((g[1] == 0).all() and torch.isfinite(g).all() for g in grads)
    uniform = op(SOFTMAX + "   mask keep   empty uniform", ", keep[b, j]: bool")(q, k, v, keep)
    torch.testing.assert_close(uniform[1], v[1].mean(-2, keepdim=True).expand(3, 4, 5))
    with pytest.raises(attncc.AttnValueError, match="no admitted key"):
        op(SOFTMAX + "   mask keep   empty error", ", keep[b, j]: bool")(q, k, v, keep)


@pytest.mark.parametrize("size", [1e4, 1e150, 1e-300])
def test_extreme_logits(size: float) -> None:
    q, k, v = qkv(5, 7, grad=True)
    out = op(SOFTMAX)(q * size, k, v)
    want = torch.softmax(q * size @ k.mT / 2, -1) @ v
    torch.testing.assert_close(out, want)
    assert all(torch.isfinite(g).all() for g in torch.autograd.grad(out.sum(), (q, k, v)))


def test_a_score_of_minus_infinity_is_weight_zero() -> None:
    q, k, v = qkv(3, 4)
    bias = torch.zeros(4, dtype=F64)
    bias[2] = -math.inf
    f = op("score dot(q, k) + bias   normalize softmax   mix v", ", bias[j]")
    torch.testing.assert_close(f(q, k, v, bias), f(q, k[:, :, [0, 1, 3]], v[:, :, [0, 1, 3]], bias[[0, 1, 3]]))
    assert (f(q, k, v, torch.full((4,), -math.inf, dtype=F64)) == 0).all()


def test_sink_and_plus_one() -> None:
    q, k, v = qkv(3, 4, grad=True)
    sink = torch.randn(3, dtype=F64, requires_grad=True)
    f = op("score dot(q, k)   normalize softmax(s; sink = b0)   mix v", ", b0[h]")
    s = q @ k.mT
    weights = torch.softmax(torch.cat([s, sink[:, None, None].expand(2, 3, 3, 1)], -1), -1)[..., :-1]
    torch.testing.assert_close(f(q, k, v, sink), weights @ v)
    assert torch.autograd.gradcheck(f, (q, k, v, sink))
    one = op("score dot(q, k)   normalize softmax(s; plus_one = true)   mix v")(q, k, v)
    torch.testing.assert_close(one, s.exp() / (1 + s.exp().sum(-1, keepdim=True)) @ v)


@pytest.mark.parametrize(
    "clauses",
    [
        SOFTMAX,
        "score dot(q, k)   mask j <= i   normalize softmax   mix v",
        "score dot(q, k)   mask j <= i   normalize sigmoid   mix v",
        "score dot(q, k)   normalize sum(eps = 0.5)   mix v",
        "score dot(q, k)   normalize l1(eps = 0.1)   mix v",
        "score dot(q, k)   normalize l2   mix v",
        "score dot(q, k)   normalize softmax[i]   mix v",
        "score dot(q, k)   normalize a = softmax[i](s), p = a / (sum[j](a) + 1e-3)   mix v",
        "score -dist2(q, k) / 2   normalize exp   mix v",
        "score -dist1(q, k)   normalize softmax   mix v",
        "score dot(unit[d](q), unit[d](k)) * 3   normalize relu(s) ^ 2   mix v",
        "score tanh(dot(q, k)) * 2   normalize softmax   post p * (1 + 0.1 * j) - p ^ 2   mix v",
        "score a = dot(q, k), t = -dist2(q, k)   normalize p1 = softmax(a), p2 = softmax(t)   post p1 - 0.3 * p2   mix v",
        "score dot(q, k)   normalize softmax(s | j != i)   mix v",
    ],
)
def test_gradients(clauses: str) -> None:
    tensors = [t[:1, :1].detach().requires_grad_() for t in qkv(3, 4)]
    assert torch.autograd.gradcheck(op(clauses), tensors)


def test_second_gradients() -> None:
    tensors = [t[:1, :1].detach().requires_grad_() for t in qkv(2, 3)]
    assert torch.autograd.gradgradcheck(op(SOFTMAX), tensors)


EMITS = (
    "score dot(q, k)   mask j <= i + 1   normalize softmax   mix v"
    "   emit lse = lse(s), entropy = -sum[j](p * log(p)), top = max[j](p), col = sum[i](p), hist = sum[i, j | i - j + 3 == r](p), p = p"
)


def test_emits() -> None:
    f = attncc.compile(
        f"""pattern f(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e], lse[b, h, i], entropy[b, h, i], top[b, h, i],
        col[b, h, j], hist[b, h, r: 8], p[b, h, i, j]? {{ attend o over j {{ {EMITS.replace("p = p", "map = p").replace("map = p", "p0 = p")} }} p = p0 }}"""
    )
    q, k, v = qkv(4, 5, grad=True)
    s = torch.where(torch.arange(5) <= torch.arange(4)[:, None] + 1, q @ k.mT, -math.inf)
    p = torch.softmax(s, -1)
    got = f(q, k, v, outputs=("o", "lse", "entropy", "top", "col", "hist", "p"))
    hist = torch.stack([torch.diagonal(p, 3 - r, -2, -1).sum(-1) for r in range(8)], -1)
    want = (p @ v, s.logsumexp(-1), -(p * p.clamp(min=1e-300).log()).sum(-1), p.amax(-1), p.sum(-2), hist, p)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b)
    assert f(q, k, v)._fields == ("o", "lse", "entropy", "top", "col", "hist")
    assert torch.autograd.gradcheck(lambda *x: tuple(f(*x))[:3], qkv(3, 4, grad=True))


@pytest.mark.parametrize("clauses", [SOFTMAX, "score -dist2(q, k)   mask j <= i   normalize exp   mix v", SOFTMAX + "   emit lse = lse(s)"])
def test_blocks_of_rows_change_nothing(clauses: str) -> None:
    names = ("o", "lse") if "lse" in clauses else ("o",)
    program = op(clauses, out=", ".join(f"{n}[b, h, i{', e' * (n == 'o')}]" for n in names)).ir
    tensors = dict(zip("qkv", qkv(13, 9, grad=True), strict=True))
    found = []
    for backend in (Eager(), Eager(block=200)):
        out = backend.prepare(program, names)(tensors)
        found.append((out, torch.autograd.grad(sum(t.sin().sum() for t in out.values()), list(tensors.values()))))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_low_precision_accumulates_in_float32(dtype: torch.dtype) -> None:
    q, k, v = (t.to(dtype) for t in qkv(33, 65))
    out = op(SOFTMAX)(q, k, v)
    want = torch.softmax(q.double() @ k.double().mT / 2, -1) @ v.double()
    assert out.dtype == dtype
    assert float((out.double() - want).abs().max()) <= tolerance(dtype, 4 * 65, float(want.abs().max()))


def test_segments_match_concatenation() -> None:
    text = """
    pattern f(q[b, i, d], k1[b, j, d], v1[b, j, e], k2[b, m, d], v2[b, m, e]) -> o[b, i, e], lse[b, i], p[b, i, j ++ m]? {
      attend o {
        over j { score dot(q, k1)      mask j <= i   mix v1 }
        over m { score dot(q, k2) / 2                mix v2 }
        normalize softmax
        emit lse = lse(s), p0 = p
      }
      p = p0
    }"""
    q, k1, v1, k2, v2 = (torch.randn(s, dtype=F64, requires_grad=True) for s in ((2, 3, 4), (2, 5, 4), (2, 5, 6), (2, 2, 4), (2, 2, 6)))
    f = attncc.compile(text)
    s = torch.cat([torch.where(torch.arange(5) <= torch.arange(3)[:, None], q @ k1.mT, -math.inf), q @ k2.mT / 2], -1)
    p = torch.softmax(s, -1)
    o, lse, found = f(q, k1, v1, k2, v2, outputs=("o", "lse", "p"))
    torch.testing.assert_close(o, p @ torch.cat([v1, v2], 1))
    torch.testing.assert_close(lse, s.logsumexp(-1))
    torch.testing.assert_close(found, p)
    assert torch.autograd.gradcheck(lambda *x: tuple(f(*x)), (q, k1, v1, k2, v2))


def test_a_definition_with_its_own_gradient() -> None:
    text = """
    define clipped[n](x) { return x * 3 } vjp (g) { x = where(abs(g) > 1, 1, g) }
    pattern f(x[b, n]) -> y[b, n] { y = clipped[n](x ^ 2) }"""
    x = torch.tensor([[1.0, 2.0, 3.0]], dtype=F64, requires_grad=True)
    y = attncc.compile(text)(x)
    torch.testing.assert_close(y, 3 * x**2)
    (g,) = torch.autograd.grad(y, x, torch.tensor([[0.5, 5.0, 1.0]], dtype=F64))
    torch.testing.assert_close(g, torch.tensor([[0.5, 1.0, 1.0]], dtype=F64) * 2 * x.detach())


def test_a_fold_over_a_size() -> None:
    text = """
    pattern f(x[t, n], a) -> y[n] {
      y = 0
      fold s in t.size - 1 .. 0 by -1 { y = a * y + x[t = s] }
    }"""
    f = attncc.compile(text)
    x, a = torch.randn(5, 3, dtype=F64, requires_grad=True), torch.tensor(0.7, dtype=F64, requires_grad=True)
    want = sum(x[t] * a**t for t in range(5))
    torch.testing.assert_close(f(x, a), want)
    assert torch.autograd.gradcheck(f, (x, a))
    torch.testing.assert_close(f(x[:0], a), torch.zeros(3, dtype=F64))


def test_const_inputs_refuse_gradients() -> None:
    f = attncc.compile("pattern f(x[n]: const, y[n]) -> o[n] { o = x * y }")
    x, y = torch.randn(3, requires_grad=True), torch.randn(3, requires_grad=True)
    with pytest.raises(attncc.AttnTypeError, match="'x' gets no gradient"):
        f(x, y)
    torch.testing.assert_close(f(x.detach(), y), x * y)


def test_the_gradient_of_a_scalar_inside_a_pattern() -> None:
    f = attncc.compile("pattern f(x[n], w[n]) -> g[n], l { l = sum(w * x ^ 3)   g = stop_grad(grad(l, x)) }")
    x, w = torch.randn(4, dtype=F64, requires_grad=True), torch.randn(4, dtype=F64)
    g, _ = f(x, w)
    torch.testing.assert_close(g, 3 * w * x.detach() ** 2)
    assert not g.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(f(x, w)[0], 3 * w * x**2)


def test_strided_inputs_and_contiguous_outputs() -> None:
    q, k, v = qkv(6, 6)
    f = op(SOFTMAX)
    turned = [t.transpose(1, 2).contiguous().transpose(1, 2) for t in (q, k, v)]
    out = f(*turned)
    torch.testing.assert_close(out, f(q, k, v))
    assert out.is_contiguous()


def test_memory_stays_linear_in_blocks() -> None:
    """Scatter and window reductions do not enumerate: 200000 x 100000 pairs would not fit."""
    f = attncc.compile("pattern f(x[t]) -> y[p: 100000] { y = sum[t | t div 2 == p](x) }")
    x = torch.ones(200_000)
    assert (f(x) == 2).all()
