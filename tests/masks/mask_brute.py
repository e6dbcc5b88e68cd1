"""Brute force for mask plans: the predicate on every pair, by numpy, against the tiles that a plan visits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size
from attncc.passes.masks import MaskPlan, visited

Array = np.ndarray
Numbers = Mapping[str, int]
Arrays = Mapping[str, Array]


def truth(mask: Expr | None, grid: Arrays, sizes: Numbers, data: Arrays) -> Array:
    """A condition at the positions of a grid: one array for each axis, all of one shape."""
    shape = next(iter(grid.values())).shape
    return np.broadcast_to(np.asarray(True if mask is None else value(mask, grid, sizes, data), bool), shape)


def grid_of(axes: Mapping[str, range], at: Numbers) -> dict[str, Array]:
    """All combinations of positions."""
    places = np.meshgrid(*(np.asarray(r, int) for r in axes.values()), indexing="ij")
    return dict(zip(axes, places, strict=True)) | {a: np.full(places[0].shape, p) for a, p in at.items()}


_NAMES = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "floordiv": np.floor_divide, "mod": np.mod, "neg": np.negative,
    "pow": np.power, "min": np.minimum, "max": np.maximum, "abs": np.abs, "sign": np.sign, "eq": np.equal, "ne": np.not_equal,
    "le": np.less_equal, "lt": np.less, "ge": np.greater_equal, "gt": np.greater, "and": np.logical_and, "or": np.logical_or,
    "not": np.logical_not, "where": np.where,
}  # fmt: skip


def value(expr: Expr, grid: Arrays, sizes: Numbers, data: Arrays) -> Array:
    """An expression at the positions of a grid; a read outside without a fill is 0."""
    match expr:
        case Const(number):
            return np.asarray(number)
        case Index(axis):
            return grid[axis]
        case Size(axis):
            return np.asarray(sizes[axis])
        case Read(source, index, _, fill):
            at = [value(e, grid, sizes, data) for e in index]
            inside = np.all([(p >= 0) & (p < n) for p, n in zip(at, data[source].shape, strict=True)], axis=0)
            clipped = tuple(np.clip(p, 0, n - 1) for p, n in zip(at, data[source].shape, strict=True))
            outside = np.asarray(0) if fill is None else value(fill, grid, sizes, data)
            return np.where(inside, data[source][clipped], outside)
        case Apply("cdiv", (a, b)):
            return -(-value(a, grid, sizes, data) // value(b, grid, sizes, data))
        case Apply("isqrt", (a,)):
            return np.vectorize(lambda v: math.isqrt(max(int(v), 0)), otypes=[int])(value(a, grid, sizes, data))
        case Apply(op, args):
            return np.asarray(_NAMES[op](*(value(a, grid, sizes, data) for a in args)))
    raise TypeError(expr)


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


def check(
    plan: MaskPlan,
    sizes: Numbers,
    tile: Numbers,
    at: Numbers | None = None,
    data: Arrays | None = None,
    transposed: bool = False,
    start: str = "range",
) -> Stats:
    """Fails unless every admitted pair is visited once, no pair twice, and every full tile is inside and admitted throughout."""
    axes = (*plan.rows, *plan.keys)
    data = data or {}
    allowed = truth(plan.mask, grid_of({a: range(sizes[a]) for a in axes}, at or {}), sizes, data)
    cover = np.zeros(allowed.shape, np.int64)
    stats = Stats()
    reads = {name: array.tolist() for name, array in data.items()}
    inner = plan.rows if transposed else plan.keys
    for visit in visited(plan, sizes, tile, at, reads, transposed, start):
        places = (*visit.rows, *visit.keys)
        where = np.ix_(*places)
        cover[where] += 1
        part = allowed[where]
        assert part.size, f"an empty tile is visited: {visit}\n{plan}"
        inside = all(len(r) == tile[a] for a, r in zip(axes, places, strict=True) if a in inner)
        assert not visit.full or (part.all() and inside), f"not full: {visit}, sizes {sizes}\n{plan}"
        volume = math.prod(tile[a] for a in axes)
        stats += Stats(1, int(part.any()), int(visit.full), int(part.all() and inside), volume)
    assert cover.max(initial=0) <= 1, f"a pair is visited twice, sizes {sizes}, tile {tile}\n{plan}"
    missed = np.argwhere(allowed & (cover == 0))
    assert not missed.size, f"missed {missed[:3].tolist()} of {axes}, sizes {sizes}, tile {tile}\n{plan}"
    return stats


def check_residual(plan: MaskPlan, sizes: Numbers, at: Numbers | None = None, data: Arrays | None = None, over: int = 3) -> None:
    """Fails unless the residual is the mask, and false where the position of a loop axis is up to `over` outside."""
    split = {s.row: (s.modulus, s.group) for s in plan.splits} | {s.key: (s.modulus, s.key_group) for s in plan.splits}
    for walk in (plan.forward, plan.transposed):
        for groups in product(*(range(s.modulus) for s in plan.splits)):
            known = {**(data or {}), **{s.group.source: np.asarray(g) for s, g in zip(plan.splits, groups, strict=True)}}
            none = {"": np.zeros(())}
            ends = {a: int(value(walk.limits[a], {**none, **_scalars(at)}, sizes, known)) for a in (*walk.owner, *walk.loop)}
            places = {a: range(ends[a] + 1 + (over if a in walk.loop else 0)) for a in (*plan.rows, *plan.keys)}
            ranks = grid_of(places, at or {})
            found = truth(walk.residual, ranks, sizes, known)
            real = dict(ranks)
            for a, (modulus, group) in split.items():
                real[a] = modulus * ranks[a] + value(group, {**none, **_scalars(at)}, sizes, known)
            inside = np.all([ranks[a] <= ends[a] for a in walk.loop], axis=0)
            assert (found == (truth(plan.mask, real, sizes, known) & inside)).all(), str(plan)


def _scalars(at: Numbers | None) -> dict[str, Array]:
    return {a: np.asarray(p) for a, p in (at or {}).items()}


def check_all(
    plan: MaskPlan,
    sizes: Numbers,
    tile: Numbers,
    at: Numbers | None = None,
    data: Arrays | None = None,
    starts: tuple[str, ...] = ("range", "grid"),
) -> list[Stats]:
    """Forward and transposed, tiles that begin anywhere and tiles on a grid; and the residual."""
    check_residual(plan, sizes, at, data)
    ways = [(transposed, start) for transposed in (False, True) for start in starts]
    return [check(plan, sizes, tile, at, data, transposed, start) for transposed, start in ways]
