"""Loads and stores of tiles. A product reads rows where they lie when their type allows; everything else is copied, converted
to the accumulation type on the way."""

from __future__ import annotations

from dataclasses import dataclass

from attncc.ir.expr import Const, Expr, Index, Read, walk
from attncc.tile.nodes import Arg, Dot, Load, Store, statements

from .frame import Frame, Home
from .ready import reads
from .sharing import Rescaled

BFLOAT16 = 17
"""The number of that element type in memory.h."""


@dataclass(frozen=True)
class Place:
    """Where elements of an array are. base: a pointer in C, moved by all scalar parts. along: step along each dim that is a
    plain axis or a box of axes. inside: scalar conditions. free: axes whose position is computed for each element."""

    base: str
    along: dict[str, list[tuple[str, str]]]
    inside: list[str]
    computed: list[tuple[str, Expr]]


class Memory(Frame):
    """Prints `Load` and `Store`."""

    def needs(self, name: str) -> set[str]:
        """How products read a loaded tile: `factor` (one number at a time), `lanes` (the owner along lanes), `rows` (by
        rows)."""
        out: set[str] = set()
        for stmt in statements(self.program.body):
            dot = stmt.dot if isinstance(stmt, Rescaled) else stmt
            if isinstance(dot, Dot) and name in (dot.a, dot.b):
                out.add(self.role(dot, name))
        return out

    def role(self, stmt: Dot, name: str) -> str:
        """How a product reads an operand: vectors run along the owner, or along the result's last dim."""
        dims = self.values[name].dims
        lanes = self.owner.name if self.owner.name in stmt.dims else stmt.dims[1]
        if lanes not in dims:
            return "factor"
        return "lanes" if lanes == self.owner.name else "rows"

    def place_of(self, arg: Arg, index: tuple[Expr, ...], dims: tuple[str, ...], filled: bool) -> Place:
        """The address of a tile, its scalar part first."""
        base: list[str] = []
        along: dict[str, list[tuple[str, str]]] = {}
        inside: list[str] = []
        computed: list[tuple[str, Expr]] = []
        for axis, at in zip(arg.axes, index, strict=True):
            stride = self.stride(arg.name, axis)
            dim = self._dim(at)
            if dim in dims and isinstance(at, Index):
                along.setdefault(dim, []).append((at.axis, stride))
            elif isinstance(at, Const):
                base.append(f"{at.value} * {stride}")
            elif not self._dims(at):
                text = self.printer.scalar(at)
                base.append(f"{text.at(13)} * {stride}")
                if filled:
                    inside.append(f"{text.at(11)} >= 0 && {text.at(11)} < {self.size(axis)}")
            else:
                computed.append((axis, at))
        pointer = self.data(arg.name) + "".join(f" + {part}" for part in base)
        return Place(pointer, along, inside, computed)

    def _dim(self, at: Expr) -> str:
        if not isinstance(at, Index) or at.axis in self.searched:
            return ""
        return at.axis if at.axis in self.features else self.tiled[at.axis].name if at.axis in self.tiled else ""

    def _dims(self, expr: Expr) -> set[str]:
        """Dims of an expression of positions."""
        out: set[str] = set()
        for e in walk(expr):
            if isinstance(e, Index):
                out.add(self._dim(e))
            elif isinstance(e, Read) and e.source in self.values:
                out |= set(self.values[e.source].dims)
        return out - {""}

    # Loads.

    def load(self, stmt: Load) -> None:
        arg, value = self.program.arg(stmt.arg), self.values[stmt.out]
        place = self.place_of(arg, stmt.index, stmt.dims, stmt.fill is not None)
        if self.lies_well(stmt):
            self._view(stmt, place)
            return
        plain = self._plain_copy(stmt, arg, place)
        if not stmt.dims:
            self._load_scalar(stmt, arg, place)
            return
        home = self.homes[stmt.out]
        self.line(f"/* {value.name}[{', '.join(stmt.dims)}] */")
        if plain:
            self._copy(stmt, arg, place, home)
        else:
            self._load_each(stmt, arg, place, home)

    def _simple(self, place: Place, dims: tuple[str, ...]) -> bool:
        """Whether a tile is a box: rows (of any positions) of a single axis with a constant step."""
        row = self.copied_rows(dims)
        other = next(d for d in dims if d != row)
        return not place.inside and self._steady(other, place) and all(self._dims(at) <= {row} for _, at in place.computed)

    def _steady(self, dim: str, place: Place) -> bool:
        """Whether a dim is one axis, which steps evenly through the array: a box of several axes jumps where one of them ends."""
        return len(self.dims[dim].axes) == 1 and len(place.along.get(dim, ())) == 1

    def copied_rows(self, dims: tuple[str, ...]) -> str:
        """The dim whose positions are looked up one at a time when a tile is copied: the owner's, else the first."""
        return self.owner.name if self.owner.name in dims else next(d for d in dims if not self.dims[d].whole or d == dims[0])

    def _plain_copy(self, stmt: Load, arg: Arg, place: Place) -> bool:
        return arg.kind == "float" and stmt.fill is None and len(stmt.dims) == 2 and self._simple(place, stmt.dims)

    def lies_well(self, stmt: Load) -> bool:
        """Whether products can read a tile where it lies: one number at a time, of the accumulation type, with constant
        steps."""
        arg = self.program.arg(stmt.arg)
        if stmt.out in self.ready.factors or not stmt.own or self.needs(stmt.out) != {"factor"} or not self.in_place(stmt, arg):
            return False
        place = self.place_of(arg, stmt.index, stmt.dims, False)
        straight = not place.computed and len(place.along) == 2 and all(self._steady(dim, place) for dim in place.along)
        return straight and self._plain_copy(stmt, arg, place)

    def in_place(self, stmt: Load, arg: Arg) -> bool:
        """Whether the products that read a tile take its elements as they are."""
        return arg.acc or self.element == self.bits or self.elements(stmt)

    def elements(self, stmt: Load) -> bool:
        """Whether all that reads a loaded tile takes elements of the array: products that round."""
        users = [s for s in statements(self.program.body) if stmt.out in reads(s)]
        dots = [s.dot if isinstance(s, Rescaled) else s for s in users]
        plain = not self.program.arg(stmt.arg).acc and self.owner.name not in stmt.dims
        return plain and all(isinstance(s, Dot) and self.rounds(s) for s in dots)

    def rounds(self, stmt: Dot) -> bool:
        """Whether the operands of a product are, or may be rounded to, elements that a matrix unit takes."""
        plain = {s.out for s in statements(self.program.body) if isinstance(s, Load) and not self.program.arg(s.arg).acc}
        plain -= set(self.ready.factors)
        return self.element == BFLOAT16 and (bool(stmt.cast) or {stmt.a, stmt.b} <= plain)

    def _view(self, stmt: Load, place: Place) -> None:
        """No copy: a pointer to the tile's first element."""
        element = not self.program.arg(stmt.arg).acc and self.element != self.bits
        ctype = "element" if element else "real"
        name = self.names.of("value", stmt.out)
        starts = [f"{self.first(axis)} * {step}" for steps in place.along.values() for axis, step in steps if axis in self.tiled]
        pointer = " + ".join([place.base, *starts])
        self.line(f"const {ctype} *const {name} = (const {ctype} *)({pointer});")
        steps = {d: found[0][1] for d, found in place.along.items()}
        self.homes[stmt.out] = Home(name, "array", "element" if element else "float", steps=steps)

    def _copy(self, stmt: Load, arg: Arg, place: Place, home: Home) -> None:
        """Rows copied with conversion, by a function of memory.h."""
        row = self.copied_rows(stmt.dims)
        other = next(d for d in stmt.dims if d != row)
        suffix = "_real" if arg.acc else ""
        step = place.along[other][0][1]
        with self.block(""):
            self._rows_at(arg, place, row)
            axis = place.along[other][0][0]
            start = "" if axis in self.features else f" + {self.first(axis)} * {step}"
            source = f"{place.base}{start}"
            parts = [home.code, source, "row_at", self.count(row), self.count(other), step]
            columns = row == self.owner.name and stmt.out not in self.by_rows
            factor = self.ready.factors.get(stmt.out)
            if not columns:
                parts.append(self.room(other))
            elif factor is not None:
                parts.append(self.printer.scalar(factor).code)
                suffix += "_by"
            self.line(f"load_{'columns' if columns else 'rows'}{suffix}({', '.join(parts)});")

    def _rows_at(self, arg: Arg, place: Place, row: str) -> None:
        """row_at[n]: the offset of each row, -1 for one outside the array."""
        owner = row == self.owner.name and self.in_strip
        if owner:
            self.line("long row_at[STRIP];")
        else:
            self.line(f"long *const row_at = {self._row_table()};")
        with self.inside():
            self.at[row] = "n"
            parts = [f"{self._scalar_position(axis, row)} * {step}" for axis, step in place.along.get(row, ())]
            tests = []
            for axis, at in place.computed:
                text = self.printer.scalar(at)
                parts.append(f"{text.at(13)} * {self.stride(arg.name, axis)}")
                tests.append(f"{text.at(11)} >= 0 && {text.at(11)} < {self.size(axis)}")
            code = " + ".join(parts)
            if tests:
                code = f"{' && '.join(tests)} ? {code} : -1"
            self.line(f"for (long n = 0; n < {self.count(row)}; ++n) row_at[n] = {code};")

    def _row_table(self) -> str:
        """Memory for offsets of the rows of any tile."""
        if "row_table" not in self.homes:
            rooms = [self.room(d.name) for d in self.program.dims if d.name != self.owner.name]
            room = rooms[0]
            for other in rooms[1:]:
                room = f"most({room}, {other})"
            table = self.allocate("row_table", True, room)
            self.lasting.add(table)
            self.homes["row_table"] = Home(table, "array", "int", True)
        return self.homes["row_table"].code

    def _scalar_position(self, axis: str, dim: str) -> str:
        return self.place(axis, dim, False).at(13)

    def _load_scalar(self, stmt: Load, arg: Arg, place: Place) -> None:
        value, home = self.values[stmt.out], self.homes[stmt.out]
        code = self._converted(arg, f"*({place.base})")
        if place.inside:
            fill = self.printer.converted(self.printer.scalar(stmt.fill), value.kind).at(3) if stmt.fill is not None else "0"
            code = f"{' && '.join(place.inside)} ? {code} : {fill}"
        ctype = {"float": "real", "bool": "int"}.get(value.kind, "long")
        self.line(f"const {ctype} {home.code} = {code};")

    def _load_each(self, stmt: Load, arg: Arg, place: Place, home: Home) -> None:
        """One element at a time, each position tested."""
        value = self.values[stmt.out]
        with self.inside():
            heads = self._loops(stmt.dims, padded=True)
            tests, parts = list(place.inside), []
            if self.owner.name in stmt.dims:
                tests.insert(0, f"{self.at[self.owner.name]} < lanes")
            for dim, steps in place.along.items():
                parts += [f"{self._scalar_position(axis, dim)} * {step}" for axis, step in steps]
            for number, (axis, at) in enumerate(place.computed):
                name = f"at_{number}"
                self.line(f"const long {name} = {self.printer.scalar(at).code};")
                tests.append(f"{name} >= 0 && {name} < {self.size(axis)}")
                parts.append(f"{name} * {self.stride(arg.name, axis)}")
            code = self._converted(arg, f"({place.base})[{' + '.join(parts) or '0'}]")
            if (factor := self.ready.factors.get(stmt.out)) is not None:
                code = f"{code} * {self.printer.scalar(factor).at(13)}"
            if tests:
                fill = "0"
                if stmt.fill is not None:
                    fill = self.printer.converted(self.printer.scalar(stmt.fill), value.kind).at(3)
                code = f"{' && '.join(tests)} ? {code} : {fill}"
            code = f"-({code})" if value.kind == "bool" else code
            self.line(f"{home.code}[{self.offset(value, False)}] = {code};")
            self._close(heads)

    def _converted(self, arg: Arg, code: str) -> str:
        """An element of an array in the type of tiles."""
        if arg.kind == "float":
            return code if arg.acc else f"widen({code})"
        return code if arg.kind == "int" else f"({code} != 0)"

    def _loops(self, dims: tuple[str, ...], padded: bool = False) -> int:
        """Loops over all positions of some dims, the one along the lanes innermost; how many were opened. padded: whole
        strips."""
        order = [d for d in dims if len(dims) < 2 or d != self.lanes_of(dims)]
        order += [d for d in dims if d not in order]
        for number, dim in enumerate(order):
            name = "xl"[number] if len(order) > 1 else "l"
            count = "STRIP" if padded and dim == self.owner.name else self.count(dim)
            self.line(f"for (long {name} = 0; {name} < {count}; ++{name}) {{")
            self.depth += 1
            self.at[dim] = name
        return len(order)

    def _close(self, count: int) -> None:
        for _ in range(count):
            self.depth -= 1
            self.line("}")

    # Stores.

    def store(self, stmt: Store) -> None:
        arg, value = self.program.arg(stmt.arg), self.values[stmt.tile]
        plain = [self._dim(x) for x in stmt.index if self._dim(x)]
        dims = tuple(dict.fromkeys([*plain, *(d for d in value.dims if d not in plain)])) if not stmt.add else value.dims
        place = self.place_of(arg, stmt.index, dims, False)
        self.line(f"/* {arg.name} */")
        simple = arg.kind == "float" and set(dims) == set(value.dims) and len(dims) == 2 and self._simple(place, dims)
        if simple and (self.owner.name in dims) != stmt.add:
            self._store_rows(stmt, arg, place, dims)
            return
        with self.inside():
            heads = self._loops(dims)
            parts, tests = [], []
            for dim, steps in place.along.items():
                parts += [f"{self._scalar_position(axis, dim)} * {step}" for axis, step in steps]
            for number, (axis, at) in enumerate(place.computed):
                self.line(f"const long at_{number} = {self.printer.scalar(at).code};")
                tests.append(f"at_{number} >= 0 && at_{number} < {self.size(axis)}")
                parts.append(f"at_{number} * {self.stride(arg.name, axis)}")
            code = self.printer.leaf(_read(stmt.tile, value.kind), False).code
            if arg.kind == "float" and not arg.acc:
                code = f"narrow({code})"
            test = f"if ({' && '.join(tests)}) " if tests else ""
            self.line(f"{test}({place.base})[{' + '.join(parts) or '0'}] {'+=' if stmt.add else '='} {code};")
            self._close(heads)

    def _store_rows(self, stmt: Store, arg: Arg, place: Place, dims: tuple[str, ...]) -> None:
        """A whole tile, by a function of memory.h: the owner's rows stored, or rows of others added."""
        row = self.copied_rows(dims)
        other = next(d for d in dims if d != row)
        axis, step = place.along[other][0]
        start = "" if axis in self.features else f" + {self.first(axis)} * {step}"
        suffix = "_real" if arg.acc else ""
        with self.block(""):
            self._rows_at(arg, place, row)
            parts = [f"{place.base}{start}", "row_at", self.count(row), self.count(other), step, self.homes[stmt.tile].code]
            if stmt.add:
                parts.append(self.homes[stmt.tile].steps[row])
            self.line(f"{'add_rows' if stmt.add else 'store_columns'}{suffix}({', '.join(parts)});")


def _read(name: str, kind: str) -> Expr:
    return Read(name, (), kind)
