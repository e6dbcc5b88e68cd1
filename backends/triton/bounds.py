"""The static model of a program's kernels on a target: what `attncc explain --target` prints. No GPU is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Size, walk
from attncc.ir.nodes import Program
from attncc.ir.sizes import Unknown, scalar
from attncc.schedules.costs import flops
from attncc.schedules.plan import plan

from .ahead import request
from .artifact import BITS, DEFAULT_HEAD
from .machine import Failed, Report, Worker, analyse, parse_target
from .run import module_of


def reports(
    program: Program, outputs: Sequence[str], target: str, dtype: str = "bf16", sizes: Mapping[str, int] | None = None
) -> Iterator[Report]:
    """One report for each kernel. sizes: head dimensions, 64 where not given.

    Raises AttnValueError for a text that is no target, AttnUnsupportedError when there is no kernel, when it does not compile, or
    when the model has no figures for the target.
    """
    parse_target(target)
    given = dict(sizes or {})
    made = plan(program, outputs)
    features = {a: _length(program, a, given) for a in made.features}
    module = module_of(made, features, target, BITS[dtype])
    if not module.kernels:
        raise AttnUnsupportedError(f"'{program.name}' has no fused kernel", None, "attncc explain says why, without --target")
    with Worker() as worker:
        for kernel in module.kernels:
            done = worker.compile(request(module, kernel, target, dtype), time_limit=300.0)
            if isinstance(done, Failed):
                raise AttnUnsupportedError(f"{kernel.name} does not compile for {target}: {done.message}")
            work = flops(kernel.program)
            one = {e.axis: features.get(e.axis, 1) for e in walk(work) if isinstance(e, Size)}
            yield analyse(done, flops_per_element=float(scalar(work, one)) or None)


def _length(program: Program, axis: str, given: Mapping[str, int]) -> int:
    if axis in given:
        return given[axis]
    size = program.axis(axis).size
    try:
        return DEFAULT_HEAD if size is None else int(scalar(size, given))
    except Unknown:
        return DEFAULT_HEAD
