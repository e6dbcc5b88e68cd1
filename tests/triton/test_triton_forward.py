"""Fused forward passes against the oracle: normalizers, scores, posts, emits, masks, grids, sizes, dtypes, strides."""

import pytest
import torch
from attends import (
    EMITS,
    GRIDS,
    GROUPED,
    MASKS,
    NORMALIZERS,
    POSTS,
    SCORE,
    SCORES,
    SEGMENTS,
    STRIDES,
    UNFUSED,
    attend,
    op,
    qkv,
    rand,
)
from attncc.backends.triton.configs import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_cases import SMALL, agree


@pytest.mark.parametrize("normalizer", NORMALIZERS.values(), ids=NORMALIZERS)
@pytest.mark.parametrize("mask", ["", "mask j <= i", "mask j == i + 3 and i mod 5 > 1"], ids=["all", "causal", "few"])
def test_normalizers(normalizer: str, mask: str) -> None:
    agree(op(attend(f"{SCORE}\n{mask}\nnormalize {normalizer}\nmix v")), qkv())


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_scores(score: str, normalizer: str) -> None:
    more = {
        "w": ("h, d", rand(2, 16)),
        "t": ("h", rand(2)),
        "u": ("b, j", rand(2, 45)),
        "r": ("h, c: 17", rand(2, 17)),
        "g": ("b, i, j", rand(2, 37, 45)),
    }
    used = [n for n in more if any(f"{a}{n}{z}" in f" {score} " for a in " (" for z in " )[,")]
    text = attend(f"{score}\nnormalize {normalizer}\nmix v", "".join(f", {n}[{more[n][0]}]" for n in used))
    agree(op(text), qkv(**{n: more[n][1] for n in used}), tolerance=1e-4)


@pytest.mark.parametrize("post", POSTS.values(), ids=POSTS)
@pytest.mark.parametrize("normalizer", ["softmax", "relu(s) ^ 2 / (sum[j](relu(s)) + 1)"], ids=["softmax", "divided"])
def test_posts(post: tuple[str, dict], normalizer: str) -> None:
    clauses, more = post
    text = attend(
        f"{SCORE}\nmask j <= i + 4\nnormalize {normalizer}\n{clauses}\nmix v",
        "".join(f", {n}[{a}]" for n, (a, _) in more.items()),
    )
    agree(op(text), qkv(**{n: rand(*shape) for n, (_, shape) in more.items()}))


@pytest.mark.parametrize("emit", EMITS.values(), ids=EMITS)
@pytest.mark.parametrize("normalizer", ["softmax", "softmax(s; sink = 1)", "sigmoid"])
def test_emits(emit: str, normalizer: str) -> None:
    if normalizer == "sigmoid" and "log(p)" in emit:
        pytest.skip("log(p) is -inf where sigmoid underflows")
    name, expr = emit.split(" = ", 1)
    more, inputs = (", t[h]", {"t": rand(2)}) if "* t" in emit else ("", {})
    text = attend(f"{SCORE}\nmask j >= i - 20 and j != 7\nnormalize {normalizer}\nmix v\nemit l = {expr}", more, f", {name}")
    agree(op(text), qkv(**inputs), fused=False)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
