"""Histograms of pairs on the CPU against the oracle."""

import itertools

import pytest
from attends import op, qkv
from cpu_cases import agree
from keyed_cases import HISTOGRAMS, TABLES, histogram
from test_cpu_backward import agree as gradients_agree

WEIGHTS = itertools.cycle([("softmax", "j <= i + 5"), ("sigmoid", "true"), ("l1", "j != i")])


@pytest.mark.parametrize(("name", "weights"), list(zip(HISTOGRAMS, WEIGHTS, strict=False))[::3], ids=lambda x: x if isinstance(x, str) else x[0])
def test_histograms(name: str, weights: tuple[str, str]) -> None:
    text, more = histogram(name, *weights)
    agree(op(text), qkv(b=1, **more), tolerance=3e-5)


@pytest.mark.parametrize("name", ["clamped", "plane", "documents"])
def test_gradients_of_tables(name: str) -> None:
    text, inputs = TABLES[name]
    gradients_agree(op(text), inputs, 1e-12)
