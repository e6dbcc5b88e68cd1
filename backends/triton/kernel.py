"""A tile program as a Triton kernel: one program of the launch is one owner, a tile of the owner's dim at one grid position.

Feature dims are cut into chunks that are powers of two, the last one masked when the size is no sum of such; a value over a
feature dim is one variable a chunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from attncc.ir.expr import Apply, Const, Expr, sources_of
from attncc.tile.nodes import (
    Arg,
    Bisect,
    Block,
    Dim,
    Dot,
    If,
    Init,
    Load,
    Map,
    Program,
    Reduce,
    Repeat,
    Set,
    Stmt,
    Store,
    TileLoop,
    statements,
)

from .frame import PLAIN
from .style import LANES, Style, part_of
from .turns import persistent_lines, turn_lines
from .walks import Walks
from .whole import Whole, same_everywhere


@dataclass(frozen=True)
class Kernel:
    """The text of a kernel, what its caller passes in order (arrays, strides, sizes of axes, scalars), its tile parameters by axis, and
    the functions it calls. An array is passed as descriptors, or as a pointer with strides. pointers, strides, size_names,
    scalar_names: what the parameters are called. far: (array, axis) whose offsets are 64 bits wide where the parameter `WIDE` says so;
    empty without that parameter. made: arrays of the caller that the kernel makes descriptors of. makes: whether it makes any
    descriptors. whole: axes whose tiles must all be full for the form that `WHOLE` asks for. more: arrays that this form makes
    descriptors of beside `made`. persistent: programs an SM, where one takes several tiles; else 0."""

    name: str
    text: str
    program: Program
    arrays: tuple[Arg, ...]
    sizes: tuple[str, ...]
    scalars: tuple[str, ...]
    descriptors: tuple[Descriptor, ...]
    pointers: dict[str, str]
    strides: dict[tuple[str, str], str]
    size_names: tuple[str, ...]
    scalar_names: tuple[str, ...]
    scalar_kinds: tuple[str, ...]
    tile_names: dict[str, str]
    used: frozenset[str]
    far: tuple[tuple[str, str], ...] = ()
    made: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    makes: bool = False
    persistent: int = 0


@dataclass(frozen=True)
class Descriptor:
    """A parameter that is a tensor descriptor of an array: its name, and its block shape in numbers and tile parameters. made: the
    array is made for the kernel, so it lies as a descriptor needs it."""

    arg: str
    name: str
    block: tuple[str, ...]
    made: bool = False


def print_kernel(program: Program, features: dict[str, int], name: str = "", style: Style = PLAIN) -> Kernel:
    """The kernel of a program. features: the sizes of its feature axes. name: of the function, else the program's."""
    return KernelPrinter(program, features, name or program.name, style).kernel()


class KernelPrinter(Walks):
    """Statements of one program."""

    parts: set[str]

    def kernel(self) -> Kernel:
        self._owner()
        last = max((n for n, s in enumerate(self.program.body) if isinstance(s, TileLoop)), default=-1) + 1
        sets = (s for s in statements(self.program.body[:last]) if isinstance(s, Set) and s.acc in self.partial)
        self.parts = {part_of(s) for s in sets}
        if self.whole is not None:
            self._forms(self.whole)
            self.lines += self.moves
            last = len(self.program.body) - len(self.whole.after)
        else:
            self.body(self.program.body[:last])
        self._end_partial()
        self.body(self.program.body[last:])
        arrays = self.program.args
        pointed = [arg for arg in arrays if arg.name not in self.hosted]
        descriptors: list[Descriptor] = []
        for arg in self.hosted:
            found: list[Descriptor] = []
            self.each((self.feature_of(arg),), partial(self._describe, arg, found))
            descriptors += found
        sizes, tiles = self.names.keys("size"), self.names.keys("tile")
        strides = [self.stride(arg.name, axis) for arg in pointed for axis in arg.axes]
        scalars = tuple(s.name for s in self.program.scalars)
        groups = [
            [d.name for d in descriptors] + [self.parameter(arg.name) for arg in pointed],
            strides,
            [self.size(a) for a in sizes] + [self.names.of("scalar", s) for s in scalars],
            [f"{self.tile(a)}: tl.constexpr" for a in tiles]
            + ["PRECISION: tl.constexpr"]
            + (["WIDE: tl.constexpr"] if self.far else [])
            + (["WHOLE: tl.constexpr"] if self.whole else []),
        ]
        fixed = ", ".join(f'"{self.size(a)}"' for a in sizes)
        head = "".join(f"    {line},\n" for group in groups for line in _wrapped(group))
        text = f"@triton.jit(do_not_specialize=[{fixed}])\ndef {self.name}(\n{head}):\n"
        inner = [f"    {line}" for line in self.offsets] if self.program.shares else self.offsets
        if self.persistent:
            inner = [f"    {line}" for line in inner]
        if self.far:
            self.prologue.insert(0, "    OFFSET: tl.constexpr = tl.int64 if WIDE else tl.int32")
        text += "\n".join([*self.prologue, *inner, *self.lines]) + "\n"
        return Kernel(
            name=self.name,
            text=text,
            program=self.program,
            arrays=arrays,
            sizes=sizes,
            scalars=scalars,
            descriptors=tuple(descriptors),
            pointers={arg.name: self.parameter(arg.name) for arg in pointed},
            strides={(arg.name, axis): self.stride(arg.name, axis) for arg in pointed for axis in arg.axes},
            size_names=tuple(self.size(a) for a in sizes),
            scalar_names=tuple(self.names.of("scalar", s) for s in scalars),
            scalar_kinds=tuple(s.kind for s in self.program.scalars),
            tile_names={a: self.tile(a) for a in tiles},
            used=frozenset(self.printer.used),
            far=tuple(self.far),
            whole=self.program.dim(self.whole.full.dim).axes if self.whole else (),
            more=self.more,
            made=tuple(a for a in self.described if a not in self.hosted),
            makes=bool({*self.described, *self.stored, *self.more} - {*self.hosted}),
            persistent=self.persistent,
        )

    def _describe(self, arg: str, found: list[Descriptor]) -> None:
        made = self.program.arg(arg).role != "in"
        found.append(Descriptor(arg, self.descriptor(arg), tuple(self.block(arg)), made))

    # Which owner this is.

    def _owner(self) -> None:
        lines = self.prologue
        tiles = {axis: self.names.fresh(f"{axis}_tiles") for axis in reversed(self.owner.axes)}
        lines += [f"    {count} = tl.cdiv({self.size(axis)}, {self.tile(axis)})" for axis, count in tiles.items()]
        lines += [f"    {self.position(axis)} = 0" for axis in self.program.ones]
        before = len(lines)
        lines += turn_lines(self, tiles)
        self.move_pointers()
        for dim in self.program.dims:
            if not dim.whole:
                self._inside(dim)
        for axis in self.features:
            for number, chunk in enumerate(self.chunks(axis)):
                self.chunk[axis] = number
                start = f"{chunk.start} + " if chunk.start else ""
                lines.append(f"    {self.position(axis)} = {start}tl.arange(0, {chunk.width})")
        self.make_descriptors()
        pad = "    "
        if self.program.shares:
            pad, self.depth = "        ", 2
            shared, each = self.program.shares, self.names.fresh("tile")
            all_tiles = " * ".join(tiles.values())
            lines.append(f"    for {each} in tl.range({self.position(shared)}, {all_tiles}, {self.size(shared)}):")
            for axis, count in tiles.items():
                below = list(tiles.values())[: list(tiles).index(axis)]
                rest = f"{each} // ({' * '.join(below)})" if below else each
                lines.append(f"{pad}{self.start(axis)} = {rest} % {count} * {self.tile(axis)}")
        for axis in self.owner.axes:
            lines.append(f"{pad}{self.position(axis)} = {self.start(axis)} + {self.inside(axis)}")
        if self.persistent:
            self.depth += 1
            lines[before:] = [*persistent_lines(self, tiles), *(f"    {line}" for line in lines[before:])]

    def _inside(self, dim: Dim) -> None:
        """Positions inside a tile: of one axis, or of a box in row-major order."""
        if len(dim.axes) == 1:
            self.prologue.append(f"    {self.inside(dim.axes[0])} = tl.arange(0, {self.tile(dim.axes[0])})")
            return
        box = self.names.fresh(f"{dim.name}_in_box")
        self.prologue.append(f"    {box} = tl.arange(0, {self.extent(dim)})")
        below: list[str] = []
        for axis in reversed(dim.axes):
            inner = f" // ({' * '.join(below)})" if below else ""
            outer = f" % {self.tile(axis)}" if axis != dim.axes[0] else ""
            self.prologue.append(f"    {self.inside(axis)} = {box}{inner}{outer}")
            below.insert(0, self.tile(axis))

    # Statements.

    def body(self, body: tuple[Stmt, ...]) -> None:
        for stmt in body:
            match stmt:
                case Load():
                    self.load(stmt)
                case Store(add=True):
                    self.add(stmt)
                case Store():
                    self.store(stmt)
                case Init():
                    self._init(stmt)
                case Map(out, expr, dims):
                    self.dims[out] = dims
                    self._assign(out, expr)
                case Set(acc, _) if acc in self.partial:
                    self._add_partial(stmt)
                case Set(acc, expr):
                    self._assign(acc, expr)
                case Dot():
                    self._dot(stmt)
                case Reduce():
                    self._reduce(stmt)
                case Block():
                    self.line(f"# {stmt.title}")
                    self.body(stmt.body)
                case TileLoop():
                    self.loop(stmt)
                case Bisect():
                    self.bisect(stmt)
                case If(cond, inner):
                    self.line(f"if {self.printer.text(cond, ())}:")
                    self.depth += 1
                    self.body(inner)
                    self.depth -= 1
                case Repeat(axis, inner) if self.style.flat and same_everywhere(stmt):
                    for one in inner:
                        if isinstance(one, TileLoop):
                            self.loop(one, over=axis)
                        else:
                            self.body((one,))
                case Repeat(axis, inner):
                    self.line(f"for {self.position(axis)} in tl.range(0, {self.size(axis)}):")
                    self.depth += 1
                    self.body(inner)
                    self.depth -= 1

    def _assign(self, name: str, expr: Expr) -> None:
        dims = self.dims[name]
        if not dims and self.long & set(sources_of(expr)):
            self.long.add(name)

        def one() -> None:
            text, own = self.printer.text(expr, dims), self.printer.dims(expr)
            if not own and dims:
                text = f"tl.full({self.shape(dims)}, {text}, tl.float32)"
            elif own != set(dims):
                text = f"tl.broadcast_to({text}, {self.shape(dims)})"
            self.line(f"{self.value(name)} = {text}")

        self.each(dims, one)

    def _init(self, stmt: Init) -> None:
        self.dims[stmt.acc] = stmt.dims
        start = self.printer.text(stmt.start, ())
        zero = isinstance(stmt.start, Const) and stmt.start.value == 0

        if not stmt.dims:
            self.line(f"{self.value(stmt.acc)} = {start}")
            return

        def one() -> None:
            shape = self.shape(stmt.dims)
            if stmt.acc in self.partial:
                shape = f"[{self.extent(self.owner)}, {LANES}]"
            made = f"tl.zeros({shape}, tl.float32)" if zero else f"tl.full({shape}, {start}, tl.float32)"
            self.line(f"{self.value(stmt.acc)} = {made}")

        self.each(stmt.dims, one)

    def _reduce(self, stmt: Reduce) -> None:
        self.dims[stmt.out] = stmt.dims
        at = self.dims[stmt.tile].index(stmt.over)

        def one() -> None:
            parts: list[str] = []
            if stmt.out in self.parts:
                dim = self.program.dim(stmt.over)
                shape = f"[{self.extent(self.owner)}, {self.extent(dim)} // {LANES}, {LANES}]"
                self.line(f"{self.value(stmt.out)} = tl.sum(tl.reshape({self.value(stmt.tile)}, {shape}), 1)")
                return
            self.each((stmt.over,), lambda: parts.append(f"tl.{stmt.op}({self.value(stmt.tile)}, {at})"))
            text = parts[0]
            for part in parts[1:]:
                text = f"{text} + {part}" if stmt.op == "sum" else f"tl.{stmt.op}imum({text}, {part})"
            self.line(f"{self.value(stmt.out)} = {text}")

        self.each(stmt.dims, one)

    def _add_partial(self, stmt: Set) -> None:
        """A sum kept by column: what multiplies it is a value of the rows."""
        name, part = self.value(stmt.acc), part_of(stmt)
        before = stmt.expr.args[0] if isinstance(stmt.expr, Apply) else stmt.expr
        kept = name
        if isinstance(before, Apply):
            kept = f"{name} * {self.printer.text(before.args[1], (self.owner.name, ''))}"
        self.line(f"{name} = {kept} + {self.value(part)}")

    def _forms(self, whole: Whole) -> None:
        """What comes up to the end of the loops, twice: for lengths that fill their tiles, and for any. The first one, whose warps are
        specialized, takes all loads by descriptor and has no sums by column: not every Triton compiles them there."""
        self.line("if WHOLE:  # every tile is full")
        self.depth += 1
        kept = self.partial, self.parts
        self.partial, self.parts = {}, set()
        self.in_whole = True
        self.each_descriptor(self.more, self.line)
        self.body(whole.before)
        self.loop(whole.full, ", warp_specialize=True", whole.over)
        self.in_whole = False
        self.partial, self.parts = kept
        self.depth -= 1
        self.line("else:")
        self.depth += 1
        self.body((*whole.before, *whole.loops))
        self._end_partial()
        self.depth -= 1

    def _end_partial(self) -> None:
        """Sums kept by column become sums of the rows, after the last loop."""
        for name in self.partial:
            self.line(f"{self.value(name)} = tl.sum({self.value(name)}, 1)")
        self.partial = {}

    def _dot(self, stmt: Dot) -> None:
        if stmt.out:
            self.dims[stmt.out] = stmt.dims
        target = stmt.out or stmt.into

        def one() -> None:
            fresh = bool(stmt.out)

            def step() -> None:
                nonlocal fresh
                into = "" if fresh else f", {self.value(target)}"
                left = self._operand(stmt, stmt.a, (stmt.dims[0], stmt.over))
                right = self._operand(stmt, stmt.b, (stmt.over, stmt.dims[1]))
                self.line(f"{self.value(target)} = tl.dot({left}, {right}{into}, input_precision=PRECISION)")
                fresh = False

            self.each((stmt.over,), step)

        self.each(stmt.dims, one)

    def _operand(self, stmt: Dot, name: str, dims: tuple[str, str]) -> str:
        text = self.value(name) if stmt.cast in ("", name) else f"{self.value(name)}.to({self.value(stmt.cast)}.dtype)"
        return text if self.dims[name] == dims else f"{text}.T"


def _wrapped(parts: list[str], width: int = 118) -> list[str]:
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 2 <= width:
            lines[-1] += f", {part}"
        else:
            lines.append(part)
    return lines
