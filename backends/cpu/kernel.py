"""A tile program as C: a function that computes one owner, a tile of the owner's dim at one grid position, and an entry that
runs all."""

from __future__ import annotations

from collections.abc import Sequence

from attncc.errors import AttnInternalError, AttnUnsupportedError
from attncc.tile.nodes import (
    Bisect,
    Dim,
    Dot,
    If,
    Init,
    Load,
    Map,
    Reduce,
    Repeat,
    Set,
    Stmt,
    Store,
    TileLoop,
    defined,
    statements,
)  # fmt: skip

from .asks import Asks
from .groups import Run, runs
from .ready import reads
from .sharing import Rescaled


class KernelPrinter(Asks):
    """Statements of one program."""

    def printed(self) -> list[str]:
        """Functions: how much memory an owner needs, what the next one reads, the owner itself."""
        self.readers, self.stored_homes, self.parted, self.asked, self.asked_dim = {}, {}, {}, {}, ""
        self.asked_soon = self.soon()
        body = self.program.body
        for stmt in statements(body):
            for name in reads(stmt):
                self.readers.setdefault(name, []).append(stmt)
        for axis in (*self.program.grid, *self.owner.axes):
            self.size(axis)
        self.starting = self._carried()
        self.depth += 1 if self.one_by_one else 0
        self.body(body)
        lines = self.lines
        head = self._head()
        tag = self.name
        text = [f"/* {self._about()} */", *self._bytes(), ""]
        closing = ["    }"] if self.one_by_one else []
        if self.asked_soon:
            made = self.print_ask(self._place(), self._scalar_statement)
            text += [f"static void {tag}_ask(const struct call *call, long owner)", "{", *self._known(), *made, "}", ""]
        text += [
            f"static void {tag}_owner(const struct call *call, long owner, char *memory)",
            "{",
            *head,
            *lines,
            *closing,
            "}",
            "",
        ]
        return text

    def _carried(self) -> list[str]:
        """The statements before that loop."""
        if not self.program.carry:
            return []
        self._early(self.program.carry)
        made, self.lines = self.lines, []
        return made

    def _about(self) -> str:
        rows = ", ".join(self.owner.axes)
        grid = f", at one {', '.join(self.program.grid)}" if self.program.grid else ""
        notes = "".join(f"\n   {note}." for note in self.program.notes)
        return f"{self.name}: an owner is a tile of {rows}{grid}. Nothing of the pairs leaves it.{notes}".replace("*/", "* /")

    # Around the statements.

    def _rooms(self) -> list[str]:
        """Positions that tiles have room for, from the boxes."""
        out = [f"    const long {self.box(a)} = call->boxes[{n}];" for n, a in enumerate(self.tiled)]
        for dim in self.program.dims:
            if not dim.whole:
                product = " * ".join(self.box(a) for a in dim.axes)
                unit = "STRIP" if dim.name == self.owner.name else "LANES"
                out.append(f"    const long {self.room(dim.name)} = ({product} + {unit} - 1) / {unit} * {unit};")
        return out

    def _bytes(self) -> list[str]:
        """A function that says how much memory a thread needs."""
        parts = [f"    bytes += ({p.count}) * (long)sizeof({p.type}) + 64 + STAGGER;" for p in self.pieces]
        return [
            f"static long {self.name}_bytes(const struct call *call)",
            "{",
            *self._rooms(),
            "    long bytes = 64;",
            *parts,
            "    return (bytes + 63) / 64 * 64;",
            "}",
        ]

    def _head(self) -> list[str]:
        """Arguments and memory under their names, and which owner this is."""
        place = self._place()
        out = self._known()
        out += [f"    {p.type} *const {p.name} = piece(&memory, ({p.count}) * (long)sizeof({p.type}));" for p in self.pieces]
        return [*out, "", *place, ""]

    def _known(self) -> list[str]:
        """Arguments under their names."""
        out = []
        at = 0
        for number, arg in enumerate(self.program.args):
            ctype = self.element_type(arg.name)
            const = "const " if arg.role == "in" else ""
            out.append(f"    {const}{ctype} *const {self.data(arg.name)} = call->data[{number}];")
            for axis in arg.axes:
                out.append(f"    const long {self.stride(arg.name, axis)} = call->strides[{at}];")
                at += 1
        out += [f"    const long {self.size(a)} = call->sizes[{n}];" for n, a in enumerate(self.sizes)]
        out += self._rooms()
        for number, scalar in enumerate(self.program.scalars):
            ctype = "real" if scalar.kind == "float" else "long"
            out.append(f"    const {ctype} {self.homes[scalar.name].code} = ({ctype})call->numbers[{number}];")
        return out

    def _place(self) -> list[str]:
        """The owner's number as a grid position and the start of a tile. Where tiles are shared out it is a grid position alone, and the
        tiles of its share follow in a loop."""
        lines, self.lines, depth, self.depth = self.lines, [], self.depth, 1
        shares, tiles = self.program.shares, {a: self.names.fresh(f"{a}_tiles") for a in self.owner.axes}
        for axis in self.owner.axes:
            self.line(f"const long {tiles[axis]} = ceil_div({self.size(axis)}, {self.box(axis)});")
        if not self.one_by_one:
            self._starts("owner", tiles)
        for axis in reversed(self.program.grid):
            name = self.names.of("position", axis)
            if axis == self.program.grid[0]:
                self.line(f"const long {name} = owner;")
            else:
                self.line(f"const long {name} = owner % {self.size(axis)};")
                self.line(f"owner /= {self.size(axis)};")
        if shares:
            mine, all_tiles = self.names.of("position", shares), " * ".join(tiles.values())
            self.line(f"for (long next = {mine}; next < {all_tiles}; next += {self.size(shares)}) {{")
            self.depth += 1
            self.line("long tile = next;")
            self._starts("tile", tiles)
        elif self.program.sweep:
            self.lines += self.starting
            all_tiles = " * ".join(tiles.values())
            ways = {"forward": f"long next = 0; next < {all_tiles}; ++next", "reverse": f"long next = {all_tiles}; next-- > 0;"}
            self.line(f"for ({ways[self.program.sweep]}) {{")
            self.depth += 1
            self.line("long tile = next;")
            self._starts("tile", tiles)
        self._extents(self.owner, self.owner.axes)
        self.line(f"const long strips = ({self.all_count(self.owner.name)} + STRIP - 1) / STRIP;")
        made, self.lines, self.depth = self.lines, lines, depth
        return made

    def _starts(self, number: str, tiles: dict[str, str]) -> None:
        """Where the owner's tile of a number starts."""
        for axis in reversed(self.owner.axes):
            self.line(f"const long {self.first(axis)} = {number} % {tiles[axis]} * {self.box(axis)};")
            self.line(f"{number} /= {tiles[axis]};")

    def _extents(self, dim: Dim, axes: Sequence[str]) -> None:
        """How many positions a tile has, and where they are when it is a box of several axes."""
        for axis in axes:
            self.line(f"const long {self.extent(axis)} = least({self.box(axis)}, {self.size(axis)} - {self.first(axis)});")
        if len(dim.axes) == 1 or axes[-1] != dim.axes[-1]:
            return
        self.line(f"const long {self.all_count(dim.name)} = {' * '.join(self.extent(a) for a in dim.axes)};")
        tables = {axis: self.places(axis) for axis in dim.axes}
        for table in tables.values():
            if table not in self.tables:
                self.tables[table] = self.allocate(table, False, self.room(dim.name))
                self.lasting.add(self.tables[table])
            self.line(f"lane *const {table} = (lane *){self.tables[table]};")
        with self.block(""):
            self.line("long n = 0;")
            for axis in dim.axes:
                at = f"{self.names.of('position', axis)}_"
                self.line(f"for (long {at} = {self.first(axis)}; {at} < {self.first(axis)} + {self.extent(axis)}; ++{at}) {{")
                self.depth += 1
            for axis, table in tables.items():
                self.line(f"{table}[n] = (lane){self.names.of('position', axis)}_;")
            self.line("++n;")
            self._close(len(dim.axes))
            values = " ".join(f"{table}[n] = (lane){self.first(axis)};" for axis, table in tables.items())
            self.line(f"for (; n < {self.room(dim.name)}; ++n) {{ {values} }}")

    def entry(self, beside: Sequence[str] = ()) -> list[str]:
        """What is called: all owners. beside: lines that may put other functions in the place of its own."""
        sizes = tuple(self.sizes)
        owners = [self._passed(a, sizes) for a in self.program.grid]
        if not self.one_by_one:
            owners += [f"ceil_div({self._passed(a, sizes)}, boxes[{list(self.tiled).index(a)}])" for a in self.owner.axes]
        return [
            f"EXPORT int {self.name}(void *const *data, const long *strides, const long *sizes, const double *numbers,",
            f"{' ' * (len(self.name) + 12)}const long *boxes, long threads, const struct runtime *runtime)",
            "{",
            "    struct call call = {.data = data, .strides = strides, .sizes = sizes, .numbers = numbers, .boxes = boxes};",
            f"    call.owners = {' * '.join(owners)};",
            f"    call.bytes = {self.name}_bytes(&call);",
            f"    call.owner = {self.name}_owner;",
            *([f"    call.ask = {self.name}_ask;"] if self.asked_soon else []),
            *beside,
            "    return run(&call, threads, runtime);",
            "}",
        ]

    def _passed(self, axis: str, sizes: tuple[str, ...]) -> str:
        return f"sizes[{sizes.index(axis)}]"

    # Statements.

    def body(self, body: Sequence[Stmt]) -> None:
        touching = {id(s) for s in body if not isinstance(s, TileLoop | If | Repeat) and self.touches(s)}
        for item in runs(body, touching):
            match item:
                case Run():
                    self._early(item.early)
                    if item.late:
                        self._strips(item.late)
                case TileLoop():
                    self._tiles(item)
                case If(cond, inner):
                    with self.block(f"if ({self.printer.scalar(cond).code})"):
                        self.body(inner)
                case Repeat(axis, inner):
                    name = self.names.of("position", axis)
                    with self.block(f"for (long {name} = 0; {name} < {self.size(axis)}; ++{name})"):
                        self.body(inner)
                case _:
                    raise AttnInternalError(f"{self.name}: a {type(item).__name__} stands where it cannot")

    def _tiles(self, loop: TileLoop) -> None:
        dim = self.dims[loop.dim]
        if loop.title:
            self.line(f"/* {loop.title} */")
        count, counter = self.names.fresh(f"{dim.name}_tiles"), self._scalar(loop.counter)
        self.line(f"const long {count} = {self.printer.scalar(loop.count).code};")
        with self.block(f"for (long {counter} = 0; {counter} < {count}; ++{counter})"):
            self.body(loop.lets)
            for axis, start in zip(loop.axes, loop.starts, strict=True):
                self.line(f"const long {self.first(axis)} = {self.printer.scalar(start).code};")
            self._extents(dim, loop.axes)
            self.asked, self.asked_dim = self._ahead(loop, counter, count), loop.dim
            self.narrow = self.narrowed(loop)
            with self.borrowed():
                self.body(loop.body)
            self.asked, self.narrow = {}, None

    def _scalar(self, name: str) -> str:
        """A name for a scalar value."""
        from .frame import Home

        code = self.names.of("value", name)
        value = self.values[name]
        self.homes[name] = Home(code, "scalar", value.kind, value.wide)
        return code

    def _early(self, stmts: Sequence[Stmt]) -> None:
        """Statements without the owner's positions: scalars, then tiles, in order."""
        held: list[Stmt] = []
        for stmt in stmts:
            dims = self.dims_of(stmt)
            if dims:
                held.append(stmt)
                continue
            if reads(stmt) & {defined(s) for s in held}:
                self._plain(held)
                held = []
            self._scalar_statement(stmt)
        self._plain(held)

    def _scalar_statement(self, stmt: Stmt) -> None:
        match stmt:
            case Load(out):
                self._scalar(out)
                self.load(stmt)
            case Map(out, expr):
                text = self.printer.converted(self.printer.scalar(expr), self.values[out].kind)
                ctype = {"float": "real", "bool": "int"}.get(text.kind, "long")
                self.line(f"const {ctype} {self._scalar(out)} = {text.code};")
            case Init(acc, _, start, kind):
                text = self.printer.converted(self.printer.scalar(start), kind)
                self.line(f"{'real' if kind == 'float' else 'long'} {self._scalar(acc)} = {text.code};")
            case Set(acc, expr):
                self.line(
                    f"{self.homes[acc].code} = {self.printer.converted(self.printer.scalar(expr), self.values[acc].kind).code};"
                )
            case Bisect():
                self._bisect(stmt)
            case Store():
                self.store(stmt)
            case _:
                raise AttnInternalError(f"{self.name}: {type(stmt).__name__} of scalars")

    def _bisect(self, stmt: Bisect) -> None:
        """Halving an interval: good and bad enclose the last position for which the condition holds."""
        good, bad, at = self._scalar(stmt.out), self.names.fresh(f"{stmt.axis}_bad"), self.names.of("position", stmt.axis)
        low, high = self.printer.scalar(stmt.low), self.printer.scalar(stmt.high)
        self.line(f"long {good} = {low.at(12)} - 1, {bad} = {high.at(12)} + 1;")
        with self.block(f"while ({bad} - {good} > 1)"):
            self.line(f"const long {at} = ({good} + {bad}) / 2;")
            self.searched.add(stmt.axis)
            self.line(f"if ({self.printer.scalar(stmt.cond).code})")
            self.searched.discard(stmt.axis)
            self.line(f"    {good} = {at};")
            self.line("else")
            self.line(f"    {bad} = {at};")

    def _plain(self, stmts: Sequence[Stmt]) -> None:
        """Tiles without the owner's positions."""
        for stmt in stmts:
            steps = self.steps_of([stmt], self.lanes_in([stmt]))
            stored = self.house([stmt], steps, strip=False)
            for step in steps:
                if isinstance(step, list):
                    self.lane_loop(step, self.lanes_in(step), stored)
                else:
                    self._call(step)

    def _strips(self, stmts: Sequence[Stmt]) -> None:
        """One pass over the strips of the owner."""
        self.in_strip = True
        steps = self.steps_of(stmts, self.owner.name)
        stored = self.house(stmts, steps, strip=True)
        with self.block("for (long strip = 0; strip < strips; ++strip)"):
            single = len(self.owner.axes) == 1
            if single:
                self.line(f"const long from = {self.first(self.owner.axes[0])} + strip * STRIP;")
            self.line(f"const long lanes = least(STRIP, {self.all_count(self.owner.name)} - strip * STRIP);")
            self.parts(stmts)
            self.spans = self.spans_here()
            for step in steps:
                if isinstance(step, list):
                    self.lane_loop(step, self.owner.name, stored)
                else:
                    self._call(step)
            self.spans = None
        self.in_strip = False

    def _call(self, stmt: Stmt) -> None:
        match stmt:
            case Load():
                self.load(stmt)
            case Store():
                self.store(stmt)
            case Dot():
                self._dot(stmt)
            case Rescaled(dot, by):
                self._dot(dot, self.homes[by].code)
            case Reduce():
                self._reduce_across(stmt)
            case _:
                raise AttnInternalError(f"{self.name}: {type(stmt).__name__} is no call")

    def _reduce_across(self, stmt: Reduce) -> None:
        """A reduction along the owner's positions: of every row of a strip, added to what the strips before gave."""
        if stmt.op == "sum" and self.values[stmt.tile].dims == (stmt.over,) != (self.owner.name,):
            count = self.count(stmt.over)
            self.line(f"const real {self._scalar(stmt.out)} = sum_tile({self.homes[stmt.tile].code}, {count});")
            return
        if stmt.op != "sum" or stmt.over != self.owner.name or self.values[stmt.tile].kind != "float":
            raise AttnUnsupportedError(f"{self.name}: {stmt.op} along {stmt.over} is not in the CPU backend")
        tile, out = self.homes[stmt.tile], self.homes[stmt.out]
        rows = stmt.dims[0] if stmt.dims else ""
        count = self.count(rows) if rows else "1"
        self.line(f"sum_rows({tile.code}, {out.code}, {count}, lanes, strip > 0);")
