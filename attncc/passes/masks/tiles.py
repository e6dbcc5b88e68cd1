"""A walk cut into tiles of given sizes: two loops, one over full tiles and one over the rest, each with a counter of its own.

Along one axis the visited ranges are sorted, merged where they touch, and cut into tiles one after the other, so no tile repeats.
Tiles are numbered t = 0, 1, ... over all ranges; `position` gives the first position of a tile. The full ones are pieces of those
numbers. The loop over the rest runs over u and skips the pieces: t = u < piece ? u : u + length.

When there is one conjunction and no axis depends on another, the axes share one counter: full tiles are a box of tile numbers, the
rest is the frame around it. Otherwise outer axes are plain loops over their tiles, and the two loops run along the last axis.

start `range` (the default) begins a range's tiles at its first position; `grid` keeps tiles on multiples of their size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce

from ...ir.expr import TRUE, Apply, Const, Expr, Read
from .halflines import FAR
from .interval import both, negated, nonneg
from .linear import Algebra, Linear, constant, term, to_expr
from .plan import Let, Statement, Walk, first, last, scalar, show_statement, words


@dataclass(frozen=True, slots=True)
class Cursor:
    """`for counter in 0 .. count - 1`: after the statements, axis k's tile starts at `starts[k]`."""

    counter: str
    count: Expr
    statements: tuple[Statement, ...]
    axes: tuple[str, ...]
    starts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Loops:
    """outer loops, each of one axis: its statements, then its cursor, then inside it the next. Last the two loops `full` and `part`.

    After a cursor gives `starts`, `<axis>.first` is that and `<axis>.last` is `min(first + size - 1, limit)`. In `part` a tile for which
    `test` is false holds nothing.
    """

    outer: tuple[tuple[tuple[Statement, ...], Cursor], ...]
    statements: tuple[Statement, ...]
    full: Cursor
    part: Cursor
    test: Expr
    sizes: Mapping[str, Expr]
    limits: Mapping[str, Expr]


