"""The static model of a program's kernels on a target: what `attncc explain --target` prints. No GPU is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attncc.errors import AttnUnsupportedError
from attncc.ir.nodes import Program
from attncc.ir.sizes import Unknown, scalar
from attncc.schedules.backward import differentiated
from attncc.schedules.plan import Plan, plan

from .configs import Config
from .forms import asked, checked, kernels, rewrite
from .machine import Kept, Report, parse_target
from .machine.mix import to_json
from .search import Compiler
from .settle import own_features, settle
from .traits import traits

DEFAULT_HEAD = 64


@dataclass(frozen=True)
class Bound:
    """One kernel. phase: `forward`, `backward` or `joint backward`. paired: it has a loop over tiles of pairs. whole: of its form
    for lengths that fill their tiles, where it has one."""

    phase: str
    config: Config
    report: Report
    paired: bool
    whole: Report | None = None

    def to_json(self) -> dict[str, Any]:
        whole = {"whole": to_json(self.whole)} if self.whole is not None else {}
        return {"phase": self.phase, "config": self.config.to_json(), **to_json(self.report), **whole}


def phases(program: Program, outputs: Sequence[str], backward: Sequence[str] = ()) -> Iterator[tuple[str, Plan]]:
    """The plans of both passes; the backward one, for every input that can have a gradient, where kernels do it. backward: its
    forms (`forms.py`), the one that the process asks for where none is given; a joint one only where there are sides to join."""
    yield "forward", plan(program, outputs)
    made = differentiated(program, outputs)
    if made is not None:
        needs = [i.name for i in made.program.inputs if i.kind == "float" and not i.const]
        floats = [o.name for o in made.program.outputs if o.kind == "float"]
        for form in dict.fromkeys(map(checked, backward or (asked(),))):
            back = replace(made, rewrite=rewrite(form)).backward(needs, floats)
            if back.plan.steps and (form == "split" or not backward or kernels(back)):
                yield "joint backward" if kernels(back) else "backward", back.plan


def reports(
    program: Program,
    outputs: Sequence[str],
    target: str,
    dtype: str = "bf16",
    sizes: Mapping[str, int] | None = None,
    *,
    compiler: Compiler | None = None,
    heard: Callable[[str], None] | None = None,
    backward: Sequence[str] = (),
) -> list[Bound]:
    """One for each kernel, forward and backward. sizes: head dimensions, 64 where not given. heard: told of each phase. backward: as
    for `phases`.

    Raises AttnValueError for a text that is no target, AttnUnsupportedError when there is no kernel, when it does not compile, or
    when the model has no figures for the target.
    """
    parse_target(target)
    if compiler is None:
        with Kept() as worker:
            return reports(program, outputs, target, dtype, sizes, compiler=worker, heard=heard, backward=backward)
    out: list[Bound] = []
    for phase, made in phases(program, outputs, backward):
        if heard is not None:
            heard(phase)
        features = feature_sizes(made, sizes)
        done = settle(made, features, target, dtype, compiler)
        for kernel in done.module.kernels:
            paired = traits(kernel.program, own_features(kernel, features)) is not None
            out.append(Bound(phase, done.configs[kernel.name], done.report(kernel), paired, done.whole_report(kernel)))
    if not out:
        raise AttnUnsupportedError(f"'{program.name}' has no fused kernel", None, "attncc explain says why, without --target")
    return out


def feature_sizes(made: Plan, sizes: Mapping[str, int] | None) -> dict[str, int]:
    """The sizes of the axes that a plan's kernels are compiled for: given, or following from those, or 64."""
    return {a: _length(made.program, made.twins.get(a, a), dict(sizes or {})) for a in made.features}


def _length(program: Program, axis: str, given: Mapping[str, int]) -> int:
    if axis in given:
        return given[axis]
    size = program.axis(axis).size
    try:
        return DEFAULT_HEAD if size is None else int(scalar(size, given))
    except Unknown:
        return DEFAULT_HEAD
