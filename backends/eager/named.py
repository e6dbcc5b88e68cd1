"""Tensors with named axes: the values of the eager interpreter. Everything aligns by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Named:
    """A tensor and the names of its dims, each axis once."""

    t: torch.Tensor
    axes: tuple[str, ...]


Value = bool | int | float | complex | Named
"""A scalar with no axes stays an exact Python number."""


def axes_of(v: Value) -> tuple[str, ...]:
    return v.axes if isinstance(v, Named) else ()


def union(values: Sequence[Value]) -> tuple[str, ...]:
    """All axes in order of first appearance."""
    return tuple(dict.fromkeys(a for v in values for a in axes_of(v)))


def aligned(v: Named, axes: tuple[str, ...]) -> torch.Tensor:
    """The tensor with dims in the order of `axes`, size 1 where it has none."""
    order = [v.axes.index(a) for a in axes if a in v.axes]
    t = v.t if order == list(range(len(order))) else v.t.permute(order)
    if len(order) == len(axes):
        return t
    shape = iter(t.shape)
    return t.reshape([next(shape) if a in v.axes else 1 for a in axes])
