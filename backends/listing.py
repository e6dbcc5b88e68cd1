"""Lists of tiles, made on the device from what a mask reads: interval arithmetic over tiles. This file needs torch alone, so that
generated modules can hold a copy of it.

    part of the mask                                 over a tile
    one side's positions and reads of it alone       worked out at every position, then its least and greatest value in each tile
    a read at plain positions of both sides          its least and greatest value in each pair of tiles
    everything else                                  from the intervals of its parts; unknown where there is no rule

A truth value has two ends as well: whether it holds everywhere in the tile, and whether it may hold anywhere. Memory is that of the
positions of one side, or of the pairs of tiles.

A mask is a tree of tuples: ("const", kind, value), ("index", "int", axis), ("size", "int", axis), ("read", kind, source, positions,
fill or None), ("apply", kind, op, arguments), ("other", kind) for what has no rule; kind is "int", "bool" or "float".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import torch

Known = tuple[torch.Tensor, torch.Tensor]
"""Least and greatest value, or: sure to hold, and may hold."""

FAR = 1 << 61
"""Beyond all values: as an end of an interval, nothing is known on that side. Twice as much still is a number of 64 bits."""
PAIRS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "min": torch.minimum, "max": torch.maximum, "eq": torch.eq,
    "ne": torch.ne, "le": torch.le, "lt": torch.lt, "ge": torch.ge, "gt": torch.gt, "and": torch.logical_and, "or": torch.logical_or,
}  # fmt: skip


POOLED = {"bool": (torch.bool,), "int": (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)}
"""Element types whose least and greatest values PyTorch finds, by kind."""


class NoRule(Exception):
    """Nothing is known."""


def listed(
    cond: Any,
    grid: tuple[str, ...],
    rows: tuple[str, ...],
    keys: tuple[str, ...],
    arrays: Mapping[str, torch.Tensor],
    sizes: Mapping[str, int],
    boxes: Mapping[str, int],
) -> Known:
    """(tiles, counts), int64. tiles [grid, tiles of rows, tiles of keys]: numbers of tiles of keys, first those that are inside and
    admitted throughout, then others, all that hold an admitted pair among them. counts [grid, tiles of rows, 2]: how many there are
    of the first, and of the others.

    arrays: what the mask reads, one dim an axis. sizes, boxes: of axes, in positions.
    """
    device = next((t.device for t in arrays.values()), torch.device("cpu"))
    found = Tiles(grid, (rows, keys), arrays, sizes, boxes, device)
    sure, may = found.bounds(cond)
    shape = (*(sizes[a] for a in grid), *found.counts)
    full, may = (sure & found.inside()).expand(shape), may.expand(shape)
    order = torch.where(full, 0, torch.where(may, 1, 2))
    ends = torch.stack([full.sum(-1), (may & ~full).sum(-1)], -1)
    return order.to(torch.int8).argsort(dim=-1, stable=True), ends


def axes_in(expr: Any) -> set[str]:
    """Axes whose positions an expression reads."""
    match expr:
        case ("index", _, axis):
            return {axis}
        case ("read", _, _, index, fill):
            return set().union(*map(axes_in, index), *([axes_in(fill)] if fill else []))
        case ("apply", _, _, args):
            return set().union(*map(axes_in, args))
    return set()


def _wide(values: torch.Tensor, kind: str) -> torch.Tensor:
    """Truth values, or whole numbers with 64 bits, as kernels compute with them: what is stored narrow may not hold a sum."""
    return values != 0 if kind == "bool" else values.to(torch.int64)


class Tiles:
    """Tensors here have the dims of the list: its grid, tiles of rows, tiles of keys; 1 where nothing differs."""

    def __init__(
        self,
        grid: tuple[str, ...],
        sides: tuple[tuple[str, ...], tuple[str, ...]],
        arrays: Mapping[str, torch.Tensor],
        sizes: Mapping[str, int],
        boxes: Mapping[str, int],
        device: torch.device,
    ) -> None:
        self.grid, self.sides, self.arrays, self.sizes, self.boxes, self.device = grid, sides, arrays, sizes, boxes, device
        self.known: dict[Any, Known] = {}
        self.counts = tuple(reduce(lambda n, a: n * self.cut(a), axes, 1) for axes in sides)

    def cut(self, axis: str) -> int:
        """How many tiles an axis has."""
        return -(-self.sizes[axis] // self.boxes[axis])

    def inside(self) -> torch.Tensor:
        """Whether every position of a tile of keys exists."""
        axes = self.sides[1]
        out = torch.ones((), dtype=torch.bool, device=self.device)
        for n, axis in enumerate(axes):
            ends = (torch.arange(self.cut(axis), device=self.device) + 1) * self.boxes[axis] <= self.sizes[axis]
            out = out & ends.reshape([-1 if m == n else 1 for m in range(len(axes))])
        return out.expand([self.cut(a) for a in axes]).reshape(1, -1)

    # Over tiles.

    def bounds(self, expr: Any) -> Known:
        """The two ends of an expression over tiles."""
        if expr not in self.known:
            try:
                self.known[expr] = self._bounds(expr)
            except NoRule:
                ends = (False, True) if expr[1] == "bool" else (-FAR, FAR)
                self.known[expr] = (torch.tensor(ends[0], device=self.device), torch.tensor(ends[1], device=self.device))
        return self.known[expr]

    def _bounds(self, expr: Any) -> Known:
        axes = axes_in(expr)
        rows, keys = (set(side) for side in self.sides)
        if not (axes & rows and axes & keys):
            return self._one_side(expr, 1 if axes & keys else 0)
        match expr:
            case ("read", kind, source, index, None) if kind in POOLED:
                return self._read_of_both(kind, source, index)
            case ("apply", "int" | "bool", op, args) if all(a[1] in ("int", "bool") for a in args):
                return self._apply(op, args, [self.bounds(a) for a in args])
        raise NoRule

    def _one_side(self, expr: Any, side: int) -> Known:
        """Values at every position of one side, then of each tile."""
        least, most = self._pooled(self.exact(expr, self.sides[side]), self.sides[side])
        lead = least.shape[: len(self.grid)]
        shape = [*lead, -1, 1] if side == 0 else [*lead, 1, -1]
        return least.reshape(shape), most.reshape(shape)

    def _pooled(self, values: torch.Tensor, axes: tuple[str, ...]) -> Known:
        """The least and greatest value in each tile of the last dims, which are positions along some axes."""
        truth = values.dtype == torch.bool
        values = values.to(torch.uint8) if truth else values
        least = most = values
        for n, axis in enumerate(axes):
            dim, size, box, count = values.dim() - len(axes) + n, self.sizes[axis], self.boxes[axis], self.cut(axis)
            if least.shape[dim] == 1:
                shape = [count if m == dim else x for m, x in enumerate(least.shape)]
                least, most = least.expand(shape), most.expand(shape)
                continue
            if count * box != size:  # the last tile repeats its last position
                at = torch.arange(count * box, device=self.device).clamp(max=size - 1)
                least, most = (x.index_select(dim, at) for x in (least, most))
            least = least.unflatten(dim, (count, box)).amin(dim + 1)
            most = most.unflatten(dim, (count, box)).amax(dim + 1)
        return (least > 0, most > 0) if truth else (least, most)

    def _read_of_both(self, kind: str, source: str, index: tuple[Any, ...]) -> Known:
        """Pairs of tiles of an array that is read at plain positions."""
        axes = [x[2] if x[0] == "index" else "" for x in index]
        tiled = (*self.sides[0], *self.sides[1])
        wanted = (*self.grid, *tiled)
        if "" in axes or len(set(axes)) < len(axes) or source not in self.arrays:
            raise NoRule
        values = self.arrays[source].permute([axes.index(a) for a in wanted if a in axes])
        values = values if values.dtype in POOLED[kind] else _wide(values, kind)
        least, most = self._pooled(values.reshape([self.sizes[a] if a in axes else 1 for a in wanted]), tiled)
        shape = [*least.shape[: len(self.grid)], *self.counts]
        return least.reshape(shape), most.reshape(shape)

    def _apply(self, op: str, exprs: tuple[Any, ...], args: list[Known]) -> Known:
        match op, args:
            case "not", [(sure, may)]:
                return ~may, ~sure
            case "and" | "or", [a, b]:
                join = PAIRS[op]
                return join(a[0], b[0]), join(a[1], b[1])
            case "where", [cond, a, b] if exprs[1][1] != "bool":
                least = torch.where(cond[0], a[0], torch.where(cond[1], torch.minimum(a[0], b[0]), b[0]))
                return least, torch.where(cond[0], a[1], torch.where(cond[1], torch.maximum(a[1], b[1]), b[1]))
            case "where", [cond, a, b]:
                yes, no = (cond[0] & a[0]) | (~cond[1] & b[0]), (cond[1] & a[1]) | (~cond[0] & b[1])
                return yes | (a[0] & b[0]), no
        low, high = [a[0].to(torch.int64) for a in args], [a[1].to(torch.int64) for a in args]
        if op in ("add", "sub", "mul"):
            least, most = self._arithmetic(op, low, high)
            return least.clamp(-FAR, FAR), most.clamp(-FAR, FAR)
        match op:
            case "le":
                return high[0] <= low[1], low[0] <= high[1]
            case "lt":
                return high[0] < low[1], low[0] < high[1]
            case "ge":
                return low[0] >= high[1], high[0] >= low[1]
            case "gt":
                return low[0] > high[1], high[0] > low[1]
            case "eq" | "ne":
                same = (low[0] == high[0]) & (low[1] == high[1]) & (low[0] == low[1])
                meet = (low[0] <= high[1]) & (low[1] <= high[0])
                return (same, meet) if op == "eq" else (~meet, ~same)
            case "neg":
                return -high[0], -low[0]
            case "min" | "max":
                return PAIRS[op](low[0], low[1]), PAIRS[op](high[0], high[1])
            case "abs":
                most = torch.maximum(high[0], -low[0])
                return torch.maximum(torch.maximum(low[0], -high[0]), torch.zeros_like(most)), most
            case "floordiv" | "mod" if (below := self._number(exprs[1])) > 0:
                first, last = (torch.div(x[0], below, rounding_mode="floor") for x in (low, high))
                if op == "floordiv":
                    return first, last
                one = first == last
                return torch.where(one, low[0] - first * below, 0), torch.where(one, high[0] - last * below, below - 1)
        raise NoRule

    def _arithmetic(self, op: str, low: list[torch.Tensor], high: list[torch.Tensor]) -> Known:
        """A sum, difference or product of two intervals, its ends beyond FAR where they are not known."""
        if op == "add":
            return low[0] + low[1], high[0] + high[1]
        if op == "sub":
            return low[0] - high[1], high[0] - low[1]
        pairs = [(a, b) for a in (low[0], high[0]) for b in (low[1], high[1])]
        ends = torch.stack(torch.broadcast_tensors(*(a * b for a, b in pairs)))
        rough = torch.stack(torch.broadcast_tensors(*(a.double() * b.double() for a, b in pairs)))
        over = rough.abs().amax(0) >= FAR  # the product of 64 bits may have wrapped
        return torch.where(over, -FAR, ends.amin(0)), torch.where(over, FAR, ends.amax(0))

    # At positions of one side.

    def exact(self, expr: Any, axes: tuple[str, ...]) -> torch.Tensor:
        """Values over the list's grid and the positions along some axes. Raises NoRule."""
        dims = (*self.grid, *axes)
        if expr[1] not in ("int", "bool"):  # compared in the kernel's precision, so not here
            raise NoRule
        match expr:
            case ("const", _, number):
                return torch.tensor(number, device=self.device).reshape([1] * len(dims))
            case ("size", _, axis):
                return torch.tensor(self.sizes[axis], device=self.device).reshape([1] * len(dims))
            case ("index", _, axis) if axis in dims:
                return torch.arange(self.sizes[axis], device=self.device).reshape([-1 if a == axis else 1 for a in dims])
            case ("read", kind, source, index, fill):
                return self._gathered(kind, source, index, fill, axes)
            case ("apply", _, "where", (c, a, b)):
                return torch.where(self.exact(c, axes), self.exact(a, axes), self.exact(b, axes))
            case ("apply", _, "not", (a,)):
                return ~self.exact(a, axes)
            case ("apply", _, "neg" | "abs" as op, (a,)):
                value = self.exact(a, axes)
                return -value if op == "neg" else value.abs()
            case ("apply", _, "floordiv" | "mod" as op, (a, b)) if self._number(b):
                top, below = self.exact(a, axes), self._number(b)
                return torch.div(top, below, rounding_mode="floor") if op == "floordiv" else torch.remainder(top, below)
            case ("apply", _, "to_int", (a,)):
                return self.exact(a, axes).to(torch.int64)
            case ("apply", _, op, (a, b)) if op in PAIRS:
                left, right = self.exact(a, axes), self.exact(b, axes)
                if left.dtype == torch.bool and op not in ("and", "or"):
                    left, right = left.to(torch.int64), right.to(torch.int64)
                return PAIRS[op](left, right)
        raise NoRule

    def _gathered(self, kind: str, source: str, index: tuple[Any, ...], fill: Any, axes: tuple[str, ...]) -> torch.Tensor:
        array = self.arrays.get(source)
        if array is None or not array.numel() or not index:
            raise NoRule
        places = [self.exact(x, axes).to(torch.int64) for x in index]
        found = _wide(array[tuple(p.clamp(0, n - 1) for p, n in zip(places, array.shape, strict=True))], kind)
        if fill is None:
            return found
        inside = reduce(torch.logical_and, [(p >= 0) & (p < n) for p, n in zip(places, array.shape, strict=True)])
        return torch.where(inside, found, self.exact(fill, axes))

    def _number(self, expr: Any) -> int:
        """A divisor that needs no data, 0 for any other."""
        match expr:
            case ("const", "int", number):
                return int(number)
            case ("size", _, axis):
                return self.sizes[axis]
        return 0
