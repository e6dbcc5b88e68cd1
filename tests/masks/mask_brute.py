"""Brute force for mask plans: the predicate on every pair, by numpy, against the tiles that a plan visits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size
from attncc.passes.masks import MaskPlan, visited

Array = np.ndarray


def truth(
    mask: Expr | None, axes: tuple[str, ...], sizes: Mapping[str, int], at: Mapping[str, int], data: Mapping[str, Array]
) -> Array:
    """The mask at all positions of some axes, an array of bools."""
    shape = tuple(sizes[a] for a in axes)
    grid = dict(zip(axes, np.indices(shape), strict=True)) | {a: np.full(shape, p) for a, p in at.items()}
    found = True if mask is None else _value(mask, grid, sizes, data)
    return np.broadcast_to(np.asarray(found, bool), shape)


def _value(expr: Expr, grid: Mapping[str, Array], sizes: Mapping[str, int], data: Mapping[str, Array]) -> Array:
    match expr:
        case Const(value):
            return np.asarray(value)
        case Index(axis):
            return grid[axis]
        case Size(axis):
            return np.asarray(sizes[axis])
        case Read(source, index, _, fill):
            at = [_value(e, grid, sizes, data) for e in index]
            if fill is None:
                return np.asarray(data[source][tuple(at)])
            inside = np.all([(p >= 0) & (p < n) for p, n in zip(at, data[source].shape, strict=True)], axis=0)
            clipped = tuple(np.clip(p, 0, n - 1) for p, n in zip(at, data[source].shape, strict=True))
            return np.where(inside, data[source][clipped], _value(fill, grid, sizes, data))
    assert isinstance(expr, Apply)
    args = [_value(a, grid, sizes, data) for a in expr.args]
    match expr.op:
        case "not":
            return ~args[0].astype(bool)
        case "and" | "or":
            return (np.logical_and if expr.op == "and" else np.logical_or).reduce(np.broadcast_arrays(*args))
        case "where":
            return np.where(*args)
        case "isqrt":
            return np.vectorize(lambda v: math.isqrt(max(int(v), 0)))(args[0])
        case "cdiv":
            return -(-args[0] // args[1])
    names = {
        "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide, "mod": np.mod, "neg": np.negative,
        "pow": np.power, "min": np.minimum, "max": np.maximum, "abs": np.abs, "sign": np.sign, "eq": np.equal,
        "ne": np.not_equal, "le": np.less_equal, "lt": np.less, "ge": np.greater_equal, "gt": np.greater,
    }  # fmt: skip
    return np.asarray(names[expr.op](*args))


@dataclass
class Stats:
    """Pairs of tiles: visited, those that hold a pair, found full, truly full; and pairs visited, overhang included."""

    visited: int = 0
    needed: int = 0
    full: int = 0
    truly_full: int = 0
    positions: int = 0

    def __iadd__(self, other: Stats) -> Stats:
        for name in ("visited", "needed", "full", "truly_full", "positions"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    @property
    def exact(self) -> bool:
        return self.visited == self.needed


def check(
    plan: MaskPlan,
    sizes: Mapping[str, int],
    tile: Mapping[str, int],
    at: Mapping[str, int] | None = None,
    data: Mapping[str, Array] | None = None,
    transposed: bool = False,
    start: str = "range",
) -> Stats:
    """Fails unless every admitted pair is visited once, no pair twice, and every full tile is inside and admitted throughout."""
    axes = (*plan.rows, *plan.keys)
    data = data or {}
    allowed = truth(plan.mask, axes, sizes, at or {}, data)
    cover = np.zeros(allowed.shape, np.int64)
    stats = Stats()
    reads = {name: array.tolist() for name, array in data.items()}
    volume = math.prod(tile[a] for a in axes)
    inner = plan.rows if transposed else plan.keys
    for visit in visited(plan, sizes, tile, at, reads, transposed, start):
        where = np.ix_(*visit.rows, *visit.keys)
        cover[where] += 1
        part = allowed[where]
        ragged = any(len(r) < tile[a] for a, r in zip(axes, (*visit.rows, *visit.keys), strict=True) if a in inner)
        assert part.size, (visit, str(plan))
        if visit.full:
            assert part.all() and not ragged, (visit, str(plan))
        stats += Stats(1, int(part.any()), int(visit.full), int(part.all() and not ragged), volume)
    assert cover.max(initial=0) <= 1, f"a pair is visited twice\n{plan}"
    missed = allowed & (cover == 0)
    assert not missed.any(), f"{np.argwhere(missed)[:5].tolist()} of {axes} missed, sizes {sizes}, tile {tile}\n{plan}"
    return stats


def check_all(plan: MaskPlan, sizes: Mapping[str, int], tile: Mapping[str, int], **more: object) -> list[Stats]:
    """Forward and transposed, tiles that begin anywhere and tiles on a grid."""
    ways = [(transposed, start) for transposed in (False, True) for start in ("range", "grid")]
    return [check(plan, sizes, tile, transposed=t, start=s, **more) for t, s in ways]  # type: ignore[arg-type]
