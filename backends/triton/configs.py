"""How a kernel is tiled and launched: the interface between the printer, the search and the tuner.

`Config` holds every choice that the text of a tile program leaves open. A new kind of choice is a new field here with a default
that means "as before"; `space.py` says which values are tried. Extents are positions of the owner's dim and of the loops' dims;
a dim of several axes splits its extent, the last axis longest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any

from attncc.errors import AttnValueError
from attncc.tile.nodes import Dim, Program


@dataclass(frozen=True, slots=True, order=True)
class Config:
    """owner, loop: positions of a tile. warps, stages: of Triton. described: operands are read through tensor descriptors where
    the target has them and the tensors allow it; else through pointers.

    inside: with `described`, the kernel makes the descriptors of what its loops load from pointers, in scratch memory, instead of
    taking them as arguments: fewer instructions a load, a little work at the start of a program. Legal where `described` is.
    rest: stages of the loops over partial tiles, 0 as in the other loops; 1 takes fewer registers. Legal everywhere.
    special: warps of a second form of the kernel, with one warp-specialized loop, which the launcher takes where the lengths fill
    their tiles; 0: no such form. Legal with `described` for programs without a mask whose loop reads all its tiles by descriptor
    (others ignore it) on cuda:90; compilers refuse many. An owner's tile is cut in two: fewer than 128 positions are computed twice.
    stored: results are written through tensor descriptors, by the copy unit: no address a thread and no test at the array's edge.
    Legal with descriptors, for results that are boxes of rows whose lengths are multiples of 16 bytes (others ignore it).
    order: which tile comes when. 0: tiles of a head one after the other, so that its keys are read again from cache. 1: the same,
    its longest tile first. 2: the longest tile of all heads, then the next: under a mask that makes some tiles long, those start
    first, and the short ones fill the gaps at the end. 3: as 2 within groups of `balance.HEADS` heads, whose keys stay in cache.
    Legal everywhere; where a table's entry says 0 and tiles differ in length, `balance.in_order` decides.
    persistent: programs an SM; each takes one tile after the other until none is left, instead of one program a tile. 0: one a
    tile. Legal everywhere (programs whose tiles are dealt out already ignore it, and the form that `special` asks for).
    flat: where loops over tiles are repeated for positions of an axis (query heads that share keys), one loop goes through the tiles of
    all of them: fewer registers than a loop in a loop, a few scalar instructions more a tile. Legal everywhere; programs whose loops
    are not repeated, or not the same at each position, ignore it.
    early: what an iteration reads through descriptors is read at its start, one wait for all of it, instead of where it is used: fewer
    waits, more registers. Legal everywhere; without such reads it says nothing.
    fast_tanh: tanh and sigmoid by the hardware's approximation, one transcendental instead of two, off by up to 2^-11 of the
    tanh: a sigmoid is off by up to 2^-12, which is half of a weight of 1 / 2048. It changes results, so no search may choose it.
    Legal on NVIDIA.
    """

    owner: int
    loop: int
    warps: int
    stages: int
    described: bool = True
    inside: bool = False
    rest: int = 0
    special: int = 0
    order: int = 0
    stored: bool = False
    persistent: int = 0
    flat: bool = False
    early: bool = False
    fast_tanh: bool = False

    def __str__(self) -> str:
        base = f"{self.owner} x {self.loop}, {self.warps} warps, {self.stages} stage{'s' if self.stages > 1 else ''}"
        rest = [n if v is True else f"no {n}" if v is False else f"{n} {v}" for n, v in self.to_json().items() if n not in _PLAIN]
        return ", ".join([base, *rest])

    def to_json(self) -> dict[str, Any]:
        """Plain data: fields at their defaults are left out."""
        return {n: v for n, v in asdict(self).items() if n not in _DEFAULTS or v != _DEFAULTS[n]}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Config:
        """Raises AttnValueError for a field that is unknown, missing, or of another type."""
        known = {f.name: f for f in fields(Config)}
        for name, item in data.items():
            if name not in known:
                raise AttnValueError(f"'{name}' is no part of a configuration", None, f"parts: {', '.join(known)}")
            wanted = type(_DEFAULTS[name]) if name in _DEFAULTS else int
            if type(item) is not wanted:
                raise AttnValueError(f"'{name}' of a configuration must be {wanted.__name__}, found {item!r}")
        missing = [n for n in _PLAIN if n not in data]
        if missing:
            raise AttnValueError(f"a configuration needs '{missing[0]}'", None, f"found {dict(data)}")
        made = Config(**data)
        for name in ("owner", "loop", "warps"):
            number = getattr(made, name)
            if number < 1 or number & (number - 1):
                raise AttnValueError(f"'{name}' of a configuration must be a power of two, found {number}")
        if made.special not in (0, 4, 8) or made.order not in range(4):
            raise AttnValueError(f"'special' must be 0, 4 or 8 and 'order' 0 to 3, found {made.special} and {made.order}")
        if made.persistent < 0:
            raise AttnValueError(f"'persistent' of a configuration must be at least 0, found {made.persistent}")
        if made.rest < 0:
            raise AttnValueError(f"'rest' of a configuration must be at least 0, found {made.rest}")
        if made.stages < 1:
            raise AttnValueError(f"'stages' of a configuration must be at least 1, found {made.stages}")
        return made


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(Config) if f.default is not MISSING}
_PLAIN = tuple(f.name for f in fields(Config) if f.default is MISSING)


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


def whole_name(kernel: str) -> str:
    """Where `CONFIG` holds what the form for lengths that fill their tiles is launched with."""
    return f"{kernel} whole"


def settings(program: Program, config: Config, tile_names: dict[str, str], precision: str) -> dict[str, int | str]:
    """What the caller passes to a kernel beside its arguments."""
    out: dict[str, int | str] = {}
    for dim in program.dims:
        if not dim.whole:
            extent = config.owner if dim.name == program.owner else config.loop
            out |= {tile_names[a]: n for a, n in tiles(dim, extent).items()}
    return out | {"PRECISION": precision, "num_warps": config.warps, "num_stages": config.stages}
