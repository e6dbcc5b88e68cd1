"""Loops over tiles, and the scalar code around them."""

from __future__ import annotations

from attncc.tile.nodes import Bisect, Stmt, TileLoop

from .sums import Sums


class Walks(Sums):
    """Prints `TileLoop` and `Bisect`. The start of a tile is `<axis>_start`, its positions are named after the axis."""

    def body(self, body: tuple[Stmt, ...]) -> None:
        raise NotImplementedError

    def loop(self, stmt: TileLoop, form: str = "") -> None:
        dim = self.program.dim(stmt.dim)
        inner = set(stmt.axes) == set(dim.axes) or stmt.axes[-1] == dim.axes[-1]
        self.line("")
        if stmt.title:
            self.line(f"# {stmt.title}")
        self.dims[stmt.counter] = ()
        stages = f", num_stages={self.style.rest}" if stmt.masked and self.style.rest else form
        self.line(f"for {self.value(stmt.counter)} in tl.range(0, {self.printer.text(stmt.count, ())}{stages}):")
        self.depth += 1
        self.body(stmt.lets)
        for axis, start in zip(stmt.axes, stmt.starts, strict=True):
            self.line(f"{self.start(axis)} = {self.printer.text(start, ())}")
        if inner:
            if stmt.masked:
                self.masked.add(dim.name)
            for axis in dim.axes:
                self.line(f"{self.position(axis)} = {self.start(axis)} + {self.inside(axis)}")
        self.body(stmt.body)
        self.masked.discard(dim.name)
        self.tested -= set(dim.axes)
        self.depth -= 1

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