@dataclass
class _Code:
    """Statements in order, with names for what is used twice."""

    alg: Algebra
    statements: list[Statement]

    def let(self, name: str, value: Linear) -> Linear:
        if not value.terms or (len(value.terms) == 1 and value.const == 0 and isinstance(value.terms[0][0], Read)):
            return value
        self.statements.append(Let(name, to_expr(value)))
        return term(scalar(name))


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive tiles: the number of the first, where it starts, how many there are; lo is the first position that asked for it."""

    number: Linear
    start: Linear
    count: Linear
    lo: Linear


@dataclass(frozen=True, slots=True)
class _Axis:
    """The tiles of one axis: how many, the runs, the full pieces as (tile number, length)."""

    axis: str
    count: Linear
    runs: tuple[_Run, ...]
    pieces: tuple[tuple[Linear, Linear], ...]


def loops(walk: Walk, sizes: Mapping[str, int | Expr], start: str = "range") -> Loops:
    """The loops of a walk. sizes: positions of a tile along each loop axis, at least 1; a number or a scalar expression."""
    by: dict[str, Expr] = {a: Const(s) if isinstance(s, int) else s for a, s in sizes.items() if a in walk.loop}
    flat = walk.separable and walk.count <= 1
    depth = 0 if flat else len(walk.loop) - 1
    cutter = _Cutter(walk, by, start == "grid")
    outer = []
    for level in range(depth):
        code = cutter.code()
        axis = cutter.axis(level, code, False)
        name = f"{axis.axis}.tile"
        outer.append((tuple(code.statements), cutter.cursor(name, axis.count, [(axis, term(scalar(name)))])))
    code = cutter.code()
    axes = [cutter.axis(level, code, walk.can_be_full) for level in range(depth, len(walk.loop))]
    full, part = cutter.one_axis(axes[0]) if len(axes) == 1 else cutter.many_axes(axes, code)
    return Loops(tuple(outer), tuple(code.statements), full, part, walk.test, by, walk.limits)


@dataclass
class _Cutter:
    walk: Walk
    sizes: Mapping[str, Expr]
    grid: bool

    def __post_init__(self) -> None:
        self.alg = Algebra(facts={s: (1, None) for s in self.sizes.values() if not isinstance(s, Const)})

    def code(self) -> _Code:
        return _Code(self.alg, [])

    def div(self, x: Linear, axis: str) -> Linear:
        return self.alg.floordiv(x, self.alg.linear(self.sizes[axis]))

    def ceil(self, x: Linear, axis: str) -> Linear:
        size = self.alg.linear(self.sizes[axis])
        return self.alg.floordiv(x + size - 1, size)

    # -------------------------------------------------------------------------------------------------------- one axis

    def axis(self, depth: int, code: _Code, full: bool) -> _Axis:
        """The tiles of one axis, given those of the axes outside it."""
        level = self.walk.levels[depth]
        code.statements += level.statements
        alg, axis = self.alg, level.axis
        if not level.extents:
            return _Axis(axis, constant(0), (_Run(constant(0), constant(0), constant(0), constant(0)),), ())
        reach = [(alg.linear(e.lo), alg.linear(e.hi), self._inside(depth, k, False)) for k, e in enumerate(level.extents)]
        runs = self._runs(axis, self._merged(f"{axis}.run", reach, code), code)
        pieces = self._pieces(depth, runs, code) if full else ()
        return _Axis(axis, code.let(f"{axis}.tiles", runs[-1].number + runs[-1].count), tuple(runs), pieces)

    def _inside(self, depth: int, k: int, full: bool) -> Expr:
        """Whether the outer tiles belong to conjunction k: meet its ranges, or lie inside its full ones."""
        if len(self.walk.levels[depth].extents) == 1 and (not full or (self.walk.separable and self.walk.count == 1)):
            return TRUE
        conds: list[Expr] = []
        for level in self.walk.levels[:depth]:
            extent, low, high = level.extents[k], first(level.axis), last(level.axis)
            if not full:
                conds += [Apply("le", (low, extent.hi)), Apply("le", (extent.lo, high))]
            elif extent.full is not None:
                end = term(low) + self.alg.linear(self.sizes[level.axis]) - 1
                conds += [Apply("le", (extent.full[0], low)), Apply("le", (to_expr(end), extent.full[1]))]
        return both(*conds)

    def _merged(self, name: str, spans: list[tuple[Linear, Linear, Expr]], code: _Code) -> list[tuple[Linear, Linear]]:
        """Spans sorted by their first position, those that touch made one; an empty span goes to the end as FAR .. FAR - 1."""
        alg = self.alg
        if len(spans) == 1:
            lo, hi, cond = spans[0]
            return [(lo, alg.where(cond, hi, lo - 1))]
        out: list[tuple[Linear, Linear]] = []
        for k, (lo, hi, cond) in enumerate(spans):
            some = both(cond, nonneg(alg, hi - lo))
            low = code.let(f"{name}{k}.lo", alg.where(some, lo, constant(FAR)))
            out.append((low, code.let(f"{name}{k}.hi", alg.where(some, hi, constant(FAR - 1)))))
        swaps = [(a, b) for last_one in range(len(out) - 1, 0, -1) for a, b in zip(range(last_one), range(1, last_one + 1), strict=True)]
        for n, (a, b) in enumerate(swaps):
            (la, ha), (lb, hb) = out[a], out[b]
            keep = nonneg(alg, lb - la)
            out[a] = code.let(f"{name}.low{n}.lo", alg.pick("min", [la, lb])), code.let(f"{name}.low{n}.hi", alg.where(keep, ha, hb))
            out[b] = code.let(f"{name}.high{n}.lo", alg.pick("max", [la, lb])), code.let(f"{name}.high{n}.hi", alg.where(keep, hb, ha))
        for k in range(1, len(out)):
            (la, ha), (lb, hb) = out[k - 1], out[k]
            joined = nonneg(alg, ha + 1 - lb)
            out[k - 1] = la, code.let(f"{name}.cut{k}.hi", alg.where(joined, la - 1, ha))
            out[k] = (
                code.let(f"{name}.join{k}.lo", alg.where(joined, la, lb)),
                code.let(f"{name}.join{k}.hi", alg.where(joined, alg.pick("max", [ha, hb]), hb)),
            )
        return out

    def _runs(self, axis: str, spans: list[tuple[Linear, Linear]], code: _Code) -> list[_Run]:
        """Tiles one after the other over sorted spans; what the last tile of a span covers of the next one is not cut again."""
        alg, size = self.alg, self.alg.linear(self.sizes[axis])
        out: list[_Run] = []
        number, end = constant(0), constant(-FAR)
        for k, (lo, hi) in enumerate(spans):
            start = alg.product(self.div(lo, axis), size) if self.grid else lo
            start = code.let(f"{axis}.run{k}.start", alg.pick("max", [start, end]) if k else start)
            count = alg.pick("max", [constant(0), self.ceil(hi + 1 - start, axis)])
            if self.grid:
                count = alg.where(nonneg(alg, hi - lo), count, constant(0))
            count = code.let(f"{axis}.run{k}.tiles", count)
            out.append(_Run(number, start, count, lo))
            number = code.let(f"{axis}.run{k}.next", number + count)
            end = start + alg.product(count, size)
        return out

    def _pieces(self, depth: int, runs: list[_Run], code: _Code) -> tuple[tuple[Linear, Linear], ...]:
        """The numbers of the tiles inside full ranges, as pieces (first, length)."""
        level, alg = self.walk.levels[depth], self.alg
        axis = level.axis
        spans = [
            (alg.linear(e.full[0]), alg.linear(e.full[1]), self._inside(depth, k, True))
            for k, e in enumerate(level.extents)
            if e.full is not None and all(v.extents[k].full is not None for v in self.walk.levels)
        ]
        out = []
        for k, (lo, hi) in enumerate(self._merged(f"{axis}.full", spans, code)):
            number, start = runs[0].number, runs[0].start
            for run in runs[1:]:
                here = nonneg(alg, lo - run.lo)
                number, start = alg.where(here, run.number, number), alg.where(here, run.start, start)
            begin = number + alg.pick("max", [constant(0), self.ceil(lo - start, axis)])
            begin = code.let(f"{axis}.piece{k}", begin)
            length = alg.pick("max", [constant(0), number + self.div(hi + 1 - start, axis) - begin])
            out.append((begin, code.let(f"{axis}.piece{k}.tiles", length)))
        return tuple(out)

    # -------------------------------------------------------------------------------------------------------- counters

    def position(self, axis: _Axis, number: Linear) -> Linear:
        """The first position of a tile by its number."""
        size = self.alg.linear(self.sizes[axis.axis])
        out = axis.runs[0].start + self.alg.product(number, size)
        for run in axis.runs[1:]:
            later = run.start + self.alg.product(number - run.number, size)
            out = self.alg.where(nonneg(self.alg, number - run.number), later, out)
        return out

    def cursor(self, name: str, count: Linear, tiles: list[tuple[_Axis, Linear]], code: _Code | None = None) -> Cursor:
        starts = tuple(to_expr(self.position(axis, number)) for axis, number in tiles)
        return Cursor(name, to_expr(count), tuple(code.statements) if code else (), tuple(a.axis for a, _ in tiles), starts)

    def one_axis(self, axis: _Axis) -> tuple[Cursor, Cursor]:
        """Full and partial tiles of one axis."""
        alg, code = self.alg, self.code()
        u, done = term(scalar("full.tile")), constant(0)
        inside = constant(0)
        for begin, length in axis.pieces:
            inside = alg.where(nonneg(alg, u - done), begin + u - done, inside) if done != constant(0) else begin + u
            done = done + length
        full = self.cursor("full.tile", done, [(axis, inside)])
        number = term(scalar("part.tile"))
        for k, (begin, length) in enumerate(axis.pieces):
            number = code.let(f"part.skip{k}", number + alg.where(nonneg(alg, number - begin), length, constant(0)))
        return full, self.cursor("part.tile", axis.count - done, [(axis, number)], code)

    def many_axes(self, axes: list[_Axis], fixed: _Code) -> tuple[Cursor, Cursor]:
        """Full and partial tiles of a product: a box of tile numbers and the frame around it."""
        full_code, part_code = self.code(), self.code()
        whole = [a.pieces[0] if a.pieces else (constant(0), constant(0)) for a in axes]
        numbers = self._digits(term(scalar("full.tile")), [length for _, length in whole], "full", full_code)
        places = [(a, begin + n) for a, (begin, _), n in zip(axes, whole, numbers, strict=True)]
        full = self.cursor("full.tile", self._total([length for _, length in whole]), places, full_code)
        total, numbers = self._frame(term(scalar("part.tile")), axes, "part", fixed, part_code)
        return full, self.cursor("part.tile", total, list(zip(axes, numbers, strict=True)), part_code)

    def _total(self, counts: list[Linear]) -> Linear:
        return reduce(self.alg.product, counts, constant(1))

    def _digits(self, u: Linear, counts: list[Linear], name: str, code: _Code) -> list[Linear]:
        """The tile numbers of position u of a box, the last axis fastest."""
        out: list[Linear] = []
        for k in range(len(counts) - 1, 0, -1):
            unit = self.alg.pick("max", [counts[k], constant(1)])
            out.append(code.let(f"{name}.digit{k}", self.alg.mod(u, unit)))
            u = code.let(f"{name}.rest{k}", self.alg.floordiv(u, unit))
        return [u, *reversed(out)]

    def _frame(self, u: Linear, axes: list[_Axis], name: str, fixed: _Code, code: _Code) -> tuple[Linear, list[Linear]]:
        """The number of tiles of a box that are outside the inner box of full ones, and the u-th of them.

        Rows of tiles above the inner box, then the frame of the rows beside it, then rows below. `fixed` runs before the loop.
        """
        alg, head = self.alg, axes[0]
        counts = [a.count for a in axes]
        if not all(a.pieces for a in axes):
            return self._total(counts), self._digits(u, counts, name, code)
        (begin, length) = head.pieces[0]
        begin = fixed.let(f"{name}.begin", alg.pick("min", [begin, head.count]))
        if len(axes) == 1:
            return head.count - length, [u + alg.where(nonneg(alg, u - begin), length, constant(0))]
        row = fixed.let(f"{name}.row", self._total(counts[1:]))
        beside = fixed.let(f"{name}.beside", row - self._total([a.pieces[0][1] for a in axes[1:]]))
        above = fixed.let(f"{name}.above", alg.product(begin, row))
        middle = fixed.let(f"{name}.middle", alg.product(length, beside))
        top, low = nonneg(alg, above - u - 1), nonneg(alg, u - above - middle)
        at = code.let(f"{name}.at", alg.where(top, u, alg.where(low, u - above - middle, u - above)))
        between = both(negated(top), negated(low))
        unit = code.let(f"{name}.unit", alg.pick("max", [alg.where(between, beside, row), constant(1)]))
        offset = alg.where(top, constant(0), alg.where(low, begin + length, begin))
        number = code.let(f"{name}.digit", alg.floordiv(at, unit) + offset)
        rest = code.let(f"{name}.rest", alg.mod(at, unit))
        plain = self._digits(rest, counts[1:], f"{name}.plain", code)
        _, inner = self._frame(rest, axes[1:], f"{name}.inner", fixed, code)
        mixed = [alg.where(between, a, b) for a, b in zip(inner, plain, strict=True)]
        return alg.product(head.count, row) - self._total([a.pieces[0][1] for a in axes]), [number, *mixed]


def show_loops(nest: Loops) -> str:
    """The loops as text."""
    lines: list[str] = []
    for depth, (statements, cursor) in enumerate(nest.outer):
        lines += ["  " * depth + line for line in [*map(show_statement, statements), *_head(cursor, nest)]]
    pad = "  " * len(nest.outer)
    lines += [pad + show_statement(s) for s in nest.statements]
    lines += [pad + line for line in (*_head(nest.full, nest), "  full tile", *_head(nest.part, nest))]
    lines.append(pad + ("  partial tile" if nest.test == TRUE else f"  partial tile if {words(nest.test)}"))
    return "\n".join(lines) + "\n"


def _head(cursor: Cursor, nest: Loops) -> list[str]:
    lines = [f"for {cursor.counter} in 0 .. {words(cursor.count)} - 1"]
    lines += ["  " + show_statement(s) for s in cursor.statements]
    for axis, begin in zip(cursor.axes, cursor.starts, strict=True):
        lines.append(f"  {axis}.first = {words(begin)}")
        lines.append(f"  {axis}.last = min({axis}.first + {words(nest.sizes[axis])} - 1, {words(nest.limits[axis])})")
    return lines
