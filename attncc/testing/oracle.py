"""One call against the float64 oracle: every backend, outputs and gradients, and the oracle itself by other means.

The oracle is the eager backend in float64 on the inputs as the call has them, rounded to its dtype. What is checked:

- each backend in the dtype of the call, forward and backward, within the tolerance of `tolerances`;
- the oracle on another evaluation path, block by block of a few rows, in float64;
- its gradient against central differences of its outputs, along one random direction.

So something can fail where eager is the only backend. A failing sample is judged by what the oracle does when its inputs and the
values it stores change by the rounding of the call: where it moves as far as the result is off, the sample is undecided and set
aside. That is so near a tie (a topk, a comparison or a rounding of float data falls on the other side) and where a problem is
ill-conditioned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch

from ..errors import AttnError, AttnUnsupportedError
from ..ir.expr import Apply, walk
from ..ir.nodes import Call, Program
from ..ir.sizes import solve
from ..runtime.backends import named
from ..runtime.op import Op
from .compare import compare, largest
from .lengths import every_expr, pair_count
from .rounding import factors, rounded
from .terms import first_terms
from .tolerances import allowed_error, reduction_length, tolerance
from .values import decides_on_data

Tensors = dict[str, torch.Tensor]
Runner = Callable[[Mapping[str, torch.Tensor]], Tensors]
PERTURBATIONS = 8
BLOCKS = 5
"""In how many blocks of rows the oracle's other path goes through the largest attend."""


@dataclass(frozen=True)
class Row:
    """One array of one run: how far it is off, how far it may be, and the reason when that can not be said in numbers."""

    backend: str
    array: str
    error: float
    allowed: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason and self.error <= self.allowed


@dataclass
class Report:
    """All rows of a call, what was not checked and why; undecided: why it is not judged. skipped: backends that did not run."""

    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    undecided: str = ""
    skipped: list[str] = field(default_factory=list)

    @property
    def failures(self) -> list[Row]:
        return [] if self.undecided else [row for row in self.rows if not row.ok]

    def text(self) -> str:
        """The failures, a line each."""
        lines = []
        for row in self.failures:
            found = row.reason or f"error {row.error:.2e}, allowed {row.allowed:.2e}"
            lines.append(f"{row.backend:8} {row.array}: {found}")
        return "\n".join(lines)


def check_call(
    op: Op, tensors: Mapping[str, torch.Tensor], backends: Sequence[str], gradients: bool = True, seed: int = 0,
    outputs: Sequence[str] | None = None, self_check: bool = True,
) -> Report:  # fmt: skip
    """Call an op on the backends and compare. Raises AttnError when the oracle itself does not take the inputs."""
    return _Check(op, tensors, gradients, seed, outputs).report(backends, self_check)


