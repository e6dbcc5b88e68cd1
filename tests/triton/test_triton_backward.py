"""Backward kernels against eager in float64."""

from __future__ import annotations

import pytest
import torch
from attncc.backends.triton.backward import gradient
from attncc.backends.triton.configs import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_cases import DEVICE, SMALL, attend, op, qkv, rand
from triton_cases import agree_both as agree

from attncc.testing.tolerances import reduction_length, tolerance

SCORE = "score s = dot(q, k) / 4"
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


WEIGHTS = ["softmax", "softmax(s; sink = 1)", "sigmoid", "exp(s / 4)", "relu(s) ^ 2", "s", "tanh(s) * s"]
MASKS = {
    "all": "true",
    "causal": "j <= i",
    "bottom right": "j <= i + j.size - i.size",
    "window": "abs(i - j) <= 6",
    "dilated": "(i - j) mod 3 == 0",
    "empty rows": "j < i - 5",
    "empty keys": "j >= 10 and j < 30",
    "nothing": "j < 0",
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("mask", ["true", "j < i - 5"])
def test_weights(weights: str, mask: str) -> None:
    agree(op(attend(f"{SCORE}\nmask {mask}\nnormalize {weights}\nmix v")), qkv())


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
@pytest.mark.parametrize("sizes", [(37, 45), (64, 32), (1, 1), (45, 1)], ids=str)
def test_masks(mask: str, weights: str, sizes: tuple[int, int]) -> None:
    text = attend(f"{SCORE}\nmask {mask}\nnormalize {weights}\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")
    agree(op(text), qkv(i=sizes[0], j=sizes[1]))


POSTS = {
    "gain by key": ("post p * u", {"u": ("b, j", (2, 45))}),
    "gain by row and key": ("post p * t * exp(u)", {"t": ("h, i", (2, 37)), "u": ("b, j", (2, 45))}),
    "some keys": ("post where(j mod 3 == 0, 2 * p, p / 2)", {}),
    "with the score": ("post p * s", {}),
    "not linear": ("post p ^ 2", {}),
    "threshold": ("post where(p > 0.03, p, 0)", {}),
}


@pytest.mark.parametrize("post", POSTS.values(), ids=POSTS)
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_posts(post: tuple[str, dict], weights: str) -> None:
    clauses, more = post
    text = attend(
        f"{SCORE}\nmask j <= i + 4\nnormalize p = {weights}\n{clauses}\nmix v",
        "".join(f", {n}[{a}]" for n, (a, _) in more.items()),
    )
    agree(op(text), qkv(**{n: rand(*shape) for n, (_, shape) in more.items()}))


SCORES = {
    "soft cap": ("2 * tanh(dot(q, k) / 8)", {}),
    "by row": ("dot(q, k) / 4 * t", {"t": ("h, i", (2, 37))}),
    "by key": ("dot(q, k) / 4 + u", {"u": ("b, j", (2, 45))}),
    "by head": ("dot(q, k) / 4 - t * abs(i - j)", {"t": ("h", (2,))}),
    "two products": ("dot(q, k) / 4 + tanh(dot(x, y))", {"x": ("b, h, i, c", (2, 2, 37, 8)), "y": ("b, h, j, c", (2, 2, 45, 8))}),
    "squared product": ("dot(q, k) ^ 2 / 16", {}),
}


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_scores(score: tuple[str, dict], weights: str) -> None:
    body, more = score
    text = attend(
        f"score s = {body}\nmask j <= i + 9\nnormalize {weights}\nmix v", "".join(f", {n}[{a}]" for n, (a, _) in more.items())
    )
    agree(op(text), qkv(**{n: rand(*shape) for n, (_, shape) in more.items()}))


def test_sink_by_head() -> None:
    text = attend(f"{SCORE}\nmask j < i - 3\nnormalize softmax(s; sink = t)\nmix v\nemit l = lse(s)", ", t[h]", ", l[b, h, i]")
    agree(op(text), qkv(t=rand(2)))
    agree(op(text), qkv(t=rand(2)), needs=("t",))


GROUPED = """
pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e], slope[(g r)]) -> o[b, i, (g r), e], l[b, (g r), i] {
  attend o over j {
    score      dot(q, k) / sqrt(d) - slope * abs(i - j)
    mask       j <= i
    normalize  softmax
    mix        v
    emit       l = lse(s)
  }
}
"""


@pytest.mark.parametrize(("g", "r"), [(1, 1), (1, 4), (3, 2)])
def test_grouped_heads(g: int, r: int) -> None:
    agree(op(GROUPED), {"q": rand(2, 37, g * r, 16), "k": rand(2, 45, g, 16), "v": rand(2, 45, g, 8), "slope": rand(g * r)})


def test_keys_shared_by_the_batch() -> None:
    text = "pattern t(q[b, i, d], k[j, d], v[j, e]) -> o[b, i, e] { attend o over j { score dot(q, k) / 4 normalize softmax mix v } }"
    agree(op(text), {"q": rand(3, 37, 16), "k": rand(45, 16), "v": rand(45, 8)})


def test_values_shared_by_the_batch() -> None:
    text = "pattern t(q[b, i, d], k[b, j, d], v[j, e]) -> o[b, i, e] { attend o over j { score dot(q, k) / 4 normalize softmax mix v } }"
    agree(op(text), {"q": rand(3, 37, 16), "k": rand(3, 45, 16), "v": rand(45, 8)})


def test_queries_shared_by_the_batch() -> None:
    text = "pattern t(q[i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] { attend o over j { score dot(q, k) / 4 normalize softmax mix v } }"
    agree(op(text), {"q": rand(37, 16), "k": rand(3, 45, 16), "v": rand(3, 45, 8)})


def test_one_tensor_in_all_roles() -> None:
    text = (
        "pattern t(x[b, i, d]) -> o[b, i, d] { attend o over i' { score dot(x, x') / 4 mask i' <= i normalize softmax mix x' } }"
    )
    agree(op(text), {"x": rand(2, 37, 16)})


def test_value_without_an_axis_of_its_own() -> None:
    text = "pattern t(q[b, i, d], k[b, j, d], v[b, j]) -> o[b, i] { attend o over j { score dot(q, k) / 4 normalize softmax mix v } }"
    agree(op(text), {"q": rand(3, 37, 16), "k": rand(3, 45, 16), "v": rand(3, 45)})


def test_grids() -> None:
    text = """pattern t(q[b, y, x, d], k[b, y, x, d], v[b, y, x, e]) -> o[b, y, x, e] {
      attend o over (y', x') { score dot(q, k') / 4   mask abs(y' - y) <= 1 and abs(x' - x) <= 2   normalize softmax   mix v' } }"""
    agree(op(text), {"q": rand(2, 5, 9, 8), "k": rand(2, 5, 9, 8), "v": rand(2, 5, 9, 16)})


@pytest.mark.parametrize("needs", [("q",), ("k",), ("v",), ("q", "v"), ("k", "v")])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_some_inputs(needs: tuple[str, ...], weights: str) -> None:
    agree(op(attend(f"{SCORE}\nmask j <= i\nnormalize {weights}\nmix v")), qkv(), needs=needs)


@pytest.mark.parametrize("zero", ["o", "l"])
def test_an_output_without_cotangent(zero: str) -> None:
    agree(
        op(attend(f"{SCORE}\nmask j < i\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")), qkv(), zero=(zero,)
    )


@pytest.mark.parametrize("scale", [1e-30, 1e2])
def test_extreme_logits(scale: float) -> None:
    inputs = qkv()
    inputs["q"] = inputs["q"] * scale
    agree(op(attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")), inputs)


@settings(max_examples=25, deadline=None)
@given(
    i=st.integers(0, 70),
    j=st.integers(0, 70),
    d=st.sampled_from([1, 3, 16, 44, 80]),
    e=st.sampled_from([1, 8, 40, 64]),
    window=st.integers(0, 80),
    weights=st.sampled_from(["softmax", "sigmoid", "relu(s) ^ 2"]),
    tiles=st.sampled_from([SMALL, Config(32, 16, 4, 1), Config(16, 64, 4, 1)]),
)
def test_sizes(i: int, j: int, d: int, e: int, window: int, weights: str, tiles: Config) -> None:
    text = attend(f"{SCORE}\nmask i - j <= {window} and j <= i + 5\nnormalize {weights}\nmix v")
    agree(op(text), {n: t.abs() for n, t in qkv(b=1, i=i, j=j, d=d, e=e).items()}, config=tiles, whole=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_half_precision(dtype: torch.dtype, weights: str) -> None:
    inputs = {n: t.to(dtype) for n, t in qkv().items()}
    agree(op(attend(f"{SCORE}\nmask j <= i + 8\nnormalize {weights}\nmix v")), inputs)


def test_programs_without_backward_stages() -> None:
    made = op(attend("score sum[d](abs(q - k))\nnormalize softmax\nmix v"))
    assert gradient(made.specialise({"q": 4, "k": 4, "v": 4}), ("o",)) is None


def test_a_bias_of_pairs_is_recomputed() -> None:
    text = attend("score dot(q, k) / 4 + u\nnormalize softmax\nmix v", ", u[h, i, j]")
    inputs = qkv(u=rand(2, 37, 45))
    agree(op(text), inputs, needs=("q", "k", "v"))
    tensors = [inputs[n].to(DEVICE).requires_grad_() for n in ("q", "k", "v", "u")]
    op(text)(*tensors, backend="triton").sum().backward()
    exact = [t.detach().double().requires_grad_() for t in tensors]
    n = reduction_length(t.shape for t in tensors)
    op(text)(*exact, backend="eager").sum().backward()
    for have, want in zip(tensors, exact, strict=True):
        assert have.grad is not None and want.grad is not None
        allowed = tolerance(torch.float32, n, want.grad.abs().max().item())
        assert (have.grad.double() - want.grad).abs().max() <= allowed


def test_autograd_through_the_operator() -> None:
    made = op(GROUPED)
    tensors = [rand(2, 37, 6, 16), rand(2, 45, 3, 16), rand(2, 45, 3, 8), rand(6)]
    tensors = [t.to(DEVICE).requires_grad_() for t in tensors]
    exact = [t.detach().double().requires_grad_() for t in tensors]
    n = reduction_length(t.shape for t in tensors)
    for group, backend in ((tensors, "triton"), (exact, "eager")):
        out, lse = made(*group, backend=backend)
        (out.square().sum() + lse.sin().sum()).backward()
    for have, want in zip(tensors, exact, strict=True):
        assert have.grad is not None and want.grad is not None
        allowed = tolerance(torch.float32, n, want.grad.abs().max().item())
        assert (have.grad.double() - want.grad).abs().max() <= allowed
