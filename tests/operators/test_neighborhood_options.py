"""Neighborhoods that no golden case has: three axes with every option, windows of one and of all, shared key heads."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from transcribed import Tensors, agree, rands


def member(i: int, j: int, size: int, window: int, stride: int, dilation: int, causal: bool) -> bool:
    """Whether key j is in the neighborhood of query i, along one axis."""
    group, p = i % dilation, i // dilation
    members = -(-(size - group) // dilation)
    leader = min(p // stride * stride + (stride - 1 if causal else stride // 2), members - 1)
    first = max(leader - window + 1, 0) if causal else min(max(leader - window // 2, 0), members - window)
    return j % dilation == group and first <= j // dilation <= (p if causal else first + window - 1)


def reference(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, extra_k: torch.Tensor | None = None,
    extra_v: torch.Tensor | None = None, rpb: torch.Tensor | None = None, scale: float | None = None, **options: list[Any],
) -> Tensors:  # fmt: skip
    grid, heads, d = q.shape[1:-2], q.shape[-2], q.shape[-1]
    cells = list(product(*map(range, grid)))
    usual = {"stride": 1, "dilation": 1, "causal": False}
    along = [grid, options["window"], *(options.get(name, [value] * len(grid)) for name, value in usual.items())]
    seen = torch.tensor([[all(map(member, a, b, *along)) for b in cells] for a in cells])

    def rows(x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1, -3).transpose(1, 2).repeat_interleave(heads // x.shape[-2], 1)

    s = rows(q) @ rows(k).mT * (scale or d**-0.5)
    if rpb is not None:
        ranks = torch.tensor(cells) // torch.tensor(along[3])
        offsets = (ranks - ranks[:, None] + torch.tensor(options["window"]) - 1).unbind(-1)
        s = s + rpb[(slice(None), *(o.where(seen, 0) for o in offsets))]
    s, values = s.masked_fill(~seen, -torch.inf), rows(v)
    if extra_k is not None and extra_v is not None:
        s = torch.cat([s, rows(q) @ rows(extra_k).mT * (scale or d**-0.5)], -1)
        values = torch.cat([values, rows(extra_v)], 2)
    out = (s.softmax(-1) @ values).transpose(1, 2).reshape(q.shape)
    return {"out": out, "lse": s.logsumexp(-1).transpose(1, 2).reshape(q.shape[:-1])}


CASES: list[tuple[tuple[int, ...], int, dict[str, Any]]] = [
    ((11,), 1, {"window": [3], "dilation": [3], "stride": [2], "causal": [True]}),
    ((5, 7), 2, {"window": [5, 1], "dilation": [1, 4]}),
    ((7, 5), 1, {"window": [4, 2], "stride": [4, 2], "causal": [True, False], "scale": 0.3}),
    ((3, 5, 4), 2, {"window": [2, 2, 3], "stride": [2, 1, 3], "dilation": [1, 2, 1], "causal": [False, True, False]}),
]


@pytest.mark.parametrize(("grid", "shared", "params"), CASES, ids=str)
def test_grid(grid: tuple[int, ...], shared: int, params: dict[str, Any]) -> None:
    inputs = rands(q=(2, *grid, 2, 3), k=(2, *grid, 2 // shared, 3), v=(2, *grid, 2 // shared, 3))
    agree("neighborhood", params, inputs, reference)


def test_bias_on_three_axes_beside_extra_tokens() -> None:
    inputs = rands(q=(1, 3, 4, 5, 2, 3), k=(1, 3, 4, 5, 1, 3), v=(1, 3, 4, 5, 1, 3))
    more = rands(9, extra_k=(1, 2, 1, 3), extra_v=(1, 2, 1, 3), rpb=(2, 5, 1, 5))
    agree("neighborhood", {"window": [3, 1, 3], "dilation": [1, 2, 1]}, inputs | more, reference)
