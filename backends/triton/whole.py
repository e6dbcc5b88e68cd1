"""The form of a kernel for lengths that fill their tiles: which programs can have one, and what it reads by descriptor."""

from __future__ import annotations

from dataclasses import dataclass

from attncc.ir.expr import Apply, Index, Size, conjuncts, walk
from attncc.tile.nodes import Bisect, Load, Map, Program, Repeat, Stmt, Store, TileLoop, statements


@dataclass(frozen=True, slots=True)
class Whole:
    """A program without a mask. before: its statements up to the loops. full, rest: its loops over full tiles, and over those that
    overhang the arrays. repeat: what repeats both for positions of an axis, the same tiles at each; None where nothing does. after:
    its statements behind the loops."""

    before: tuple[Stmt, ...]
    full: TileLoop
    rest: TileLoop
    repeat: Repeat | None
    after: tuple[Stmt, ...]

    @property
    def over(self) -> str:
        """The axis of `repeat`, or ""."""
        return self.repeat.axis if self.repeat is not None else ""

    @property
    def loops(self) -> tuple[Stmt, ...]:
        """Both loops, repeated as they were."""
        if self.repeat is None:
            return self.full, self.rest
        return (Repeat(self.repeat.axis, (self.full, self.rest)),)


def only_bounds(program: Program) -> Whole | None:
    """The parts of a program whose only tests of pairs are those for the ends of arrays. None for other programs."""
    found = [s for s in statements(program.body) if isinstance(s, TileLoop)]
    if len(found) != 2:
        return None
    full, rest = found
    if full.masked or not rest.masked or full.dim != rest.dim:
        return None
    repeats = [s for s in program.body if isinstance(s, Repeat) and full in s.body and rest in s.body and same_everywhere(s)]
    repeat = next(iter(repeats), None)
    around = repeat.body if repeat is not None else program.body
    if full not in around or rest not in around:
        return None
    bounds = [Apply("lt", (Index(a), Size(a))) for a in program.dim(full.dim).axes]
    tests = [s.expr for s in rest.body if isinstance(s, Map) and s.kind == "bool"]
    if len(tests) != 1 or any(c not in bounds for c in conjuncts(tests[0])):
        return None
    inner = tuple(s for s in around[: around.index(rest)] if s is not full)
    at = program.body.index(repeat if repeat is not None else rest)
    outer = program.body[:at] if repeat is not None else ()
    return Whole((*outer, *inner), full, rest, repeat, program.body[at + 1 :])


def same_everywhere(stmt: Repeat) -> bool:
    """Whether the loops of a repeated body visit the same tiles at each position: they are its only work beside scalars, no loop is in
    another, and what counts their tiles does not read the position."""
    for inner in stmt.body:
        match inner:
            case Map(_, expr, ()):
                exprs = [expr]
            case Bisect():
                exprs = [inner.low, inner.high, inner.cond]
            case TileLoop():
                exprs = [inner.count]
                if any(isinstance(s, TileLoop | Repeat) for s in statements((*inner.lets, *inner.body))):
                    return False
            case _:
                return False
        if any(e == Index(stmt.axis) for x in exprs for e in walk(x)):
            return False
    return True


def results(program: Program, whole: Whole) -> tuple[str, ...]:
    """Args that are written after the loops and met nowhere else: their addresses may wait until then."""
    after = {s.arg for s in statements(whole.after) if isinstance(s, Store)}
    before = {s.arg for s in statements((*whole.before, *whole.loops)) if isinstance(s, Load | Store)}
    return tuple(a.name for a in program.args if a.role == "out" and a.name in after - before)


def tiles_read(whole: Whole) -> set[str]:
    """Args that the loop over full tiles reads a tile of: by descriptor, each of them, where warps are specialized. Through a pointer
    each thread that computes would read them, when it needs them."""
    return {s.arg for s in statements(whole.full.body) if isinstance(s, Load) and s.dims}


def vectors(program: Program, whole: Whole) -> tuple[str, ...]:
    """Args that the loop over full tiles reads as vectors along its own axis, their last one, and that are met in this way alone: a
    descriptor can read them where lengths fill their tiles."""
    axes = program.dim(whole.full.dim).axes
    out = []
    for arg in program.args:
        uses = [s for s in statements(program.body) if isinstance(s, Load | Store) and s.arg == arg.name]
        first = next((s for s in whole.full.body if s in uses), None)
        if not isinstance(first, Load) or arg.role != "in" or arg.kind != "float" or len(arg.axes) > 5 or len(axes) > 1:
            continue
        plain = all(isinstance(x, Index) for x in first.index) and first.fill is None and first.dims == (whole.full.dim,)
        along = [x for x in first.index if isinstance(x, Index) and x.axis in axes]
        if plain and first.index[-1] == Index(axes[0]) and len(along) == 1 and all(s.index == first.index for s in uses):
            out.append(arg.name)
    return tuple(out)
