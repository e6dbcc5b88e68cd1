"""Names that generated C has of its own may be names of a pattern."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.testing.oracle import check_call

OWN = "part some tile next from row_at row_table i_box i_count i_first j_tiles j_room first data strides boxes memory k_rows v_strip lanes"


@pytest.mark.parametrize("name", range(0, 20, 4))
def test_a_pattern_may_use_them(name: int) -> None:
    a, b, c, d = OWN.split()[name : name + 4]
    op = attncc.compile(f"""
pattern f(q[h, i, d], k[h, j, d], v[h, j, e], {a}[h, j]) -> o[h, i, e], {b}[h, i] {{
  attend o over j {{
    score {c} = dot(q, k) * 0.3 + {a}   mask not (j <= i)   normalize {d} = relu({c}) ^ 2   post {d} * {d}   mix v   emit {b} = sum({d})
  }}
}}
""")
    torch.manual_seed(0)
    tensors = {"q": torch.randn(2, 33, 8), "k": torch.randn(2, 33, 8), "v": torch.randn(2, 33, 5), a: torch.randn(2, 33)}
    report = check_call(op, tensors, ("cpu",), self_check=False)
    assert not report.failures, report.text()
