"""Property-based testing of patterns: strategies, shrinking, snippets that run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

import attncc
from attncc.testing import assert_matches_oracle
from attncc.testing.calls import Sample, sample
from attncc.testing.defaults import completed, plain_values, sorted_products, strings_in
from attncc.testing.search import search
from attncc.testing.snippet import make_op, snippet
from attncc.testing.strategies import parameters, samples

MINE = """pattern mine(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], bias[h, i, j]?, keep[b, j]?: bool;
               causal: bool = false, kind: "relu" | "square" = "relu", scale: float = d ^ -0.5) -> o[b, h, i, e] {
  require scale > 0, not causal or i == j
  attend o over j {
    score      s = scale * dot(q, k) + (bias ?? 0)
    mask       (not causal or j <= i) and (keep ?? true)
    normalize  where(kind == "relu", relu(s), s ^ 2)
    mix        v
  }
}
"""

SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@SETTINGS
@given(samples(attncc.compile(MINE)))
def test_samples_are_calls_that_work(one: Sample) -> None:
    out = one.op(**one.tensors)
    q, v = one.tensors["q"], one.tensors["v"]
    assert out.shape == (*q.shape[:3], v.shape[3]) and out.dtype == one.dtype
    assert not one.op.params.get("causal") or one.sizes["i"] == one.sizes["j"]
    assert one.op.params.get("scale", 1) > 0


def test_everything_is_drawn() -> None:
    op = attncc.compile(MINE)
    for want in (
        lambda s: s.op.params.get("causal"),
        lambda s: s.op.params.get("kind") == "square",
        lambda s: set(s.optional) == {"bias", "keep"},
        lambda s: s.layout == "transposed",
        lambda s: s.dtype == torch.float64,
        lambda s: s.density == 0.0 and "keep" in s.optional,
        lambda s: s.sizes["i"] > 9,
        lambda s: s.sizes["i"] == s.sizes["j"] == 1,
    ):
        found = find(samples(op), want, settings=settings(SETTINGS, max_examples=2000, phases=[Phase.generate]))
        assert want(found)  # find raises where nothing is found


def test_fixed_sizes_and_dtypes() -> None:
    op = attncc.compile(MINE)
    found = find(samples(op, sizes={"d": 16}, dtypes=[torch.bfloat16]), lambda s: s.sizes["i"] > 2, settings=settings(SETTINGS, phases=[Phase.generate]))
    assert found.sizes["d"] == 16 and found.tensors["q"].dtype == torch.bfloat16


def test_given_parameters_stay() -> None:
    op = attncc.compile(MINE, causal=True)
    with pytest.raises(Exception, match=r"NoSuchExample|causal"):
        find(samples(op), lambda s: not s.op.params["causal"], settings=settings(SETTINGS, max_examples=50))


def test_parameters_of_every_type() -> None:
    text = """pattern types(x[i]; a: int, b: float[2], c: "u" | "v", d: string = "p", e: (int, bool)[] = [], f: {n: int}? , g: int?)
              -> o[i] { require d == "p" or d == "q"\n o = x }"""
    op = attncc.compile(text, a=1, b=[1, 2], c="u")
    assert strings_in(op._decl) == ("p", "q")
    kinds = {n: p.type for n, p in op._specs.types.items()}
    assert plain_values(kinds["c"], ()) == ["u", "v"]
    assert plain_values(kinds["b"], ())[0] == [1.0, 1.0]
    assert plain_values(kinds["g"], ())[0] is None
    assert {"n": 2} in plain_values(kinds["f"], ())
    assert [[2, False]] in plain_values(kinds["e"], ())
    for drawn in [find(parameters(op), lambda p, n=n: n in p, settings=SETTINGS) for n in "defg"]:
        attncc.compile(text, a=1, b=[1, 2], c="u", **drawn)


def test_required_parameters_are_filled_in() -> None:
    op = attncc.load("softmax")
    assert list(completed(op._library, op._decl, {})) == [{}]
    sigmoid = attncc.load("sigmoid", heads=1)
    assert next(completed(sigmoid._library, sigmoid._decl, {})) == {"heads": 2}
    assert list(sorted_products([[1, 2], [3, 4]])) == [(1, 3), (1, 4), (2, 3), (2, 4)]


def test_search_passes() -> None:
    found = search(attncc.compile(MINE), backends=["eager"], examples=15)
    assert found.failure is None and found.examples >= 10 and found.text() == ""
    assert found.ran == {"eager": found.examples}


def test_assert_matches_oracle_searches() -> None:
    assert_matches_oracle(attncc.compile(MINE), backends=["eager"], examples=5, sizes={"d": 2})


def test_failure_is_shrunk_and_the_snippet_shows_it(wrong_backend: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.attn"
    path.write_text(MINE)
    with pytest.raises(AssertionError) as caught:
        assert_matches_oracle(attncc.compile(path), backends=[wrong_backend])
    text = str(caught.value)
    assert text.startswith("mine(q[1, 1, 1, 1], k[1, 1, 1, 1], v[1, 1, 1, 1]) in float32")
    code = text[text.index("import torch") :]
    assert f"attncc.compile({str(path)!r}, pattern='mine')" in code
    with pytest.raises(AssertionError, match="differs from the float64 oracle"):
        exec(compile(code, "snippet", "exec"), {})


def test_shrinking_keeps_what_matters(monkeypatch: pytest.MonkeyPatch, wrong_backend: str) -> None:
    """A backend that is wrong from 50 entries on: the smallest call has just about that many."""
    from attncc.runtime import backends

    monkeypatch.setattr(backends.named(wrong_backend), "least", 49)
    found = search(attncc.compile(MINE), backends=[wrong_backend], examples=100)
    assert found.failure is not None
    shape = found.failure[0].tensors["q"].shape[:3]
    entries = shape[0] * shape[1] * shape[2] * found.failure[0].tensors["v"].shape[3]
    assert 50 <= entries <= 64
    assert found.failure[0].op.params == {} and found.failure[0].layout == "contiguous"


def test_snippets_run_as_they_are(tmp_path: Path) -> None:
    """Of an op from a string, of a shipped one with a rank to choose, of one with bools and a layout."""
    text = sample(attncc.compile(MINE, causal=True, kind="square"), 5, {"i": 3}, optional=("keep",), layout="strided", density=0.3)
    rank = sample(attncc.load("neighborhood", window=3), rank=1)
    assert "rank=1" in snippet(rank, ("eager",)) and "density=0.3" in snippet(text, ("eager",))
    for n, one in enumerate((text, rank)):
        path = tmp_path / f"snippet{n}.py"
        path.write_text(snippet(one, ("eager",)))
        done = subprocess.run([sys.executable, path], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr


def test_snippet_of_a_traced_function() -> None:
    @attncc.jit
    def traced(q: "b i d", k: "b j d", v: "b j e", *, bias: float = 0.0) -> "b i e":  # noqa: F722  (annotations are dims)
        j = attncc.axes("j")
        return attncc.attend(attncc.dot(q, k) + bias, over=j, normalize=attncc.sigmoid, mix=v)

    text = make_op(traced)
    assert "pattern traced" in text
    again = eval(text, {"attncc": attncc})
    assert str(again.ir) == str(traced.ir)


def test_the_same_seed_gives_the_same_calls(wrong_backend: str) -> None:
    op = attncc.compile(MINE)
    texts = {search(op, backends=[wrong_backend], examples=10, seed=7).text() for _ in range(2)}
    assert len(texts) == 1


def test_no_call_at_all_says_why() -> None:
    op = attncc.compile("pattern never(x[i]) -> o[i] { require i > 3 * i\n o = x }")
    with pytest.raises(attncc.AttnValueError, match="no call of 'never' could be made"):
        search(op, backends=["eager"], examples=5)


def test_a_defect_in_the_compiler_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a refusal of the pattern is skipped; any other error comes out."""
    from attncc.testing import strategies

    def broken(*args: object) -> None:
        raise KeyError("defect")

    monkeypatch.setattr(strategies, "program_of", broken)
    with pytest.raises(KeyError, match="defect"):
        search(attncc.compile(MINE), backends=["eager"], examples=5)


@SETTINGS
@given(st.integers(0, 3))
def test_public_names(n: int) -> None:
    from attncc import testing

    names = ["sample_inputs", "assert_matches_oracle", "samples", "sizes", "parameters", "dtypes", "layouts", "masks", "tolerance"]
    assert set(names) <= set(dir(testing))
    assert all(callable(getattr(testing, name)) for name in names)
    with pytest.raises(AttributeError):
        _ = testing.nothing
