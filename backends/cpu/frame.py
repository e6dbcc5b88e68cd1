"""What the parts of the kernel printer share: names, text, where values live, positions, and memory for tiles.

A tile is stored with the owner's positions along its lanes: STRIP of them side by side, one row for every position of its
other dim. A tile without the owner is stored row by row, its last dim along the lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from attncc.errors import AttnInternalError
from attncc.ir.expr import Expr, Index, Read, Size, kind_of
from attncc.tile.nodes import Dim, Repeat, statements

from .expressions import Printer, Text
from .names import Names
from .narrow import Narrow
from .ready import Ready, Value


@dataclass(frozen=True)
class Home:
    """Where a value is. form: `scalar`, `lanes` (a vector variable) or `array`. steps: of an array along each dim, in C."""

    code: str
    form: str
    kind: str
    wide: bool = False
    steps: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Piece:
    """Memory for a tile: its C type and the number of elements."""

    name: str
    type: str
    count: str


class Frame:
    """The state of printing one program. features: sizes of the feature axes. bits: of the accumulation type; element: of an array.
    by_rows: tiles of the owner that are stored by rows."""

    def __init__(
        self, ready: Ready, features: dict[str, int], bits: int, element: int, name: str, by_rows: frozenset[str] = frozenset()
    ) -> None:
        self.by_rows = by_rows
        self.ready, self.program, self.features, self.bits, self.element, self.name = (
            ready,
            ready.program,
            features,
            bits,
            element,
            name,
        )
        program = self.program
        self.values = ready.values
        self.names = Names()
        self.names.fresh(name)
        self.lines: list[str] = []
        self.depth = 1
        self.homes: dict[str, Home] = {}
        self.pieces: list[Piece] = []
        self.free: list[Piece] = []
        self.held: list[str] = []
        self.lasting: set[str] = set()
        self.owner = program.dim(program.owner)
        self.dims: dict[str, Dim] = {d.name: d for d in program.dims}
        self.tiled: dict[str, Dim] = {a: d for d in program.dims if not d.whole for a in d.axes}
        self.repeats = tuple(dict.fromkeys(s.axis for s in statements(program.body) if isinstance(s, Repeat)))
        self.lane_dim = ""
        self.lane_at = ""
        self.in_strip = False
        self.narrow: Narrow | None = None
        self.spans: tuple[str, str] | None = None
        self.sure: tuple[str, str] | None = None
        self.under_way: dict[str, str] = {}
        self.at: dict[str, str] = {}
        self.shown: dict[str, Text] = {}
        self.searched: set[str] = set()
        self.printer = Printer(bits, self.leaf, self.escape, lambda n: n in self.values and self.values[n].wide)
        for scalar in program.scalars:
            self.homes[scalar.name] = Home(self.names.of("value", scalar.name), "scalar", scalar.kind)
        for axis in [*program.grid, *self.repeats, *self.tiled, *self.features]:
            self.names.of("position", axis)
        self.sizes: dict[str, None] = {}
        self.tables: dict[str, str] = {}

    # Text.

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text if text else "")

    @contextmanager
    def block(self, head: str) -> Iterator[None]:
        """Lines inside braces."""
        self.line(f"{head} {{" if head else "{")
        self.depth += 1
        yield
        self.depth -= 1
        self.line("}")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What is known of positions inside is forgotten afterwards."""
        at, shown = dict(self.at), dict(self.shown)
        yield
        self.at, self.shown = at, shown

    # Names.

    def size(self, axis: str) -> str:
        if axis in self.features:
            return str(self.features[axis])
        self.sizes.setdefault(axis)
        return self.names.of("size", axis, f"{axis}_size")

    def box(self, axis: str) -> str:
        return self.names.of("box", axis, f"{axis}_box")

    def first(self, axis: str) -> str:
        return self.names.of("first", axis, f"{axis}_first")

    def extent(self, axis: str) -> str:
        """How many positions of an axis the current tile has."""
        return self.names.of("extent", axis, f"{axis}_count")

    def count(self, dim: str) -> str:
        """How many positions the current tile of a dim has; inside a strip, the lanes of the strip."""
        if self.dims[dim].whole:
            return str(self.features[dim])
        if dim == self.owner.name and self.in_strip:
            return "lanes"
        return self.all_count(dim)

    def all_count(self, dim: str) -> str:
        """How many positions a whole tile of a dim has."""
        axes = self.dims[dim].axes
        return self.extent(axes[0]) if len(axes) == 1 else self.names.of("count", dim, f"{dim}_count")

    def span(self, dim: str) -> tuple[str, str]:
        """From where to where a loop beside a vector of rows runs along a dim."""
        if self.narrow is None or self.spans is None or dim != self.narrow.dim:
            return "0", self.count(dim)
        return f"{self.spans[0]}[{self.lane_at} / LANES]", f"{self.spans[1]}[{self.lane_at} / LANES]"

    def room(self, dim: str) -> str:
        """Positions there is memory for: whole vectors, and whole strips of the owner."""
        if self.dims[dim].whole:
            return f"PADDED({self.features[dim]})"
        return self.names.of("room", dim, f"{dim}_room")

    def stride(self, arg: str, axis: str) -> str:
        return self.names.of("stride", f"{arg} {axis}", f"{arg}_{axis}")

    def data(self, arg: str) -> str:
        return self.names.of("data", arg, f"{arg}_data")

    def type(self, kind: str, wide: bool) -> str:
        """The C type of an element of a stored tile."""
        return "real" if kind == "float" else "long" if wide else "lane"

    def element_type(self, arg: str) -> str:
        """The C type of an element of an array."""
        found = self.program.arg(arg)
        if found.kind == "float":
            return "real" if found.acc else "element"
        return "long" if found.kind == "int" else "unsigned char"

    # Memory.

    def row_dim(self, dims: Sequence[str]) -> str:
        """The dim along the rows of a stored tile of two dims."""
        return dims[0] if dims[1] == self.lanes_of(dims) else dims[1]

    def lanes_of(self, dims: Sequence[str]) -> str:
        """The dim along the lanes of a stored tile: the owner's, else the last."""
        return self.owner.name if self.owner.name in dims else dims[-1]

    def allocate(self, hint: str, wide: bool, count: str) -> str:
        """Memory for a tile: a piece that was released, or a new one."""
        ctype = "long" if wide else "real"
        found = next((p for p in self.free if p.type == ctype and p.count == count), None)
        if found is not None:
            self.free.remove(found)
        else:
            found = Piece(self.names.fresh(hint), ctype, count)
            self.pieces.append(found)
        self.held.append(found.name)
        return found.name

    def release(self, name: str) -> None:
        """Give memory back for tiles to come."""
        if name in self.held:
            self.held.remove(name)
            self.free.append(next(p for p in self.pieces if p.name == name))

    @contextmanager
    def borrowed(self) -> Iterator[None]:
        """Memory allocated inside is given back afterwards."""
        before = list(self.held)
        yield
        for name in [n for n in self.held if n not in before and n not in self.lasting]:
            self.release(name)

    def steps(self, dims: Sequence[str], by_rows: bool = False) -> dict[str, str]:
        """Steps of a stored tile along its dims. by_rows: the second dim along the lanes, the owner's or not."""
        if len(dims) == 1:
            return {dims[0]: "1"}
        if by_rows:
            return {dims[0]: self.room(dims[1]), dims[1]: "1"}
        lanes = self.lanes_of(dims)
        row = self.row_dim(dims)
        return {row: "STRIP" if lanes == self.owner.name else self.room(lanes), lanes: "1"}

    # Values and positions in expressions.

    def index(self, dim: str) -> str:
        """The index along a dim at the current place, for one position."""
        if dim in self.at:
            return self.at[dim]
        raise AttnInternalError(f"{self.program.name}: no position along {dim} is known here")

    def leaf(self, expr: Expr, lanes: bool) -> Text:
        """A position, a size, a tile value, a scalar, or a corner of a tile."""
        match expr:
            case Index(axis):
                return self._position(axis, lanes)
            case Size(axis):
                return Text(self.size(axis), "int")
            case Read(source) if source in self.homes:
                return self._value(self.values[source], lanes)
            case Read(source) if "." in source:
                return self._corner(*source.rsplit(".", 1))
        raise AttnInternalError(f"{self.program.name}: {expr} is not known where it is read")

    def _corner(self, axis: str, what: str) -> Text:
        if what == "box":
            return Text(self.box(axis), "int")
        if what == "first":
            return Text(self.first(axis), "int")
        return Text(f"{self.first(axis)} + {self.extent(axis)} - 1", "int", level=12)

    def _position(self, axis: str, lanes: bool) -> Text:
        dim = axis if axis in self.features else self.tiled[axis].name if axis in self.tiled else ""
        if not dim or axis in self.searched:
            return Text(self.names.of("position", axis), "int")
        vector = dim == self.lane_dim and lanes
        if axis in self.shown and (self.shown[axis].lanes == vector):
            return self.shown[axis]
        return self.place(axis, dim, vector)

    def place(self, axis: str, dim: str, vector: bool) -> Text:
        """The position along an axis, worked out from the index along its dim."""
        if dim in self.features:
            return Text(f"count_up({self.lane_at})", "int", True) if vector else Text(self.index(dim), "int")
        single = len(self.tiled[axis].axes) == 1
        if single:
            start = "from" if dim == self.owner.name and self.in_strip else self.first(axis)
            if vector:
                return Text(f"count_up({start} + {self.lane_at})", "int", True)
            return Text(f"{start} + {self.index(dim)}", "int", level=12)
        table = self.places(axis)
        if dim == self.owner.name and self.in_strip:
            table = f"{table} + strip * STRIP"
        if vector:
            return Text(f"iload({table} + {self.lane_at})", "int", True)
        table = f"({table})" if "+" in table else table
        return Text(f"(long){table}[{self.index(dim)}]", "int", level=14)

    def places(self, axis: str) -> str:
        """The table of positions of an axis in a tile of several axes."""
        return self.names.of("places", axis, f"{axis}_at")

    def _value(self, value: Value, lanes: bool) -> Text:
        home = self.homes[value.name]
        if home.form == "scalar":
            return Text(home.code, value.kind, wide=value.wide)
        vector = lanes and self.lane_dim in value.dims
        if home.form == "lanes":
            if vector:
                return Text(home.code, value.kind, True)
            one = Text(f"{home.code}[l]", value.kind)
            return one if value.kind != "bool" else Text(f"{one.code} != 0", "bool", level=9)
        if vector and value.wide:
            return Text("", value.kind, True, wide=True)
        if vector:
            load = "load" if value.kind == "float" else "iload"
            return Text(f"{load}({home.code} + {self.offset(value, True)})", value.kind, True)
        code = f"{home.code}[{self.offset(value, False)}]"
        if value.kind == "bool":
            return Text(f"{code} != 0", "bool", level=9)
        return Text(code, value.kind, wide=value.wide)

    def offset(self, value: Value, vector: bool) -> str:
        """The place of the current element, or vector, of a stored tile."""
        parts = []
        for dim, step in self.homes[value.name].steps.items():
            at = self.lane_at if vector and dim == self.lane_dim else self.index(dim)
            if step == "1":
                parts.append(at)
            else:
                parts.append(f"{at} * {step}" if at.isalnum() else f"({at}) * {step}")
        return " + ".join(parts)

    def escape(self, expr: Expr) -> Text:
        """An expression on lanes worked out lane by lane, under a name."""
        kind = kind_of(expr)
        name = self.names.fresh("each")
        made = self.type(kind, False)
        self.line(f"{made} {name}[LANES] __attribute__((aligned(VECTOR)));")
        with self.inside():
            self.at[self.lane_dim] = f"{self.lane_at} + l" if self.lane_at else "l"
            for axis in list(self.shown):
                if self.shown[axis].lanes:
                    self.shown[axis] = Text(f"(long){self.shown[axis].code}[l]", "int", level=14)
            text = self.printer.scalar(expr)
            code = f"-({text.code})" if kind == "bool" else text.code
            self.line(f"for (long l = 0; l < LANES; ++l) {name}[l] = {code};")
        return Text(f"{'load' if kind == 'float' else 'iload'}({name})", kind, True)
