"""Tile sizes, from the pairs that they make a kernel visit.

The owner's tile is a few strips, as many as leave most of the second-level cache free: more of them read a tile of keys less often; one
of them, as square as can be, visits fewer keys under a window; a part of one visits fewer still, and then one or two tiles of keys hold
all that it sees. A strip's scores with a tile of keys take a quarter of the first-level cache, beside its operand and its sums. Costs are
cycles of the vector units; every choice depends on sizes and the machine alone, never on its load or on how many threads a process may
use.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, prod

from attncc.ir.sizes import scalar
from attncc.tile import bands
from attncc.tile.nodes import Dim, Dot, Init, Load, Program, TileLoop, statements

from .caches import caches
from .few import FEWS_OF_A_STRIP, takes_few
from .visits import Unknown, visits

KEYS = 64
"""The most positions in a tile of keys: more of them save nothing, on any vectors."""
STRIPS = (8, 4, 2, 1)
"""In an owner's tile, where its operands and sums take a quarter of the second-level cache at most."""
_STACKED = 4
"""The same where rows of several heads are stacked."""
_MANY = 16
"""Owners a processor where they may be of the most strips: they end at nearly the same time."""
_SWEPT = 48
_SIDES = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48)
_SAMPLES = 3
_OWNER, _COPIED, _POINT, _TEST = 3000.0, 45.0, 9.0, 3.0
"""Cycles of an owner; of a row of a tile that is copied; of the pointwise work on a vector of pairs; of its test."""


@dataclass(frozen=True)
class Unit:
    """What computes products. keys: positions in a tile of keys, as a multiple of those whose scores take a quarter of the first-level
    cache; sides: others to try. Cycles of a tile, beside a strip; of a row of one, and of a vector of pairs, for each position that a
    product sums over."""

    keys: int
    sides: tuple[int, ...]
    tile: float
    row: float
    depth: float


VECTORS = Unit(1, (16, 32, 48), 450.0, 0.1, 0.5)
MATRIX = Unit(2, (32, 64), 2500.0, 0.23, 0.08)
FEW_ROWS = Unit(4, (16, 32, 64, 128), 600.0, 0.25, 0.0)
"""Of kernels for few rows: keys are read once and kept nowhere."""


