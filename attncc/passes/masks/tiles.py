"""A walk cut into tiles of given sizes: two loops, one over full tiles and one over the rest, each with a counter of its own.

Along one axis the visited ranges are sorted, merged where they touch, and cut into tiles one after the other, so no tile
repeats (`cut.py`). Tiles are numbered over all ranges and the full ones are pieces of these numbers; the loop over the rest skips
them: t = u < piece ? u : u + length.

When there is one conjunction and no axis depends on another, the axes share one counter: full tiles are a box of tile numbers,
the rest is the frame around it. Otherwise the outer axes are plain loops over their tiles, and the two loops run along the last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from ...errors import AttnInternalError
from ...ir.expr import TRUE, Const, Expr
from .cut import Code, Cutter, Tiles
from .interval import both, negated, nonneg
from .linear import Linear, constant, term, to_expr
from .plan import Statement, Walk, scalar, show_statement, words


@dataclass(frozen=True, slots=True)
class Cursor:
    """`for counter in 0 .. count - 1`: after the statements, the tile of axis k starts at `starts[k]`."""

    counter: str
    count: Expr
    statements: tuple[Statement, ...]
    axes: tuple[str, ...]
    starts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Loops:
    """The loop nest of a walk.

    outer: for each outer axis its statements and its loop, one inside the other. Inside the last of them: statements, then the
    loop `full`, then the loop `part`. Where a cursor gives a start, `<axis>.first` is that and `<axis>.last` is
    min(start + size - 1, limit). In `part` a tile for which `test` is false holds no pair. partial_only: `full` never runs.
    """

    outer: tuple[tuple[tuple[Statement, ...], Cursor], ...]
    statements: tuple[Statement, ...]
    full: Cursor
    part: Cursor
    test: Expr
    sizes: Mapping[str, Expr]
    limits: Mapping[str, Expr]
    partial_only: bool

    def __str__(self) -> str:
        return show_loops(self)


def loops(walk: Walk, sizes: Mapping[str, int | Expr], start: str = "range") -> Loops:
    """The loops of a walk.

    sizes: the positions of a tile along each loop axis, at least 1: a number, or a scalar that the backend knows. start: `range`
    begins the tiles of a range at its first position, `grid` keeps every tile at a multiple of its size. Raises AttnInternalError
    for a walk without loop axes.
    """
    if not walk.loop:
        raise AttnInternalError("a walk without an axis to walk has no loops")
    by: dict[str, Expr] = {a: Const(s) if isinstance(s, int) else s for a, s in sizes.items() if a in walk.loop}
    cutter = Cutter(walk, by, start == "grid")
    depth = 0 if cutter.flat else len(walk.loop) - 1
    outer = []
    for level in range(depth):
        code = cutter.code()
        tiles = cutter.tiles(level, code, False)
        counter = f"{tiles.axis}.tile"
        cursor = _cursor(cutter, counter, tiles.count, [(tiles, term(scalar(counter)))], cutter.code())
        outer.append((tuple(code.statements), cursor))
    fixed = cutter.code()
    inner = [cutter.tiles(level, fixed, walk.can_be_full) for level in range(depth, len(walk.loop))]
    full, part = _one_axis(cutter, inner[0]) if len(inner) == 1 else _many_axes(cutter, inner, fixed)
    only = not walk.can_be_full
    return Loops(tuple(outer), tuple(fixed.statements), full, part, walk.test, by, walk.limits, only)


def _cursor(cutter: Cutter, counter: str, count: Linear, at: list[tuple[Tiles, Linear]], code: Code) -> Cursor:
    starts = tuple(to_expr(cutter.position(tiles, number)) for tiles, number in at)
    return Cursor(counter, to_expr(count), tuple(code.statements), tuple(tiles.axis for tiles, _ in at), starts)


# ------------------------------------------------------------------------------------------------------------ one axis


def _one_axis(cutter: Cutter, tiles: Tiles) -> tuple[Cursor, Cursor]:
    """Full and partial tiles of one axis."""
    alg, full_code, part_code = cutter.alg, cutter.code(), cutter.code()
    u, done, number = term(scalar("full.tile")), constant(0), term(scalar("full.tile"))
    for k, (begin, length) in enumerate(tiles.pieces):
        number = begin + u if k == 0 else alg.where(nonneg(alg, u - done), begin + u - done, number)
        done = done + length
    full = _cursor(cutter, "full.tile", done, [(tiles, full_code.let("full.number", number))], full_code)
    number = term(scalar("part.tile"))
    for k, (begin, length) in enumerate(tiles.pieces):
        skipped = alg.where(nonneg(alg, number - begin), length, constant(0))
        number = part_code.let("part.number" if len(tiles.pieces) == 1 else f"part.number{k}", number + skipped)
    return full, _cursor(cutter, "part.tile", tiles.count - done, [(tiles, number)], part_code)


# ------------------------------------------------------------------------------------------------------------ a product of axes


def _many_axes(cutter: Cutter, axes: list[Tiles], fixed: Code) -> tuple[Cursor, Cursor]:
    """Full and partial tiles of a product: a box of tile numbers and the frame around it."""
    full_code, part_code = cutter.code(), cutter.code()
    box = [a.pieces[0] if a.pieces else (constant(0), constant(0)) for a in axes]
    lengths = [length for _, length in box]
    numbers = _digits(term(scalar("full.tile")), lengths, "full", full_code)
    at = [(a, begin + n) for a, (begin, _), n in zip(axes, box, numbers, strict=True)]
    full = _cursor(cutter, "full.tile", _total(cutter, lengths), at, full_code)
    total, numbers = _frame(cutter, term(scalar("part.tile")), axes, "part", fixed, part_code)
    return full, _cursor(cutter, "part.tile", total, list(zip(axes, numbers, strict=True)), part_code)


def _total(cutter: Cutter, counts: list[Linear]) -> Linear:
    return reduce(cutter.alg.product, counts, constant(1))


def _digits(u: Linear, counts: list[Linear], name: str, code: Code) -> list[Linear]:
    """The tile numbers of position u of a box, the last axis fastest."""
    out: list[Linear] = []
    for k in range(len(counts) - 1, 0, -1):
        unit = code.alg.pick("max", [counts[k], constant(1)])
        out.append(code.let(f"{name}.number{k}", code.alg.mod(u, unit), 0))
        u = code.let(f"{name}.over{k}", code.alg.floordiv(u, unit), 0)
    return [u, *reversed(out)]


def _frame(cutter: Cutter, u: Linear, axes: list[Tiles], name: str, fixed: Code, code: Code) -> tuple[Linear, list[Linear]]:
    """The number of tiles of a box that are outside the inner box of full ones, and the u-th of them.

    Rows of tiles above the inner box, then the frame of the rows beside it, then rows below. `fixed` runs before the loop.
    """
    alg, counts = cutter.alg, [a.count for a in axes]
    if not all(a.pieces for a in axes):
        return _total(cutter, counts), _digits(u, counts, name, code)
    begin, length = axes[0].pieces[0]
    if len(axes) == 1:
        return counts[0] - length, [u + alg.where(nonneg(alg, u - begin), length, constant(0))]
    begin = fixed.let(f"{name}.begin", alg.pick("min", [begin, counts[0]]), 0)
    row = fixed.let(f"{name}.row", _total(cutter, counts[1:]), 0)
    full = _total(cutter, [a.pieces[0][1] for a in axes[1:]])
    beside = fixed.let(f"{name}.beside", row - full, 0)
    above = fixed.let(f"{name}.above", alg.product(begin, row), 0)
    middle = fixed.let(f"{name}.middle", alg.product(length, beside), 0)
    top = code.cond(f"{name}.is_above", nonneg(alg, above - u - 1))
    low = code.cond(f"{name}.is_below", nonneg(alg, u - above - middle))
    between = both(negated(top), negated(low))
    at = code.let(f"{name}.at", u - alg.where(top, constant(0), alg.where(low, above + middle, above)))
    unit = code.let(f"{name}.unit", alg.pick("max", [alg.where(between, beside, row), constant(1)]), 1)
    offset = alg.where(top, constant(0), alg.where(low, begin + length, begin))
    number = code.let(f"{name}.number0", alg.floordiv(at, unit) + offset, 0)
    rest = code.let(f"{name}.rest", alg.mod(at, unit), 0)
    plain = _digits(rest, counts[1:], f"{name}.plain", code)
    _, inner = _frame(cutter, rest, axes[1:], f"{name}.inner", fixed, code)
    mixed = [alg.where(between, a, b) for a, b in zip(inner, plain, strict=True)]
    return alg.product(counts[0], row) - alg.product(length, full), [number, *mixed]


# ------------------------------------------------------------------------------------------------------------ text


def show_loops(nest: Loops) -> str:
    """The loops as text."""
    lines: list[str] = []
    for depth, (statements, cursor) in enumerate(nest.outer):
        lines += ["  " * depth + line for line in [*map(show_statement, statements), *_head(cursor, nest)]]
    pad = "  " * len(nest.outer)
    lines += [pad + show_statement(s) for s in nest.statements]
    if not nest.partial_only:
        lines += [pad + line for line in (*_head(nest.full, nest), "  full tile")]
    lines += [pad + line for line in _head(nest.part, nest)]
    lines.append(pad + ("  partial tile" if nest.test == TRUE else f"  partial tile if {words(nest.test)}"))
    return "\n".join(lines) + "\n"


def _head(cursor: Cursor, nest: Loops) -> list[str]:
    lines = [f"for {cursor.counter} in 0 .. {words(cursor.count)} - 1"]
    lines += ["  " + show_statement(s) for s in cursor.statements]
    for axis, begin in zip(cursor.axes, cursor.starts, strict=True):
        lines.append(f"  {axis}.first = {words(begin)}")
        lines.append(f"  {axis}.last = min({axis}.first + {words(nest.sizes[axis])} - 1, {words(nest.limits[axis])})")
    return lines
