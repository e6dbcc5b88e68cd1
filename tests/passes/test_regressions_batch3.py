"""Small rules of resolve and of the eager backend, each once a bug or a gap."""

from __future__ import annotations

import pytest
import torch

import attncc

ROWS = """
pattern rows(x[n]; table: (string, int)[]) -> y[n] {
  names, counts = columns(table)
  require distinct(names)
  y = x * sum(counts)
}
"""


def test_columns_of_a_static_table() -> None:
    x = torch.arange(3.0)
    assert torch.equal(attncc.compile(ROWS, table=[["a", 2], ["b", 3]])(x), 5 * x)
    with pytest.raises(attncc.AttnValueError):
        attncc.compile(ROWS, table=[["a", 2], ["a", 3]])(x)
