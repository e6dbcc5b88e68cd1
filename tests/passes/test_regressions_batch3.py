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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_softplus_of_large_and_small_values(dtype: torch.dtype) -> None:
    x = torch.tensor([-800.0, -30.0, 0.0, 30.0, 39.0, 41.0, 800.0], dtype=dtype, requires_grad=True)
    y = attncc.compile("pattern f(x[n]) -> y[n] { y = softplus(x) }")(x, backend="eager")
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(y, torch.logaddexp(x, torch.zeros_like(x)), rtol=4 * torch.finfo(dtype).eps, atol=0)
    assert torch.allclose(dx, torch.sigmoid(x), rtol=4 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("position", ["n = n - by else 0", "n - by else 0"])
def test_a_read_at_an_absent_position_is_absent(position: str) -> None:
    source = f"pattern f(x[n]; by: int?) -> y[n] {{ y = x[{position}] ?? x }}"
    x = torch.arange(1.0, 4.0)
    assert torch.equal(attncc.compile(source)(x), x)
    assert torch.equal(attncc.compile(source, by=1)(x), torch.tensor([0.0, 1.0, 2.0]))
