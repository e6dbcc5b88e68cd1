"""What backends that compile have in common: which attends of a program become kernels, and why others do not.

Importing this loads no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from attncc.ir.nodes import Program


Run = Callable[[Mapping[str, "torch.Tensor"]], dict[str, "torch.Tensor"]]


class Compiling(ABC):
    """A backend with kernels for fused attends; other nodes of a program run through the eager backend."""

    @cached_property
    def _prepared(self) -> dict[Any, Run]:
        return {}

    @abstractmethod
    def runner(self, program: Program, outputs: Sequence[str]) -> Run:
        """A callable for some outputs, made anew."""

    def prepare(self, program: Program, outputs: Sequence[str]) -> Run:
        """A callable for some outputs."""
        key = (program, tuple(outputs))
        if key not in self._prepared:
            self._prepared[key] = self.runner(program, outputs)
        return self._prepared[key]

    def refuses(self, program: Program) -> list[str]:
        """Why no attend of a program can run as a kernel; [] when one can."""
        rows = self.notes(program)
        if any(decision == "fused" for _, decision, _ in rows):
            return []
        return [f"{node}: {reason}" for node, _, reason in rows] or ["there is no attend to fuse"]

    def notes(self, program: Program) -> list[tuple[str, str, str]]:
        """(node, decision, reason) of every attend, for `explain`."""
        from attncc.kept import kept

        from .plans import about

        return kept(list, ["notes", *about(program)], lambda: _notes(program))


def _notes(program: Program) -> list[tuple[str, str, str]]:
    from attncc.ir.nodes import Attend, values_of
    from attncc.schedules.plan import Fused, plan

    rows = []
    for step in plan(program, [o.name for o in program.outputs]).steps:
        if not isinstance(step.node, Attend):
            continue
        name = next((v.name for v in values_of(step.node)), "attend")
        if isinstance(step, Fused):
            rows.append((name, "fused", "; ".join(n for k in step.kernels for n in k.notes)))
        else:
            rows.append((name, "torch", step.reason))
    return rows
