"""What the next owner reads, asked from memory while this one is computed: a function that says which rows those are.

Rows of arrays lie far from those of the owner before, or would if threads took turns; a few owners in a row share most of their keys, and
only what is new is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attncc.ir.expr import Const, Index
from attncc.tile.nodes import Bisect, Load, Map, Stmt, Store, TileLoop, defined

from .products import Products
from .ready import deep_reads

MOST = 8
"""Arrays of keys that are asked for, HELD_MOST in product.h."""


class Asks(Products):
    """Prints that function."""

    @property
    def one_by_one(self) -> bool:
        """Whether the owner's tiles at one grid position follow one another in a loop."""
        return bool(self.program.shares or self.program.sweep)

    def dims_of(self, stmt: Stmt) -> set[str]:
        """Dims of what a statement defines and reads."""
        names = deep_reads(stmt) | {defined(stmt)}
        out = {d for n in names if n in self.values for d in self.values[n].dims}
        if isinstance(stmt, Load | Store):
            out |= {d for x in stmt.index for d in self._dims(x)}
        return out

    def soon(self) -> dict[str, tuple[TileLoop, Load]]:
        """Tiles of keys, by value, that are asked for: of single axes, where grid and position alone say where they lie."""
        loops = [s for s in self.program.body if isinstance(s, TileLoop) and len(self.dims[s.dim].axes) == 1]
        if self.one_by_one or self.program.lists or len(self.owner.axes) > 1 or not any(map(self.narrowed, loops)):
            return {}
        out: dict[str, tuple[TileLoop, Load]] = {}
        for loop in loops:
            out |= {
                s.out: (loop, s) for s in loop.body if isinstance(s, Load) and loop.dim in s.dims and self.is_plain(s, loop.dim)
            }
        return dict(list(out.items())[:MOST])

    def is_plain(self, stmt: Load | Store, rows: str) -> bool:
        """Whether a statement reads or writes rows of features."""
        straight = all(isinstance(x, Index | Const) for x in stmt.index)
        return straight and len(stmt.dims) == 2 and rows in stmt.dims and all(d == rows or d in self.features for d in stmt.dims)

    def print_ask(self, place: list[str], scalar: Callable[[Stmt], None]) -> list[str]:
        """The lines of the function: for an owner, the rows of its own, and the first tile of every loop."""
        kept, self.lines, self.depth = self.lines, ["    struct soon *const soon = own_soon();", *place], 1
        for stmt in self.program.body:
            if isinstance(stmt, Load | Map | Bisect) and not self.dims_of(stmt):
                scalar(stmt)
        for stmt in self.program.body:
            if isinstance(stmt, Load | Store) and self.is_plain(stmt, self.owner.name):
                axis = self.owner.axes[0]
                for base, step, bytes_ in self._row(stmt, self.owner.name):
                    self.line(
                        f"rows_soon(soon, {base} + {self.first(axis)} * {step[0]}, {step[1]}, {bytes_}, {self.extent(axis)});"
                    )
        for number, (loop, stmt) in enumerate(self.asked_soon.values()):
            axis = loop.axes[0]
            with self.block(f"if ({self.printer.scalar(loop.count).at(11)} > 0)"):
                self.line(f"const long {self.names.of('value', loop.counter)} = 0;")
                for one in loop.lets:
                    scalar(one)
                start = self.names.fresh("first")
                self.line(f"const long {start} = {self.printer.scalar(loop.starts[0]).code};")
                for base, step, bytes_ in self._row(stmt, loop.dim):
                    end = f"least({start} + {self.box(axis)}, {self.size(axis)})"
                    self.line(f"new_rows_soon(soon, {number}, {base}, {step[1]}, {bytes_}, most({start}, 0), {end});")
        made, self.lines = self.lines, kept
        return made

    def _row(self, stmt: Load | Store, rows: str) -> Iterator[tuple[str, tuple[str, str], str]]:
        """Where rows lie: the array at this grid position, its step in elements and bytes, and the bytes of a row."""
        place = self.place_of(self.program.arg(stmt.arg), stmt.index, stmt.dims, False)
        other = next(d for d in stmt.dims if d != rows)
        if place.computed or place.inside or {len(place.along.get(d, ())) for d in stmt.dims} != {1}:
            return
        (_, step), (_, along) = place.along[rows][0], place.along[other][0]
        size = f"(long)sizeof(*{self.data(stmt.arg)})"
        yield place.base, (step, f"{step} * {size}"), f"{along} == 1 ? {self.features[other]} * {size} : 0"
