"""Definitions that are given pair values of an attend, and '/' in positions."""

from __future__ import annotations

import pytest
import torch

import attncc

ATTEND = """
pattern p(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] {
  attend o over j { score s = dot(q, k)   normalize weights[j](s)   mix v }
}"""
BODIES = {
    "a value of its own": "c = s - max[j](s)\n  return exp(c) / sum[j](exp(c))",
    "a choice": "if true { c = s - max[j](s) } else { c = s }\n  return exp(c) / sum[j](exp(c))",
    "a fold over numbers": "c = s\n  fold t in 1 .. 3 { c = c - max[j](c) }\n  return exp(c) / sum[j](exp(c))",
    "a fold over a list": "c = s\n  fold t in [1, 2] { c = c - t * max[j](c) }\n  return exp(c) / sum[j](exp(c))",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_definition_of_pair_values_may_have_statements(body: str) -> None:
    op = attncc.compile(f"define weights[j](s) {{\n  {body}\n}}" + ATTEND)
    q, k, v = torch.randn(2, 5, 4), torch.randn(2, 7, 4), torch.randn(2, 7, 3)
    torch.testing.assert_close(op(q, k, v, backend="eager"), torch.softmax(q @ k.mT, -1) @ v)
    assert len(op.ir.nodes) == 1  # nothing of pairs is stored


def test_a_loop_over_sizes_carries_no_pair_values() -> None:
    text = "define weights[j](s) {\n  c = s\n  fold t in 1 .. j { c = c - max[j](c) }\n  return exp(c)\n}" + ATTEND
    with pytest.raises(attncc.AttnTypeError, match="'c' depends on pair values of an attend") as found:
        _ = attncc.compile(text).ir
    assert found.value.line == 3 and "whole numbers" in found.value.help


@pytest.mark.parametrize(
    ("position", "want"),
    [
        ("floor(n / 2)", [0, 0, 1, 1, 2]), ("ceil(n / 2)", [0, 1, 1, 2, 2]), ("round(n / 4 * 3)", [0, 1, 2, 2, 3]),
        ("where(n / 2 > 1, 1, 0)", [0, 0, 0, 1, 1]), ("floor(log((n + 1) / 8) + 3)", [0, 1, 2, 2, 2]), ("n div 2", [0, 0, 1, 1, 2]),
        ("n.size / 5", [1] * 5),
    ],
)  # fmt: skip
def test_division_in_a_position(position: str, want: list[int]) -> None:
    """The arguments of functions of floats, and of comparisons, are numbers; the position itself is an integer."""
    op = attncc.compile(f"pattern p(x[n], t[r]) -> o[n] {{ o = t[r = {position}] + 0 * x }}")
    assert op(torch.zeros(5), torch.arange(6.0)).tolist() == want
