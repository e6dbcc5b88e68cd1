"""The search for a call on which a backend and the oracle differ, shrunk to the smallest one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import AttnError, AttnUnsupportedError, AttnValueError
from ..runtime.op import Op
from .calls import Sample
from .defaults import objection
from .oracle import Report, check_call
from .snippet import snippet


@dataclass
class Found:
    """What a search saw. ran: calls by backend. failure: the smallest failing call and what is wrong with it."""

    examples: int = 0
    undecided: dict[str, int] = field(default_factory=dict)
    refused: list[AttnError] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    ran: dict[str, int] = field(default_factory=dict)
    failure: tuple[Sample, Report] | None = None
    backends: tuple[str, ...] = ()

    def text(self) -> str:
        """The failure in words, with the snippet that shows it; "" without one."""
        if self.failure is None:
            return ""
        sample, report = self.failure
        call = ", ".join(f"{n}{list(t.shape)}" for n, t in sample.tensors.items())
        failing = tuple(dict.fromkeys(row.backend for row in report.failures if row.backend in self.backends))
        return "\n".join(
            [f"{sample.op.name}({call}) in {_word(sample.dtype)} differs from the float64 oracle:", report.text(), "",
             "To see it again:", "", snippet(sample, failing or ("eager",))]
        )  # fmt: skip


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _Differs(Exception):
    """Carries a failing call through hypothesis, which shrinks it."""


def search(
    op: Op, *, backends: Sequence[str], examples: int = 50, seed: int | None = None, gradients: bool = True,
    progress: Callable[[int], None] | None = None, **options: Any,
) -> Found:  # fmt: skip
    """Check many calls of an op. `options` go to `strategies.samples`; the same seed gives the same calls.

    Raises AttnUnsupportedError when hypothesis is not installed, AttnValueError when no call could be made at all.
    """
    try:
        import hypothesis
        from hypothesis import HealthCheck, Phase, Verbosity, settings
    except ImportError:
        raise AttnUnsupportedError("property-based testing needs hypothesis", None, "pip install 'attncc[test]'") from None
    from .strategies import samples

    found = Found(backends=tuple(backends))

    def one(sample: Sample) -> None:
        report = check_call(sample.op, sample.tensors, backends, gradients, sample.seed)
        if report.undecided:
            found.undecided[report.undecided] = found.undecided.get(report.undecided, 0) + 1
            return
        found.examples += 1
        if progress is not None:
            progress(found.examples)
        for name in backends:
            found.ran[name] = found.ran.get(name, 0) + (name not in report.skipped)
        for note in report.notes:
            found.notes[note] = found.notes.get(note, 0) + 1
        if report.failures:
            found.failure = (sample, report)
            raise _Differs

    run = hypothesis.given(samples(op, refused=found.refused, **options))(one)
    if seed is not None:
        run = hypothesis.seed(seed)(run)
    run = settings(
        max_examples=examples, database=None, deadline=None, print_blob=False, report_multiple_bugs=False,
        derandomize=seed is None, verbosity=Verbosity.quiet, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )(run)  # fmt: skip
    try:
        run()
    except _Differs:
        pass
    except hypothesis.errors.Unsatisfiable:
        pass
    if not found.examples and not found.undecided:
        reason = f": {objection(found.refused[-1])}" if found.refused else ""
        span = found.refused[-1].span if found.refused else None
        raise AttnValueError(f"no call of '{op.name}' could be made{reason}", span, "give parameters and sizes that it takes")
    return found


def assert_matches_oracle(
    op: Op, inputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor] | None = None, *, backends: Sequence[str] | None = None,
    examples: int = 30, seed: int | None = None, gradients: bool = True, outputs: Sequence[str] | None = None, **options: Any,
) -> None:  # fmt: skip
    """Check an op against the float64 oracle, forward and backward, on every backend here.

    With `inputs` (by name, or in the order of the signature) that one call is checked, in its own dtype; without, many calls are
    drawn from the signature, and a failure is shrunk. `options`: sizes, dtypes, most, long, vary, device of `strategies.samples`.
    Tolerances are those of `attncc.testing.tolerances`; there is no way to widen them.

    Raises AssertionError with the arrays that differ and a snippet that shows it; AttnError when the op does not take the inputs.
    """
    from ..runtime.backends import present

    chosen = tuple(backends) if backends is not None else tuple(present())
    if inputs is None:
        found = search(op, backends=chosen, examples=examples, seed=seed, gradients=gradients, **options)
        if found.failure is not None:
            raise AssertionError(found.text())
        return
    tensors = op.bind((), inputs) if isinstance(inputs, Mapping) else op.bind(tuple(inputs), {})
    report = check_call(op, tensors, chosen, gradients, seed or 0, outputs)
    if report.undecided:
        raise AssertionError(f"this call of '{op.name}' is {report.undecided}, where rounding decides: choose other inputs")
    if report.failures:
        raise AssertionError(f"'{op.name}' differs from the float64 oracle:\n{report.text()}")
