"""The ranges of one axis cut into tiles: sorted, merged where they touch, cut one after the other, so that no tile repeats.

An empty range needs no care: joining it to another changes nothing, and it has no tiles. What is divided is never negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...ir.expr import Apply, Const, Expr, Read
from .algebra import Algebra
from .interval import both, nonneg
from .linear import Linear, constant, is_plain, term, to_expr
from .plan import Let, Statement, Walk, first, last, scalar


@dataclass
class Code:
    """Statements in order. A name is given to what is used more than once."""

    alg: Algebra
    facts: dict[Expr, tuple[int | None, int | None]]
    statements: list[Statement]

    def let(self, name: str, value: Linear, least: int | None = None) -> Linear:
        """The value by a name, itself if it is a number or a name; `least` is a bound it is known to keep."""
        if is_plain(value):
            return value
        self.statements.append(Let(name, to_expr(value)))
        if least is not None:
            self.facts[scalar(name)] = (least, None)
        return term(scalar(name))

    def cond(self, name: str, value: Expr) -> Expr:
        """A condition by a name."""
        if isinstance(value, Const):
            return value
        self.statements.append(Let(name, value))
        return Read(name, (), "bool")


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive tiles: the number of the first, where it starts, how many; lo is the first position that asks for them."""

    number: Linear
    start: Linear
    count: Linear
    lo: Linear


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of one axis: how many, the runs, the full ones as pieces (first number, length)."""

    axis: str
    count: Linear
    runs: tuple[Run, ...]
    pieces: tuple[tuple[Linear, Linear], ...]


class Cutter:
    """A walk with tile sizes. grid: tiles start at multiples of their size."""

    def __init__(self, walk: Walk, sizes: Mapping[str, Expr], grid: bool) -> None:
        self.walk, self.sizes, self.grid = walk, sizes, grid
        self.flat = walk.separable and walk.count <= 1
        self.facts: dict[Expr, tuple[int | None, int | None]] = {s: (1, None) for s in sizes.values() if not isinstance(s, Const)}
        for level in walk.levels:
            lows = [low for e in level.extents for low in (e.lo, *(e.full or ())[:1])]
            for e in (*lows, scalar(f"{level.axis}.tile")):
                self.facts[e] = (0, None)
        self.facts[scalar("full.tile")] = self.facts[scalar("part.tile")] = (0, None)
        self.alg = Algebra(facts=self.facts)

    def code(self) -> Code:
        return Code(self.alg, self.facts, [])

    def size(self, axis: str) -> Linear:
        return self.alg.linear(self.sizes[axis])

    def position(self, tiles: Tiles, number: Linear) -> Linear:
        """The first position of a tile by its number."""
        alg, size = self.alg, self.size(tiles.axis)
        out = tiles.runs[0].start + alg.product(number, size)
        for run in tiles.runs[1:]:
            later = run.start + alg.product(number - run.number, size)
            out = alg.where(nonneg(alg, number - run.number), later, out)
        return out

    def tiles(self, depth: int, code: Code, full: bool) -> Tiles:
        """The tiles of one axis, given those of the axes outside it."""
        level = self.walk.levels[depth]
        code.statements += level.statements
        if not level.extents:
            return Tiles(level.axis, constant(0), (Run(constant(0), constant(0), constant(0), constant(0)),), ())
        linear = self.alg.linear
        spans = [self._where(linear(e.lo), linear(e.hi), self._meets(depth, k)) for k, e in enumerate(level.extents)]
        runs = self._runs(level.axis, self._merged(f"{level.axis}.range", spans, code), code)
        pieces = self._pieces(depth, runs, code) if full else ()
        return Tiles(level.axis, code.let(f"{level.axis}.tiles", runs[-1].number + runs[-1].count, 0), tuple(runs), pieces)

    def _least0(self, x: Linear) -> Linear:
        return self.alg.pick("max", [constant(0), x])

    def _where(self, lo: Linear, hi: Linear, cond: Expr) -> tuple[Linear, Linear]:
        return lo, self.alg.where(cond, hi, lo - 1)

    def _meets(self, depth: int, k: int) -> Expr:
        """Whether the outer tiles meet the ranges of conjunction k; with one conjunction they do."""
        outer = self.walk.levels[:depth] if self.walk.count > 1 else ()
        ends = [(first(v.axis), v.extents[k].hi, v.extents[k].lo, last(v.axis)) for v in outer]
        return both(*(Apply("le", pair) for low, hi, lo, high in ends for pair in ((low, hi), (lo, high))))

    def _inside(self, depth: int, k: int) -> Expr:
        """Whether the outer tiles lie inside the full ranges of conjunction k; in a flat walk the box of pieces says so."""
        conds: list[Expr] = []
        for level in () if self.flat else self.walk.levels[:depth]:
            full = level.extents[k].full
            if full is not None:
                end = to_expr(term(first(level.axis)) + self.size(level.axis) - 1)
                conds += [nonneg(self.alg, term(first(level.axis)) - self.alg.linear(full[0])), Apply("le", (end, full[1]))]
        return both(*conds)

    def _merged(self, name: str, spans: list[tuple[Linear, Linear]], code: Code) -> list[tuple[Linear, Linear]]:
        """Spans sorted by their first position, those that touch made one, the other left empty at the same place."""
        alg = self.alg
        same: dict[Linear, list[Linear]] = {}
        for lo, hi in sorted(spans, key=lambda span: bool(span[0].terms)):
            same.setdefault(lo, []).append(hi)
        out = [(lo, code.let(f"{name}{k}.hi", alg.pick("max", his))) for k, (lo, his) in enumerate(same.items())]
        for turn in range(len(out) - 1, 0, -1):
            for k in range(turn):
                (la, ha), (lb, hb) = out[k], out[k + 1]
                if alg.nonneg(lb - la):
                    continue
                swap = code.cond(f"{name}.swap{turn}{k}", nonneg(alg, la - lb - 1))
                at = f"{name}.sort{turn}{k}"
                low = code.let(f"{at}.lo", alg.pick("min", [la, lb]), 0)
                high = code.let(f"{at}.next_lo", alg.pick("max", [la, lb]), 0)
                out[k] = low, code.let(f"{at}.hi", alg.where(swap, hb, ha))
                out[k + 1] = high, code.let(f"{at}.next_hi", alg.where(swap, ha, hb))
        for k in range(1, len(out)):
            (la, ha), (lb, hb) = out[k - 1], out[k]
            touch = code.cond(f"{name}.touch{k}", nonneg(alg, ha + 1 - lb))
            out[k - 1] = la, code.let(f"{name}.left{k}.hi", alg.where(touch, la - 1, ha))
            lo = code.let(f"{name}.join{k}.lo", alg.where(touch, la, lb), 0)
            out[k] = lo, code.let(f"{name}.join{k}.hi", alg.pick("max", [hb, alg.where(touch, ha, hb)]))
        return out

    def _runs(self, axis: str, spans: list[tuple[Linear, Linear]], code: Code) -> list[Run]:
        """Tiles one after the other over sorted spans; what the last tile of a span covers of the next one is not cut again."""
        alg, size = self.alg, self.size(axis)
        out: list[Run] = []
        number = end = constant(0)
        for k, (lo, hi) in enumerate(spans):
            name = f"{axis}.run{k}" if len(spans) > 1 else axis
            start = alg.product(alg.floordiv(lo, size), size) if self.grid else lo
            start = code.let(f"{name}.start", alg.pick("max", [start, end]), 0)
            count = alg.floordiv(self._least0(hi - start + size), size)
            if self.grid:
                count = alg.where(nonneg(alg, hi - lo), count, constant(0))
            count = code.let(f"{name}.tiles", count, 0)
            out.append(Run(number, start, count, lo))
            number = code.let(f"{name}.next", number + count, 0) if k + 1 < len(spans) else number
            end = start + alg.product(count, size)
        return out

    def _pieces(self, depth: int, runs: list[Run], code: Code) -> tuple[tuple[Linear, Linear], ...]:
        """The numbers of the tiles inside full ranges, as pieces."""
        level, alg = self.walk.levels[depth], self.alg
        size = self.size(level.axis)
        spans = [
            self._where(alg.linear(e.full[0]), alg.linear(e.full[1]), self._inside(depth, k))
            for k, e in enumerate(level.extents)
            if e.full is not None and all(v.extents[k].full is not None for v in self.walk.levels)
        ]
        out = []
        for k, (lo, hi) in enumerate(self._merged(f"{level.axis}.full", spans, code)):
            name = f"{level.axis}.piece{k}" if len(spans) > 1 else f"{level.axis}.piece"
            number, start = runs[0].number, runs[0].start
            for m, run in enumerate(runs[1:]):
                here = code.cond(f"{name}.in{m + 1}", nonneg(alg, lo - run.lo))
                number, start = alg.where(here, run.number, number), alg.where(here, run.start, start)
            number, start = code.let(f"{name}.number", number, 0), code.let(f"{name}.start", start, 0)
            begin = code.let(name, number + alg.floordiv(self._least0(lo - start) + size - 1, size), 0)
            length = self._least0(number + alg.floordiv(self._least0(hi + 1 - start), size) - begin)
            out.append((begin, code.let(f"{name}.tiles", length, 0)))
        return tuple(out)
