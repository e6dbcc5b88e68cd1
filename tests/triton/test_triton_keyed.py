"""Histograms of pairs in Triton against the oracle."""

import itertools

import pytest
from attends import op, qkv
from keyed_cases import HISTOGRAMS, TABLES, histogram
from test_triton_backward import agree as gradients_agree
from triton_cases import agree

WEIGHTS = itertools.cycle([("softmax", "j <= i + 5"), ("sigmoid", "true"), ("l1", "j != i")])


@pytest.mark.parametrize(
    ("name", "weights"), list(zip(HISTOGRAMS, WEIGHTS, strict=False)), ids=lambda x: x if isinstance(x, str) else x[0]
)
def test_histograms(name: str, weights: tuple[str, str]) -> None:
    text, more = histogram(name, *weights)
    agree(op(text), qkv(b=1, **more))


@pytest.mark.parametrize("name", [n for n in TABLES if n not in ("difference", "gain", "clusters")])
def test_gradients_of_tables(name: str) -> None:
    text, inputs = TABLES[name]
    gradients_agree(op(text), inputs)
