"""The compiling backends as tests run them, with tiles so small that a few dozen positions make several, and their comparison with
eager in float64, by the rule of `attncc.testing.tolerances`."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pytest
import torch

import attncc
from attncc.ir.nodes import Program
from attncc.runtime.backends import named
from attncc.runtime.gradient import Gradient
from attncc.schedules.backward import Tape
from attncc.schedules.plan import Fused
from attncc.testing.compare import compare, largest
from attncc.testing.terms import first_terms
from attncc.testing.tolerances import accumulation, allowed_error, reduction_length, tolerance

Tensors = dict[str, torch.Tensor]
Runner = Any
"""Of one backend: a callable that has a plan."""


def boxes(program: Any, sizes: Mapping[str, int], strip: int) -> dict[str, int]:
    """Boxes for the CPU of which neither side divides a strip."""
    out: dict[str, int] = {}
    for dim in program.dims:
        if not dim.whole:
            side = {1: 29 if dim.name == program.owner else 13, 2: 5, 3: 3}[len(dim.axes)]
            out |= dict.fromkeys(dim.axes, side)
    return out


@dataclass(frozen=True)
class Way:
    """A compiling backend, imported when it is used. tiles: what it takes to have small tiles."""

    name: str
    device: str
    tiles: Callable[[], Any]

    def runner(self, *args: Any) -> Runner:
        return self._module("run").Runner(*args)

    def gradient(self, *args: Any) -> Gradient | None:
        return self._module("backward").gradient(*args)

    def _module(self, part: str) -> Any:
        return import_module(f"attncc.backends.{self.name}.{part}")


def _config() -> Any:
    return import_module("attncc.backends.triton.configs").Config(32, 32, 4, 1)


WAYS = {
    "cpu": Way("cpu", "cpu", lambda: boxes),
    "triton": Way("triton", "cuda" if torch.cuda.is_available() else "cpu", _config),
}


def on(name: str, **cases: Collection[Any]) -> pytest.MarkDecorator:
    """Parametrizes a test by `way` and a name, each backend with its own cases: `@on("mask", cpu=MASKS, triton=MASKS)`."""
    return pytest.mark.parametrize(("way", name), [(way, case) for way, found in cases.items() for case in found])


both = pytest.mark.parametrize("way", WAYS)


def agree(
    way: str,
    made: attncc.Op,
    inputs: Mapping[str, torch.Tensor],
    *,
    outputs: Sequence[str] = (),
    tiles: Any = None,
    fused: bool = True,
) -> Runner:
    """Kernels give what eager gives in float64. fused: whether every attend must be fused, as a whole.

    Gives the runner."""
    inputs = {n: t.to(WAYS[way].device) for n, t in inputs.items()}
    program = made.specialise({n: t.dim() for n, t in inputs.items()})
    asked = tuple(outputs) or tuple(o.name for o in program.outputs if not o.on_request)
    runner = WAYS[way].runner(program, asked, tiles or WAYS[way].tiles())
    if fused:
        left = [s.reason for s in runner.plan.steps if not isinstance(s, Fused)]
        assert not left, left
    with quietly():
        found = runner(inputs)
    eager = named("eager").prepare(program, asked)
    same(found, eager(_double(inputs)), lambda: eager(inputs), inputs)
    return runner


def agree_both(
    way: str,
    made: attncc.Op,
    inputs: Mapping[str, torch.Tensor],
    *,
    needs: Collection[str] = (),
    zero: Collection[str] = (),
    tiles: Any = None,
    whole: bool = False,
) -> Tape:
    """Outputs and gradients by kernels are those of eager in float64, see `agree_by`."""
    inputs = {n: t.to(WAYS[way].device) for n, t in inputs.items()}
    program = made.specialise({n: t.dim() for n, t in inputs.items()})
    asked = tuple(o.name for o in program.outputs if not o.on_request)
    return agree_by(WAYS[way].gradient(program, asked, tiles or WAYS[way].tiles()), program, asked, inputs, needs, zero, whole)


def agree_by(
    gradient: Gradient | None,
    program: Program,
    asked: Sequence[str],
    inputs: Mapping[str, torch.Tensor],
    needs: Collection[str] = (),
    zero: Collection[str] = (),
    whole: bool = False,
) -> Tape:
    """Outputs and gradients by kernels are those of eager in float64: gradients of the inputs in `needs` (empty: of every float) for
    cotangents drawn at random. zero: outputs without a cotangent. whole: errors are relative to the largest of all gradients, for
    sizes drawn at random, where terms of any of them may cancel.

    Gives the backward pass that was run.
    """
    from attncc.backends.backward import KernelGradient

    assert isinstance(gradient, KernelGradient)
    inputs = {n: t.detach() for n, t in inputs.items()}
    wanted = [i.name for i in program.inputs if i.kind == "float" and (not needs or i.name in needs)]
    generator = torch.Generator().manual_seed(7)
    with quietly():
        found, saved = gradient.forward(inputs)
        grads = {
            o: torch.randn(t.shape, generator=generator).to(t)
            for o, t in found.items()
            if t.is_floating_point() and o not in zero
        }
        have = gradient.backward(inputs, saved, grads, wanted)
    assert set(have) <= set(wanted)
    assert [s.name for s in gradient.saved] == [v.name for v in gradient.made.saved]
    own = next(t.dtype for t in found.values() if t.is_floating_point())
    for kept, t in zip(gradient.saved, saved, strict=True):
        kinds = {"float": accumulation(own) if kept.acc else own, "int": torch.int64, "bool": torch.bool}
        assert (t.dim(), t.dtype) == (len(kept.axes), kinds[kept.kind]), kept

    def plainly(given: Mapping[str, torch.Tensor], of: Program = program) -> tuple[Tensors, Tensors]:
        eager = named("eager").prepare(of, asked)
        leaves = {n: t.requires_grad_(n in wanted) for n, t in given.items()}
        out = eager(leaves)
        total = torch.stack([(out[o].nan_to_num(0, 0, 0) * g.to(out[o].dtype)).double().sum() for o, g in grads.items()]).sum()
        got = torch.autograd.grad(total, [leaves[n] for n in wanted], allow_unused=True)
        return out, {n: torch.zeros_like(leaves[n]) if g is None else g for n, g in zip(wanted, got, strict=True)}

    exact, want = plainly(_double(inputs))
    rounded = functools.cache(lambda: plainly({n: t.clone() for n, t in inputs.items()}))
    same(found, exact, lambda: rounded()[0], inputs)
    given = {n: have[n].to(inputs[n].dtype) if n in have else torch.zeros_like(inputs[n]) for n in wanted}
    terms = functools.cache(lambda: plainly(_double(inputs), first_terms(program))[1])
    same(given, want, None if whole else lambda: rounded()[1], inputs, lambda name: largest(terms()[name]))
    return gradient.tape(inputs, wanted, tuple(grads))


def same(
    found: Mapping[str, torch.Tensor],
    exact: Mapping[str, torch.Tensor],
    plain: Callable[[], Mapping[str, torch.Tensor]] | None,
    inputs: Mapping[str, torch.Tensor],
    term: Callable[[str], float] = lambda name: 0.0,
) -> None:
    """Arrays are the exact ones: NaN and infinities at the same places, errors within the rule. plain: the arrays of eager in the
    dtype of the call, whose errors are the yardstick where terms cancel; None: any error that the scale of all arrays allows. term: the
    scale of what a gradient is a difference of."""
    n = reduction_length(t.shape for t in inputs.values())
    floats = [v for v in exact.values() if v.is_floating_point()]
    promoted = functools.reduce(torch.promote_types, [t.dtype for t in inputs.values() if t.is_floating_point()])
    for name, want in exact.items():
        dtype = inputs[name].dtype if name in inputs else promoted
        seen = compare(found[name], want, dtype)
        assert seen.reason is None, f"{name}: {seen.reason}"
        allowed = tolerance(dtype, n, seen.scale)
        if seen.error > allowed:
            allowed = tolerance(dtype, n, max(seen.scale, term(name)))
        if seen.error > allowed:
            exactly = dtype == torch.float64  # then eager is no better than what is measured, and nothing tells its error
            off = math.inf if exactly or plain is None else compare(plain()[name], want, dtype).error
            allowed = allowed_error(dtype, n, seen.scale, max(map(largest, floats)), off)
        assert seen.error <= allowed, f"{name}: error {seen.error:.2e}, allowed {allowed:.2e}"


def _double(inputs: Mapping[str, torch.Tensor]) -> Tensors:
    return {n: t.to(torch.float64, copy=True) if t.is_floating_point() else t for n, t in inputs.items()}


@contextmanager
def quietly() -> Iterator[None]:
    """Without numpy's warnings, of log 0 in the interpreter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield
