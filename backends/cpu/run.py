"""Running a whole program on the CPU: fused attends by generated C, every other node by the eager backend, in the order of
the plan.

This is the one place of the backend that asks the schedules for tile programs; the printers know tile programs alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from attncc.backends.plans import plan
from attncc.backends.steps import Fit, Recipe, Steps, assume

from attncc.ir.nodes import Program
from attncc.kept import kept
from attncc.schedules.steps import Fused, Plan
from attncc.tile.nodes import Program as Tiles

from . import boxes
from .caches import caches
from .launch import Launch
from .library import load
from .printed import Kernel, Module
from .recipe import recorded

Tensors = Mapping[str, torch.Tensor]
Choose = Callable[[Tiles, Mapping[str, int], int], dict[str, int]]
"""Tile sizes by axis, from a tile program, sizes of axes, and the positions of a strip."""


class Runner:
    """A program ready to run. Kernels are built and loaded once for each element type and set of head dimensions.

    choose: what gives the tile sizes of a kernel, by axis. meanwhile: called before a library is compiled, with the sizes and the type
    of a call.
    """

    def __init__(self, program: Program, outputs: Sequence[str], choose: Choose = boxes.choose) -> None:
        self.program, self.outputs, self.choose = program, tuple(outputs), choose
        self.plan: Plan = plan(program, outputs)
        self._caches()

    def _caches(self) -> None:
        self.meanwhile: Callable[[Mapping[str, int], torch.dtype], None] | None = None
        self._loaded: dict[tuple[tuple[int, ...], torch.dtype, tuple[str, ...]], Loaded] = {}
        self.fits: dict[Any, Fit] = {}

    def __call__(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        """The asked outputs, stored as the signature says. Raises what the eager backend raises for inputs that do not fit."""
        return Run(self, inputs).outputs()

    def loaded(self, sizes: Mapping[str, int], dtype: torch.dtype) -> Loaded:
        """The library for head dimensions and an element type."""
        features = {a: sizes[a] for a in self.plan.features}
        programs = [p for s in self.plan.steps if isinstance(s, Fused) for p in (*s.definitions, *self.held(s, sizes))]
        key = (tuple(features.values()), dtype, tuple(p.name + p.sweep for p in programs))
        if key not in self._loaded:
            then = self.meanwhile
            meanwhile = (lambda: then(sizes, dtype)) if then is not None else None
            self._loaded[key] = Loaded(
                module_of(self.plan, programs, features, dtype), self.program.name, dtype, self.choose, meanwhile
            )
        return self._loaded[key]

    @staticmethod
    def chosen(step: Fused, sizes: Mapping[str, int]) -> tuple[Tiles, ...]:
        """The kernels of a step that run for the sizes of a call."""
        return _banded(step.chosen(sizes, _swept(step, sizes)), sizes)

    @staticmethod
    def held(step: Fused, sizes: Mapping[str, int]) -> tuple[Tiles, ...]:
        """The kernels of a step in the library for the sizes of a call: those that run, and those for other lengths."""
        return _banded(step.held(sizes, _swept(step, sizes)), sizes)

    def launches(self, step: Fused, sizes: Mapping[str, int], dtype: torch.dtype) -> tuple[Launch, ...]:
        """The kernels of a step in order, for the sizes of a call."""
        loaded, found, made = self.loaded(sizes, dtype), dict(sizes), []
        for program in (*step.definitions, *self.chosen(step, sizes)):
            found |= boxes.dealt(program, found)
            made.append(loaded.launch(program, found))
        return tuple(made)


class Loaded:
    """A module and its library. dtype: the element type."""

    def __init__(
        self, module: Module, title: str, dtype: torch.dtype, choose: Choose, meanwhile: Callable[[], None] | None = None
    ) -> None:
        self.module, self.dtype, self.choose = module, dtype, choose
        self.acc = torch.float64 if dtype == torch.float64 else torch.float32
        self.library = load(module.text, title, meanwhile)
        self.strip = ctypes.c_long.in_dll(self.library, "attncc_strip").value
        self.about: tuple[object, ...] | None = None
        if choose is boxes.choose:
            unit = boxes.MATRIX if ctypes.c_int.in_dll(self.library, "attncc_matrix_unit").value else boxes.VECTORS
            self.choose = partial(boxes.choose, unit=unit, number=self.acc.itemsize)
            self.about = (unit, self.acc, self.strip, boxes.processors(), caches())
        self._chosen: dict[tuple[str, tuple[int, ...]], dict[str, int]] = {}

    def launch(self, program: Tiles, sizes: Mapping[str, int]) -> Launch:
        """One of its kernels, for the sizes of a call."""
        kernel = self.module.kernels[program.name]
        return Launch(self.library, kernel, program, sizes, self._boxes(kernel, sizes), self.dtype, self.acc)

    def _boxes(self, kernel: Kernel, sizes: Mapping[str, int]) -> Mapping[str, int]:
        """Tile sizes, chosen once for lengths that are nearly alike: keys grow by one at every step of decoding."""
        program = kernel.program
        lengths = {d.axes[0]: _coarse(sizes[d.axes[0]]) for d in program.dims if not d.whole and len(d.axes) == 1}
        near = {**sizes, **lengths}
        key = (kernel.name, tuple(near[a] for a in (*program.grid, *(a for d in program.dims for a in d.axes))))
        if key not in self._chosen:
            self._chosen[key] = self._choice(program, near)
        return {a: min(n, max(sizes[a], 1)) for a, n in self._chosen[key].items()}

    def _choice(self, program: Tiles, sizes: Mapping[str, int]) -> dict[str, int]:
        """Tile sizes. Where they are boxes of several axes, many are compared: what was found is kept."""
        if self.about is None or program.kind == "grouped" or all(len(d.axes) == 1 for d in program.dims):
            return self.choose(program, sizes, self.strip)
        about = ["boxes", *self.about, repr(sorted(sizes.items())), repr(program)]
        return kept(dict, about, lambda: self.choose(program, sizes, self.strip))


class Run(Steps):
    """One call. dtype: the element type, whatever statistics among the inputs have."""

    def __init__(self, runner: Runner, inputs: Tensors, dtype: torch.dtype | None = None) -> None:
        self.runner = runner
        plain = {n: t.detach() if t.requires_grad else t for n, t in inputs.items()}
        super().__init__(runner.plan, plain, runner.fits, dtype)

    def launch(self, step: Fused, spare: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        made: dict[str, torch.Tensor] = {} if spare is None else {step.values[0].name: spare}
        ready, key = self.fit.ready, (id(step), self.dtype)
        if key not in ready:
            ready[key] = self.runner.launches(step, self.sizes, self.dtype)
        for one in ready[key]:
            one(self.arrays, made)
        for value in step.values:  # shares (and groups) of keyed sums, and one share where the other order of mixing has several
            array = made[value.name]
            extra = array.dim() - len(value.axes)
            if extra:
                made[value.name] = array.sum(tuple(range(extra))) if extra > 0 else array.unsqueeze(0)
        return made


    def recipe(self, outputs: Sequence[str]) -> Recipe | None:
        """That of kernels alone, whose arrays are the values that the plan names."""
        steps = [s for s in self.plan.steps if isinstance(s, Fused) and not s.before and not s.after]
        ready = [self.fit.ready.get((id(s), self.dtype), ()) for s in steps]
        if len(steps) < len(self.plan.steps) or not all(ready):
            return None
        launches: list[Launch] = [one for some in ready for one in some]
        axes = {a.name: a.axes for one in launches for a in one.program.args if a.role != "in"}
        if any(len(axes[v.name]) != len(v.axes) for s in steps for v in s.values):  # shares are summed up
            return None
        stored = {o.name: o for o in self.fit.outputs}
        made = recorded(self.inputs, self.arrays, launches, [stored[o] for o in outputs], self.dtype)
        if made is None or not self.fit.asks:
            return made
        names, program, known = tuple(self.inputs), self.program, self.fit

        def run(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
            assume(program, dict(zip(names, tensors, strict=True)), known)
            return made(tensors)

        return run


def module_of(plan: Plan, programs: Sequence[Tiles], features: Mapping[str, int], dtype: torch.dtype) -> Module:
    """The generated library of some kernels of a plan."""
    element, title = str(dtype).removeprefix("torch."), plan.program.name
    about = ["cpu", title, element, repr(features), *map(repr, programs)]

    def build() -> Module:
        from .module import print_module

        return print_module(title, programs, features, element)

    return kept(Module, about, build)


def _coarse(length: int) -> int:
    """A length at least as long, one of sixteen between two powers of two."""
    step = 1 << max(0, length.bit_length() - 5)
    return -(-length // step) * step


def _swept(step: Fused, sizes: Mapping[str, int]) -> bool:
    return step.right is not None and boxes.sweeps(step.right.swept, sizes)


def _banded(programs: Sequence[Tiles], sizes: Mapping[str, int]) -> tuple[Tiles, ...]:
    """Programs with those of bands in their place where that costs less."""
    return tuple(q for p in programs for q in (p.banded if boxes.by_bands(p, sizes) else (p,)))
