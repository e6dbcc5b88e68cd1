"""Tile sizes. The owner's tile is a few strips; a tile of keys is what stays in the first-level cache beside a strip."""

from __future__ import annotations

import os
from collections.abc import Mapping
from math import prod

from attncc.tile.nodes import Dim, Program

KEYS = 64
STRIPS = 4


def choose(program: Program, sizes: Mapping[str, int], strip: int) -> dict[str, int]:
    """The extent of a tile along each tiled axis. strip: positions of a strip. It depends on sizes alone, never on the
    machine's load."""
    out: dict[str, int] = {}
    for dim in program.dims:
        if dim.whole:
            continue
        if dim.name != program.owner:
            out |= _box(dim, KEYS, sizes)
        else:
            out |= _box(dim, strip * (STRIPS if len(dim.axes) == 1 else 1), sizes)
    return out


def shares(program: Program, sizes: Mapping[str, int]) -> int:
    """Over how many shares the tiles of a grid position are dealt out: as many as give every processor of the machine something to do.

    It depends on the machine, never on the number of threads a process may use, so results do not either.
    """
    heads = prod(sizes[a] for a in program.grid if a != program.shares)
    tiles = prod(-(-sizes[a] // 64) for a in program.dim(program.owner).axes)
    return max(1, min(tiles, (os.cpu_count() or 1) // max(1, heads)))


def _box(dim: Dim, room: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """A box of at most `room` positions, its sides alike."""
    out: dict[str, int] = {}
    left = room
    for number, axis in enumerate(dim.axes):
        side = max(1, round(left ** (1 / (len(dim.axes) - number))))
        out[axis] = max(1, min(side, sizes[axis]))
        left = max(1, left // out[axis])
    return out