def choose(program: Program, sizes: Mapping[str, int], strip: int, unit: Unit = VECTORS, number: int = 4) -> dict[str, int]:
    """The extent of a tile along each tiled axis. strip: positions of a strip. number: bytes of one that is computed with."""
    owner = program.dim(program.owner)
    if program.sweep:  # what a tile of rows and its keys cost from the left is as much as their state costs
        return {a: max(1, min(-(-_SWEPT // strip) * strip, sizes[a])) for d in program.dims if not d.whole for a in d.axes}
    loops = [d for d in program.dims if not d.whole and d.name != program.owner]
    grouped = program.kind == "grouped"
    most = _strips(program, sizes, strip * number)
    if grouped:
        usual = _stacked(program, sizes, strip)
    else:
        usual = next(_owners(owner, sizes, strip, most, program)) if len(owner.axes) == 1 else _square(owner, strip, sizes)
    if prod(usual.values()) * FEWS_OF_A_STRIP <= strip and takes_few(program):
        unit = FEW_ROWS
    unit = replace(unit, keys=unit.keys * _beside(strip * number))
    plain = {a: n for d in loops for a, n in _square(d, unit.keys, sizes).items()}
    if not loops:
        return usual
    ones = {a: 1 for d in loops for a in d.axes}
    cost = Costs(program, sizes, strip, unit)
    try:
        boxes = [usual] if grouped else _distinct(_owners(owner, sizes, strip, most, program))
        if len(loops) == 1 and len(loops[0].axes) == 1 and (grouped or len(owner.axes) == 1) and sizes[loops[0].axes[0]] > 0:
            both = [{**box, **keys} for box in boxes for keys in _ranges(loops[0].axes[0], sizes, unit, box, program)]
            return min(both, key=cost)
        best = min(boxes, key=lambda box: cost({**ones, **box}, exact=True))
        for loop in loops:
            if len(loops) > 1 or any(sizes[a] == 0 for a in loop.axes):
                break
            plain = _keys(loop, sizes, unit, lambda box: cost({**box, **best}))
    except Unknown:
        return {**plain, **usual}
    return {**plain, **best}


def sweeps(programs: Sequence[Program], sizes: Mapping[str, int]) -> bool:
    """Whether sweeps, which are one piece of work at each grid position, give every processor of the machine something to do."""
    return all(prod(sizes[a] for a in p.grid) >= processors() for p in programs if p.sweep)


def shares(program: Program, sizes: Mapping[str, int]) -> int:
    """Over how many shares the tiles of a grid position are dealt out: as many as give every processor of the machine something to
    do, and as memory allows; one where programs own bands."""
    if program.bands is not None:
        return 1
    heads = prod(sizes[a] for a in program.grid if a != program.shares)
    tiles = prod(-(-sizes[a] // KEYS) for a in program.dim(program.owner).axes)
    most = tiles if program.most is None else int(scalar(program.most, sizes))
    return max(1, min(tiles, most, processors() // max(1, heads)))


def by_bands(program: Program, sizes: Mapping[str, int]) -> bool:
    """Whether bands of sums are cheaper than shares for the sizes of a call."""
    return bool(program.banded) and bool(scalar(bands.cheaper(program, processors()), sizes))


def dealt(program: Program, sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes of the axes that deal out a program's sums: of shares, bands, and what a band holds."""
    if not program.shares:
        return {}
    out = {program.shares: shares(program, sizes)}
    if program.bands is not None:
        number = int(scalar(bands.count(program, processors()), sizes))
        out |= {program.bands.axis: number, program.bands.inside: -(-sizes[program.bands.over] // number)}
    return out


def processors() -> int:
    """Those of the machine, whatever a process may use of them: results must not depend on that."""
    return os.cpu_count() or 1


def _beside(position: int) -> int:
    """Positions in a tile of keys whose scores take a quarter of the first-level cache. position: bytes of the scores of one."""
    return max(3 * KEYS // 4, min(KEYS, caches().first // 4 // position // 16 * 16))


def _strips(program: Program, sizes: Mapping[str, int], position: int) -> int:
    """Strips of which what an owner loads and sums up takes a quarter of the second-level cache. position: bytes of one of its rows."""
    whole = {d.name for d in program.dims if d.whole}
    tiles = {s.out: s.dims for s in statements(program.body) if isinstance(s, Load)}
    tiles |= {s.acc: s.dims for s in statements(program.body) if isinstance(s, Init)}
    rows = sum(prod(sizes[a] for a in dims if a in whole) for dims in tiles.values() if program.owner in dims and whole & {*dims})
    return next((n for n in STRIPS if n * position * rows <= caches().second // 4), 1)


def _distinct(boxes: Iterator[dict[str, int]]) -> list[dict[str, int]]:
    out: list[dict[str, int]] = []
    for box in boxes:
        if box not in out:
            out.append(box)
    return out


def _owners(dim: Dim, sizes: Mapping[str, int], strip: int, most: int, program: Program) -> Iterator[dict[str, int]]:
    """Candidates for the owner's tile, the largest first. most: strips in it."""
    if len(dim.axes) == 1:
        grid = prod(sizes[a] for a in program.grid)
        size = sizes[dim.axes[0]]
        for vectors in (*(3 * n for n in STRIPS if n <= most), 2, 1):
            box = vectors * strip // 3
            enough = {3 * STRIPS[0]: _MANY}.get(vectors, 2 if vectors > 3 else 0) * processors()
            if grid * ceil(size / box) >= enough:
                yield {dim.axes[0]: max(1, min(box, size))}
        return
    for vectors in (3, 2):
        for sides in product(_SIDES, repeat=len(dim.axes) - 1):
            last = vectors * strip // 3 // prod(sides)
            if last > 1 and all(n <= sizes[a] for a, n in zip(dim.axes, sides, strict=False)):
                yield {a: max(1, min(n, sizes[a])) for a, n in zip(dim.axes, (*sides, last), strict=True)}


def _stacked(program: Program, sizes: Mapping[str, int], strip: int) -> dict[str, int]:
    """The tile of an owner with few rows of many heads: all rows, of as many heads as fit, in tiles alike; more tiles where there are
    fewer owners than processors, of a vector at least."""
    axes = program.dim(program.owner).axes
    positions = prod(sizes[a] for a in axes)
    fewest = processors() // max(1, prod(sizes[a] for a in program.grid))
    left = min(_STACKED * strip, max(-(-positions // max(1, fewest)), strip // 3))
    out: dict[str, int] = {}
    for axis in reversed(axes):
        count = -(-sizes[axis] // max(1, left))
        out[axis] = max(1, -(-sizes[axis] // count)) if count else 1
        left //= out[axis]
    return out


def _keys(dim: Dim, sizes: Mapping[str, int], unit: Unit, cost: Callable[[Mapping[str, int]], float]) -> dict[str, int]:
    """The tile of keys that costs least: of one axis among a few, of several side by side, twice."""
    best = _square(dim, unit.keys, sizes)
    if len(dim.axes) == 1:
        axis = dim.axes[0]
        return min(({axis: max(1, min(side, sizes[axis]))} for side in (unit.keys, *unit.sides)), key=cost)
    for axis in (*reversed(dim.axes), *reversed(dim.axes)):
        others = prod(n for a, n in best.items() if a != axis)
        sides = [n for n in _SIDES if n <= sizes[axis] and n * others <= 1.5 * unit.keys]
        best = min([best, *({**best, axis: n} for n in sides)], key=cost)
    return best


def _ranges(
    axis: str, sizes: Mapping[str, int], unit: Unit, owner: Mapping[str, int], program: Program
) -> Iterator[dict[str, int]]:
    """Candidates for the tile of keys along one axis: some sides, and all that an owner in the middle visits, where one or two tiles
    hold it. Raises Unknown."""
    first = {rows: ceil(sizes[rows] / owner[rows]) // 2 * owner[rows] for rows in program.dim(program.owner).axes}
    most = int(visits(program, sizes, {axis: 1, **owner}, first).rows)
    few = [-(-most // n) for n in (1, 2) if 0 < most <= 2 * n * unit.keys]
    for side in dict.fromkeys((unit.keys, *unit.sides, *few)):
        yield {axis: max(1, min(side, sizes[axis]))}


class Costs:
    """Cycles of a kernel for tile sizes. strip: positions of a strip."""

    def __init__(self, program: Program, sizes: Mapping[str, int], strip: int, unit: Unit) -> None:
        self.program, self.sizes, self.strip, self.unit = program, sizes, strip, unit
        self.owner = program.dim(program.owner)
        self.features = sum(sizes[s.over] if program.dim(s.over).whole else sizes[s.dims[1]] for s in _products(program))
        copied = any(len(d.axes) > 1 for d in program.dims if not d.whole and d is not self.owner)
        self.row = _COPIED if copied else unit.row * self.features

    def __call__(self, boxes: Mapping[str, int], exact: bool = False) -> float:
        """exact: tiles of keys are single positions, which only counts pairs. Raises Unknown."""
        sizes, strip, unit, axes = self.sizes, self.strip, self.unit, self.owner.axes
        tiles = [ceil(sizes[a] / boxes[a]) for a in axes]
        lanes = prod(boxes[a] for a in axes)
        whole = ceil(lanes / (strip / 3)) * prod(tiles)
        if len(axes) == 1:  # the last tile is cut to whole vectors
            whole = ceil(sizes[axes[0]] / (strip / 3))
        samples = range(_SAMPLES if max(tiles) > 0 else 0)
        firsts = Counter(
            tuple((2 * n + 1) * t // (2 * _SAMPLES) * boxes[a] for a, t in zip(axes, tiles, strict=True)) for n in samples
        )
        total = 0.0
        for first, times in firsts.items():
            seen = visits(self.program, sizes, boxes, dict(zip(axes, first, strict=True)))
            tile = 0.0 if exact else seen.tiles
            owners = _OWNER + tile * unit.tile * ceil(lanes / strip) + seen.rows * self.row
            edge = seen.tested if 2 * seen.tested <= seen.rows else 0.0  # of many keys: half of it is computed
            pairs = (seen.rows - edge / 2) * (self.features * unit.depth + _POINT) + seen.tested * _TEST
            total += times * (prod(tiles) * owners + whole * (pairs + strip / 12 * self.features))
        return total / _SAMPLES


def _products(program: Program) -> list[Dot]:
    """The products for one tile of each dim: those of the loop over it that has the most."""
    found: dict[str, list[Dot]] = {}
    for loop in (s for s in statements(program.body) if isinstance(s, TileLoop)):
        inside = tuple(statements(loop.body))
        if not any(isinstance(s, TileLoop) for s in inside):
            found[loop.dim] = max(found.get(loop.dim, []), [s for s in inside if isinstance(s, Dot)], key=len)
    return [dot for dots in found.values() for dot in dots]


def _square(dim: Dim, room: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """A box of at most `room` positions, its sides alike."""
    out: dict[str, int] = {}
    left = room
    for number, axis in enumerate(dim.axes):
        side = max(1, round(left ** (1 / (len(dim.axes) - number))))
        out[axis] = max(1, min(side, sizes[axis]))
        left = max(1, left // out[axis])
    return out
