"""Hostile texts: deep, long, random or mutated ones cost little and raise nothing but an AttnError."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parsing import IN_BODY, expr, file

from attncc.errors import AttnError, AttnSyntaxError
from attncc.language.limits import MAX_BRACKETS, MAX_CHARS, MAX_DEPTH
from attncc.language.show import show

PROGRAMS = {p.stem: p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parent / "programs").glob("*.attn"))}
RANDOM = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


DEEP = {
    "parentheses": lambda k: "(" * k + "x" + ")" * k,
    "calls": lambda k: "f(" * k + "x" + ")" * k,
    "reads": lambda k: "x[a = -" * k + "1" + "]" * k,
    "lists": lambda k: "[" * k + "]" * k,
    "a sum": lambda k: "+".join("x" * k),
    "powers": lambda k: "^".join("x" * k),
    "signs": lambda k: "-" * k + "x",
    "nots": lambda k: "not " * k + "x",
    "brackets behind": lambda k: "x" + "[a]" * k,
    "calls behind": lambda k: "x" + "(a)" * k,
    "attributes": lambda k: "x" + ".a" * k,
    "comparisons": lambda k: "<".join("x" * k),
    "defaults": lambda k: "??".join("x" * k),
}  # fmt: skip


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("depth", [10, 40, 95, MAX_BRACKETS, MAX_BRACKETS + 1, MAX_DEPTH - 4, MAX_DEPTH, 1000, 20000])
def test_depth_is_bounded(kind: str, depth: int) -> None:
    """Either the text is refused in so many words, or its tree can be walked recursively."""
    try:
        tree = expr(DEEP[kind](depth))
    except AttnSyntaxError as error:
        assert "deep" in error.message and depth > 40
        return
    assert depth <= MAX_DEPTH or kind == "comparisons"  # a chain of comparisons is one flat node
    assert hash(tree) == hash(expr(show(tree))) and repr(tree)


def test_nested_blocks_are_bounded() -> None:
    file("pattern p(x) -> y { " + "if a { " * 90 + "}" * 91)
    with pytest.raises(AttnSyntaxError, match="deep"):
        file("pattern p(x) -> y { " + "if a { " * 101 + "}" * 102)


def test_size_is_bounded() -> None:
    with pytest.raises(AttnSyntaxError, match="more than the 1000000 allowed"):
        file("#" * (MAX_CHARS + 1))
    file("#" * MAX_CHARS)


HOSTILE = {
    "words that may be operators": "y = x{" + "in " * 3000 + "= 3",
    "dots": "y = x{" + "." * 3000 + "= 3",
    "signs": "y = x{" + "<= " * 3000,
    "open family braces": "y = " + "x{k " * 3000,
    "comments behind a star": "y = a_*" + "# #" * 3000 + "\n b",
    "stars": "y = f(" + "a_* " * 3000,
    "spaces": "y = a_*" + " " * 100_000 + "b{" + " " * 100_000 + "c",
    "quotes": 'y = "' + 'a" "' * 3000,
    "primes": "y = a" + "'" * 100_000,
    "a long name": "y = " + "a" * 500_000,
    "a long number": "y = " + "1" * 100_000,
    "a long fraction": "y = 0." + "1" * 100_000,
    "many statements": "y = x " * 5000,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_take_no_time(kind: str) -> None:
    start = time.perf_counter()
    only_attn_errors(IN_BODY.format(HOSTILE[kind]))
    assert time.perf_counter() - start < 10


@given(st.binary(max_size=200))
@RANDOM
def test_random_bytes(data: bytes) -> None:
    only_attn_errors(data.decode("latin-1"))


@given(st.text(max_size=100))
@RANDOM
def test_random_text(text: str) -> None:
    only_attn_errors(text)


PIECES = [
    "(", ")", "[", "]", "{", "}", ",", ";", "=", "*", "'", "..", "...", "|", "if ", "else ", "over ", "score ", "pattern ", "-> ",
    "x", "1", "1e", '"', "#", "\n", " ", "?", "??", "++", "_*", "{k}", "\0", "é", "where ", "attend ", "not ", "in ", ":", "->",
]  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_mutated_programs(seed: int) -> None:
    """Characters deleted, doubled, swapped and inserted: a tree or an AttnError, and no long wait."""
    rng = random.Random(seed)
    texts = list(PROGRAMS.values())
    start = time.perf_counter()
    for _ in range(60):
        text = rng.choice(texts)
        cut = rng.randrange(len(text))
        text = text[cut : cut + rng.choice((100, 1500))] if rng.random() < 0.3 else text[: rng.choice((400, 2500))]
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(len(text) + 1)
            text = rng.choice((text[:at] + text[at + rng.randint(1, 9) :], text[:at] + rng.choice(PIECES) + text[at:],
                               text[:at] + text[at : at + 20] * 2 + text[at + 20 :]))  # fmt: skip
        only_attn_errors(text)
    assert time.perf_counter() - start < 60


def only_attn_errors(text: str) -> None:
    try:
        file(text)
    except AttnError as error:
        assert isinstance(error, AttnSyntaxError) and error.span is not None and error.message
        assert str(error).startswith("test:")
