"""Forward passes of compiling backends against the oracle: normalizers, scores, posts, emits, masks, grids, heads, segments."""

from __future__ import annotations

import pytest
import torch
from attends import EMITS, GRIDS, GROUPED, MASKS, NORMALIZERS, POSTS, SCORE, SCORES, SEGMENTS, UNFUSED, attend, op, qkv, rand
from ways import agree, both, on


@pytest.fixture(autouse=True)
def quick_to_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many kernels, each run once: how fast they are does not matter here."""
    monkeypatch.setenv("ATTNCC_CFLAGS", "-O1")


FEW = ["mask j <= i", "mask j == i + 3 and i mod 5 > 1"]


@pytest.mark.parametrize("normalizer", NORMALIZERS.values(), ids=NORMALIZERS)
@on("mask", cpu=FEW, triton=["", *FEW])
def test_normalizers(way: str, normalizer: str, mask: str) -> None:
    agree(way, op(attend(f"{SCORE}\n{mask}\nnormalize {normalizer}\nmix v")), qkv())


@both
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_scores(way: str, score: str, normalizer: str) -> None:
    more = {
        "w": ("h, d", rand(2, 16)),
        "t": ("h", rand(2)),
        "u": ("b, j", rand(2, 45)),
        "r": ("h, c: 17", rand(2, 17)),
        "g": ("b, i, j", rand(2, 37, 45)),
    }
    used = [n for n in more if any(f"{a}{n}{z}" in f" {score} " for a in " (" for z in " )[,")]
    text = attend(f"{score}\nnormalize {normalizer}\nmix v", "".join(f", {n}[{more[n][0]}]" for n in used))
    agree(way, op(text), qkv(**{n: more[n][1] for n in used}))


@pytest.mark.parametrize("post", POSTS.values(), ids=POSTS)
@on("normalizer", cpu=["softmax"], triton=["softmax", "relu(s) ^ 2 / (sum[j](relu(s)) + 1)"])
def test_posts(way: str, post: tuple[str, dict[str, tuple[str, tuple[int, ...]]]], normalizer: str) -> None:
    clauses, more = post
    text = attend(
        f"{SCORE}\nmask j <= i + 4\nnormalize {normalizer}\n{clauses}\nmix v",
        "".join(f", {n}[{a}]" for n, (a, _) in more.items()),
    )
    agree(way, op(text), qkv(**{n: rand(*shape) for n, (_, shape) in more.items()}))


SUNK = ["softmax(s; sink = 1)", "sigmoid"]


@pytest.mark.parametrize("emit", EMITS.values(), ids=EMITS)
@on("normalizer", cpu=SUNK, triton=["softmax", *SUNK])
def test_emits(way: str, emit: str, normalizer: str) -> None:
    if normalizer == "sigmoid" and "log(p)" in emit:
        pytest.skip("log(p) is -inf where sigmoid underflows")
    name, expr = emit.split(" = ", 1)
    more, inputs = (", t[h]", {"t": rand(2)}) if "* t" in emit else ("", {})
    text = attend(f"{SCORE}\nmask j >= i - 20 and j != 7\nnormalize {normalizer}\nmix v\nemit l = {expr}", more, f", {name}")
    agree(way, op(text), qkv(**inputs), fused=False)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
@on("sizes", cpu=[(67, 64)], triton=[(37, 45), (64, 64)])
def test_masks(way: str, mask: str, normalizer: str, sizes: tuple[int, int]) -> None:
    i, j = sizes
    more = {
        "n": ("b", torch.tensor([j // 2, 3])),
        "g": ("b, i", torch.arange(i).repeat(2, 1) // 9 + 2**40),
        "m": ("b, j", torch.arange(j).repeat(2, 1) // 11 + 2**40),
        "c": ("b, j", rand(2, j) > 0),
    }
    words = mask.replace("not", "").replace("mod", "").replace("div", "").replace("size", "").replace("and", "")
    used = [n for n in more if n in words]
    kinds = {"n": "int", "g": "int", "m": "int", "c": "bool"}
    text = attend(
        f"{SCORE}\nmask {mask}\nnormalize {normalizer}\nmix v\nemit l = lse(s)",
        "".join(f", {n}[{more[n][0]}]: {kinds[n]}" for n in used),
        ", l[b, h, i]",
    )
    agree(way, op(text), qkv(i=i, j=j, **{n: more[n][1] for n in used}))


@both
@pytest.mark.parametrize(("g", "r"), [(1, 1), (1, 4), (3, 2)])
def test_grouped_heads(way: str, g: int, r: int) -> None:
    inputs = {"q": rand(2, 37, g * r, 16), "k": rand(2, 45, g, 16), "v": rand(2, 45, g, 8), "slope": rand(g * r)}
    agree(way, op(GROUPED), inputs)


@both
@pytest.mark.parametrize("normalizer", ["softmax", "sigmoid"])
def test_segments(way: str, normalizer: str) -> None:
    inputs = {"q": rand(2, 37, 16), "k": rand(2, 37, 16), "v": rand(2, 37, 24), "mk": rand(5, 16), "mv": rand(5, 24)}
    agree(way, op(SEGMENTS.replace("NORMALIZER", normalizer)), inputs)


@both
def test_value_without_an_axis_of_its_own(way: str) -> None:
    text = "pattern t(q[b, i, d], k[b, j, d], v[b, j]) -> o[b, i] { attend o over j { score dot(q, k) normalize softmax mix v } }"
    agree(way, op(text), {"q": rand(3, 37, 16), "k": rand(3, 45, 16), "v": rand(3, 45)})


@both
def test_over_the_queries(way: str) -> None:
    text = """
    pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, i, e]) -> o[b, h, j, e] {
      attend o over i { score dot(q, k) / 4   mask j <= i + 3   normalize a = softmax[j](s)   post a * exp(-i / 9)   mix v }
    }
    """
    agree(way, op(text), {"q": rand(2, 2, 37, 16), "k": rand(2, 2, 45, 16), "v": rand(2, 2, 37, 24)})


@both
@pytest.mark.parametrize("rank", GRIDS)
@pytest.mark.parametrize("mask", ["all", "window", "causal", "disc"])
def test_grids(way: str, rank: int, mask: str) -> None:
    axes = "zyx"[3 - rank :]
    rule = {
        "all": "true",
        "window": " and ".join(f"abs({a}' - {a}) <= 2" for a in axes),
        "causal": " and ".join(f"{a}' <= {a}" for a in axes),
        "disc": " + ".join(f"abs({a}' - {a})" for a in axes) + " <= 4",
    }[mask]
    text = f"{GRIDS[rank]} score dot(q, k') / 4   mask {rule}   normalize softmax   mix v' }} }}"
    shape = (2, *{1: (40,), 2: (9, 13), 3: (5, 3, 7)}[rank])
    agree(way, op(text), {"q": rand(*shape, 8), "k": rand(*shape, 8), "v": rand(*shape, 16)})


@both
@pytest.mark.parametrize(("clauses", "reason"), UNFUSED.values(), ids=UNFUSED)
def test_what_is_not_fused_says_why_and_is_right(way: str, clauses: str, reason: str) -> None:
    if "normalize" not in clauses:
        clauses += "\nnormalize softmax\nmix v"
    found = agree(way, op(attend(clauses)), qkv(), fused=False)
    reasons = [getattr(step, "reason", "") for step in found.plan.steps]
    assert any(reason in text for text in reasons), reasons