@pytest.mark.parametrize("sizes", [(37, 45), (64, 64)], ids=["ragged", "whole"])
def test_masks(mask: str, normalizer: str, sizes: tuple[int, int]) -> None:
    i, j = sizes
    more = {
        "n": ("b", torch.tensor([j // 2, 3])),
        "g": ("b, i", torch.arange(i).repeat(2, 1) // 9),
        "m": ("b, j", torch.arange(j).repeat(2, 1) // 11),
        "c": ("b, j", rand(2, j) > 0),
    }
    used = [
        n
        for n in more
        if n in mask.replace("not", "").replace("mod", "").replace("div", "").replace("size", "").replace("and", "")
    ]
    kinds = {"n": "int", "g": "int", "m": "int", "c": "bool"}
    text = attend(
        f"{SCORE}\nmask {mask}\nnormalize {normalizer}\nmix v\nemit l = lse(s)",
        "".join(f", {n}[{more[n][0]}]: {kinds[n]}" for n in used),
        ", l[b, h, i]",
    )
    agree(op(text), qkv(i=i, j=j, **{n: more[n][1] for n in used}))


@settings(max_examples=30, deadline=None)
@given(
    i=st.integers(0, 70),
    j=st.integers(0, 70),
    d=st.sampled_from([1, 3, 16, 24, 44, 64, 80, 96]),
    e=st.sampled_from([1, 8, 40, 64]),
    window=st.integers(0, 80),
    normalizer=st.sampled_from(["softmax", "sigmoid", "relu(s) ^ 2", "l1"]),
    tiles=st.sampled_from([SMALL, Config(32, 16, 4, 1), Config(64, 64, 4, 1)]),
)
def test_sizes(i: int, j: int, d: int, e: int, window: int, normalizer: str, tiles: Config) -> None:
    text = attend(f"{SCORE}\nmask i - j <= {window} and j <= i + 5\nnormalize {normalizer}\nmix v")
    agree(op(text), qkv(b=1, i=i, j=j, d=d, e=e), config=tiles)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_half_precision(dtype: torch.dtype, normalizer: str) -> None:
    inputs = {n: t.to(dtype) for n, t in qkv().items()}
    found = agree(op(attend(f"{SCORE}\nmask j <= i + 8\nnormalize {normalizer}\nmix v")), inputs, tolerance=2e-2)
    assert all(
        t.dtype == dtype
        for t in found({n: t.to("cuda" if torch.cuda.is_available() else "cpu") for n, t in inputs.items()}).values()
    )


def test_mixed_precision_promotes() -> None:
    inputs = qkv()
    inputs["k"] = inputs["k"].to(torch.bfloat16)
    agree(op(attend(f"{SCORE}\nnormalize softmax\nmix v")), inputs)


@pytest.mark.parametrize("scale", [1e-30, 1e3, 1e15])
@pytest.mark.parametrize("mask", ["", "mask j <= i"], ids=["all", "causal"])
def test_extreme_logits(scale: float, mask: str) -> None:
    inputs = qkv()
    inputs["q"] = inputs["q"] * scale
    agree(
        op(attend(f"{SCORE}\n{mask}\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")), inputs, tolerance=1e-3
    )


def test_minus_infinity_in_the_score() -> None:
    text = attend("score dot(q, k) / 4 + u\nnormalize softmax\nmix v\nemit l = lse(s)", ", u[b, j]", ", l[b, h, i]")
    bias = torch.zeros(2, 45)
    bias[:, :40] = float("-inf")
    agree(op(text), qkv(u=bias))


@pytest.mark.parametrize("change", STRIDES.values(), ids=STRIDES)
def test_strides(change) -> None:  # type: ignore[no-untyped-def]
    agree(op(attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")), {n: change(t) for n, t in qkv().items()})


@pytest.mark.parametrize(("g", "r"), [(1, 1), (1, 4), (3, 2)])
def test_grouped_heads(g: int, r: int) -> None:
    agree(op(GROUPED), {"q": rand(2, 37, g * r, 16), "k": rand(2, 45, g, 16), "v": rand(2, 45, g, 8), "slope": rand(g * r)})


def test_keys_shared_by_the_batch() -> None:
    text = "pattern t(q[b, i, d], k[j, d], v[j, e]) -> o[b, i, e] { attend o over j { score dot(q, k) normalize softmax mix v } }"
    agree(op(text), {"q": rand(3, 37, 16), "k": rand(45, 16), "v": rand(45, 8)})


def test_value_without_an_axis_of_its_own() -> None:
    text = "pattern t(q[b, i, d], k[b, j, d], v[b, j]) -> o[b, i] { attend o over j { score dot(q, k) normalize softmax mix v } }"
    agree(op(text), {"q": rand(3, 37, 16), "k": rand(3, 45, 16), "v": rand(3, 45)})


@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_segments(normalizer: str) -> None:
    inputs = {"q": rand(2, 37, 16), "k": rand(2, 37, 16), "v": rand(2, 37, 24), "mk": rand(5, 16), "mv": rand(5, 24)}
    agree(op(SEGMENTS.replace("NORMALIZER", normalizer)), inputs)


def test_over_the_queries() -> None:
    text = """
    pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, i, e]) -> o[b, h, j, e] {
      attend o over i { score dot(q, k) / 4   mask j <= i + 3   normalize a = softmax[j](s)   post a * exp(-i / 9)   mix v }
    }
    """
    agree(op(text), {"q": rand(2, 2, 37, 16), "k": rand(2, 2, 45, 16), "v": rand(2, 2, 37, 24)})


def test_two_softmaxes() -> None:
    text = """
    pattern t(q[b, i, d], k[b, j, d], x[b, i, c], y[b, j, c], v[b, j, e]) -> o[b, i, e], kl[b, i] {
      attend o over j {
        score      s = dot(q, k) / 4, t = dot(x, y) / 2
        mask       j <= i + 9
        normalize  a = softmax(s), p = softmax(t)
        post       (a + p) / 2
        mix        v
        emit       kl = sum[j](p * (log(p) - log(a)))
      }
    }
    """
    agree(op(text), {"q": rand(2, 37, 16), "k": rand(2, 45, 16), "x": rand(2, 37, 8), "y": rand(2, 45, 8), "v": rand(2, 45, 24)})


@pytest.mark.parametrize("rank", GRIDS)
@pytest.mark.parametrize("mask", ["all", "window", "causal", "disc"])
def test_grids(rank: int, mask: str) -> None:
    axes = "zyx"[3 - rank :]
    rule = {
        "all": "true",
        "window": " and ".join(f"abs({a}' - {a}) <= 2" for a in axes),
        "causal": " and ".join(f"{a}' <= {a}" for a in axes),
        "disc": " + ".join(f"abs({a}' - {a})" for a in axes) + " <= 4",
    }[mask]
    text = f"{GRIDS[rank]} score dot(q, k') / 4   mask {rule}   normalize softmax   mix v' }} }}"
    shape = (2, *{1: (40,), 2: (9, 13), 3: (5, 3, 7)}[rank])
    agree(op(text), {"q": rand(*shape, 8), "k": rand(*shape, 8), "v": rand(*shape, 16)})


@pytest.mark.parametrize(("clauses", "reason"), UNFUSED.values(), ids=UNFUSED)
def test_what_is_not_fused_says_why_and_is_right(clauses: str, reason: str) -> None:
    if "normalize" not in clauses:
        clauses += "\nnormalize softmax\nmix v"
    found = agree(op(attend(clauses)), qkv(), fused=False)
    reasons = [getattr(step, "reason", "") for step in found.plan.steps]
    assert any(reason in text for text in reasons), reasons


@pytest.mark.parametrize("normalizer", ["softmax", "softmax(s; sink = 1)", "sigmoid"])
def test_rows_without_a_key_that_take_the_mean(normalizer: str) -> None:
    agree(op(attend(f"{SCORE}\nmask j < i - 3\nnormalize {normalizer}\nmix v\nempty uniform")), qkv(b=1))


def test_which_pairs_are_admitted_may_be_stored() -> None:
    clauses = "score s = dot(q, k)\nmask j <= i\nnormalize p = softmax\nmix v\nemit l = where(admitted, 1.0, 0.0)\n"
    text = attend(f"{clauses}emit m = sum[j](where(admitted, p, 3.0))", outputs=", l[i, j], m[b, h, i]")
    agree(op(text), qkv(b=1, i=9, j=9))


@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_weights_at_chosen_pairs(normalizer: str) -> None:
    clauses = f"{SCORE}\nmask j < i + 9\nnormalize p = {normalizer}\nmix v\nemit l = p[i = 3, j = x + 1]"
    text = attend(clauses, outputs=", l[b, h, x]").replace("{\n  attend", "where x = 20 {\n  attend", 1)
    agree(op(text), qkv(b=1))
