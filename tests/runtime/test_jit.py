"""Traced Python functions: the same IR as the text, errors that point at the Python line."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.ir.printer import show


@attncc.jit
def decayed(q: "b h i d", k: "b h j d", v: "b h j e", decay: "h", *, bias: float = 0.0) -> "b h i e":
    """Sigmoid attention with learned decay."""
    i, j = attncc.axes("i j")
    score = attncc.dot(q, k) / attncc.sqrt(attncc.size("d")) - decay * abs(i - j) + bias
    return attncc.attend(score, over=j, mask=j <= i, normalize=attncc.sigmoid, mix=v)


def rotated_body(q: "b i") -> "b i":
    return q


DECAYED = """
pattern decayed(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], decay[h]; bias: float = 0.0) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) / sqrt(d) - decay * abs(i - j) + bias   mask j <= i   normalize sigmoid   mix v }
}
"""


@attncc.jit
def reweighted(q: "b h i d", k: "b h j d", v: "b h j e", gain: "b j") -> {"o": "b h i e", "entropy": "b h i"}:
    o = attncc.attend(
        attncc.dot(q, k) / attncc.sqrt(attncc.size("d")),
        over="j",
        normalize={"a": attncc.softmax},
        post=lambda a: a * gain,
        mix=v,
        emit={"entropy": lambda a: -attncc.sum(a * attncc.log(a), over="j")},
    )
    return o, attncc.emitted("entropy")


REWEIGHTED = """
pattern reweighted(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], gain[b, j]) -> o[b, h, i, e], entropy[b, h, i] {
  attend o over j {
    score dot(q, k) / sqrt(d)   normalize a = softmax   post a * gain   mix v   emit entropy = -sum[j](a * log(a))
  }
}
"""


@attncc.jit(where="h = heads")
def rotated(q: "b i (h d)", k: "b i (h d)", v: "b i (h e)", *, heads: int = 2) -> "b i (h e)":
    attncc.require(heads >= 1)
    qr, kr = attncc.rope(q, over="i d"), attncc.rope(k, over="i d")
    i, j = attncc.axes("i i'")
    return attncc.attend(attncc.dot(qr, kr.prime), over=j, mask=(j <= i) & ~(j == 0), mix=v.prime)


def test_same_ir_as_the_text() -> None:
    for op, text in ((decayed, DECAYED), (reweighted, REWEIGHTED)):
        assert show(op.ir) == show(attncc.compile(text).ir)


def test_parameters_at_the_call() -> None:
    q, k, v, decay = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 3), torch.rand(2)
    text = attncc.compile(DECAYED, bias=-2.0)
    torch.testing.assert_close(decayed(q, k, v, decay, bias=-2.0), text(q, k, v, decay))
    assert not torch.allclose(decayed(q, k, v, decay), decayed(q, k, v, decay, bias=-2.0))


def test_emits_and_gradients() -> None:
    tensors = [torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((1, 2, 4, 3), (1, 2, 6, 3), (1, 2, 6, 5), (1, 6))]
    o, entropy = reweighted(*tensors)
    a = torch.softmax(tensors[0] @ tensors[1].mT / 3**0.5, -1)
    torch.testing.assert_close(o, (a * tensors[3][:, None, None]) @ tensors[2])
    torch.testing.assert_close(entropy, -(a * a.log()).sum(-1))
    assert torch.autograd.gradcheck(reweighted, tensors)


def test_products_primes_and_shipped_definitions() -> None:
    text = """
    pattern rotated(q[b, i, (h d)], k[b, i, (h d)], v[b, i, (h e)]; heads: int = 2) -> o[b, i, (h e)] where h = heads {
      qr = rope[i, d](q)
      kr = rope[i, d](k)
      attend o over i' { score dot(qr, kr')   mask i' <= i and not i' == 0   normalize softmax   mix v' }
    }"""
    q, k, v = torch.randn(2, 5, 8), torch.randn(2, 5, 8), torch.randn(2, 5, 6)
    torch.testing.assert_close(rotated(q, k, v), attncc.compile(text)(q, k, v))
    torch.testing.assert_close(rotated(q, k, v, heads=1), attncc.compile(text, heads=1)(q, k, v))
    with pytest.raises(attncc.AttnSyntaxError, match="no list of sizes"):
        attncc.jit(where="h =")(rotated_body)


def test_errors_point_at_the_python_line() -> None:
    with pytest.raises(attncc.AttnTypeError) as caught:

        @attncc.jit
        def bad(q: "b i d") -> "b i d":
            i = attncc.axes("i")
            return q if i > 3 else -q

    assert caught.value.file == __file__ and "truth value" in caught.value.message and "attncc.where" in caught.value.help
    assert "return q if i > 3" in str(caught.value)

    @attncc.jit
    def worse(q: "b i d", k: "b j c") -> "b i":
        return attncc.sum(attncc.dot(q, k, over="x"), over="j")

    with pytest.raises(attncc.AttnNameError) as unknown:
        worse(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    assert unknown.value.file == __file__


def test_annotations_are_checked() -> None:
    with pytest.raises(attncc.AttnTypeError, match="needs its dims"):
        attncc.jit(lambda q: q)
    with pytest.raises(attncc.AttnSyntaxError, match="no list of dims"):

        @attncc.jit
        def odd(q: "b ++") -> "b":
            return q
