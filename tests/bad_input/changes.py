"""A call that works, and the ways to change it: for the tables of what each operator rejects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from attncc.errors import AttnError, AttnShapeError, AttnTypeError, AttnValueError

INF, NAN = math.inf, math.nan
Tensors = dict[str, torch.Tensor]
Change = Mapping[str, Any] | Callable[[Tensors], Tensors] | tuple[Mapping[str, Any], Callable[[Tensors], Tensors]]
V, T, S = AttnValueError, AttnTypeError, AttnShapeError


@dataclass(frozen=True)
class Base:
    """A call that works."""

    pattern: str
    params: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


def cut(name: str, dim: int, by: int = 1) -> Callable[[Tensors], Tensors]:
    """A tensor shortened along a dim."""
    return lambda t: {**t, name: t[name].narrow(dim, 0, t[name].shape[dim] - by)}


def put(name: str, make: Callable[[Tensors], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    """A tensor replaced, or given as well."""
    return lambda t: {**t, name: make(t)}


def drop(*names: str) -> Callable[[Tensors], Tensors]:
    """Tensors left out."""
    return lambda t: {n: x for n, x in t.items() if n not in names}


def ones(*shape: int) -> Callable[[Tensors], torch.Tensor]:
    return lambda t: torch.ones(shape, dtype=torch.float64)


def of(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Tensors], Tensors]:
    return lambda t: {**t, name: change(t[name])}


Rows = list[tuple[Base, list[tuple[Change, type[AttnError], str]]]]
