"""Lists of tiles, made on the device from what a mask reads: interval arithmetic over tiles.

    part of the mask                                 over a tile
    one side's positions and reads of it alone       worked out at every position, then its least and greatest value in each tile
    a read at plain positions of both sides          its least and greatest value in each pair of tiles
    everything else                                  from the intervals of its parts; unknown where there is no rule

A truth value has two ends as well: whether it holds everywhere in the tile, and whether it may hold anywhere. Memory is that of the
positions of one side, or of the pairs of tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce

import torch

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, axes_of, kind_of
from attncc.tile.nodes import Program, TileList

Tensors = Mapping[str, torch.Tensor]
Known = tuple[torch.Tensor, torch.Tensor]
"""Least and greatest value, or: sure to hold, and may hold."""

_FAR = 1 << 40
_PAIRS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "min": torch.minimum, "max": torch.maximum, "eq": torch.eq,
    "ne": torch.ne, "le": torch.le, "lt": torch.lt, "ge": torch.ge, "gt": torch.gt, "and": torch.logical_and, "or": torch.logical_or,
}  # fmt: skip


class _Unknown(Exception):
    """No rule."""


def listed(made: TileList, program: Program, arrays: Tensors, sizes: Mapping[str, int], boxes: Mapping[str, int]) -> Known:
    """The tiles and counts of a list: int64, one dim an axis.

    arrays: what the mask reads, one dim an axis. sizes, boxes: of axes, in positions.
    """
    device = next((t.device for t in arrays.values()), torch.device("cpu"))
    found = _Tiles(made, program, arrays, sizes, boxes, device)
    sure, may = found.bounds(made.cond)
    grid = [sizes[a] for a in made.grid]
    shape = (*grid, *found.counts)
    inside = found.inside()
    full, may = (sure & inside).expand(shape), may.expand(shape)
    order = torch.where(full, 0, torch.where(may, 1, 2))
    tiles = order.to(torch.int8).argsort(dim=-1, stable=True)
    ends = torch.stack([full.sum(-1), (may & ~full).sum(-1)], -1)
    return tiles, ends


@dataclass
class _Tiles:
    """Tensors here have the dims of the list: its grid, tiles of the owner, tiles of the loop; 1 where nothing differs."""

    made: TileList
    program: Program
    arrays: Tensors
    sizes: Mapping[str, int]
    boxes: Mapping[str, int]
    device: torch.device
    known: dict[Expr, Known] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        return self.program.dim(self.made.owner).axes, self.program.dim(self.made.loop).axes

    @property
    def counts(self) -> tuple[int, ...]:
        """Tiles of either side."""
        return tuple(reduce(lambda n, a: n * self.cut(a), axes, 1) for axes in self.sides)

    def cut(self, axis: str) -> int:
        return -(-self.sizes[axis] // self.boxes[axis])

    def inside(self) -> torch.Tensor:
        """Whether every position of a tile of the loop exists."""
        axes = self.sides[1]
        out = torch.ones((), dtype=torch.bool, device=self.device)
        for n, axis in enumerate(axes):
            ends = (torch.arange(self.cut(axis), device=self.device) + 1) * self.boxes[axis] <= self.sizes[axis]
            out = out & ends.reshape([-1 if m == n else 1 for m in range(len(axes))])
        return out.expand([self.cut(a) for a in axes]).reshape(1, -1)

    # Over tiles.

    def bounds(self, expr: Expr) -> Known:
        if expr not in self.known:
            try:
                self.known[expr] = self._bounds(expr)
            except _Unknown:
                ends = (False, True) if kind_of(expr) == "bool" else (-_FAR, _FAR)
                self.known[expr] = (torch.tensor(ends[0], device=self.device), torch.tensor(ends[1], device=self.device))
        return self.known[expr]

    def _bounds(self, expr: Expr) -> Known:
        axes = set(axes_of(expr))
        owner, loop = (set(side) for side in self.sides)
        if not (axes & owner and axes & loop):
            return self._one_side(expr, 1 if axes & loop else 0)
        match expr:
            case Read():
                return self._read_of_both(expr)
            case Apply(op, args) if kind_of(expr) in ("int", "bool") and all(kind_of(a) in ("int", "bool") for a in args):
                return self._apply(op, args, [self.bounds(a) for a in args])
        raise _Unknown

    def _one_side(self, expr: Expr, side: int) -> Known:
        """Values at every position of one side, then of each tile."""
        least, most = self._pooled(self.exact(expr, self.sides[side]), self.sides[side])
        lead = least.shape[: len(self.made.grid)]
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

    def _read_of_both(self, read: Read) -> Known:
        """Pairs of tiles of an array that is read at plain positions."""
        axes = [x.axis if isinstance(x, Index) else "" for x in read.index]
        tiled = (*self.sides[0], *self.sides[1])
        wanted = (*self.made.grid, *tiled)
        if read.fill is not None or "" in axes or len(set(axes)) < len(axes) or read.source not in self.arrays:
            raise _Unknown
        values = self.arrays[read.source].permute([axes.index(a) for a in wanted if a in axes])
        least, most = self._pooled(values.reshape([self.sizes[a] if a in axes else 1 for a in wanted]), tiled)
        shape = [*least.shape[: len(self.made.grid)], *self.counts]
        return least.reshape(shape), most.reshape(shape)

    def _apply(self, op: str, exprs: tuple[Expr, ...], args: list[Known]) -> Known:
        match op, args:
            case "not", [(sure, may)]:
                return ~may, ~sure
            case "and" | "or", [a, b]:
                join = _PAIRS[op]
                return join(a[0], b[0]), join(a[1], b[1])
            case "where", [cond, a, b] if kind_of(exprs[1]) != "bool":
                least = torch.where(cond[0], a[0], torch.where(cond[1], torch.minimum(a[0], b[0]), b[0]))
                return least, torch.where(cond[0], a[1], torch.where(cond[1], torch.maximum(a[1], b[1]), b[1]))
            case "where", [cond, a, b]:
                yes, no = (cond[0] & a[0]) | (~cond[1] & b[0]), (cond[1] & a[1]) | (~cond[0] & b[1])
                return yes | (a[0] & b[0]), no
        low, high = [a[0].to(torch.int64) for a in args], [a[1].to(torch.int64) for a in args]
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
            case "add":
                return low[0] + low[1], high[0] + high[1]
            case "sub":
                return low[0] - high[1], high[0] - low[1]
            case "neg":
                return -high[0], -low[0]
            case "min" | "max":
                return _PAIRS[op](low[0], low[1]), _PAIRS[op](high[0], high[1])
            case "abs":
                most = torch.maximum(high[0], -low[0])
                return torch.maximum(torch.maximum(low[0], -high[0]), torch.zeros_like(most)), most
            case "mul":
                ends = torch.broadcast_tensors(low[0] * low[1], low[0] * high[1], high[0] * low[1], high[0] * high[1])
                return torch.stack(ends).amin(0), torch.stack(ends).amax(0)
            case "floordiv" | "mod" if (below := self._number(exprs[1])) > 0:
                first, last = (torch.div(x[0], below, rounding_mode="floor") for x in (low, high))
                if op == "floordiv":
                    return first, last
                one = first == last
                return torch.where(one, low[0] - first * below, 0), torch.where(one, high[0] - last * below, below - 1)
        raise _Unknown

    # At positions of one side.

    def exact(self, expr: Expr, axes: tuple[str, ...]) -> torch.Tensor:
        """Values over the list's grid and the positions along some axes. Raises _Unknown."""
        dims = (*self.made.grid, *axes)
        if kind_of(expr) not in ("int", "bool"):  # compared in the kernel's precision, so not here
            raise _Unknown
        match expr:
            case Const(number):
                return torch.tensor(number, device=self.device).reshape([1] * len(dims))
            case Size(axis):
                return torch.tensor(self.sizes[axis], device=self.device).reshape([1] * len(dims))
            case Index(axis) if axis in dims:
                return torch.arange(self.sizes[axis], device=self.device).reshape([-1 if a == axis else 1 for a in dims])
            case Read():
                return self._gathered(expr, axes)
            case Apply("where", (c, a, b)):
                return torch.where(*(self.exact(x, axes) for x in (c, a, b)))
            case Apply("not", (a,)):
                return ~self.exact(a, axes)
            case Apply("neg" | "abs" as op, (a,)):
                value = self.exact(a, axes)
                return -value if op == "neg" else value.abs()
            case Apply("floordiv" | "mod" as op, (a, b)) if self._number(b):
                top, below = self.exact(a, axes), self._number(b)
                return torch.div(top, below, rounding_mode="floor") if op == "floordiv" else torch.remainder(top, below)
            case Apply("to_int", (a,)):
                return self.exact(a, axes).to(torch.int64)
            case Apply(op, (a, b)) if op in _PAIRS:
                left, right = self.exact(a, axes), self.exact(b, axes)
                if left.dtype == torch.bool and op not in ("and", "or"):
                    left, right = left.to(torch.int64), right.to(torch.int64)
                return _PAIRS[op](left, right)
        raise _Unknown

    def _gathered(self, read: Read, axes: tuple[str, ...]) -> torch.Tensor:
        array = self.arrays.get(read.source)
        if array is None or not array.numel() or not read.index:
            raise _Unknown
        places = [self.exact(x, axes).to(torch.int64) for x in read.index]
        found = array[tuple(p.clamp(0, n - 1) for p, n in zip(places, array.shape, strict=True))]
        if read.fill is None:
            return found
        inside = reduce(torch.logical_and, [(p >= 0) & (p < n) for p, n in zip(places, array.shape, strict=True)])
        return torch.where(inside, found, self.exact(read.fill, axes))

    def _number(self, expr: Expr) -> int:
        """A divisor that needs no data, 0 for any other."""
        match expr:
            case Const(int() as number) if not isinstance(number, bool):
                return number
            case Size(axis):
                return self.sizes[axis]
        return 0
