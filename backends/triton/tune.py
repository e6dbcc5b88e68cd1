"""Configurations by measurement: each kernel of a call in each likely configuration, on the device, on the call's own tensors.

Kernels are tuned one after the other, the earlier ones already in their best configuration. What was found is pinned for the
rest of the process (`pins.py`) and can be written to a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attncc.backends.backward import KernelGradient
from attncc.backends.steps import Steps

from attncc.errors import AttnUnsupportedError
from attncc.ir.nodes import Program
from attncc.schedules.backward import differentiated
from attncc.schedules.plan import Fused, Plan
from attncc.tile import bands, single

from .choice import candidates
from .chosen import installed
from .configs import Config
from .forms import asked, rewrite
from .kernel import Kernel
from .load import load
from .pins import REGISTRY, Pin, Pins, key_of
from .run import Planned, Run, Runner, module_of, target_of
from .space import Setting, allowed, neighbours, ordered
from .traits import traits

Timer = Callable[[Callable[[], Any], str, Config], float]
"""Milliseconds of a call, given also the kernel's name and its configuration."""

Heard = Callable[[str, int, int, Config, "float | None"], None]
"""Told of each measurement: kernel, number, how many, configuration, milliseconds (None: it does not run)."""


def bench(run: Callable[[], Any], kernel: str, config: Config) -> float:
    """The median by Triton's own timer, the cache cleared between runs."""
    import triton.testing

    return float(triton.testing.do_bench(run, return_mode="median"))


class Tuner:
    """Measures kernels and remembers what is best. limit: configurations of a kernel, at most."""

    def __init__(self, timer: Timer = bench, heard: Heard | None = None, limit: int = 16) -> None:
        self.timer, self.heard, self.limit = timer, heard, limit
        self.pins: dict[Any, Pin] = {}

    def likely(self, kernel: Kernel, features: dict[str, int], setting: Setting) -> list[Config]:
        """What is worth measuring, likeliest first: the static choice, its neighbours, the best by estimate."""
        first = candidates(kernel.program, features, setting.target, setting.bits, setting.descriptors)
        of = traits(kernel.program, features)
        if of is None:
            return list(first)
        near = [c for c in neighbours(first[0], setting) if setting.target == "interpreter" or allowed(of, c, setting)]
        rest = [c for c in ordered(kernel.program, features, setting) if c.stages > 1]
        return list(dict.fromkeys([*first, *near, *rest[: self.limit]]))[: self.limit]

    def settle(self, run: Measured, step: Fused, described: bool) -> None:
        """Measure the kernels of a step and pin the best configuration of each."""
        plan = run.runner.plan
        features = {a: run.sizes[a] for a in plan.features}
        target, bits = target_of(run.device), torch.finfo(run.dtype).bits
        setting = Setting(target, bits, described)
        made = module_of(plan, features, target, bits, None, setting.describes)
        _, name, given, rest = run.call(step)
        own = next(x for x in made.launches if x.name == name)
        chosen: dict[str, Config] = {}
        idle = {name for k in made.kernels for of in (bands, single) for name in of.idle(k.program, run.sizes)}
        for kernel in made.kernels:
            if f"{kernel.name}[" not in own.text or kernel.program.name in idle:
                continue
            sizes = {a: n for a, n in features.items() if any(d.axes[0] == a for d in kernel.program.dims)}
            key = key_of(kernel.program, sizes, setting)
            if key in self.pins:
                chosen[kernel.name] = self.pins[key].config
                continue
            best: tuple[float, int, Config] | None = None
            todo = self.likely(kernel, sizes, setting)
            for number, config in enumerate(todo if len(todo) > 1 else ()):
                took = self._measure(plan, features, setting, {**chosen, kernel.name: config}, name, given, rest, kernel.name)
                if self.heard is not None:
                    self.heard(kernel.name, number + 1, len(todo), config, took)
                if took is not None and (best is None or took < best[0]):
                    best = (took, number, config)
            if best is None:
                continue
            chosen[kernel.name] = best[2]
            named = {a: n for a, n in run.sizes.items() if any(a in arg.axes for arg in kernel.arrays)}
            self.pins[key] = Pin(kernel.program.name, key, best[2], round(best[0], 5), named)
        REGISTRY.add(Pins(target, device_name(run.device), installed(), tuple(self.pins.values())))

    def _measure(
        self, plan: Plan, features: dict[str, int], setting: Setting, configs: Mapping[str, Config], name: str,
        given: Sequence[Any], rest: Mapping[str, Any], kernel: str,
    ) -> float | None:  # fmt: skip
        """Milliseconds of the launch with these configurations; None when the device refuses them."""
        try:
            text = module_of(plan, features, setting.target, setting.bits, configs, setting.describes).text
            launch = getattr(load(text, plan.program.name), name)
            launch(*given, **rest)
            return self.timer(lambda: launch(*given, **rest), kernel, configs[kernel])
        except Exception as error:  # out of shared memory, a compiler that refuses: Triton raises all kinds
            if isinstance(error, torch.cuda.OutOfMemoryError | KeyboardInterrupt):
                raise
            return None


