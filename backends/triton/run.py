"""Running a whole program: fused attends by their kernels, every other node by the eager backend, in the order of the plan.

This is the one place of the backend that asks the schedules for tile programs; the printers know tile programs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from attncc.backends.lists import listed
from attncc.backends.plans import plan
from attncc.backends.steps import Fit, Steps

from attncc.errors import AttnUnsupportedError
from attncc.ir.nodes import Program
from attncc.kept import kept
from attncc.schedules.plan import Fused, Plan
from attncc.tile import bands
from attncc.tile.single import with_single

from .choice import candidates
from .chosen import installed
from .configs import Config
from .kernel import Kernel
from .load import interpret, load
from .module import Group, Module, print_module
from .names import identifier
from .pins import REGISTRY
from .wishes import atomic

Tensors = Mapping[str, torch.Tensor]

_Key = tuple[tuple[int, ...], str, int, bool, int, int, bool]
"""What a module is printed for: head dimensions, target, bits, descriptors, what is pinned, how often a device was too small, and how
sums are added."""

_RETREATS = 8
"""How often smaller tiles are tried when a device has too little shared memory for a kernel."""


class Planned:
    """A plan ready to run. Kernels are printed and loaded once for each target, element size and set of head dimensions.

    override: tile sizes for every kernel, for tests.
    """

    def __init__(self, made: Plan, override: Config | None = None) -> None:
        self.plan, self.override = made, override
        self._modules: dict[_Key, tuple[Module, ModuleType]] = {}
        self._spills: dict[tuple[_Key, str], list[int]] = {}
        self.retreats = 0
        self.fits: dict[Any, Fit] = {}

    def module(
        self, sizes: Mapping[str, int], device: torch.device, dtype: torch.dtype, described: bool
    ) -> tuple[Module, ModuleType]:
        """The generated module for head dimensions, a device and an element type. described: with tensor descriptors."""
        features = {a: sizes[a] for a in self.plan.features}
        target, bits = target_of(device), torch.finfo(dtype).bits
        described = described and describes(target, bits)
        key = (tuple(features.values()), target, bits, described, REGISTRY.stamp, self.retreats, atomic())
        if key not in self._modules:
            made = module_of(self.plan, features, target, bits, self.override, described)
            if self.retreats or any(of == key for of, _ in self._spills):
                smaller = {k.name: self._smaller(k, key) for k in made.kernels}
                made = module_of(self.plan, features, target, bits, smaller, described)
            self._modules[key] = made, load(made.text, self.plan.program.name)
        return self._modules[key]

    def launched(self, loaded: ModuleType) -> None:
        """Hear what a module's launches ran: a kernel that spills registers has the next configuration from the next call on, the
        one that spills least where all do. Its results are right all the same."""
        for name, compiled in getattr(loaded, "COMPILED", {}).items():
            spills = getattr(compiled, "n_spills", 0)
            if not spills or self.override is not None:
                continue
            key = next((k for k, (_, module) in self._modules.items() if module is loaded), None)
            if key is None:  # another kernel of the module has just been heard
                continue
            kernel = next(k for k in self._modules[key][0].kernels if k.name == name)
            tried = self._spills.setdefault((key, name), [])
            if len(tried) < len(self._candidates(kernel, key)):
                tried.append(spills)
                del self._modules[key]

    def _smaller(self, kernel: Kernel, key: _Key) -> Config:
        """What a kernel gets after its first configurations asked for more than the device has, or spilled."""
        found, tried = self._candidates(kernel, key), self._spills.get((key, kernel.name), [])
        return found[tried.index(min(tried)) if len(tried) == len(found) else len(tried)]

    def _candidates(self, kernel: Kernel, key: _Key) -> tuple[Config, ...]:
        """Configurations of a kernel that do not ask for more than the device has, as far as is known."""
        features, target, bits, described, *_ = key
        sizes = dict(zip(self.plan.features, features, strict=True))
        own = {d.axes[0]: sizes[d.axes[0]] for d in kernel.program.dims if d.axes[0] in sizes}
        found = candidates(kernel.program, own, target, bits, described)
        return found[min(self.retreats, len(found) - 1) :]


class Runner(Planned):
    """A program ready to run."""

    def __init__(self, program: Program, outputs: Sequence[str], override: Config | None = None) -> None:
        super().__init__(plan(program, outputs), override)
        self.program, self.outputs = program, tuple(outputs)

    def __call__(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        """The asked outputs, stored as the signature says. Raises what the eager backend raises for inputs that do not fit, and
        AttnUnsupportedError for float64."""
        return Run(self, inputs).outputs()


def begin(runner: Planned, inputs: Tensors, dtype: torch.dtype | None) -> Steps:
    """A call of a plan, to be run by `outputs()`. dtype: the element type, whatever statistics among the inputs have."""
    return Run(runner, inputs, dtype)


class Run(Steps):
    """One call."""

    def __init__(self, runner: Planned, inputs: Tensors, dtype: torch.dtype | None = None) -> None:
        super().__init__(runner.plan, inputs, runner.fits, dtype)
        self.runner = runner
        if self.dtype == torch.float64:
            raise AttnUnsupportedError("Triton kernels take float32, bfloat16 and float16, not float64", None, "backend='eager'")

    def describable(self, step: Fused) -> bool:
        """Whether tensor descriptors can read what a step multiplies."""
        return all(_describable(self.arrays[n]) for n in _operands(step) if n in self.arrays)

    def call(self, step: Fused) -> tuple[ModuleType, str, list[Any], dict[str, Any]]:
        """What launches a step: the loaded module, the function's name, its arguments."""
        module, loaded = self.runner.module(self.sizes, self.device, self.dtype, self.describable(step))
        right = step.right is not None and step.right.chosen(self.sizes)
        launch = next(x for x in module.launches if x.name == launch_name(step, right))
        arrays = {**self.arrays, **self._lists(module, loaded)}
        given = [arrays[arg.name] for arg in launch.inputs]
        rest = {"dtype": self.dtype} if given else {"dtype": self.dtype, "device": self.device}
        return loaded, launch.name, [*given, *(self.sizes[a] for a in launch.sizes)], rest

    def launch(self, step: Fused, spare: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        while True:
            loaded, name, given, rest = self.call(step)
            try:
                found = getattr(loaded, name)(*given, **rest)
                self.runner.launched(loaded)
                break
            except Exception as error:  # Triton's own, and Triton may not be imported under this name
                if type(error).__name__ != "OutOfResources" or self.runner.retreats >= _RETREATS:
                    raise
                self.runner.retreats += 1
        return {value.name: array for value, array in zip(step.values, found, strict=True)}

    def _lists(self, module: Module, loaded: ModuleType) -> dict[str, torch.Tensor]:
        """Lists of tiles that kernels visit, for the tile sizes they run with."""
        out: dict[str, torch.Tensor] = {}
        for kernel in module.kernels:
            for made in kernel.program.lists:
                boxes = {a: int(loaded.CONFIG[kernel.name][name]) for a, name in kernel.tile_names.items()}
                out[made.tiles], out[made.counts] = listed(made, kernel.program, self.arrays, self.sizes, boxes)
        return out


def _operands(step: Fused) -> set[str]:
    """Arrays that feed matrix products."""
    products = {read.source for s in step.stages for k in s.keys for p in k.products for read in (p.row, p.key)}
    return products | {t.by.source for s in step.stages for x in s.sums for t in x.terms if t.by is not None}


def _describable(tensor: torch.Tensor) -> bool:
    """Whether a tensor descriptor can read it as it lies: contiguous vectors, the other strides and the start 16-byte aligned."""
    steps = [stride * tensor.element_size() for stride in tensor.stride()]
    if not steps or steps[-1] != tensor.element_size() or not tensor.numel() or tensor.dim() > 5:
        return False
    return all(s > 0 and s % 16 == 0 for s in steps[:-1]) and tensor.data_ptr() % 16 == 0


def describes(target: str, bits: int) -> bool:
    """Whether kernels for a target read through tensor descriptors: NVIDIA since Hopper, for 16-bit elements."""
    return target.startswith("cuda:") and int(target[5:]) >= 90 and bits == 16


def launch_name(step: Fused, right: bool = False) -> str:
    """The name of the function that launches a step. right: from the right."""
    return f"launch_{identifier((*step.definitions, *step.kernels)[-1].name)}{'_from_the_right' if right else ''}"


def module_of(
    plan: Plan,
    features: dict[str, int],
    target: str,
    bits: int,
    override: Config | Mapping[str, Config] | None = None,
    descriptors: bool = False,
    title: str = "",
) -> Module:
    """The generated module of a plan."""
    wish = bands.atomic if atomic() else (lambda program: program)
    groups = [
        Group(
            launch_name(s, right),
            tuple(with_single(wish(k)) for k in (*s.definitions, *kernels)),
            tuple(v.name for v in s.values),
        )
        for s in plan.steps
        if isinstance(s, Fused)
        for right, kernels in ((False, s.kernels), (True, s.right.kernels if s.right is not None else ()))
        if kernels or not right
    ]
    title = title or plan.program.name

    def build() -> Module:
        return print_module(title, groups, features, target, bits, override=override, descriptors=descriptors)

    if override is not None or REGISTRY.filled():  # one of many, or a caller's own
        return build()
    return kept(Module, ["triton", installed(), title, repr(groups), repr(features), target, bits, descriptors], build)


def target_of(device: torch.device) -> str:
    """The target of a device: `cuda:90`, `hip:gfx942`, or the interpreter for the CPU."""
    if device.type == "cpu":
        interpret()
        return "interpreter"
    if torch.version.hip:
        return f"hip:{torch.cuda.get_device_properties(device).gcnArchName.split(':')[0]}"
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda:{major * 10 + minor}"
