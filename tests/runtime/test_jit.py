"""Traced Python functions: the same IR as the text, errors that point at the Python line."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

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
    texts = ((decayed, DECAYED), (reweighted, REWEIGHTED), (padded, PADDED), (chosen, CHOSEN), (cached, CACHED))
    for op, text in texts:
        assert show(op.ir) == show(attncc.compile(text).ir)


def test_annotations_hold_the_marks_of_the_language() -> None:
    q, k, v, length = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 3), torch.tensor([5, 2])
    got = padded(q, k, v, length=length)
    assert got._fields == ("o", "seen") and got.seen.tolist() == [5, 2]
    torch.testing.assert_close(padded(q, k, v, torch.zeros(2, 5), length).o, got.o)
    assert padded(q, k, v, length=length, outputs=("p",)).shape == (2, 3, 5)

    @attncc.jit
    def table(x: "n", t: "h, r: 2 * w - 1", *, w: int = 3) -> "h n":
        return t.at(r=attncc.axes("n")) + x

    assert table(torch.zeros(5), torch.ones(2, 5)).shape == (2, 5)
    with pytest.raises(attncc.AttnNameError, match="unknown name 'integer'") as found:
        _wrongly_typed()
    assert found.value.file == __file__
    with pytest.raises(attncc.AttnTypeError, match="several kinds of keys"):
        attncc.jit(_both_forms)


def _wrongly_typed() -> None:
    @attncc.jit
    def f(x: "b n: integer") -> "b":
        return x

    f(torch.zeros(2, 3))


def _both_forms(q: "i d", k: "j d") -> "i":
    return attncc.attend(attncc.dot(q, k), keys=(attncc.keys(attncc.dot(q, k), over="j"),))


@attncc.jit
def padded(
    q: "b i d", k: "b j d", v: "b j e", bias: "b, j?", length: "b: int"
) -> {"o": "b i e", "p": "b i j?", "seen": "b: int"}:
    j = attncc.axes("j")
    s = attncc.dot(q, k) + attncc.otherwise(bias, 0)
    o = attncc.attend(s, over=j, mask=j < length, normalize={"p": "softmax"}, mix=v, emit={"p": lambda p: p})
    return o, attncc.emitted("p"), attncc.count(over=j, where=j < length)


PADDED = """
pattern padded(q[b, i, d], k[b, j, d], v[b, j, e], bias[b, j]?, length[b]: int)
    -> o[b, i, e], p[b, i, j]?, seen[b]: int {
  attend o over j { score dot(q, k) + (bias ?? 0)   mask j < length   normalize p = softmax   mix v   emit p = p }
  seen = count[j | j < length]()
}
"""


@attncc.jit(where="m = j / block, w = keep")
def chosen(q: "b i d", k: "b j d", v: "b j e", *, block: int = 4, keep: int = 2) -> "b i e":
    j, m = attncc.axes("j m")
    coarse = attncc.dot(q, attncc.mean(k, over=j, where=j // block == m))
    best = attncc.topk(coarse, over="m -> w")
    return attncc.attend(attncc.dot(q, k), over=j, mask=attncc.any(best == j // block, over="w"), mix=v)


CHOSEN = """
pattern chosen(q[b, i, d], k[b, j, d], v[b, j, e]; block: int = 4, keep: int = 2) -> o[b, i, e] where m = j / block, w = keep {
  best = topk[m -> w](dot(q, mean[j | j div block == m](k)))
  attend o over j { score dot(q, k)   mask any[w](best == j div block)   normalize softmax   mix v }
}
"""


@attncc.jit
def cached(q: "b n d", kc: "b j d", vc: "b j e", k: "b n d", v: "b n e", enter: "n: int", leave: "n: int") -> "b n e":
    below = (enter.prime <= enter) & (enter < leave.prime)
    old = attncc.keys(attncc.dot(q, kc), over="j", mix=vc)
    new = attncc.keys(attncc.dot(q, k.prime), over="n'", mask=below, mix=v.prime)
    return attncc.attend(keys=(old, new))


CACHED = """
pattern cached(q[b, n, d], kc[b, j, d], vc[b, j, e], k[b, n, d], v[b, n, e], enter[n]: int, leave[n]: int) -> o[b, n, e] {
  attend o {
    over j  { score dot(q, kc)   mix vc }
    over n' { score dot(q, k')   mask enter' <= enter and enter < leave'   mix v' }
    normalize softmax
  }
}
"""


def test_parameters_at_the_call() -> None:
    q, k, v, decay = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 3), torch.rand(2)
    text = attncc.compile(DECAYED, bias=-2.0)
    torch.testing.assert_close(decayed(q, k, v, decay, bias=-2.0), text(q, k, v, decay))
    assert not torch.allclose(decayed(q, k, v, decay), decayed(q, k, v, decay, bias=-2.0))


def test_emits_and_gradients() -> None:
    tensors = [
        torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((1, 2, 4, 3), (1, 2, 6, 3), (1, 2, 6, 5), (1, 6))
    ]
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


def _fails(body: Callable[..., Any], words: str, help: str, line: bool = True) -> None:
    """The traced body raises an AttnError that says this, at the line of the body."""
    with pytest.raises(attncc.AttnError) as found:
        op = attncc.jit(body)
        op(*[torch.rand(3, 4) for _ in op.signature.inputs])
    assert words in found.value.message and help in found.value.help, found.value
    if line:
        assert found.value.file == __file__ and found.value.line is not None


def test_what_cannot_be_traced_says_what_to_write() -> None:
    outside = torch.rand(3, 4)

    def module(q: "i d") -> "i d":
        return torch.exp(q)

    def scalar(q: "i d") -> "i d":
        return math.sqrt(q)

    def method(q: "i d") -> "i d":
        return q.softmax(-1)

    def size(q: "i d") -> "i d":
        return q * q.shape[0]

    def product(q: "i d", k: "j d") -> "i j":
        return q @ k

    def length(q: "i d") -> "i d":
        return q * len(q)

    def change(q: "i d") -> "i d":
        q[0] = 1
        return q

    def constant(q: "i d") -> "i d":
        return q + outside

    def normalizer(q: "i d", k: "j d") -> "i d":
        return attncc.attend(attncc.dot(q, k), over="j", normalize=torch.softmax, mix=k)

    def nothing(q: "i d") -> "i d":
        pass

    def twice(q: "i d") -> "i d":
        return q, q

    def many(*q: "i d") -> "i d":
        return q[0]

    def default(q: "i d", k: "i d" = None) -> "i d":
        return q

    def letters(ψ: "i d") -> "i d":
        return ψ

    def word(q: "i d", *, outputs: int = 3) -> "i d":
        return q * outputs

    def listed(q: "i d", *, n: [1, 2] = 1) -> "i d":
        return q * n

    def unnamed(q: "i d") -> "i d":
        return q * attncc.axes("")

    def wrong_name(q: "i d") -> "i d":
        return q * attncc.axes("i+1")

    def inner(q: "i d") -> "i d":
        return decayed(q)

    for body, words, help in (
        (module, "'exp' does not take a traced value", "attncc.exp("),
        (scalar, "no number yet", "attncc.sqrt"),
        (method, "has no 'softmax'", "attncc.softmax(x)"),
        (size, "has no 'shape'", "attncc.size"),
        (product, "'@'", "attncc.dot(q, k)"),
        (length, "no number yet", ""),
        (change, "cannot be changed", "attncc.where"),
        (constant, "a Tensor cannot be traced", "signature"),
        (normalizer, "'softmax' is no function of the language", "attncc.softmax"),
        (nothing, "returns nothing", "annotation"),
        (twice, "returns 2 values", "return o"),
        (many, "any number of arguments", "name each"),
        (default, "'k' cannot have a default", "after '*'"),
        (letters, "'ψ' is no name", "ASCII"),
        (listed, "parameter 'n' needs a type", "n: float = 0.0"),
        (word, "'outputs' is an argument of every call", "another name"),
        (unnamed, "axes takes names", "i j"),
        (wrong_name, "'i+1' is no name", "letters"),
        (inner, "takes tensors, no traced value", "plain function"),
    ):
        _fails(body, words, help)
    _fails(print, "cannot be traced", "@attncc.jit", line=False)


def test_a_value_used_again_and_again_is_an_error_and_takes_no_time() -> None:
    """q * q, sixty times over, is an expression of 2^60 parts."""

    def square(q: "i d") -> "i d":
        for _ in range(60):
            q = q * q
        return q

    def chain(q: "i d") -> "i d":
        for _ in range(400):
            q = q + 1
        return q

    _fails(square, "has more than 20000 parts", "loop less")
    _fails(chain, "nests more than 150 deep", "loop less")
