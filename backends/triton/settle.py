"""The kernels of a plan compiled for a target, each in the first of its configurations that does not spill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.errors import AttnUnsupportedError
from attncc.schedules.plan import Plan

from .ahead import request
from .choice import candidates
from .configs import Config
from .kernel import Kernel
from .machine import Compiled, Failed, Report
from .module import Module
from .run import module_of
from .search import Compiler, model, single
from .space import Setting

BITS = {"bf16": 16, "fp16": 16, "fp32": 32}


@dataclass(frozen=True)
class Settled:
    """A module and what became of its kernels, by name. whole: of the forms for lengths that fill their tiles, where there are any."""

    module: Module
    configs: Mapping[str, Config]
    compiled: Mapping[str, Compiled]
    setting: Setting
    whole: Mapping[str, Compiled]

    def report(self, kernel: Kernel) -> Report:
        """The static model. Raises AttnUnsupportedError for a target without figures."""
        return self._model(kernel, self.compiled[kernel.name])

    def whole_report(self, kernel: Kernel) -> Report | None:
        """The static model of the form for lengths that fill their tiles, where there is one. Raises as `report`."""
        made = self.whole.get(kernel.name)
        return self._model(kernel, made) if made is not None else None

    def _model(self, kernel: Kernel, made: Compiled) -> Report:
        return model(made, kernel.program, own_features(kernel, self.module.features), self.setting, self.configs[kernel.name])


def own_features(kernel: Kernel, features: Mapping[str, int]) -> dict[str, int]:
    """The sizes of the feature axes that a kernel has."""
    return {d.axes[0]: features[d.axes[0]] for d in kernel.program.dims if d.axes[0] in features}


def settle(
    made: Plan, features: Mapping[str, int], target: str, dtype: str, compiler: Compiler, title: str = "", time_limit: float = 300.0
) -> Settled:
    """Compile a plan's kernels; where every configuration spills, the one that spills least. Raises AttnUnsupportedError."""
    setting = Setting(target, BITS[dtype])
    sizes, bits = dict(features), setting.bits
    chosen: dict[str, Config] = {}
    best: dict[str, Compiled] = {}
    whole: dict[str, Compiled] = {}
    first = module_of(made, sizes, target, bits, descriptors=setting.describes)
    for kernel in first.kernels:
        why = ""
        for config in candidates(kernel.program, own_features(kernel, sizes), target, bits, setting.describes):
            module = single(kernel.program, own_features(kernel, sizes), setting, config)  # alone, as the search compiles it
            if module.kernels[0].name != kernel.name:
                module = module_of(made, sizes, target, bits, {**chosen, kernel.name: config}, setting.describes)
            printed = next(k for k in module.kernels if k.name == kernel.name)
            done = compiler.compile(request(module, printed, target, dtype), time_limit)
            full = compiler.compile(request(module, printed, target, dtype, whole=True), time_limit) if printed.whole else None
            if isinstance(done, Failed) or isinstance(full, Failed):
                why = done.message if isinstance(done, Failed) else full.message if isinstance(full, Failed) else ""
                continue
            if kernel.name not in best or _spills(done, full) < _spills(best[kernel.name], whole.get(kernel.name)):
                best[kernel.name], chosen[kernel.name] = done, config
                whole.pop(kernel.name, None)
                if full is not None:
                    whole[kernel.name] = full
            if not _spills(done, full):
                break
        if kernel.name not in best:
            raise AttnUnsupportedError(f"{kernel.name} does not compile for {target}: {why}")
    return Settled(module_of(made, sizes, target, bits, chosen, setting.describes, title), chosen, best, setting, whole)


def _spills(done: Compiled, full: Compiled | None) -> int:
    return done.spills + (full.spills if full is not None else 0)