class Measured(Run):
    """A call whose kernels are measured before they run."""

    def __init__(self, runner: Planned, inputs: Mapping[str, torch.Tensor], dtype: torch.dtype | None, tuner: Tuner) -> None:
        super().__init__(runner, inputs, dtype)
        self.tuner = tuner

    def launch(self, step: Fused, *rest: Any) -> dict[str, torch.Tensor]:
        self.tuner.settle(self, step, self.describable(step))
        return super().launch(step, *rest)


def tune(
    program: Program,
    outputs: Sequence[str],
    inputs: Mapping[str, torch.Tensor],
    *,
    backward: bool = True,
    timer: Timer | None = None,
    heard: Heard | None = None,
    limit: int = 16,
) -> Pins:
    """Measure the kernels of a program on tensors, forward and, with random cotangents, backward (in the form that ATTNCC_BACKWARD
    asks for); pin and give the result.

    Raises AttnUnsupportedError without a CUDA device (unless a timer is given) or without a fused kernel.
    """
    device = next(iter(inputs.values())).device
    if timer is None and device.type != "cuda":
        raise AttnUnsupportedError(
            f"autotuning measures on a CUDA device, and these tensors are on '{device.type}'",
            None,
            "without one, configurations come from the static search: `attncc search`, `attncc explain --target cuda:90`",
        )
    tuner = Tuner(timer or bench, heard, limit)
    made = differentiated(program, outputs, rewrite(asked())) if backward else None
    with torch.no_grad():
        if made is None:
            Measured(Runner(program, outputs), inputs, None, tuner).outputs()
        else:
            _both(KernelGradient(made, _start(tuner)), program, inputs)
    if not tuner.pins:
        raise AttnUnsupportedError(f"'{program.name}' has no fused kernel to tune", None, "attncc explain says why")
    return Pins(target_of(device), device_name(device), installed(), tuple(tuner.pins.values()))


def _start(tuner: Tuner) -> Callable[[Plan, Mapping[str, torch.Tensor], torch.dtype | None], Steps]:
    planned: dict[int, Planned] = {}

    def start(plan: Plan, inputs: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> Steps:
        runner = planned.setdefault(id(plan), Planned(plan))
        return Measured(runner, inputs, dtype, tuner)

    return start


def _both(way: KernelGradient, program: Program, inputs: Mapping[str, torch.Tensor]) -> None:
    """One forward and one backward pass."""
    found, saved = way.forward(inputs)
    generator = torch.Generator().manual_seed(0)
    grads = {
        n: torch.randn(t.shape, generator=generator).to(t.device, t.dtype) for n, t in found.items() if t.is_floating_point()
    }
    needs = [i.name for i in program.inputs if i.kind == "float" and not i.const]
    if grads and needs:
        way.backward(inputs, saved, grads, needs)


def device_name(device: torch.device) -> str:
    """What a file of pinned configurations says it was measured on."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "interpreter"
