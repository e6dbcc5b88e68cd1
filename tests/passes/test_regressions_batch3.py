"""Small rules of resolve and of the eager backend, each once a bug or a gap."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.ir.parser import parse
from attncc.ir.printer import show

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


FAMILY = """
pattern inner(x[n, c]; more: bool) -> y[n, c], (t{m}[n, e] if more) for m in 0 .. 1 where e = 2 if more {
  y = x
  if more { t0, t1 = x[c = e], 2 * x[c = e] }
}
pattern family(x[n, c]; more: bool = false) -> y[n, c], (t{m}[n, e] if more) for m in 0 .. 1 where e = 2 if more {
  y, t0, t1 = inner(x; more)
}
"""


def test_outputs_of_a_family_keep_their_condition() -> None:
    x = torch.randn(2, 3)
    assert torch.equal(attncc.compile(FAMILY, pattern="family")(x), x)
    found = attncc.compile(FAMILY, pattern="family", more=True)(x)
    assert torch.equal(found.t0, x[:, :2]) and torch.equal(found.t1, 2 * x[:, :2])


def test_an_unnamed_score_leaves_the_variable_of_a_fold_alone() -> None:
    text = """pattern f(q[n, d], k_{s in ("a", "b")}[m{s}, d], v_{s in ("a", "b")}[m{s}, d]) -> o[n, d] {
      o = 0
      fold s in ("a", "b") {
        attend t over m{s} { score dot(q, k_{s})   normalize softmax   mix v_{s} }
        o = o + t
      }
    }"""
    q, ka, kb, va, vb = (torch.randn(n, 3) for n in (4, 2, 5, 2, 5))
    want = (q @ ka.T).softmax(-1) @ va + (q @ kb.T).softmax(-1) @ vb
    torch.testing.assert_close(attncc.compile(text)(q, ka, kb, va, vb), want)


SEGMENTS = "pattern f(x[n], of[n]: int) -> total[s] where s = of[n = n.size - 1] + 1 { total = sum[n | of == s](x) }"


def test_an_entry_of_an_int_input_is_a_size() -> None:
    op = attncc.compile(SEGMENTS)
    x, of = torch.arange(5.0), torch.tensor([0, 0, 1, 3, 3])
    for backend in (None, "eager", "cpu"):
        assert torch.equal(op(x, of, backend=backend), torch.tensor([1.0, 2.0, 0.0, 7.0]))
    assert op(x, of.clamp(max=1)).shape == (2,)  # the same shapes, other data
    assert parse(show(op.ir)) == op.ir
    assert "given by data" in str(op.explain(x, of))
    with pytest.raises(attncc.AttnShapeError, match="position -1, outside an axis of 0"):
        op(x[:0], of[:0])
    with pytest.raises(attncc.AttnShapeError, match="size 4, expected 5"):
        op(x, of[1:])
    with pytest.raises(attncc.AttnShapeError, match="size -1"):
        op(x, of - 5)
    for bad in ("of[n = n]", "of[n = 0 else 1]", "of"):
        with pytest.raises(attncc.AttnTypeError, match="must not depend on positions or data"):
            attncc.compile(SEGMENTS.replace("of[n = n.size - 1]", bad))(x, of)
    with pytest.raises(attncc.AttnTypeError, match="must not depend on positions or data"):
        attncc.compile(SEGMENTS.replace(": int", "").replace("== s", "== 1"))(x, x)


KEYED = """
pattern f(x[n]; kind: "a" | "b" = "a") -> y[n] { y = where(kind == "a", x, 2 * x) }
pattern f(x[n]; kind: "c" | "d") -> y[n] { y = where(kind == "c", 3 * x, 4 * x) }
pattern f(x[n]; kind: "e") -> y[n] { y = 5 * x }
"""


def test_a_default_picks_an_overload_that_takes_several_values() -> None:
    x = torch.ones(2)
    assert torch.equal(attncc.compile(KEYED)(x), x)
    for n, kind in enumerate("abcde"):
        assert torch.equal(attncc.compile(KEYED, kind=kind)(x), (n + 1) * x)


@pytest.mark.parametrize("backend", [None, "eager", "cpu"])
def test_data_are_checked_on_the_cpu(backend: str | None) -> None:
    op = attncc.load("visctrl_core")
    q = torch.randn(3, 1, 5, 8)
    with pytest.raises(attncc.AttnValueError, match=r"kv_index < b\.size"):
        op(q, q, q, torch.tensor([0, 1, 3]), backend=backend)
    assert op(q, q, q, torch.tensor([0, 1, 1]), backend=backend).shape == q.shape
