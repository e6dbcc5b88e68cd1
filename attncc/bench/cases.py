"""The rows of a suite."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from .forms import Form, Mask, Problem
from .work import FORWARD


@dataclass(frozen=True)
class Goal:
    """At least `ratio` times as fast as a peer."""

    against: str
    ratio: float


@dataclass(frozen=True)
class Case:
    """One comparison in time.

    peers: names of `peers.PEERS` beside attncc itself and the peers of the goals. heads: how many heads are checked against the
    oracle (first and last ones), 0 for all. reference: "oracle", or a peer that is compared with the oracle at a small size and
    then stands in for it in float64, where the oracle would need n x n values. rank: cases of high rank run first, where time may run
    out. queries, group: as in `Problem`; then all heads are checked.
    """

    form: Form
    b: int
    h: int
    n: int
    d: int
    dtype: str = "float32"
    what: str = FORWARD
    goals: tuple[Goal, ...] = ()
    peers: tuple[str, ...] = ()
    heads: int = 0
    reference: str = "oracle"
    rank: int = 0
    queries: int = 0
    group: int = 1

    @property
    def name(self) -> str:
        """The case in words; also its name in the JSON."""
        kind = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}[self.dtype]
        few = f"{self.queries} quer{'y' if self.queries == 1 else 'ies'}, " if self.queries else ""
        shared = f"{self.group} heads a key head, " if self.group > 1 else ""
        return f"{self.form.weights}, {self.form.mask}, {few}{shared}N {self.n}, D {self.d}, {kind}, {self.what}"

    @property
    def contestants(self) -> tuple[str, ...]:
        """Peers in order: attncc, those of the goals, the others."""
        return tuple(dict.fromkeys(("attncc", *(g.against for g in self.goals), *self.peers)))

    def problem(self, device: str) -> Problem:
        """The problem on a device."""
        dtype = getattr(torch, self.dtype)
        return Problem(self.form, self.b, self.h, self.n, self.d, dtype, device, self.queries, self.group)

    def tiny(self) -> Case:
        """The same case at sizes that an interpreter goes through in a moment. Names of sizes change with it."""
        mask = self.form.mask
        if mask.kind == "neighborhood":
            mask = Mask("neighborhood", 3, (6, 6))
        elif mask.kind == "window":
            mask = Mask("window", 8)
        n = 36 if mask.kind == "neighborhood" else 64
        return replace(self, form=Form(self.form.weights, mask), b=1, h=min(self.h, 2 * self.group), n=n, d=16)


@dataclass(frozen=True)
class MemoryCase:
    """Extra memory at the peak: beyond inputs and outputs. limit: in bytes, None for none."""

    case: Case
    peer: str
    limit: int | None
    why: str = ""

    @property
    def name(self) -> str:
        """The case in words."""
        return f"extra memory: {self.case.name}"


@dataclass(frozen=True)
class FirstCall:
    """Seconds of the first call in a process, after imports: with nothing cached, and in the next process."""

    case: Case
    peer: str
    cold: float | None
    cached: float | None

    @property
    def name(self) -> str:
        """The case in words."""
        return f"first call: {self.case.name}"


@dataclass(frozen=True)
class Suite:
    """All rows of a suite. backend: the one of attncc that is measured. gemm: n of the n x n x n product that gives the rate."""

    name: str
    device: str
    backend: str
    gemm: int
    cases: tuple[Case, ...]
    memory: tuple[MemoryCase, ...] = ()
    first: tuple[FirstCall, ...] = ()
    sets: int = 1

    def tiny(self) -> Suite:
        """The same rows at tiny sizes."""
        return replace(
            self,
            gemm=64,
            cases=tuple(c.tiny() for c in self.cases),
            memory=tuple(replace(m, case=m.case.tiny()) for m in self.memory),
            first=tuple(replace(f, case=f.case.tiny()) for f in self.first),
        )
