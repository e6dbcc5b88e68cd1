"""The function that launches the kernels of one fused attend: arrays with one dim an axis in, results out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from attncc.ir.expr import Expr, Size, walk
from attncc.tile import bands
from attncc.tile.nodes import Arg, Dot, Load, statements
from attncc.tile.single import repeated
from attncc.tile.verify import ADDED

from .configs import whole_name
from .host import number
from .kernel import Kernel
from .names import Names


@dataclass(frozen=True)
class Launch:
    """The text of a launching function, its name, what it takes (arrays, then sizes that no array has), the values it returns."""

    name: str
    text: str
    inputs: tuple[Arg, ...]
    sizes: tuple[str, ...]
    results: tuple[Arg, ...]


def print_launch(name: str, kernels: Iterable[Kernel], keep: Iterable[str]) -> Launch:
    """A function `name(arrays..., sizes..., dtype=None)` that runs kernels in order. keep: names of the values it returns."""
    return _Launch(name, tuple(kernels), tuple(keep)).launch()


class _Launch:
    def __init__(self, name: str, kernels: tuple[Kernel, ...], keep: tuple[str, ...]) -> None:
        self.name, self.kernels, self.keep = name, kernels, keep
        self.made: dict[str, Arg] = {}
        self.inputs: dict[str, Arg] = {}
        self.cut = [p for k in kernels for p in k.program.banded]
        self.alone = [k.program.single for k in kernels if k.program.single is not None]
        self.summed: dict[str, tuple[str, ...]] = {}
        for kernel in kernels:
            for arg in kernel.arrays:
                if arg.role == "sum" and kernel.program not in self.cut:
                    self.summed[arg.name] = arg.axes[bands.extra(kernel.program, arg) :]
                if arg.role == "in" and arg.name not in self.made:
                    self.inputs.setdefault(arg.name, arg)
                elif arg.role != "in":
                    self.made[arg.name] = arg
        self.names = Names(
            {name, "dtype", "device", "element", "CONFIG", "COMPILED", *(k.name for k in kernels)}
            | {"computed", "promoted", "described", "describable", "scratch", "far", "processors"}
        )
        for arg in (*self.inputs.values(), *self.made.values()):
            self.names.of("array", arg.name)

    def launch(self) -> Launch:
        results = tuple(self.made[n] for n in self.keep)
        takes = [self.names.of("array", a) for a in self.inputs]
        shapes = ", ".join(f"{self.names.of('array', a.name)} [{', '.join(a.axes)}]" for a in self.inputs.values())
        gives = ", ".join(f"{a.name} [{', '.join(self.summed.get(a.name, a.axes))}]" for a in results)
        extra = self._extra()
        takes += [self._size(a) for a in extra]
        takes += ["dtype=None"] if self.inputs else ["dtype", "device"]
        lines = [f"def {self.name}({', '.join(takes)}):"]
        lines.append(f'    """{shapes} -> {gives}, in `dtype` (by default that of the arrays)."""')
        floats = [self.names.of("array", a.name) for a in self.inputs.values() if a.kind == "float" and not a.acc]
        if floats:
            lines.append(f"    dtype = dtype or promoted({', '.join(floats)})")
        lines.append("    element = computed(dtype)")
        for arg in self._operands():
            text = self.names.of("array", arg)
            lines.append(f"    {text} = {text}.to(element)")
        lines += self._sizes()
        lines += [f"    {self._size(axis)} = {number(size, self._size)}" for axis, size in self._added()]
        device = f"{self.names.of('array', next(iter(self.inputs)))}.device" if self.inputs else "device"
        for kernel in self.kernels:
            lines += self._either(kernel, device) if kernel.program not in (*self.cut, *self.alone) else []
        given = ", ".join(self._result(a) for a in results)
        lines.append(f"    return {given}{',' if len(results) == 1 else ''}")
        return Launch(self.name, "\n".join(lines) + "\n", tuple(self.inputs.values()), extra, results)

    def _result(self, arg: Arg) -> str:
        text = self.names.of("array", arg.name)
        return f"{text}.to(dtype)" if arg.kind == "float" and not arg.acc else text

    def _operands(self) -> list[str]:
        """Arrays that feed products, which need one element type."""
        out: dict[str, None] = {}
        elements = {name for name, arg in self.inputs.items() if not arg.acc}
        for kernel in self.kernels:
            dots = {n for s in statements(kernel.program.body) if isinstance(s, Dot) for n in (s.a, s.b)}
            for stmt in statements(kernel.program.body):
                if isinstance(stmt, Load) and stmt.own and stmt.out in dots and stmt.arg in elements:
                    out[stmt.arg] = None
        return list(out)

    def _sizes(self) -> list[str]:
        """Sizes from the shapes of the arrays."""
        lines: list[str] = []
        known: set[str] = set()
        for arg in self.inputs.values():
            fresh = [a for a in arg.axes if a not in known]
            if not fresh:
                continue
            known |= set(fresh)
            if fresh == list(arg.axes) and len(fresh) > 1:
                left = ", ".join(self._size(a) for a in arg.axes)
                lines.append(f"    {left} = {self.names.of('array', arg.name)}.shape")
            else:
                pairs = [(self._size(a), f"{self.names.of('array', arg.name)}.shape[{arg.axes.index(a)}]") for a in fresh]
                lines.append(f"    {', '.join(p[0] for p in pairs)} = {', '.join(p[1] for p in pairs)}")
        return lines

    def _added(self) -> dict[tuple[str, Expr], None]:
        """Axes that kernels add, with their sizes."""
        return dict.fromkeys(pair for k in self.kernels for pair in k.program.made)

    def _extra(self) -> tuple[str, ...]:
        """Axes whose sizes no array has."""
        known = {a for arg in self.inputs.values() for a in arg.axes}
        asked = [a for k in self.kernels for a in k.sizes]
        asked += [a for k in self.kernels for s in k.program.scalars for a in _sizes_in(s.expr)]
        asked += [a for arg in self.made.values() for a in arg.axes]
        known |= {a for k in self.kernels if (b := k.program.bands) is not None for a in (b.axis, b.inside)}
        known |= {k.program.shares for k in self.kernels} | {axis for axis, _ in self._added()}
        asked += [a for _, size in self._added() for a in _sizes_in(size)]
        return tuple(a for a in dict.fromkeys(asked) if a not in known)

    def _dealt(self, kernel: Kernel, tiles: list[str]) -> list[str]:
        """Over how many shares the owner's tiles are dealt out, as memory allows; or how many bands of a sum there are."""
        program = kernel.program
        if not program.shares:
            return []
        name = self._size(program.shares)
        if program.bands is not None:
            axis, inside, over = (self._size(a) for a in (program.bands.axis, program.bands.inside, program.bands.over))
            number_of = number(bands.count(program, bands.GPU), self._size)
            return [f"    {name} = 1", f"    {axis} = {number_of}", f"    {inside} = triton.cdiv({over}, {axis})"]
        most = "" if program.most is None else f", {number(program.most, self._size)}"
        return [f"    {name} = max(1, min({' * '.join(tiles)}{most}))"] if most else [f"    {name} = {' * '.join(tiles)}"]

    def _summed(self, kernel: Kernel) -> list[str]:
        """The shares of every sum added up, its bands side by side."""
        program, lines = kernel.program, []
        for arg in kernel.arrays if program.shares else ():
            if arg.role != "sum":
                continue
            lead = bands.extra(program, arg)
            text = "[0]" if lead == 1 and program.bands else f".sum({tuple(range(lead)) if lead > 1 else 0})"
            if program.bands is not None:
                at = arg.axes.index(program.bands.axis) - lead
                text += f".flatten({at}, {at + 1}).narrow({at}, 0, {self._size(program.bands.over)})"
            name = self.names.of("array", arg.name)
            lines.append(f"    {name} = {name}{text}")
        return lines

    def _either(self, kernel: Kernel, device: str) -> list[str]:
        """A kernel, or those for bands of its sums where they are cheaper, or the one for loops that are not repeated."""
        banded = [k for k in self.kernels if k.program in kernel.program.banded]
        single = [k for k in self.kernels if k.program == kernel.program.single]
        if not banded and not single:
            return self._run(kernel, device)
        if single:
            banded, test = single, " and ".join(f"{self._size(a)} == 1" for a in repeated(kernel.program))
        else:
            test = number(bands.cheaper(kernel.program, bands.GPU), self._size)
        ways = [[line for k in banded for line in self._run(k, device)], self._run(kernel, device)]
        inner = [[f"    {line}" for line in way] for way in ways]
        return [f"    if {test}:", *inner[0], "    else:", *inner[1]]

    def _size(self, axis: str) -> str:
        return self.names.of("size", axis)

    def _run(self, kernel: Kernel, device: str) -> list[str]:
        config = f'CONFIG["{kernel.name}"]'
        tiled = kernel.program.dim(kernel.program.owner).axes
        count = [f'triton.cdiv({self._size(a)}, {config}["{kernel.tile_names[a]}"])' for a in tiled]
        lines = self._dealt(kernel, count)
        for arg in kernel.arrays:
            if arg.role != "in":
                kind = {"float": "torch.float32" if arg.acc else "element", "int": "torch.int64", "bool": "torch.bool"}[arg.kind]
                shape = ", ".join(self._size(a) for a in arg.axes) + ("," if len(arg.axes) == 1 else "")
                made = f"torch.{'zeros' if arg.role in ADDED else 'empty'}(({shape}), dtype={kind}, device={device})"
                lines.append(f"    {self.names.of('array', arg.name)} = {made}")
        scalars = {s.name: s for s in kernel.program.scalars}
        for name in kernel.scalars:
            lines.append(f"    {self.names.of('scalar ' + kernel.name, name)} = {number(scalars[name].expr, self._size)}")
        count = [*([] if kernel.program.shares else count), *(self._size(a) for a in kernel.program.grid if a not in kernel.program.ones)]
        lines.append(f"    programs = {' * '.join(count)}")
        if kernel.persistent:
            many = f"{kernel.persistent} * " if kernel.persistent > 1 else ""
            lines.append(f"    programs = min(programs, {many}processors({device}))")
        making: list[str] = []
        described = {d.arg for d in kernel.descriptors}
        for made in kernel.made:
            array = self.names.of("array", made)
            making.append(f"        {array} = described({array})")
        if kernel.makes:
            making.append("        triton.set_allocator(scratch)")
        for d in kernel.descriptors:
            array = self.names.of("array", d.arg)
            block = ", ".join(f'{config}["{x}"]' if not x.isdigit() else x for x in d.block)
            given = array if d.made else f"described({array})"
            made = f"TensorDescriptor.from_tensor({given}, [{block}])"
            making.append(f"        {self.names.of('descriptor', d.name)} = {made}")
        pointed = [a for a in kernel.arrays if a.name not in described]
        arrays = [self.names.of("descriptor", d.name) for d in kernel.descriptors]
        arrays += [self.names.of("array", a.name) for a in pointed]
        strides = [f"*{self.names.of('array', a.name)}.stride()" for a in pointed if a.axes]
        numbers = [self._size(a) for a in kernel.sizes] + [self.names.of("scalar " + kernel.name, s) for s in kernel.scalars]
        lines += ["    if programs > 0:", *making]
        if kernel.whole:
            chosen = self.names.of("config", kernel.name, "config")
            tests = [f'{self._size(a)} % {chosen}["{kernel.tile_names[a]}"] == 0' for a in kernel.whole]
            if kernel.more:
                tests.append(f"describable({', '.join(self.names.of('array', a) for a in kernel.more)})")
            lines.append(f"        {chosen} = {config}")
            lines.append(f"        if {' and '.join(tests)}:")
            lines.append(f'            {chosen} = CONFIG["{whole_name(kernel.name)}"]')
            config = chosen
        lines.append(f'        COMPILED["{kernel.name}"] = {kernel.name}[(programs,)](')
        for group in (arrays, strides, numbers):
            if group:
                lines.append(f"            {', '.join(group)},")
        lines.append(f"            **{config},")
        if kernel.far:
            axes = {a.name: a.axes for a in kernel.arrays}
            pairs = ", ".join(f"({self.names.of('array', a)}, {axes[a].index(x)})" for a, x in kernel.far)
            lines.append(f"            WIDE=far({pairs}),")
        lines.append("        )")
        return [*lines, *self._summed(kernel)]


def _sizes_in(expr: Expr) -> list[str]:
    return [e.axis for e in walk(expr) if isinstance(e, Size)]
