"""Running a whole program: fused attends by their kernels, every other node by the eager backend, in the order of the plan.

This is the one place of the backend that asks the schedules for tile programs; the printers know tile programs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from attncc.backends.eager.evaluate import Evaluator
from attncc.backends.eager.interpreter import execute, prepare, stored
from attncc.backends.eager.named import Named, aligned

from attncc.errors import AttnUnsupportedError
from attncc.ir.nodes import Program
from attncc.ir.sizes import check, solve
from attncc.schedules.plan import Fused, Plan, Torch, plan

from .configs import Config
from .load import interpret, load
from .module import Group, Module, print_module

Tensors = Mapping[str, torch.Tensor]


class Runner:
    """A program ready to run. Kernels are printed and loaded once for each target, element size and set of head dimensions.

    override: tile sizes for every kernel, for tests.
    """

    def __init__(self, program: Program, outputs: Sequence[str], override: Config | None = None) -> None:
        self.program, self.outputs, self.override = program, tuple(outputs), override
        self.plan: Plan = plan(program, outputs)
        self._modules: dict[tuple[tuple[int, ...], str, int, str], tuple[Module, object]] = {}

    def __call__(self, inputs: Tensors) -> dict[str, torch.Tensor]:
        """The asked outputs. Raises what the eager backend raises for inputs that do not fit, AttnUnsupportedError for
        float64."""
        program = self.plan.program
        sizes = solve(program, {n: tuple(t.shape) for n, t in inputs.items()})
        check(program, sizes)
        ev, dtype = prepare(program, inputs, sizes)
        if dtype == torch.float64:
            raise AttnUnsupportedError("Triton kernels take float32, bfloat16 and float16, not float64", None, "backend='eager'")
        arrays = {i.name: _split(inputs[i.name], [sizes[a] for dim in i.dims for a in dim]) for i in program.inputs}
        for step in self.plan.steps:
            if isinstance(step, Torch):
                execute(ev, step.node, program)
                continue
            for node in step.before:
                execute(ev, node, program)
            found = self._launch(step, ev, arrays, sizes, dtype)
            for value, array in zip(step.values, found, strict=True):
                arrays[value.name] = array
                ev.values[value.name] = Named(array.to(ev.acc) if value.kind == "float" else array, value.axes)
            for node in step.after:
                execute(ev, node, program)
        return {o.name: stored(ev, o, dtype) for o in self.plan.program.outputs}

    def _launch(
        self, step: Fused, ev: Evaluator, arrays: dict[str, torch.Tensor], sizes: Mapping[str, int], dtype: torch.dtype
    ) -> tuple[torch.Tensor, ...]:
        device = next(iter(arrays.values())).device
        module, loaded = self._module(sizes, device, dtype)
        launch = next(x for x in module.launches if x.name == launch_name(step))
        given = []
        for arg in launch.inputs:
            if arg.name not in arrays:
                made = ev.values[arg.name]
                if not isinstance(made, Named):
                    made = Named(torch.as_tensor(made, device=device), ())
                array = aligned(made, arg.axes).expand([sizes[a] for a in arg.axes])
                arrays[arg.name] = array if arg.acc or arg.kind != "float" else array.to(dtype)
            given.append(arrays[arg.name])
        rest = {"dtype": dtype} if given else {"dtype": dtype, "device": device}
        found: tuple[torch.Tensor, ...] = getattr(loaded, launch.name)(*given, *(sizes[a] for a in launch.sizes), **rest)
        return found

    def _module(self, sizes: Mapping[str, int], device: torch.device, dtype: torch.dtype) -> tuple[Module, object]:
        features = self.plan.features
        target = target_of(device)
        bits = torch.finfo(dtype).bits
        key = (tuple(sizes[a] for a in features), target, bits, "ieee")
        if key not in self._modules:
            module = module_of(self.plan, {a: sizes[a] for a in features}, target, bits, self.override)
            self._modules[key] = module, load(module.text, self.program.name)
        return self._modules[key]


def launch_name(step: Fused) -> str:
    """The name of the function that launches a step."""
    return f"launch_{step.kernels[-1].name}"


def module_of(
    plan: Plan,
    features: dict[str, int],
    target: str,
    bits: int,
    override: Config | None = None,
    descriptors: bool = False,
    title: str = "",
) -> Module:
    """The generated module of a plan."""
    groups = [
        Group(launch_name(s), (*s.definitions, *s.kernels), tuple(v.name for v in s.values))
        for s in plan.steps
        if isinstance(s, Fused)
    ]
    return print_module(title or plan.program.name, groups, features, target, bits, override=override, descriptors=descriptors)


def target_of(device: torch.device) -> str:
    """The target of a device: `cuda:90`, `hip:gfx942`, or the interpreter for the CPU."""
    if device.type == "cpu":
        interpret()
        return "interpreter"
    if torch.version.hip:
        return f"hip:{torch.cuda.get_device_properties(device).gcnArchName.split(':')[0]}"
    major, minor = torch.cuda.get_device_capability(device)
    return f"cuda:{major * 10 + minor}"


def _split(tensor: torch.Tensor, shape: list[int]) -> torch.Tensor:
    """A stored tensor with one dim an axis; a view where strides allow, and splitting a dim always does."""
    return tensor.reshape(shape)
