"""What the parts of the kernel printer share: names, dims, feature chunks, and lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attncc.errors import AttnInternalError
from attncc.ir.expr import Const, Expr, Index, Read, Size, walk
from attncc.tile.nodes import Bisect, Dim, If, Load, Map, Program, Repeat, Set, Store, TileLoop, statements

from .balance import longest_last
from .expressions import Printer
from .intrinsics import FUNCTIONS
from .names import Names
from .style import Style, partial_sums
from .whole import only_bounds, results, tiles_read, vectors

PLAIN = Style()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Positions start .. start + width - 1 of a feature axis; ragged: not all of them exist."""

    start: int
    width: int
    ragged: bool


def chunks(size: int, widest: int = 0) -> tuple[Chunk, ...]:
    """A feature axis in powers of two of at least 16: 96 = 64 + 32, 44 = 32 + 16 (12 of them exist). widest: of a chunk; 0: any."""
    out: list[Chunk] = []
    start = 0
    while start < size or not out:
        width = 16
        while width * 2 <= min(size - start, widest or size):
            width *= 2
        out.append(Chunk(start, width, size - start < width))
        start += width
    return tuple(out)


def describable(program: Program) -> tuple[str, ...]:
    """Args that tensor descriptors can read, or add to atomically: boxes of at most 5 dims whose last one is a feature axis, met in
    one way alone."""
    out = []
    for arg in program.args:
        loads = [s for s in statements(program.body) if isinstance(s, Load | Store) and s.arg == arg.name]
        if arg.role not in ("in", "atomic") or arg.kind != "float" or not loads or len(arg.axes) > 5:
            continue
        if len({load.dims for load in loads}) == 1 and all(_is_box(program, load) for load in loads):
            out.append(arg.name)
    return tuple(out)


def storable(program: Program, features: Mapping[str, int]) -> tuple[str, ...]:
    """Args that tensor descriptors can write: boxes as in `describable`, written in one place, made by the caller for the kernel."""
    out = []
    for arg in program.args:
        uses = [s for s in statements(program.body) if isinstance(s, Load | Store) and s.arg == arg.name]
        if arg.role != "out" or arg.kind != "float" or len(uses) != 1 or len(arg.axes) > 5 or arg.axes[-1] not in features:
            continue
        if isinstance(uses[0], Store) and not uses[0].add and _is_box(program, uses[0]) and _aligned(program, arg.name, features):
            out.append(arg.name)
    return tuple(out)


def _in_loops(program: Program, arg: str) -> bool:
    """Whether an arg is loaded or added to inside a loop over tiles."""
    loops = (s for s in statements(program.body) if isinstance(s, TileLoop))
    return any(isinstance(s, Load | Store) and s.arg == arg for loop in loops for s in statements(loop.body))


def _aligned(program: Program, arg: str, features: Mapping[str, int]) -> bool:
    """Whether the vectors of an array that is made for the kernel start at multiples of 16 bytes. Those of the caller are asked."""
    made = program.arg(arg)
    return made.role == "in" or features[made.axes[-1]] % (4 if made.acc else 8) == 0


def _is_box(program: Program, load: Load | Store) -> bool:
    """Whether a load or store is a box of whole rows: tiled axes in the order of the dim, then one feature axis."""
    if len(load.dims) != 2 or (isinstance(load, Load) and (not load.own or load.fill is not None)):
        return False
    tiled, wide = (program.dim(d) for d in load.dims)
    axes = [x.axis if isinstance(x, Index) else "" for x in load.index]
    if "" in axes or tiled.whole or not wide.whole or axes[-1] != wide.name:
        return False
    return tuple(a for a in axes if a in tiled.axes) == tiled.axes


