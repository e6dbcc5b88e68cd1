"""Results against the oracle: the eager backend in float64 on the same numbers, on some of the heads or on all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from attncc.testing.compare import compare, largest
from attncc.testing.tolerances import reduction_length, tolerance

from .cases import Case
from .forms import Attention, Form, Problem
from .peers import PEERS, Setting
from .work import FORWARD

Results = list[torch.Tensor]
"""The output, and the gradients of q, k and v where the case has a backward pass."""

Known = dict[tuple[Problem, tuple[int, ...], bool, str], Results]
"""Results in float64, by what they are of."""

SMALL = 512
"""Positions at which a stand-in of the oracle is compared with it."""


@dataclass(frozen=True)
class Verdict:
    """The largest error of any array relative to what is allowed, that array, and its absolute error."""

    share: float
    array: str
    error: float
    reason: str = ""

    @property
    def ok(self) -> bool:
        return not self.reason and self.share <= 1

    def words(self) -> str:
        """What is wrong, or how exact it is."""
        if self.reason:
            return f"wrong: {self.array}: {self.reason}"
        verdict = "within tolerance" if self.ok else "wrong"
        return f"{verdict}: {self.array} is off by {self.error:.1e}, {self.share:.2g} of what is allowed"


def results(run: Attention, tensors: tuple[torch.Tensor, ...], what: str) -> Results:
    """Run once."""
    q, k, v, up = tensors
    if what == FORWARD:
        with torch.no_grad():
            return [run(q, k, v)]
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    out = run(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, up)]


class Reference:
    """What the contestants of a case must give, by form, computed at first use. known: results of other cases of a run."""

    def __init__(self, case: Case, device: str, known: Known | None = None) -> None:
        self.case, self.problem = case, case.problem(device)
        self.tensors = self.problem.tensors()
        self._known: Known = {} if known is None else known
        count = case.b * case.h
        self.few = bool(case.heads) and case.heads < count and case.group == 1
        some = {*range(case.heads // 2), *range(count - (case.heads + 1) // 2, count)}
        self.heads = sorted(some) if self.few else list(range(count))

    def verdict(self, found: Results, form: Form) -> Verdict:
        """Compare results with the reference of a form. What is wrong has a share above 1."""
        expected = self._of(form)
        dtype = self.problem.dtype
        n = reduction_length([t.shape for t in self.tensors])
        worst = Verdict(0.0, "o", 0.0)
        for name, have, want in zip(("o", "dq", "dk", "dv"), found, expected, strict=False):
            seen = compare(self._part(have), want, dtype)
            allowed = tolerance(dtype, n, largest(want))
            share = seen.error / allowed if allowed else 0.0
            if seen.reason is not None:
                return Verdict(share, name, seen.error, seen.reason)
            if share >= worst.share:
                worst = Verdict(share, name, seen.error)
        return worst

    def _of(self, form: Form) -> Results:
        key = (replace(self.problem, form=form), tuple(self.heads), self.case.what != FORWARD, self.case.reference)
        if key not in self._known:
            tensors = tuple(self._part(t).double() for t in self.tensors)
            exact = replace(self.problem, form=form, b=1, h=len(self.heads), dtype=torch.float64)
            self._known[key] = [t.cpu() for t in results(self._runner(exact), tensors, self.case.what)]
        return self._known[key]

    def _part(self, t: torch.Tensor) -> torch.Tensor:
        flat = t.flatten(0, 1)
        picked = flat[self.heads] if self.few else flat
        return picked.unsqueeze(0)

    def _runner(self, exact: Problem) -> Attention:
        if self.case.reference == "oracle":
            return exact.call("eager")
        peer = PEERS[self.case.reference]
        small = replace(exact, h=min(exact.h, 2), n=min(exact.n, SMALL))
        tensors = small.tensors(1)
        have, want = (results(run, tensors, self.case.what) for run in (peer.build(small, Setting("eager")), small.call("eager")))
        for a, b in zip(have, want, strict=True):
            assert (a - b).abs().max() <= 1e-9 * b.abs().max(), f"{self.case.reference} is no reference: it differs from the oracle"
        return peer.build(exact, Setting("eager"))
