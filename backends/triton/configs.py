"""Tile sizes, warps and stages of a kernel: one table by target family and head dimension, from measured configurations.

Each row was compiled for its target without spills and with every tile product on the tensor cores. The extents are positions
of the owner's dim and of the loops' dims; a dim of several axes splits its extent, the last axis longest.
"""

from __future__ import annotations

from dataclasses import dataclass

from attncc.tile.nodes import Block, Dim, Dot, Program, Stmt, TileLoop, statements


@dataclass(frozen=True, slots=True)
class Config:
    """owner, loop: positions of a tile. warps, stages: of Triton."""

    owner: int
    loop: int
    warps: int
    stages: int


_SAFE = Config(64, 64, 4, 2)
"""Where nothing was measured."""

_TABLE: dict[tuple[str, int, bool], Config] = {
    ("cuda:80", 64, True): Config(128, 64, 4, 3),
    ("cuda:80", 64, False): Config(128, 64, 4, 3),
    ("cuda:80", 128, True): Config(128, 64, 8, 2),
    ("cuda:80", 128, False): Config(128, 64, 8, 2),
    ("cuda:90", 64, True): Config(128, 128, 8, 2),
    ("cuda:90", 64, False): Config(128, 128, 8, 2),
    ("cuda:90", 128, True): Config(128, 128, 8, 2),
    ("cuda:90", 128, False): Config(128, 64, 8, 2),
    ("cuda:90", 256, True): Config(128, 64, 8, 2),
    ("cuda:90", 256, False): Config(128, 64, 8, 1),
    ("cuda:100", 64, True): Config(128, 128, 8, 2),
    ("cuda:100", 64, False): Config(128, 128, 8, 2),
    ("cuda:100", 128, True): Config(128, 128, 8, 2),
    ("cuda:100", 128, False): Config(128, 64, 8, 2),
    ("hip", 64, False): Config(128, 64, 4, 2),
    ("hip", 128, False): Config(128, 64, 4, 2),
}
"""By target, head dimension up to, and whether descriptors read the operands (pointers take registers)."""


_NARROW = {64: Config(64, 64, 4, 1), 128: Config(64, 32, 4, 1), 256: Config(32, 32, 4, 1)}
"""For kernels with three products and more, whose operands are in shared memory together, by head dimension up to."""

_SMALLER = (Config(128, 64, 8, 2), Config(64, 64, 4, 2), Config(64, 32, 4, 1), Config(32, 32, 4, 1))
"""What to fall back to, in order, when a kernel spills."""


def candidates(program: Program, features: dict[str, int], target: str, bits: int, descriptors: bool) -> tuple[Config, ...]:
    """Configurations for a program, best first. features: sizes of its feature axes. bits: of an element."""
    width = max([features[d.axes[0]] for d in program.dims if d.whole], default=16)
    online = any(isinstance(s, Block) and s.kind == "online" for s in statements(program.body))
    if target == "interpreter":
        return (Config(32, 32, 4, 1),)
    if not any(isinstance(s, TileLoop) for s in statements(program.body)):
        return (Config(64, 64, 4, 1), Config(16, 16, 4, 1))
    if sum(isinstance(s, Dot) for s in statements(_loop(program))) > 2:
        limit = next((n for n in _NARROW if width * (bits // 16) ** 2 <= n), 0)
        return (_NARROW[limit] if limit else Config(16, 16, 4, 1), Config(32, 32, 4, 1), Config(16, 16, 4, 1))
    if bits > 16:
        return (Config(64, 32, 4, 2) if width > 64 else _SAFE, *_SMALLER[2:])
    family = "hip" if target.startswith("hip") else target
    limit = next((n for n in (64, 128, 256) if width <= n), 0)
    first = _TABLE.get((family, limit, descriptors), _SAFE if limit else Config(64, 32, 8, 1))
    found = [first, *_SMALLER]
    if target == "cuda:90" and descriptors and width <= 64 and not online:
        found.insert(0, Config(128, 128, 4, 2))
    return tuple(dict.fromkeys(found))


def _loop(program: Program) -> tuple[Stmt, ...]:
    """The body of the last innermost loop over keys."""
    loops = [s for s in statements(program.body) if isinstance(s, TileLoop)]
    return loops[-1].body


def tiles(dim: Dim, extent: int) -> dict[str, int]:
    """The extent of a tile along each axis of a dim: powers of two, the last axis takes the largest share."""
    out = dict.fromkeys(dim.axes, 1)
    left, number = extent, len(dim.axes)
    for at, axis in enumerate(reversed(dim.axes)):
        share = 1
        while share ** (number - at) < left:
            share *= 2
        out[axis] = min(share, left)
        left //= out[axis]
    return out


def settings(program: Program, config: Config, tile_names: dict[str, str], precision: str) -> dict[str, int | str]:
    """What the caller passes to a kernel beside its arguments."""
    out: dict[str, int | str] = {}
    for dim in program.dims:
        if not dim.whole:
            extent = config.owner if dim.name == program.owner else config.loop
            out |= {tile_names[a]: n for a, n in tiles(dim, extent).items()}
    return out | {"PRECISION": precision, "num_warps": config.warps, "num_stages": config.stages}
