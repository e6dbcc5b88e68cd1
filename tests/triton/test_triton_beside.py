"""Definitions beside kernels: the line of PyTorch in a written module says what the eager backend computes."""

from __future__ import annotations

import pytest
import torch
from attncc.backends.triton.beside import Beside

import attncc
from attncc.ir.nodes import Assign

EXPRESSIONS = (
    "float(x > 0.3) + float(x > 0)", "int(x > 0.3) + int(x > 0) + 0.5", "int(x * 9) / 2 + 0.5", "float(n) / 2 + x",
    "x / log(g.size + 1)", "x * sqrt(b.size) + float(b.size > 2)", "where(x > 0.3, 1.0, 2.0)", "where(g.size > 3, x, -x)",
    "where(g.size > 9 or not (b.size > 1), x, -x)", "max(x, float(min(g.size, 1)))", "min(float(g.size - 3), x) + max(g.size, 9)",
    "log(exp(g.size / 10)) + x", "x * y + y / 3 + x", "floor(x * 3) + abs(y)", "exp(g.size / 10) * x", "g * 2 + 0.5 + x",
)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("text", EXPRESSIONS)
def test_lines(text: str, dtype: torch.dtype) -> None:
    op = attncc.compile(f"pattern p(x[b, g], y[g], n[g]: int) -> o[b, g] {{\n  o = {text}\n}}")
    made = torch.Generator().manual_seed(0)
    inputs = {
        "x": torch.randn(3, 4, generator=made).to(dtype), "y": torch.randn(4, generator=made).to(dtype), "n": torch.arange(4),
    }  # fmt: skip
    arrays = {i.name: tuple(a for d in i.dims for a in d) for i in op.ir.inputs}
    names = {**inputs, "torch": torch, "dtype": dtype, "size_b": 3, "size_g": 4}
    for node in op.ir.nodes:
        assert isinstance(node, Assign)
        exec(Beside(str, "size_{}".format, arrays, "x.device").line(node).strip(), names)
        arrays[node.name] = node.axes
    found, want = names["o"], op(**inputs, backend="eager")
    assert found.dtype == dtype
    torch.testing.assert_close(found, want)
