"""The rules of tile programs. A program that breaks one is a defect of attncc.

- Every value is defined before it is read, in the same body or around it; a name is defined once where it is visible.
- An accumulator (`Init`) alone may be the target of `Set` and of an adding `Dot`, and stands outside the loops that change it.
- Dims: a `Map` or `Reduce` has the dims of what it reads; a `Dot` contracts `over` and keeps one dim of each operand.
- A position is read where it exists: grid axes and repeated axes anywhere inside, tiled axes once their tile is known.
- A value in its array's own element type feeds products alone.
- Every output is stored once, outside the loops, or once at each position of the repeated axes around; a sum is added to
  anywhere, and has the axis that shares out the owner's tiles, unless its additions are atomic.
- What is carried from one tile to the next has no dim of the owner, and the tiles have an order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from ..errors import AttnInternalError
from ..ir.expr import Along, Expr, Index, Read, walk
from ..ir.expr import Reduce as Sum
from .nodes import Bisect, Block, Dot, If, Init, Load, Map, Program, Reduce, Repeat, Set, Stmt, Store, TileLoop

ADDED = ("sum", "atomic")
"""Roles of arrays that are added to."""


def verify(program: Program) -> Program:
    """The program itself. Raises AttnInternalError at the first broken rule."""
    _Verifier(program).run()
    return program


@dataclass
class _Place:
    """What is visible: values with their dims, accumulators, values in their own type, axes whose position is known."""

    values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    accs: set[str] = field(default_factory=set)
    own: set[str] = field(default_factory=set)
    axes: dict[str, str] = field(default_factory=dict)
    scalars: set[str] = field(default_factory=set)
    loops: int = 0
    repeated: frozenset[str] = frozenset()

    def inside(self, loop: bool = False) -> _Place:
        values, axes = dict(self.values), dict(self.axes)
        return _Place(values, set(self.accs), set(self.own), axes, set(self.scalars), self.loops + loop, self.repeated)


class _Verifier:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.dims = {d.name: d for d in program.dims}
        self.stored: list[str] = []

    def fail(self, what: str) -> AttnInternalError:
        return AttnInternalError(f"tile program {self.program.name}: {what}")

    def run(self) -> None:
        program = self.program
        for names, what in (([d.name for d in program.dims], "dim"), ([a.name for a in program.args], "arg")):
            if len(set(names)) != len(names):
                raise self.fail(f"a {what} is declared twice")
        if program.owner not in self.dims or self.dims[program.owner].whole:
            raise self.fail(f"the owner {program.owner} is no tiled dim")
        place = _Place(values={s.name: () for s in program.scalars})
        place.scalars = set(program.grid)
        place.axes = {d.axes[0]: d.name for d in program.dims if d.whole}
        place.axes |= dict.fromkeys(self.dims[program.owner].axes, program.owner)
        if program.carry and program.sweep not in ("forward", "reverse"):
            raise self.fail("accumulators are carried between tiles in no order")
        for init in program.carry:
            self.statement(init, place)
            if program.owner in init.dims:
                raise self.fail(f"{init.acc} is carried from one tile to the next, and has the dim of the tiles")
        self.body(program.body, place)
        outs = [a.name for a in program.args if a.role not in ("in", *ADDED)]
        if sorted(self.stored) != sorted(outs):
            raise self.fail(f"stores {sorted(self.stored)}, and its outputs are {sorted(outs)}")
        if program.shares and program.shares not in program.grid:
            raise self.fail(f"{program.shares} shares out tiles and is no grid axis")
        if program.bands is not None:
            pair = (program.bands.axis, program.bands.inside)
            sums = [a.axes for a in program.args if a.role == "sum"]
            if pair[0] not in program.grid or not all(pair in pairwise(axes) for axes in sums):
                raise self.fail(f"{pair[0]} deals out bands of sums, and is no axis of the grid or of a sum")
        for made in program.lists:
            axes = [a.axes for n in (made.tiles, made.counts) for a in program.args if a.name == n]
            if [len(x) for x in axes] != [len(made.grid) + 2] * 2 or {made.owner, made.loop} - set(self.dims):
                raise self.fail(f"the list {made.tiles} has no arrays of its own, or is of no dims")
        for arg in program.args:
            if arg.role == "sum" and program.shares not in arg.axes:
                raise self.fail(f"{arg.name} is added to by tiles that may run at once")

    def body(self, body: tuple[Stmt, ...], place: _Place) -> None:
        for stmt in body:
            self.statement(stmt, place)

    def statement(self, stmt: Stmt, place: _Place) -> None:
        match stmt:
            case Load():
                self.load(stmt, place)
            case Init(acc, dims, start):
                self.known_dims(dims)
                self.define(acc, dims, place)
                if self.expr(start, place):
                    raise self.fail(f"{acc} starts from a tile")
                place.accs.add(acc)
            case Map(out, expr, dims):
                found = self.expr(expr, place)
                if not found <= set(dims):
                    raise self.fail(f"{out} has dims {dims}, its expression {sorted(found)}")
                self.define(out, dims, place)
            case Set(acc, expr):
                if acc not in place.accs:
                    raise self.fail(f"{acc} is set but is no accumulator here")
                if not self.expr(expr, place) <= set(place.values[acc]):
                    raise self.fail(f"{acc} is set to something of more dims")
            case Dot():
                self.dot(stmt, place)
            case Reduce(out, _, tile, over, dims):
                have = self.read(tile, place)
                if over not in have or tuple(d for d in have if d != over) != dims:
                    raise self.fail(f"{out}: {tile} over {have} does not reduce over {over} to {dims}")
                self.define(out, dims, place)
            case Store():
                self.store(stmt, place)
            case Bisect(out, axis, low, high, cond):
                inner = place.inside()
                inner.scalars.add(axis)
                inner.axes.pop(axis, None)
                if self.expr(low, place) | self.expr(high, place) | self.expr(cond, inner):
                    raise self.fail(f"{out} searches over tiles")
                self.define(out, (), place)
            case Block(_, inner_body):
                self.body(inner_body, place)
            case TileLoop():
                self.loop(stmt, place)
            case If(cond, inner_body):
                if self.expr(cond, place):
                    raise self.fail("a condition is no scalar")
                self.body(inner_body, place.inside())
            case Repeat(axis, inner_body):
                inner = place.inside()
                inner.scalars.add(axis)
                inner.repeated |= {axis}
                self.body(inner_body, inner)

    def loop(self, stmt: TileLoop, place: _Place) -> None:
        dim = self.dims.get(stmt.dim)
        if dim is None or dim.whole or not set(stmt.axes) <= set(dim.axes) or len(stmt.starts) != len(stmt.axes):
            raise self.fail(f"a loop over {stmt.dim} does not fit its dim")
        if self.expr(stmt.count, place):
            raise self.fail(f"the number of tiles of {stmt.dim} is no scalar")
        inner = place.inside(loop=True)
        inner.values[stmt.counter] = ()
        self.body(stmt.lets, inner)
        if any(self.expr(start, inner) for start in stmt.starts):
            raise self.fail(f"a tile of {stmt.dim} starts at no scalar")
        inner.axes |= dict.fromkeys(stmt.axes, stmt.dim)
        self.body(stmt.body, inner)

    def load(self, stmt: Load, place: _Place) -> None:
        arg = next((a for a in self.program.args if a.name == stmt.arg), None)
        if arg is None or len(arg.axes) != len(stmt.index):
            raise self.fail(f"{stmt.out} loads {stmt.arg}, which has other axes")
        found = set().union(*(self.expr(x, place) for x in stmt.index), *([self.expr(stmt.fill, place)] if stmt.fill else []))
        if found != set(stmt.dims):
            raise self.fail(f"{stmt.out} has dims {stmt.dims}, its positions {sorted(found)}")
        self.define(stmt.out, stmt.dims, place)
        if stmt.own:
            place.own.add(stmt.out)

    def dot(self, stmt: Dot, place: _Place) -> None:
        a, b = self.read(stmt.a, place), self.read(stmt.b, place)
        left, right = set(a) - {stmt.over}, set(b) - {stmt.over}
        if len(a) != 2 or len(b) != 2 or stmt.over not in a or stmt.over not in b or (left | right) != set(stmt.dims):
            raise self.fail(f"a product of {stmt.a}{list(a)} and {stmt.b}{list(b)} over {stmt.over} has not the dims {stmt.dims}")
        if a[0 if a[1] == stmt.over else 1] != stmt.dims[0]:
            raise self.fail(f"the first operand {stmt.a} lacks the dim {stmt.dims[0]}")
        if bool(stmt.out) == bool(stmt.into):
            raise self.fail("a product either defines a value or adds to one")
        if stmt.cast and stmt.cast not in place.own:
            raise self.fail(f"{stmt.cast} has no element type of its own to round to")
        if stmt.out:
            self.define(stmt.out, stmt.dims, place)
        elif stmt.into not in place.accs or place.values[stmt.into] != stmt.dims:
            raise self.fail(f"{stmt.into} is no accumulator over {stmt.dims}")

    def store(self, stmt: Store, place: _Place) -> None:
        arg = next((a for a in self.program.args if a.name == stmt.arg), None)
        if arg is None or arg.role == "in" or len(arg.axes) != len(stmt.index):
            raise self.fail(f"a store to {stmt.arg}, which is no output of that many axes")
        if stmt.add != (arg.role in ADDED):
            raise self.fail(f"{stmt.arg} is {'added to' if stmt.add else 'stored'}, and its role is {arg.role}")
        moving = {e.axis for x in stmt.index for e in walk(x) if isinstance(e, Index)}
        if (place.loops or not place.repeated <= moving) and not stmt.add:
            raise self.fail(f"{stmt.arg} is stored inside a loop")
        found = set().union(*(self.expr(x, place) for x in stmt.index))
        if stmt.add and not found <= set(self.read(stmt.tile, place)):
            raise self.fail(f"{stmt.tile} lacks dims of the positions that it is added at")
        if not stmt.add and not set(self.read(stmt.tile, place)) <= found:
            raise self.fail(f"{stmt.tile} has more dims than the array {stmt.arg}")
        if not stmt.add:
            self.stored.append(stmt.arg)

    # Values.

    def known_dims(self, dims: tuple[str, ...]) -> None:
        for d in dims:
            if d not in self.dims:
                raise self.fail(f"unknown dim {d}")

    def define(self, name: str, dims: tuple[str, ...], place: _Place) -> None:
        self.known_dims(dims)
        if name in place.values:
            raise self.fail(f"{name} is defined twice")
        place.values[name] = dims

    def read(self, name: str, place: _Place) -> tuple[str, ...]:
        if name not in place.values:
            raise self.fail(f"{name} is read before it is defined")
        return place.values[name]

    def expr(self, expr: Expr, place: _Place) -> set[str]:
        """Dims of an expression."""
        out: set[str] = set()
        for e in walk(expr):
            if isinstance(e, Sum | Along):
                raise self.fail("a reduction stands inside a pointwise expression")
            if isinstance(e, Read):
                out |= self.leaf(e, place)
            elif isinstance(e, Index):
                if e.axis not in place.axes and e.axis not in place.scalars:
                    raise self.fail(f"the position along {e.axis} is not known where it is read")
                if e.axis not in place.scalars:
                    out.add(place.axes[e.axis])
        return out

    def leaf(self, e: Read, place: _Place) -> set[str]:
        if e.index:
            raise self.fail(f"an expression reads the array {e.source} instead of a load of it")
        if e.source not in place.values and "." in e.source:
            axis, what = e.source.rsplit(".", 1)
            tiled = any(axis in d.axes and not d.whole for d in self.program.dims)
            if what in ("first", "last") and axis in place.axes and tiled:
                return set()
            if what == "box" and tiled:
                return set()
        if e.source in place.own:
            raise self.fail(f"{e.source} keeps its own element type, and an expression reads it")
        return set(self.read(e.source, place))
