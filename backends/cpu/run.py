"""Running a whole program on the CPU: fused attends by generated C, every other node by the eager backend, in the order of
the plan.

This is the one place of the backend that asks the schedules for tile programs; the printers know tile programs alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence

import torch
from attncc.backends.steps import Steps

from attncc.ir.nodes import Program
from attncc.schedules.plan import Fused, Plan, plan
from attncc.tile.nodes import Program as Tiles

from . import boxes, threads
from .kernel import Kernel
from .library import load
from .module import Module, print_module
from .numbers import number

Tensors = Mapping[str, torch.Tensor]
Choose = Callable[[Tiles, Mapping[str, int], int], dict[str, int]]
"""Tile sizes by axis, from a tile program, sizes of axes, and the positions of a strip."""


class Runner:
    """A program ready to run. Kernels are built and loaded once for each element type and set of head dimensions.

    choose: what gives the tile sizes of a kernel, by axis.
    """

    def __init__(self, program: Program, outputs: Sequence[str], choose: Choose = boxes.choose) -> None:
        self.program, self.outputs, self.choose = program, tuple(outputs), choose
        self.plan: Plan = plan(program, outputs)
        self._loaded: dict[tuple[tuple[int, ...], torch.dtype], Loaded] = {}

    def __call__(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        """The asked outputs, stored as the signature says. Raises what the eager backend raises for inputs that do not fit."""
        return _Run(self, {n: t.detach() for n, t in inputs.items()}).outputs()

    def loaded(self, sizes: Mapping[str, int], dtype: torch.dtype) -> Loaded:
        """The library for head dimensions and an element type."""
        features = {a: sizes[a] for a in self.plan.features}
        key = (tuple(features.values()), dtype)
        if key not in self._loaded:
            self._loaded[key] = Loaded(module_of(self.plan, features, dtype), self.program.name, self.choose)
        return self._loaded[key]


class Loaded:
    """A module and its library."""

    def __init__(self, module: Module, title: str, choose: Choose) -> None:
        self.module, self.choose = module, choose
        self.library = load(module.text, title)
        self.strip = ctypes.c_long.in_dll(self.library, "attncc_strip").value
        self._chosen: dict[tuple[str, tuple[int, ...]], dict[str, int]] = {}

    def run(self, name: str, arrays: Mapping[str, torch.Tensor], sizes: Mapping[str, int]) -> None:
        """One kernel, on arrays with one dim an axis, outputs included. Raises MemoryError."""
        kernel = self.module.kernels[name]
        given = [arrays[a.name] for a in kernel.arrays]
        extents = [sizes[a] for a in kernel.sizes]
        chosen = self._boxes(kernel, sizes)
        failed = getattr(self.library, kernel.name)(
            (ctypes.c_void_p * len(given))(*(t.data_ptr() for t in given)),
            _longs([s for t in given for s in t.stride()]),
            _longs(extents),
            (ctypes.c_double * len(kernel.program.scalars))(*(number(s.expr, sizes) for s in kernel.program.scalars)),
            _longs([chosen[a] for a in kernel.boxes]),
            ctypes.c_long(threads.allowed()),
            ctypes.c_void_p(threads.start()),
        )
        if failed:
            raise MemoryError(f"no memory for the tiles of {name}")

    def _boxes(self, kernel: Kernel, sizes: Mapping[str, int]) -> Mapping[str, int]:
        key = (kernel.name, tuple(sizes[a] for d in kernel.program.dims for a in d.axes))
        if key not in self._chosen:
            self._chosen[key] = self.choose(kernel.program, sizes, self.strip)
        return self._chosen[key]


class _Run(Steps):
    """One call."""

    def __init__(self, runner: Runner, inputs: Tensors) -> None:
        super().__init__(runner.plan, inputs)
        self.runner = runner
        self.acc = torch.float64 if self.dtype == torch.float64 else torch.float32

    def launch(self, step: Fused) -> dict[str, torch.Tensor]:
        loaded = self.runner.loaded(self.sizes, self.dtype)
        made: dict[str, torch.Tensor] = {}
        for program in (*step.definitions, *step.kernels):
            if program.shares:
                self.sizes = {**self.sizes, program.shares: boxes.shares(program, self.sizes)}
            given: dict[str, torch.Tensor] = {}
            for arg in program.args:
                kinds = {"float": self.acc if arg.acc else self.dtype, "int": torch.int64, "bool": torch.bool}
                if arg.role == "in":
                    given[arg.name] = (made.get(arg.name, self.arrays.get(arg.name))).to(kinds[arg.kind])  # type: ignore[union-attr]
                else:
                    new = torch.zeros if arg.role == "sum" else torch.empty
                    given[arg.name] = made[arg.name] = new([self.sizes[a] for a in arg.axes], dtype=kinds[arg.kind])
            loaded.run(program.name, given, self.sizes)
        return made


def module_of(plan: Plan, features: Mapping[str, int], dtype: torch.dtype) -> Module:
    """The generated library of a plan."""
    programs = [p for s in plan.steps if isinstance(s, Fused) for p in (*s.definitions, *s.kernels)]
    return print_module(plan.program.name, programs, features, str(dtype).removeprefix("torch."))


def _longs(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_long]:
    return (ctypes.c_long * len(numbers))(*numbers)