class Frame:
    """The state of printing one program. features: sizes of the feature axes, known when compiling, also where
    such an axis is cut into tiles here (`known`). described: args that tensor descriptors read; stored: those that they write;
    hosted: all that come as descriptors. far: (arg, axis) where a position times a stride is 32 bits wide unless `WIDE`.
    persistent: programs an SM, each of which takes several tiles. backwards: from the last tile on. here: names of pointers that
    stand at the grid position, where those are no parameters. whole: the parts of a program that has a form for lengths that fill
    their tiles; more: what descriptors read in that form beside the others, all that its loops and what comes before them load; late:
    results whose addresses, or descriptors, are made after the loops; in_whole: that form is being printed."""

    def __init__(self, program: Program, features: dict[str, int], name: str, style: Style = PLAIN) -> None:
        self.program, self.name, self.style = program, name, style
        self.whole = only_bounds(program) if style.special else None
        self.late = results(program, self.whole) if self.whole is not None else ()
        self.in_whole = False
        boxes = tuple(a for a in describable(program) if _aligned(program, a, features)) if style.descriptors else ()
        inside = style.descriptors == "inside"
        self.described = tuple(a for a in boxes if not inside or _in_loops(program, a))
        self.stored = storable(program, features) if style.stored else ()
        self.more: tuple[str, ...] = ()
        if self.whole is not None:
            self.more = (*(a for a in boxes if a not in self.described), *vectors(program, self.whole))
            if style.descriptors and not tiles_read(self.whole) <= {*self.described, *self.more}:
                self.whole, self.late, self.more = None, (), ()
        hosted = [a for a in self.stored if a not in self.late]
        self.hosted = (*(() if inside else self.described), *hosted)
        self.persistent = style.persistent if not (program.shares or style.special) else 0
        self.here: dict[str, str] = {}
        self.grid = tuple(a for a in program.grid if a not in program.ones)
        self.backwards = bool(style.order) and longest_last(program, features)
        self.far: dict[tuple[str, str], None] = {}
        self.partial = partial_sums(program) if style.lanes else {}
        whole = {d.axes[0] for d in program.dims if d.whole}
        self.features = {a: n for a, n in features.items() if a in whole}
        self.known = {a: n for a, n in features.items() if a not in whole}
        self.names = Names({name, *FUNCTIONS})
        self.prologue: list[str] = []
        self.offsets: list[str] = []
        self.lines: list[str] = []
        self.depth = 1
        self.dims: dict[str, tuple[str, ...]] = {}
        self.long: set[str] = set()  # scalars of 64 bits: those made from integers of arrays
        self.chunk: dict[str, int] = {}
        self.masked: set[str] = set()
        self.scalars: set[str] = set()
        self.tested: set[str] = set()
        self.owner = program.dim(program.owner)
        self.tiled: dict[str, Dim] = {a: d for d in program.dims if not d.whole for a in d.axes}
        self.repeats = list(dict.fromkeys(s.axis for s in statements(program.body) if isinstance(s, Repeat)))
        self.printer = Printer(self.leaf, style.fast_tanh)
        self._name_all()

    def _name_all(self) -> None:
        """Names in the order in which a reader looks for them: tensors, axes, then what belongs to them."""
        program = self.program
        for arg in program.args:
            if arg.name not in self.hosted:
                self.names.of("pointer", arg.name, f"{arg.name}_ptr")
        for described in (*self.described, *self.stored, *self.more):
            if self.is_vector(described):
                self.names.of("descriptor", described, f"{described}_desc")
                continue
            for number in range(len(self.chunks(self.feature_of(described)))):
                tag = f"_{number}" if self.many(self.feature_of(described)) else ""
                self.names.of("descriptor", f"{described} {number}", f"{described}_desc{tag}")
        for axis in [*program.grid, *self.tiled, *self.features, *self.repeats]:
            self.names.of("position", axis)
        for arg in program.args:
            for axis in arg.axes if arg.name not in self.hosted else ():
                self.names.of("stride", f"{arg.name} {axis}", f"stride_{arg.name}_{axis}")
        owned = self.owner.axes
        others = [a for a in self.tiled if a not in owned]
        for axis in dict.fromkeys([*program.grid, *owned, *others, *self.repeats, *self._sizes()]):
            if axis not in self.features and axis not in self.known:
                self.names.of("size", axis, f"{axis}_size")
        for axis in self.tiled:
            self.names.of("tile", axis, "TILE_" + axis.replace("'", "_k").upper())
            self.names.of("start", axis, f"{axis}_start")
        for scalar in program.scalars:
            self.names.of("scalar", scalar.name)

    def _sizes(self) -> list[str]:
        """Axes whose size an expression, or the bounds of a gather, need."""
        out: list[str] = []
        for stmt in statements(self.program.body):
            exprs: list[Expr] = []
            if isinstance(stmt, Map | Set):
                exprs = [stmt.expr]
            elif isinstance(stmt, Load) or (isinstance(stmt, Store) and stmt.add):
                exprs = list(stmt.index)
                axes = self.program.arg(stmt.arg).axes
                out += [a for a, x in zip(axes, stmt.index, strict=True) if not isinstance(x, Index | Const)]
            elif isinstance(stmt, TileLoop):
                exprs = [stmt.count, *stmt.starts]
            elif isinstance(stmt, Bisect):
                exprs = [stmt.low, stmt.high, stmt.cond]
            elif isinstance(stmt, If):
                exprs = [stmt.cond]
            out += [e.axis for x in exprs for e in walk(x) if isinstance(e, Size)]
        return out

    # Text of the things that have names.

    def line(self, text: str) -> None:
        self.lines.append("    " * self.depth + text if text else "")

    def pointer(self, arg: str) -> str:
        return self.here.get(arg) or self.parameter(arg)

    def parameter(self, arg: str) -> str:
        """The kernel's parameter that points to the start of an arg."""
        return self.names.of("pointer", arg)

    def feature_of(self, arg: str) -> str:
        """The last axis of an arg that a descriptor reads, writes or adds to, in terms of the program's dims."""
        return self.box_of(arg).dims[1]

    def box_of(self, arg: str) -> Load | Store:
        """What reads, writes or adds to an arg."""
        return next(s for s in statements(self.program.body) if isinstance(s, Load | Store) and s.arg == arg)

    def by_descriptor(self, arg: str) -> bool:
        """Whether a descriptor reads an arg, or adds to it, where the printer is."""
        return arg in self.described or (self.in_whole and arg in self.more)

    def is_vector(self, arg: str) -> bool:
        """Whether what reads an arg has no feature dim."""
        return len(self.box_of(arg).dims) == 1

    def descriptor(self, arg: str) -> str:
        if self.is_vector(arg):
            return self.names.of("descriptor", arg)
        return self.names.of("descriptor", f"{arg} {self.chunk[self.feature_of(arg)]}")

    def stride(self, arg: str, axis: str) -> str:
        return self.names.of("stride", f"{arg} {axis}")

    def size(self, axis: str) -> str:
        known = self.features.get(axis, self.known.get(axis))
        return self.names.of("size", axis) if known is None else str(known)

    def tile(self, axis: str) -> str:
        return self.names.of("tile", axis)

    def start(self, axis: str) -> str:
        return self.names.of("start", axis)

    def inside(self, axis: str) -> str:
        """Positions inside a tile, from 0."""
        return self.names.of("inside", axis, f"{axis}_in_tile")

    def position(self, axis: str) -> str:
        """Positions along an axis: a scalar of the grid, a vector of a tile, a chunk of a feature axis."""
        text = self.names.of("position", axis)
        return f"{text}{self.chunk[axis]}" if self.many(axis) else text

    def value(self, name: str) -> str:
        """The variable of a tile value, at the current chunks of its feature dims."""
        parts = [str(self.chunk[d]) for d in self.dims[name] if self.many(d)]
        return "_".join([self.names.of("value", name), *parts])

    def chunks(self, axis: str) -> tuple[Chunk, ...]:
        return chunks(self.features[axis], self.style.widest)

    def many(self, axis: str) -> bool:
        """Whether a dim is a feature axis of several chunks."""
        return axis in self.features and len(self.chunks(axis)) > 1

    def extent(self, dim: Dim) -> str:
        return " * ".join(self.tile(a) for a in dim.axes)

    def shape(self, dims: tuple[str, ...]) -> str:
        parts = [
            str(self.chunks(d)[self.chunk[d]].width) if d in self.features else self.extent(self.program.dim(d)) for d in dims
        ]
        return f"[{', '.join(parts)}]"

    def each(self, dims: tuple[str, ...], act: Callable[[], None]) -> None:
        """Do something for every chunk of the feature dims among `dims`."""
        features = [d for d in dims if d in self.features]
        if not features:
            act()
            return
        for number in range(len(self.chunks(features[0]))):
            self.chunk[features[0]] = number
            self.each(tuple(d for d in dims if d != features[0]), act)

    def leaf(self, expr: Expr) -> tuple[str, tuple[str, ...]]:
        """Text and dims of a position, a size, a tile value, a scalar, or a corner of a tile."""
        match expr:
            case Index(axis):
                if axis in self.features:
                    return self.position(axis), (axis,)
                tiled = axis in self.tiled and axis not in self.scalars
                return self.position(axis), ((self.tiled[axis].name,) if tiled else ())
            case Size(axis):
                return self.size(axis), ()
            case Read(source, _, _) if source in self.dims:
                return self.value(source), self.dims[source]
            case Read(source, _, _) if "." in source:
                return self._corner(*source.rsplit(".", 1)), ()
            case Read(source, _, _) if self.names.has("scalar", source):
                return self.names.of("scalar", source), ()
        raise AttnInternalError(f"{expr} is not known where it is read")

    def _corner(self, axis: str, what: str) -> str:
        if what == "last":
            return f"(tl.minimum({self.start(axis)} + {self.tile(axis)}, {self.size(axis)}) - 1)"
        if what not in ("box", "first"):
            raise AttnInternalError(f"{axis}.{what} is not known where it is read")
        return self.tile(axis) if what == "box" else self.start(axis)
