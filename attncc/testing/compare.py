"""Comparison of one array with what is expected of it: dtype, shape, places of NaN and infinity, largest error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found: `reason` says why the arrays can not agree (None when only `error` decides).

    `error` is the largest absolute difference over the compared finite entries, for integers and bools the number of unequal
    entries; `scale` is the largest magnitude expected there.
    """

    error: float
    scale: float
    reason: str | None = None


def kind(dtype: torch.dtype) -> str:
    """The kind of a dtype: float, bool or int."""
    return "float" if dtype.is_floating_point else "bool" if dtype == torch.bool else "int"


def largest(values: torch.Tensor) -> float:
    """The largest magnitude among the finite entries, 0 where there are none."""
    values = values[torch.isfinite(values)]
    return float(values.abs().max()) if values.numel() else 0.0


def compare(got: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype, mask: torch.Tensor | None = None) -> Comparison:
    """Compare `got` with `expected`, in float64.

    Shapes must be equal. Float arrays must have `dtype`; integers and bools the kind of `expected`, any width, and equal values.
    NaN and infinities must stand at the same places, infinities with the same sign. `mask` (bool, broadcast to the arrays) limits
    the comparison of values to where it is true.
    """
    got, expected = got.detach().cpu(), expected.detach().cpu()
    if got.shape != expected.shape:
        return Comparison(math.inf, 0.0, f"shape {list(got.shape)}, expected {list(expected.shape)}")
    wanted = dtype if expected.is_floating_point() else expected.dtype
    if kind(got.dtype) != kind(wanted) or (got.is_floating_point() and got.dtype != wanted):
        return Comparison(math.inf, 0.0, f"dtype {got.dtype}, expected {wanted}")
    if mask is not None:
        chosen = mask.cpu().broadcast_to(expected.shape)
        got, expected = got[chosen], expected[chosen]
    if not expected.is_floating_point():
        unequal = int((got.to(torch.int64) != expected.to(torch.int64)).sum())
        return Comparison(float(unequal), 0.0, f"{unequal} of {expected.numel()} entries differ" if unequal else None)
    got, expected = got.double(), expected.double()
    scale = largest(expected)
    for name, test in (("NaN", torch.isnan), ("+inf", torch.isposinf), ("-inf", torch.isneginf)):
        wrong = int((test(got) != test(expected)).sum())
        if wrong:
            return Comparison(math.inf, scale, f"{name} at {wrong} wrong places")
    finite = torch.isfinite(expected)
    return Comparison(largest(got[finite] - expected[finite]), scale)
