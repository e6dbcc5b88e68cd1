"""Masks that read values of tokens or pairs: the tiles to visit come from a list made from the data before the kernel runs.

    for each position of the mask's other axes, for each tile of rows:
        tiles of keys whose pairs are all admitted, then those that may hold an admitted pair
        how many there are of each

A list is made on the device, by interval arithmetic over tiles (least and greatest value of what the mask reads in a tile). What is
not in it holds no admitted pair; what is listed as full needs no test. Its size is the number of tiles, not of pairs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..ir.expr import ONE, ZERO, Apply, Const, Expr, Index, Read, Size, axes_of, walk
from ..tile.nodes import Dim, Load, Stmt, TileList, TileLoop, value

if TYPE_CHECKING:
    from .flash import Flash

FULL, PART = "tiles of admitted pairs alone, as listed", "the other tiles listed, pair by pair"


def by_data(mask: Expr | None, tiled: tuple[str, ...]) -> bool:
    """Whether a mask reads a whole number or a truth value that differs inside a tile: then closed forms say too little."""
    if mask is None:
        return False
    return any(isinstance(e, Read) and e.kind != "float" and set(axes_of(e)) & set(tiled) for e in walk(mask))


def listed_loops(flash: Flash, number: int, mask: Expr, bodies: tuple[tuple[Stmt, ...], tuple[Stmt, ...]]) -> list[Stmt]:
    """The two loops over the tiles of a list: full ones, then the others. bodies: theirs."""
    keys, loop, owner = flash.stage.keys[number], flash.loops[number], flash.owner
    grid = tuple(a for a in (*flash.stage.grid, *keys.repeat) if a in axes_of(mask))
    name, counts = flash.place.name(f"{flash.stage.name}_tiles"), flash.place.name(f"{flash.stage.name}_tile_counts")
    flash.arrays = {
        **flash.arrays,
        name: (*grid, f"{name}_rows", f"{name}_keys"),
        counts: (*grid, f"{name}_rows", f"{name}_ends"),
    }
    flash.place.reads |= {name: "int", counts: "int"}
    flash.lists.append(TileList(name, counts, owner.name, loop.name, grid, mask))
    at = tuple(Index(a) for a in grid)
    row = _linear([Apply("floordiv", (value(f"{a}.first", "int"), _box(a))) for a in owner.axes], owner)
    ends = [flash.place.name(f"{loop.name}.{what}") for what in ("full_tiles", "tiles")]
    head: list[Stmt] = [Load(end, counts, (*at, row, Const(n)), ()) for n, end in enumerate(ends)]
    stmts: list[Stmt] = [*head]
    full, whole = (value(end, "int") for end in ends)
    for masked, count in ((False, full), (True, whole)):
        counter = "tile.number"
        place: Expr = Apply("add", (full, value(counter, "int"))) if masked else value(counter, "int")
        found = "tile.listed"
        lets: list[Stmt] = [Load(found, name, (*at, row, place), ())]
        starts: list[Expr] = []
        rest: Expr = value(found, "int")
        for n, axis in enumerate(loop.axes):
            below = _product([_tiles(a) for a in loop.axes[n + 1 :]])
            digit = Apply("floordiv", (rest, below)) if below != ONE else rest
            if n:
                digit = Apply("mod", (digit, _tiles(axis)))
            starts.append(Apply("mul", (digit, _box(axis))))
        title = PART if masked else FULL
        stmts.append(TileLoop(loop.name, loop.axes, counter, count, tuple(lets), tuple(starts), bodies[masked], masked, title))
    return stmts


def _box(axis: str) -> Expr:
    return value(f"{axis}.box", "int")


def _tiles(axis: str) -> Expr:
    """How many tiles an axis is cut into."""
    return Apply("cdiv", (Size(axis), _box(axis)))


def _product(parts: list[Expr]) -> Expr:
    out: Expr = ONE
    for part in parts:
        out = part if out == ONE else Apply("mul", (out, part))
    return out


def _linear(numbers: list[Expr], dim: Dim) -> Expr:
    """The number of a tile over all axes of its dim, row-major."""
    out: Expr = ZERO
    for axis, number in zip(dim.axes, numbers, strict=True):
        out = number if out == ZERO else Apply("add", (Apply("mul", (out, _tiles(axis))), number))
    return out
