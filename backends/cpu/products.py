"""Products of tiles, and what they ask memory for on the way: what they read next lies in rows far apart, which the processor does
not see coming."""

from __future__ import annotations

from attncc.tile.nodes import Dot, Load, TileLoop

from .groups import Groups
from .narrow import Narrow, narrow, rises


class Products(Groups):
    """Prints `Dot`. asked: arguments of `ask_ahead` for the tiles of the loop around that products read where they lie, by value;
    asked_dim: the loop's dim.
    asked_soon: tiles of loops that are asked for while the owner before is computed, by value."""

    asked: dict[str, str]
    asked_dim: str
    asked_soon: dict[str, tuple[TileLoop, Load]]

    def _ahead(self, loop: TileLoop, counter: str, count: str) -> dict[str, str]:
        """For each tile that products read where it lies, how to ask memory for it and for the one after it: arguments of `ask_ahead`."""
        out = {}
        for stmt in loop.body:
            if not (isinstance(stmt, Load) and loop.dim in stmt.dims and self.lies_well(stmt)):
                continue
            place = self.place_of(self.program.arg(stmt.arg), stmt.index, stmt.dims, False)
            other = next(d for d in stmt.dims if d != loop.dim)
            if other in self.features:
                (axis, step), (_, along) = place.along[loop.dim][0], place.along[other][0]
                name = self.names.of("value", stmt.out)
                size = f"(long)sizeof(*{name})"
                bytes_ = f"{along} == 1 ? {self.features[other]} * {size} : 0"
                first = "0" if stmt.out in self.asked_soon else f"{counter} == 0"
                left = f"{counter} + 1 < {count} ? {self.size(axis)} - {self.first(axis)} : 0"
                out[stmt.out] = f"{name}, {step} * {size}, {bytes_}, {self.all_count(loop.dim)}, {left}, {first}"
        return out

    def _ask(self, operand: str, part: str, some: str) -> None:
        """Ask for a part of every tile that was loaded by now. operand: the tile that is being read in parts."""
        for name in [n for n in self.asked if n in self.homes]:
            self.line(f"ask_ahead({self.asked[name]}, strip, strips, {part}, {some}, {'PART' if name == operand else '0'});")

    def _dot(self, stmt: Dot, by: str = "0") -> None:
        """A product of tiles: vectors run along the owner where the result has it, else along the result's last dim. by: what the
        accumulator is multiplied by first, for each position of the owner."""
        target = stmt.out or stmt.into
        owner = self.owner.name
        lanes = owner if owner in stmt.dims else stmt.dims[1]
        rows = next(d for d in stmt.dims if d != lanes)
        b, a = (stmt.a, stmt.b) if lanes in self.values[stmt.a].dims else (stmt.b, stmt.a)
        one, two, three = self.homes[a], self.homes[b], self.homes[target]
        parts = [one.code, one.steps[rows], one.steps[stmt.over], two.code, two.steps[stmt.over], three.code, three.steps[rows]]
        parts += [self.count(rows), self.count(lanes), self.count(stmt.over)]
        parts += ["1" if stmt.into else "strip > 0" if owner == stmt.over else "0", by]
        parts += self._start(stmt.start, rows)
        ahead = bool(stmt.out) and a in self.asked and rows == self.asked_dim
        if self.spans is not None and self.narrow is not None and self.narrow.dim in (rows, stmt.over) and lanes == owner:
            self._within(parts, a if ahead else "", rows == self.narrow.dim)
            return
        if self.rounds(stmt):
            if ahead:
                self._ask("", "0", self.count(rows))
                self.asked = {}
            parts = parts[:-2]
            name = "stored_product" if one.kind == "element" else "rounded_product"
            self.line(f"{name}({', '.join([*parts, *self._held(a, rows, stmt.over)])});")
        elif ahead:
            self._in_parts(a, rows, parts)
        else:
            self.line(f"product({', '.join(parts)});")

    def narrowed(self, loop: TileLoop) -> Narrow | None:
        """What the rows of a vector admit of a loop's tiles."""
        return narrow(loop, self.dims[loop.dim], self.owner.name, self.values, self.rounds)

    def spans_here(self) -> tuple[str, str] | None:
        """Positions of the tile of keys that each vector of a strip's rows admits: the names of where they begin and end. Where a mask is
        no more than its bounds, `sure` is where those begin and end that all rows of the vector admit."""
        self.sure = None
        if self.narrow is None:
            return None
        dim, single = self.dims[self.narrow.dim], len(self.owner.axes) == 1
        axis, inner = dim.axes[0], " * ".join(self.extent(a) for a in dim.axes[1:])
        ways = [rises(b.at, self.owner.axes[0]) if single else None for b in self.narrow.bounds]
        begin, end, low, high = (self.names.fresh(name) for name in ("begin", "end", "low", "high"))
        arrays, times = [begin, end], f" * {inner}" if inner else ""
        if self.narrow.exact and None not in ways:
            self.sure = self.names.fresh("sure"), self.names.fresh("unsure")
            arrays += self.sure
        some = self.names.fresh("some_keys")
        if not self.narrow.whole:
            self.line(f"long {some} = 0;")
        self.line(f"long {', '.join(f'{name}[STRIP / LANES_COUNT]' for name in arrays)};")
        self.lane_dim, self.lane_at = self.owner.name, "v"
        with self.inside(), self.block("for (long v = 0; v < lanes; v += LANES)"):
            self.show(
                [b.at for b, way in zip(self.narrow.bounds, ways, strict=True) if way is None], self.owner.name, vector=True
            )
            self._bounds(ways, (low, high), all_rows=False)
            self.line(f"{low} = least({low}, {self.extent(axis)});")
            self.line(f"{begin}[v / LANES] = {low}{times};")
            self.line(f"{end}[v / LANES] = most({low}, {high}){times};")
            if not self.narrow.whole:
                self.line(f"{some} += {end}[v / LANES] - {begin}[v / LANES];")
            if self.sure is not None:
                first, last = self.names.fresh("low"), self.names.fresh("high")
                self._bounds(ways, (first, last), all_rows=True)
                self.line(f"{self.sure[0]}[v / LANES] = least({first}{times}, {end}[v / LANES]);")
                self.line(f"{self.sure[1]}[v / LANES] = most({last}{times}, {self.sure[0]}[v / LANES]);")
        if not self.narrow.whole:
            self.line(f"if ({some} == 0) continue;")
        self.lane_dim = self.lane_at = ""
        return begin, end

    def _bounds(self, ways: list[int | None], names: tuple[str, str], all_rows: bool) -> None:
        """Least and greatest positions of keys of one vector, as far as they are in the tile. ways: how bounds rise along the rows.
        all_rows: of what all rows of the vector admit, instead of any."""
        assert self.narrow is not None
        (low, high), axis = names, self.dims[self.narrow.dim].axes[0]
        self.line(f"long {low} = 0, {high} = {self.extent(axis)};")
        for bound, way in zip(self.narrow.bounds, ways, strict=True):
            if way is None:
                code = f"{'least' if bound.low else 'greatest'}_lane({self.printer.lanes(bound.at, 'int')})"
            else:
                self.at[self.owner.name] = "v" if (bound.low == (way >= 0)) != all_rows else "v + LANES - 1"
                code = self.printer.scalar(bound.at).at(12)
            if bound.low:
                self.line(f"{low} = most({low}, {code} - {self.first(axis)});")
            else:
                self.line(f"{high} = least({high}, {code} - {self.first(axis)} + 1);")

    def _within(self, parts: list[str], asked: str, rows: bool) -> None:
        """A product of which each vector of the owner's rows needs a span alone: of the result's rows, or of what is summed over.
        asked: the operand that asks for more on the way."""
        spans = ", ".join(self.spans or ())
        if not rows:
            self.line(f"product_within({', '.join([*parts[:9], parts[11]])}, {spans});")
            return
        count, call = parts[7], ", ".join([*parts[:7], "{}", "{}", *parts[8:10], *parts[12:14], spans])
        if not asked:
            self.line(f"product_of_spans({call.format('0', count)});")
            return
        with self.block(f"for (long part = 0, some; part < {count}; part += some)"):
            self.line(f"some = {count} - part < 2 * PART ? {count} - part : PART;")
            self._ask(asked, "part", "some")
            self.line(f"product_of_spans({call.format('part', 'part + some')});")
        self.asked = {}

    def _start(self, start: str, rows: str) -> list[str]:
        """What a product's rows start from: an address, and a step from one row to the next."""
        if not start:
            return ["&NOTHING", "0"]
        home = self.homes[start]
        return [f"&{home.code}", "0"] if home.form == "scalar" else [home.code, home.steps[rows]]

    def _in_parts(self, a: str, rows: str, arguments: list[str]) -> None:
        """A product a few rows at a time, which asks for what comes after it in between."""
        count = self.count(rows)
        with self.block(f"for (long part = 0, some; part < {count}; part += some)"):
            self.line(f"some = {count} - part < 2 * PART ? {count} - part : PART;")
            self._ask(a, "part", "some")
            arguments[0] += f" + part * {arguments[1]}"
            arguments[5] += f" + part * {arguments[6]}"
            arguments[7] = "some"
            if arguments[-1] != "0":
                arguments[-2] += f" + part * {arguments[-1]}"
            self.line(f"product({', '.join(arguments)});")
        self.asked = {}

    def _held(self, a: str, rows: str, over: str) -> list[str]:
        """Memory that keeps a packed operand, for all strips of a tile where it has no positions of the owner, and whether it is new
        there."""
        strip = {self.owner.name: "STRIP"} if self.in_strip else {}
        counts = [strip.get(d) or (str(self.features[d]) if d in self.features else self.room(d)) for d in (rows, over)]
        fresh = "strip == 0" if self.in_strip and self.owner.name not in (rows, over) else "1"
        return [self.allocate(f"{a}_held", False, f"HELD({counts[0]}, {counts[1]})"), fresh]
