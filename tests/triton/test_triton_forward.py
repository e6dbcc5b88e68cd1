"""Forward passes of Triton kernels against the oracle, beside those of every compiling backend in tests/compiled."""

import pytest
from attends import (
    SCORE,
    attend,
    op,
    qkv,
    rand,
)
from attncc.backends.triton.configs import Config
from hypothesis import given, settings
from hypothesis import strategies as st
from triton_cases import SMALL, agree


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
    agree(op(text), {n: t.abs() for n, t in qkv(b=1, i=i, j=j, d=d, e=e).items()}, config=tiles)  # so that nothing cancels


def test_keys_shared_by_the_batch() -> None:
    text = "pattern t(q[b, i, d], k[j, d], v[j, e]) -> o[b, i, e] { attend o over j { score dot(q, k) normalize softmax mix v } }"
    agree(op(text), {"q": rand(3, 37, 16), "k": rand(45, 16), "v": rand(45, 8)})


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


def test_a_constant_that_is_infinite() -> None:
    text = attend("score dot(q, k) + log(2 * gain)\nnormalize exp(s) / (1 + sum(exp(s)))\nmix v", "; gain: float = 0.0")
    agree(op(text), qkv(b=1, i=5, j=7, d=4, e=3))
