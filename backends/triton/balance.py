"""How long the tiles of a program take beside each other, and what an order of the tiles makes of it: a model, no compiler.

The scalar statements of a tile program say how many tiles its loops visit. They are computed here for nominal lengths, tile by
tile of the owner: under a causal mask the tiles of the last rows are the longest, and those of the first keys. From that follow
which end to start from, when the last program ends if programs are dealt out in an order, and how many heads are worked on at
one time, whose keys must stay in the L2 cache to be read from it more than once.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from itertools import product

from attncc.ir.expr import Const, Expr, Index, Read, rebuild
from attncc.ir.sizes import Unknown, scalar
from attncc.tile.nodes import Bisect, Block, If, Map, Program, Repeat, Stmt, TileLoop

from .configs import Config, tiles
from .space import Setting, moved_bytes, prior
from .traits import Traits, traits

HEADS = 8
"""Heads of a group whose tiles come one after the other in order 3."""

LENGTHS = {1: 4096, 2: 64, 3: 16}
"""Nominal positions along each axis of a tiled dim, by how many axes it has."""

POSITIONS = 4096
"""Nominal positions of all axes of a dim."""

BATCH = 32
"""Nominal grid positions."""

_SAMPLES = 64
"""Tiles of the owner that are looked at, evenly spread."""


def lengths(program: Program, config: Config, features: Mapping[str, int]) -> tuple[int, ...]:
    """Tiles of pairs that owner tiles visit, first to last, at most `_SAMPLES` of them; () where only data says."""
    return _lengths(program, config.owner, config.loop, tuple(sorted(features.items())))


@lru_cache(maxsize=1024)
def _lengths(program: Program, owner: int, loop: int, features: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
    boxes: dict[str, int] = {}
    sizes = dict.fromkeys(program.grid, 1)
    for dim in program.dims:
        if not dim.whole:
            boxes |= tiles(dim, owner if dim.name == program.owner else loop)
            sizes |= dict.fromkeys(dim.axes, LENGTHS.get(len(dim.axes), 16))
    sizes |= dict(features)
    axes = program.dim(program.owner).axes
    starts = list(product(*(range(0, sizes[a], boxes[a]) for a in axes)))
    step = max(1, len(starts) // _SAMPLES)
    walk = _Walk(program, sizes, boxes)
    try:
        return tuple(walk.visits(dict(zip(axes, at, strict=True))) for at in starts[::step])
    except (Unknown, KeyError, ZeroDivisionError, OverflowError):
        return ()


def longest_last(program: Program, features: Mapping[str, int]) -> bool:
    """Whether the later tiles of the owner are the longer ones."""
    return _rises(_lengths(program, 128, 64, tuple(sorted(features.items()))))


def _rises(found: tuple[int, ...]) -> bool:
    half = len(found) // 2
    return sum(found[len(found) - half :]) > sum(found[:half])


def spread(clocks: float, of: Traits, config: Config, setting: Setting, fits: int, found: tuple[int, ...]) -> float:
    """Clocks a score element of a launch of nominal size, from those of a program: traffic from DRAM, and the wait for the last."""
    if not found:
        return clocks
    units = setting.units
    each = min(fits, config.persistent or fits)
    heads = heads_at_once(found, units.sms * each, config.order)
    kept = units.cache_mib * 2**20 / (heads * POSITIONS * max(1, sum(of.moved)) * setting.bits / 8)
    rate = units.dram_gbs * 1e3 / units.clock_mhz / units.sms  # bytes a clock and SM
    missed = max(0.0, 1 - kept) * moved_bytes(of, config, setting) / rate
    return max(clocks, missed) * makespan(found, units.sms * each, config.order, bool(config.persistent))


def in_order(program: Program, features: dict[str, int], config: Config, setting: Setting) -> Config:
    """The configuration with the order that the model likes best, where it names none and tiles differ in length."""
    of, found = traits(program, features), lengths(program, config, features)
    if config.order or of is None or len(set(found)) < 2:
        return config
    clocks, fits = prior(of, config, setting), max(1, 8 // config.warps)
    ways = [replace(config, order=order) for order in range(4)]
    return min(ways, key=lambda c: (float(f"{spread(clocks, of, c, setting, fits, found):.3g}"), c.order))


@lru_cache(maxsize=4096)
def makespan(found: tuple[int, ...], slots: int, order: int, persistent: bool) -> float:
    """When the last of `slots` programs that run at one time ends, over the mean: 1 is balance. found: `lengths` of a head."""
    if not found or not sum(found):
        return 1.0
    work = [length for _, length in _items(found, order)]
    ends = [0.0] * slots
    if persistent:
        for number, length in enumerate(work):
            turn, place = divmod(number, slots)
            back = order == 2 and turn % 2 and (turn + 1) * slots <= len(work)
            ends[slots - 1 - place if back else place] += length
    else:
        for length in work:  # the next program goes to where one ends first
            heapq.heapreplace(ends, ends[0] + length)
    return max(ends) / (sum(work) / slots)


@lru_cache(maxsize=4096)
def heads_at_once(found: tuple[int, ...], slots: int, order: int) -> float:
    """Heads that programs running at one time work on, on average."""
    heads = [head for head, _ in _items(found, order)]
    spans = [heads[n : n + slots] for n in range(0, len(heads), slots)]
    return sum(len(set(span)) for span in spans) / len(spans) if spans else 1.0


def _items(found: tuple[int, ...], order: int) -> list[tuple[int, int]]:
    """(head, length) of every tile, as programs take them."""
    along = found[::-1] if order and _rises(found) else found
    if order < 2:
        return [(head, length) for head in range(BATCH) for length in along]
    group = HEADS if order == 3 else BATCH
    return [(g + n, length) for g in range(0, BATCH, group) for length in along for n in range(min(group, BATCH - g))]


class _Walk:
    """The scalar statements of one program. sizes: of axes; boxes: extents of tiles."""

    def __init__(self, program: Program, sizes: Mapping[str, int], boxes: Mapping[str, int]) -> None:
        self.program, self.sizes, self.boxes = program, sizes, boxes
        self.known: dict[str, int | float | bool] = {}
        self.at: dict[str, int] = dict.fromkeys(program.grid, 0)

    def visits(self, start: Mapping[str, int]) -> int:
        """Tiles that the innermost loops visit for the owner's tile at some positions. Raises Unknown where data decides."""
        self.known = {}
        for s in self.program.scalars:
            self.known[s.name] = scalar(s.expr, self.sizes)
        self._place(start)
        return self._body(self.program.body)

    def _place(self, start: Mapping[str, int]) -> None:
        for axis, first in start.items():
            box = self.boxes[axis]
            self.known |= {
                f"{axis}.first": first, f"{axis}.box": box, f"{axis}.last": min(first + box, self.sizes[axis]) - 1,
            }  # fmt: skip

    def _body(self, body: tuple[Stmt, ...]) -> int:
        return sum(self._visit(stmt) for stmt in body)

    def _visit(self, stmt: Stmt) -> int:
        match stmt:
            case Map(out, expr, ()):
                self.known[out] = self._number(expr)
            case Bisect(out, axis, low, high, cond):
                self.known[out] = self._last(axis, int(self._number(low)), int(self._number(high)), cond)
            case Block(_, body):
                return self._body(body)
            case If(cond, body):
                return self._body(body) if self._number(cond) else 0
            case Repeat(axis, body):
                self.at[axis] = 0
                return self._body(body)
            case TileLoop():
                count = int(self._number(stmt.count))
                if not any(isinstance(s, TileLoop) for s in _inside(stmt.body)):
                    return max(0, count)
                return sum(self._turn(stmt, n) for n in range(count))
        return 0

    def _turn(self, stmt: TileLoop, number: int) -> int:
        self.known[stmt.counter] = number
        self._body(stmt.lets)
        self._place({a: int(self._number(s)) for a, s in zip(stmt.axes, stmt.starts, strict=True)})
        return self._body(stmt.body)

    def _last(self, axis: str, low: int, high: int, cond: Expr) -> int:
        good, bad = low - 1, high + 1
        while bad - good > 1:
            middle = (good + bad) // 2
            self.at[axis] = middle
            good, bad = (middle, bad) if self._number(cond) else (good, middle)
        self.at.pop(axis, None)
        return good

    def _number(self, expr: Expr) -> int | float | bool:
        def read(entry: Read) -> int | float | bool:
            if entry.source in self.known:
                return self.known[entry.source]
            axis, _, what = entry.source.rpartition(".")
            if what == "box" and axis in self.boxes:
                return self.boxes[axis]
            raise Unknown(entry.source)

        found: int | float | bool = scalar(self._placed(expr), self.sizes, read)
        return found

    def _placed(self, expr: Expr) -> Expr:
        if isinstance(expr, Index) and expr.axis in self.at:
            return Const(self.at[expr.axis])
        return rebuild(expr, self._placed)


def _inside(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    for stmt in body:
        yield stmt
        match stmt:
            case Block(_, inner) | If(_, inner) | Repeat(_, inner):
                yield from _inside(inner)
