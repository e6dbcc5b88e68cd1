"""Loops over tiles, and the scalar code around them."""

from __future__ import annotations

from attncc.ir.expr import Expr, sources_of
from attncc.tile.nodes import Bisect, Load, Stmt, TileLoop

from .sums import Sums


class Walks(Sums):
    """Prints `TileLoop` and `Bisect`. The start of a tile is `<axis>_start`, its positions are named after the axis."""

    def body(self, body: tuple[Stmt, ...]) -> None:
        raise NotImplementedError

    def loop(self, stmt: TileLoop, form: str = "", over: str = "") -> None:
        """The loop. form: what follows the number of tiles. over: an axis at each of whose positions all tiles are visited, the tiles of
        one position after those of the one before."""
        dim = self.program.dim(stmt.dim)
        inner = set(stmt.axes) == set(dim.axes) or stmt.axes[-1] == dim.axes[-1]
        self.line("")
        if stmt.title:
            self.line(f"# {stmt.title}")
        self.dims[stmt.counter] = ()
        stages = f", num_stages={self.style.rest}" if stmt.masked and self.style.rest else form
        counter, count = self.value(stmt.counter), self._short(stmt.count)
        if over:
            each, turn = self.names.fresh("each"), self.names.fresh("turn")
            self.line(f"{each} = {count}")
            self.line(f"{self.position(over)} = 0")
            self.line(f"{counter} = 0")
            self.line(f"for {turn} in tl.range(0, {self.size(over)} * {each}{stages}):")
        else:
            self.line(f"for {counter} in tl.range(0, {count}{stages}):")
        self.depth += 1
        self.body(stmt.lets)
        for axis, start in zip(stmt.axes, stmt.starts, strict=True):
            self.line(f"{self.start(axis)} = {self._short(start)}")
        if inner:
            if stmt.masked:
                self.masked.add(dim.name)
            for axis in dim.axes:
                self.line(f"{self.position(axis)} = {self.start(axis)} + {self.inside(axis)}")
        self.body(self._early(stmt.body))
        if over:
            self.line(f"{counter} += 1")
            self.line(f"{self.position(over)} = tl.where({counter} == {each}, {self.position(over)} + 1, {self.position(over)})")
            self.line(f"{counter} = tl.where({counter} == {each}, 0, {counter})")
        self.masked.discard(dim.name)
        self.tested -= set(dim.axes)
        self.depth -= 1

    def _early(self, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        """The statements of an iteration, reads by descriptor first where the style asks: they read positions alone."""
        first = [s for s in body if isinstance(s, Load) and self.by_descriptor(s.arg)] if self.style.early else []
        return (*first, *(s for s in body if s not in first))

    def _short(self, expr: Expr) -> str:
        """A number or a start of tiles in 32 bits, which descriptors ask for. Both are bounded by the size of an axis."""
        text = self.printer.text(expr, ())
        return f"tl.cast({text}, tl.int32)" if self.long & set(sources_of(expr)) else text

    def bisect(self, stmt: Bisect) -> None:
        """Halving an interval: good and bad enclose the last position for which the condition holds."""
        self.dims[stmt.out] = ()
        good, bad, position = self.value(stmt.out), self.names.fresh(f"{stmt.axis}_bad"), self.position(stmt.axis)
        self.line(f"{good} = {self.printer.text(stmt.low, ())} - 1")
        self.line(f"{bad} = {self.printer.text(stmt.high, ())} + 1")
        self.line(f"while {bad} - {good} > 1:")
        self.depth += 1
        self.line(f"{position} = ({good} + {bad}) // 2")
        self.scalars.add(stmt.axis)
        test = self.printer.text(stmt.cond, ())
        self.scalars.discard(stmt.axis)
        holds = self.names.fresh(f"{stmt.axis}_holds")
        self.line(f"{holds} = {test}")
        self.line(f"{good} = tl.where({holds}, {position}, {good})")
        self.line(f"{bad} = tl.where({holds}, {bad}, {position})")
        self.depth -= 1
