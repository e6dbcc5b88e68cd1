"""Memory of table gradients: shares of the rows stay within the largest operand, bands take one array whatever their number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from attends import attend, op
from attncc.backends.cpu import boxes
from attncc.backends.cpu.backward import gradient as cpu
from attncc.backends.triton.backward import gradient as triton
from keyed_cases import cut
from test_memory import peak

from attncc.ir.expr import FALSE
from attncc.tile import bands

TEXT = attend("score dot(q, k) / 2 + r[c = j - i + i.size - 1]\nnormalize softmax\nmix v", ", r[h, c]")


def table(n: int, start: Callable[..., Any] = cpu) -> tuple[int, int]:
    """Bytes that the gradient of the table takes at most, and those of the table, which has an element for every difference."""
    torch.manual_seed(n)
    given = {x: torch.randn(1, 1, n, 4) for x in "qkv"} | {"r": torch.randn(1, 2 * n - 1)}
    way = start(op(TEXT).specialise({x: t.dim() for x, t in given.items()}), ("o",))
    found, saved = way.forward(given)
    ones = torch.ones_like(found["o"])
    way.backward(given, saved, {"o": ones}, ["r"])  # compiles
    return peak(lambda: way.backward(given, saved, {"o": ones}, ["r"])), given["r"].nbytes


def test_parts_stay_within_the_largest_operand(monkeypatch: pytest.MonkeyPatch) -> None:
    """4 features leave a table of 2 n elements 2 shares, however many processors there are."""
    monkeypatch.setattr(bands, "cheaper", lambda program, processors: FALSE)
    found = []
    for processors in (1, 2, 64):
        monkeypatch.setattr(boxes, "processors", lambda count=processors: count)
        found.append(table(333))
    (one, size), (two, _), (many, _) = found
    assert one + size <= two <= many <= one + size + 512


def test_bands_take_one_array(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 processors choose bands, whose number costs no memory but what the last one overhangs."""
    monkeypatch.setattr(boxes, "processors", lambda: 64)
    chosen, _ = table(333)
    monkeypatch.setattr(boxes, "processors", lambda: 1)
    one, _ = table(333)
    assert chosen <= one + 512
    cut(monkeypatch, 40)
    many, _ = table(333)
    assert many <= one + 512


def test_bands_take_one_array_on_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for number in (2, 6):
        cut(monkeypatch, number)
        found.append(table(37, triton)[0])
    assert found[1] <= found[0] + 512
