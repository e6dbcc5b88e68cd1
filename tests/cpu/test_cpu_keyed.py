"""Histograms of pairs on the CPU against the oracle."""

import itertools

import pytest
import torch
from attends import op, qkv
from attncc.backends.cpu import boxes
from cpu_cases import agree
from cpu_cases import agree_both as gradients_agree
from keyed_cases import HISTOGRAMS, TABLES, cut, histogram

WEIGHTS = itertools.cycle([("softmax", "j <= i + 5"), ("sigmoid", "true"), ("l1", "j != i")])


@pytest.mark.parametrize(("name", "weights"), list(zip(HISTOGRAMS, WEIGHTS, strict=False))[::3], ids=lambda x: x if isinstance(x, str) else x[0])
def test_histograms(name: str, weights: tuple[str, str]) -> None:
    text, more = histogram(name, *weights)
    agree(op(text), qkv(b=1, **more))


@pytest.mark.parametrize("name", ["clamped", "plane", "documents"])
def test_gradients_of_tables(name: str) -> None:
    text, inputs = TABLES[name]
    gradients_agree(op(text), inputs)


@pytest.fixture
def banded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of kernels that run by bands, of which every sum has 5."""
    cut(monkeypatch)
    names: list[str] = []
    dealt = boxes.dealt

    def heard(program, sizes):
        names.extend([program.name] if program.bands else [])
        return dealt(program, sizes)

    monkeypatch.setattr(boxes, "dealt", heard)
    return names


@pytest.mark.parametrize("name", ["difference", "plane", "dilated"])
def test_gradients_by_bands(name: str, banded: list[str]) -> None:
    text, inputs = TABLES[name]
    gradients_agree(op(text), inputs)
    assert banded


def test_histograms_by_bands(banded: list[str]) -> None:
    text, more = histogram("by distance", "softmax", "j <= i + 5")
    agree(op(text), qkv(b=1, **more))
    assert banded


def test_gradients_by_bands_do_not_depend_on_threads(banded: list[str]) -> None:
    text, _ = TABLES["difference"]
    inputs = {n: t.requires_grad_() for n, t in qkv(b=1, h=1, i=301, j=203, r=torch.randn(1, 81)).items()}
    made = op(text.replace("j - i + 36]", "j - i + 36 else 0]"))
    found, before = [], torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            o = made(**inputs, backend="cpu")
            found.append(torch.autograd.grad(o.square().sum(), inputs["r"])[0])
    finally:
        torch.set_num_threads(before)
    assert banded and found[0].abs().max() > 0
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