class _Check:
    def __init__(
        self, op: Op, tensors: Mapping[str, torch.Tensor], gradients: bool, seed: int, outputs: Sequence[str] | None
    ) -> None:
        self.op, self.tensors = op, tensors
        self.program = program = op.program(**tensors)
        self.outputs = list(outputs or [o.name for o in program.outputs])
        floats = [t.dtype for t in tensors.values() if t.is_floating_point()]
        self.dtype = floats[0] if floats else torch.get_default_dtype()
        for other in floats[1:]:
            self.dtype = torch.promote_types(self.dtype, other)
        self.wanted = [i.name for i in program.inputs if gradients and i.kind == "float" and not i.const]
        self.reduction = reduction_length(t.shape for t in tensors.values())
        self.generator = torch.Generator().manual_seed(seed)
        self.cotangents: Tensors = {}
        self.terms: Tensors = {}

    def report(self, backends: Sequence[str], self_check: bool) -> Report:
        out = Report()
        exact = self.cast(torch.float64)
        oracle = self.run(self.plain(), exact)
        eager: Tensors = {}
        order = ["eager", *(b for b in backends if b != "eager")] if "eager" in backends else list(backends)
        for name in order:
            refusals = named(name).refuses(self.program)
            if refusals:
                out.notes.append(f"{name} does not take this program: {refusals[0]}")
                out.skipped.append(name)
                continue
            got, rows = self.attempt(name, self.called(name), dict(self.tensors))
            if rows and rows[0].array == "refused":
                out.notes.append(f"{name}: {rows[0].reason}")
                out.skipped.append(name)
                continue
            if name == "eager":
                eager = got
            out.rows += rows or list(self.compared(name, got, oracle, self.dtype, eager))
        if self_check:
            sizes = solve(self.program, {n: t.shape for n, t in exact.items()}, exact)
            block = max(1, pair_count(self.program, sizes) // BLOCKS)
            got, rows = self.attempt("oracle in blocks", self.plain(block), exact)
            out.rows += rows or list(self.compared("oracle in blocks", got, oracle, torch.float64, {}))
            out.rows += self.differences(exact, oracle, out)
        if out.failures:
            out.undecided = self.undecided(exact, oracle, out.failures)
        return out

    def cast(self, dtype: torch.dtype) -> Tensors:
        return {n: t.detach().to(dtype) if t.is_floating_point() else t for n, t in self.tensors.items()}

    # ------------------------------------------------------------------------------------------------------------- running

    def plain(self, block: int | None = None) -> Runner:
        """The eager backend itself, with autograd through it; `block`: pair values at a time."""
        eager = named("eager")
        chosen = eager if block is None else type(eager)(block=block)  # type: ignore[call-arg]  # the eager backend has this option
        return chosen.prepare(self.program, self.outputs)

    def called(self, backend: str) -> Runner:
        """A call of the op, as a user makes it."""

        def run(tensors: Mapping[str, torch.Tensor]) -> Tensors:
            found = self.op(outputs=self.outputs, backend=backend, **tensors)
            return dict(zip(self.outputs, (found,) if len(self.outputs) == 1 else tuple(found), strict=True))

        return run

    def run(self, how: Runner, tensors: Tensors) -> Tensors:
        """Outputs as `o`, gradients as `grad q`."""
        leaves = {n: t.detach().requires_grad_(n in self.wanted) if t.is_floating_point() else t for n, t in tensors.items()}
        values = how(leaves)
        out = dict(values)
        fed = [n for n, v in values.items() if v.is_floating_point() and v.requires_grad]
        grads: Sequence[torch.Tensor | None] = [None] * len(self.wanted)
        if fed and self.wanted:
            upstream = [self.cotangent(n, values[n]) for n in fed]
            grads = torch.autograd.grad([values[n] for n in fed], [leaves[n] for n in self.wanted], upstream, allow_unused=True)
        for name, grad in zip(self.wanted, grads, strict=True):
            out[f"grad {name}"] = torch.zeros_like(leaves[name]) if grad is None else grad
        return {n: v.detach() for n, v in out.items()}

    def cotangent(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """What comes back for an output: the same numbers in every run, exact in every dtype, 0 where it is not finite."""
        if name not in self.cotangents:
            drawn = torch.randint(-8, 9, value.shape, generator=self.generator).double() / 8
            self.cotangents[name] = torch.where(torch.isfinite(value.detach().double().cpu()), drawn, 0.0)
        return self.cotangents[name].to(value.device, value.dtype)

    def attempt(self, name: str, how: Runner, tensors: Tensors) -> tuple[Tensors, list[Row]]:
        """A run; a failure to run is a row, and what a backend says it can not do is one of array `refused`."""
        try:
            return self.run(how, tensors), []
        except AttnUnsupportedError as error:
            return {}, [Row(name, "refused", math.inf, 0.0, error.message)]
        except AttnError as error:
            return {}, [Row(name, "call", math.inf, 0.0, f"{type(error).__name__}: {error}")]
        except Exception as error:  # whatever a backend raises is a finding about it
            return {}, [Row(name, "call", math.inf, 0.0, f"{type(error).__name__}: {error}".strip().splitlines()[0])]

    def compared(self, name: str, got: Tensors, oracle: Tensors, dtype: torch.dtype, eager: Tensors) -> Iterator[Row]:
        for array, expected in oracle.items():
            found = compare(got[array], expected, dtype)
            if found.reason is not None:
                yield Row(name, array, found.error, 0.0, found.reason)
                continue
            group = [v for n, v in oracle.items() if n.startswith("grad ") == array.startswith("grad ") and v.is_floating_point()]
            own = found.scale
            if array.startswith("grad ") and found.error > tolerance(dtype, self.reduction, own):
                own = max(own, self.term(array))
            yardstick = compare(eager[array], expected, dtype).error if array in eager else found.error
            scale = max([largest(v) for v in group], default=0.0)
            allowed = allowed_error(dtype, self.reduction, own, max(scale, own), yardstick if math.isfinite(yardstick) else 0.0)
            yield Row(name, array, found.error, allowed)

    def term(self, array: str) -> float:
        """The scale of what a gradient is a difference of; 0 where the program has no such terms."""
        if not self.terms:
            parts = named("eager").prepare(first_terms(self.program), self.outputs)
            try:
                self.terms = self.run(parts, self.cast(torch.float64))
            except AttnError:
                self.terms = {f"grad {n}": torch.zeros(()) for n in self.wanted}
        return largest(self.terms[array])

    # ----------------------------------------------------------------------------------------------- the oracle by other means

    def differences(self, exact: Tensors, oracle: Tensors, out: Report) -> list[Row]:
        """The gradient along a random direction against central differences at two steps, which must agree with each other."""
        if not self.wanted or not self.cotangents:
            return []
        why = _no_differences(self.program)
        if why:
            out.notes.append(f"gradients not compared with differences: {why}")
            return []
        noise = {n: torch.randn(exact[n].shape, generator=self.generator, dtype=torch.float64) for n in self.wanted}
        direction = {n: v.to(exact[n].device) for n, v in noise.items()}
        slopes = [float((oracle[f"grad {n}"] * direction[n]).sum()) for n in self.wanted]
        terms = sum(float((oracle[f"grad {n}"] * direction[n]).abs().sum()) for n in self.wanted)

        def total(step: float) -> float:
            moved = {n: t + step * direction[n] if n in direction else t for n, t in exact.items()}
            with torch.no_grad():
                values = self.plain()(moved)
            return sum(float((torch.where(c != 0, values[n].cpu(), 0.0) * c).sum()) for n, c in self.cotangents.items())

        def central(step: float) -> float:
            return (total(step) - total(-step)) / (2 * step)

        try:
            wide, narrow = central(2e-5), central(1e-5)
        except AttnError as error:
            out.notes.append(f"gradients not compared with differences: {error.message}")
            return []
        size = max(terms, abs(wide), 1e-3 * abs(total(0.0)), 1e-6)
        if not math.isfinite(wide + narrow) or abs(wide - narrow) > 1e-6 * size:
            out.notes.append("gradients not compared with differences: not smooth here")
            return []
        return [Row("oracle", "gradient against differences", abs(sum(slopes) - narrow), 1e-5 * size)]

    def undecided(self, exact: Tensors, oracle: Tensors, failures: list[Row]) -> str:
        """Why a failing sample says nothing: the oracle moves as far when what it stores is rounded as in the call; "" if not."""
        for blocks, dtype in ((False, self.dtype), (True, torch.float64)):
            rows = [row for row in failures if (row.backend == "oracle in blocks") == blocks]
            moves = self.moves(exact, oracle, tolerance(dtype, self.reduction, 1.0)) if rows else {}
            if moves is None:
                return "near a tie"
            if any(row.reason or row.error > moves.get(row.array, 0.0) for row in rows):
                return ""
        return "ill-conditioned"

    def moves(self, exact: Tensors, oracle: Tensors, relative: float) -> dict[str, float] | None:
        """How far each array of the oracle moves when inputs and stored values change by this much; None when one jumps."""
        out = dict.fromkeys(oracle, 0.0)
        jumps = decides_on_data(self.program)
        noisy = rounded(self.program)
        sizes = solve(self.program, {n: t.shape for n, t in exact.items()}, exact)
        run = named("eager").prepare(noisy, self.outputs)
        device = next((t.device for t in exact.values()), torch.device("cpu"))
        for _ in range(PERTURBATIONS):
            more = {n: t.to(device) for n, t in factors(noisy, sizes, relative, self.generator).items()}
            moved = {}
            for name, t in exact.items():
                noise = torch.rand(t.shape, generator=self.generator, dtype=torch.float64).to(t.device) * 2 - 1
                moved[name] = t * (1 + relative * noise) if t.is_floating_point() else t
            try:
                other = self.run(lambda given, more=more: run({**given, **more}), moved)  # type: ignore[misc]  # mypy infers no lambda with a default
            except AttnError:
                return None
            for array, expected in oracle.items():
                found = compare(other[array], expected, torch.float64)
                if jumps and (found.reason is not None or found.error > 100 * relative * max(found.scale, 1e-30)):
                    return None
                out[array] = max(out[array], found.error)
        return out


def _no_differences(program: Program) -> str:
    """Why differences do not measure the gradient of a program; "" when they do."""
    for node in program.nodes:
        if isinstance(node, Call) and node.op in ("vjp", "grad"):
            return "the pattern defines a gradient of its own" if node.op == "vjp" else "the pattern takes a gradient itself"
    if any(isinstance(e, Apply) and e.op == "stop_grad" for expr in every_expr(program) for e in walk(expr)):
        return "the pattern stops a gradient"
    return ""
