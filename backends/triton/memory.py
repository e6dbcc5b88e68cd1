"""Loads and stores. A matrix: a scalar 64-bit offset (grid position and start of the tile) plus 32-bit offsets inside the tile. A
vector: 32-bit positions (64-bit ones where the caller says `WIDE`), which the compiler folds into the instruction."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attncc.ir.expr import Apply, Const, Expr, Index
from attncc.tile.nodes import Arg, Load, Store, statements

from .expressions import broadcast
from .frame import Frame


class Memory(Frame):
    """Addresses of boxes and gathers."""

    moved: dict[str, tuple[str, ...]]
    moves: list[str]
    boxes: dict[tuple[str, tuple[str, ...], tuple[Expr, ...], tuple[int, ...]], str]

    def move_pointers(self) -> None:
        """Pointers moved to the grid position, once, for args that are read there alone. `moves`: those that wait for the loops' end."""
        self.moved, self.boxes, self.moves = {}, {}, []
        for arg in self.program.args:
            if arg.name in self.hosted:
                continue
            uses = [s.index for s in statements(self.program.body) if isinstance(s, Load | Store) and s.arg == arg.name]
            fixed = {Index(a) for a in self.program.grid}
            axes = tuple(
                a for n, a in enumerate(arg.axes) if all(u[n] in fixed for u in uses)
                and len({u[n] for u in uses}) == 1
            )  # fmt: skip
            self.moved[arg.name] = axes
            if axes and uses:
                at = {a: uses[0][n] for n, a in enumerate(arg.axes)}
                parts = [f"{self._wide(self.leaf(at[a])[0])} * {self.stride(arg.name, a)}" for a in axes]
                if self.persistent:
                    self.here[arg.name] = self.names.fresh(f"{arg.name}_here")
                    self.prologue.append(f"    {self.here[arg.name]} = {self.parameter(arg.name)} + {' + '.join(parts)}")
                else:
                    lines = self.moves if arg.name in self.late else self.prologue
                    lines.append(f"    {self.pointer(arg.name)} += {' + '.join(parts)}")

    def load(self, stmt: Load) -> None:
        self.dims[stmt.out] = stmt.dims
        arg = self.program.arg(stmt.arg)

        def one() -> None:
            cast = ".to(tl.float32)" if arg.kind == "float" and not stmt.own else ""
            if self.by_descriptor(arg.name):
                self.line(f"{self.value(stmt.out)} = {self._described(stmt)}{cast}")
                return
            address, masks = self._address(arg, stmt.index, stmt.dims, stmt.fill is not None)
            fill = "0.0" if arg.kind == "float" else "0"
            if stmt.fill is not None:
                fill = self.printer.text(stmt.fill, stmt.dims)
            test = f", mask={' & '.join(masks)}, other={fill}" if masks else ""
            if any(arg.name in (made.tiles, made.counts) for made in self.program.lists):
                cast = ".to(tl.int32)"
            elif arg.kind == "int" and not stmt.dims:
                self.long.add(stmt.out)
            self.line(f"{self.value(stmt.out)} = tl.load({address}{test}){cast}")

        self.each(stmt.dims, one)

    def _described(self, stmt: Load) -> str:
        """A load by descriptor: positions outside the array read 0."""
        at = self.corner(stmt)
        text = f"{self.descriptor(stmt.arg)}.load([{', '.join(at)}])"
        return text if len(at) == len(stmt.dims) else f"{text}.reshape({self.shape(stmt.dims)})"

    def corner(self, stmt: Load | Store) -> list[str]:
        """Where in an array the box of a descriptor starts."""
        at: list[str] = []
        for axis, x in zip(self.program.arg(stmt.arg).axes, stmt.index, strict=True):
            assert isinstance(x, Index)
            if axis in self.moved.get(stmt.arg, ()):
                continue
            if x.axis in self.features:
                at.append(str(self.chunks(x.axis)[self.chunk[x.axis]].start))
            elif x.axis in self.tiled:
                at.append(self.start(x.axis))
            else:
                at.append(self.position(x.axis))
        return at

    def block(self, arg: str) -> list[str]:
        """The shape of what a descriptor reads, writes or adds to: tile extents by name, 1 along the grid."""
        load = self.box_of(arg)
        moved = self.moved.get(arg, ())
        axes = [x.axis for a, x in zip(self.program.arg(arg).axes, load.index, strict=True) if isinstance(x, Index) and a not in moved]
        widths = {d: str(self.chunks(d)[self.chunk[d]].width) for d in load.dims if d in self.features}
        return [widths.get(a) or (self.tile(a) if a in self.tiled else "1") for a in axes]

    def make_descriptors(self) -> None:
        """Descriptors from pointers that are at the grid position."""
        self.each_descriptor([a for a in self.described if a not in self.hosted], lambda line: self.prologue.append(f"    {line}"))
        self.each_descriptor([a for a in self.stored if a not in self.hosted], lambda line: self.moves.append(f"    {line}"))

    def each_descriptor(self, args: Iterable[str], put: Callable[[str], None]) -> None:
        """The statements that make descriptors of args from their pointers."""
        for arg in args:
            self.each(self.box_of(arg).dims[1:], lambda: put(self._made(arg)))  # noqa: B023  (called before the loop goes on)

    def _made(self, arg: str) -> str:
        load = self.box_of(arg)
        axes = [a for a in self.program.arg(arg).axes if a not in self.moved[arg]]
        at = dict(zip(self.program.arg(arg).axes, load.index, strict=True))
        sizes = ", ".join(self.size(x.axis) for a in axes if isinstance(x := at[a], Index))
        strides = ", ".join([*(self.stride(arg, a) for a in axes[:-1]), "1"])
        block = ", ".join(self.block(arg))
        return f"{self.descriptor(arg)} = tl.make_tensor_descriptor({self.pointer(arg)}, [{sizes}], [{strides}], [{block}])"

    def store(self, stmt: Store) -> None:
        arg = self.program.arg(stmt.arg)
        dims = self.dims[stmt.tile]

        def one() -> None:
            if arg.name in self.stored:
                self.line(self._written(stmt))
                return
            address, masks = self._address(arg, stmt.index, dims)
            test = f", mask={' & '.join(masks)}" if masks else ""
            self.line(f"tl.store({address}, {self.value(stmt.tile)}.to({self.pointer(arg.name)}.dtype.element_ty){test})")

        self.each(dims, one)

    def _written(self, stmt: Store) -> str:
        """A store by descriptor: positions outside the array are skipped."""
        name, at = self.descriptor(stmt.arg), self.corner(stmt)
        tile = f"{self.value(stmt.tile)}.to({name}.dtype)"
        tile = tile if len(at) == 2 else f"{tile}.reshape([{', '.join(self.block(stmt.arg))}])"
        return f"{name}.store([{', '.join(at)}], {tile})"

    def _address(self, arg: Arg, index: tuple[Expr, ...], dims: tuple[str, ...], filled: bool = False) -> tuple[str, list[str]]:
        """The pointers of a tile, and the tests that positions are inside the array. Computed positions of a tile are always
        tested: those of its overhang may lie anywhere. filled: a scalar position may be outside too."""
        far: list[str] = []
        near: list[str] = []
        masks: list[str] = []
        alone: list[str] = []
        box = True
        for axis, at in zip(arg.axes, index, strict=True):
            stride = self.stride(arg.name, axis)
            if axis in self.moved[arg.name]:
                continue
            if isinstance(at, Index) and at.axis in self.features:
                near.append(f"{broadcast(self.position(at.axis), (at.axis,), dims)} * {stride}")
                if self.chunks(at.axis)[self.chunk[at.axis]].ragged:
                    masks.append(broadcast(f"({self.position(at.axis)} < {self.size(at.axis)})", (at.axis,), dims))
            elif isinstance(at, Index) and at.axis in self.tiled:
                dim = self.tiled[at.axis]
                if len(dims) == 1:
                    self.far[arg.name, axis] = None
                    near.append(f"{self.position(at.axis)}.to(OFFSET) * {stride}")
                    if dim is self.owner or dim.name in self.masked:
                        masks.append(self._valid(at.axis, dim is self.owner))
                    continue
                far.append(f"{self._wide(self.start(at.axis))} * {stride}")
                near.append(f"{broadcast(self.inside(at.axis), (dim.name,), dims)} * {stride}")
                if dim is self.owner or dim.name in self.masked:
                    masks.append(broadcast(self._valid(at.axis, dim is self.owner), (dim.name,), dims))
            elif isinstance(at, Index):
                far.append(f"{self._wide(self.position(at.axis))} * {stride}")
            elif isinstance(at, Const):
                far.append(f"{at.value} * {stride}")
            elif not self.printer.dims(at):
                text = self.printer.text(at, ())
                far.append(f"{self._wide(text)} * {stride}")
                if filled:
                    alone += [f"({text} >= 0)", f"({text} < {self.size(axis)})"]
            elif len(dims) > 1 and (ranks := self._ranks(at)) is not None:
                step, inner_axis, group = ranks
                dim = self.tiled[inner_axis]
                far.append(f"{self._wide(f'{step} * {self.start(inner_axis)} + {group}')} * {stride}")
                near.append(f"{broadcast(self.inside(inner_axis), (dim.name,), dims)} * {step} * {stride}")
                if dim is self.owner or dim.name in self.masked:
                    masks.append(broadcast(f"({step} * {self.position(inner_axis)} + {group} < {self.size(axis)})", (dim.name,), dims))
            else:
                box = False
                text = self.printer.text(at, dims)
                near.append(f"({text}) * {stride}")
                masks += [f"({text} >= 0)", f"({text} < {self.size(axis)})"]
        if alone and dims:
            first = self.position(dims[0]) if dims[0] in self.features else self.inside(self.program.dim(dims[0]).axes[0])
            everywhere = broadcast(f"({first} >= 0)", dims[:1], dims)
            masks = [f"tl.where({' & '.join(alone)}, {' & '.join(masks) or everywhere}, False)"]
        elif alone:
            masks = alone
        inner = " + ".join(near)
        if box and near and len(dims) == 2 and any(d in self.features for d in dims):
            inner = self._box(arg, index, dims, inner)
        if len(near) > 1 and " " in inner and far:
            inner = f"({inner})"
        return " + ".join([self.pointer(arg.name), *far, *([inner] if inner else [])]), masks

    def _ranks(self, at: Expr) -> tuple[int, str, str] | None:
        """(step, axis, rest) of a position `step * axis + rest`, the axis tiled and the rest a scalar that is not negative."""
        match at:
            case Apply("add", (Apply("mul", (Const(int() as step), Index(axis))), rest)) if axis in self.tiled and step > 0:
                bounded = isinstance(rest, Index) or (isinstance(rest, Apply) and rest.op == "mod")
                return (step, axis, self.printer.text(rest, ())) if bounded and not self.printer.dims(rest) else None
        return None

    def _valid(self, axis: str, owned: bool) -> str:
        """Which positions of a tile are inside the array, under a name."""
        name = self.names.of("valid", axis, f"{axis}_inside")
        if axis not in self.tested:
            self.tested.add(axis)
            text = f"{name} = {self.position(axis)} < {self.size(axis)}"
            if owned:
                self.offsets.append(f"    {text}")
            else:
                self.line(text)
        return name

    def _wide(self, text: str) -> str:
        """A scalar as 64 bits: a tile's start times a stride may pass 32."""
        return f"tl.cast({text}, tl.int64)"

    def _box(self, arg: Arg, index: tuple[Expr, ...], dims: tuple[str, ...], text: str) -> str:
        """Offsets inside a tile under a name, computed once before the loops; for `late` results after them: warps that
        are specialized and compute have no registers to spare."""
        features = [d for d in dims if d in self.features]
        key = (arg.name, dims, index, tuple(self.chunk[d] for d in features))
        if key not in self.boxes:
            tag = "".join(f"_{self.chunk[d]}" for d in features if self.many(d))
            self.boxes[key] = self.names.fresh(f"{arg.name}_box{tag}")
            lines = self.lines if arg.name in self.late else self.offsets
            lines.append(f"    {self.boxes[key]} = {text}")
        return self.boxes[key]
