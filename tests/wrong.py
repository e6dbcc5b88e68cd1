"""A backend that is wrong on purpose: what tests of the tests need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from attncc.ir.nodes import Program
from attncc.runtime import backends


class Wrong:
    """Eager, but the last entry of every float output is off by a hundredth when an output has more than `least` entries."""

    devices = ("cpu",)

    def __init__(self, name: str, least: int = 0) -> None:
        self.name, self.least = name, least

    def refuses(self, program: Program) -> list[str]:
        return []

    def notes(self, program: Program) -> list[tuple[str, str, str]]:
        return []

    def prepare(self, program: Program, outputs: Sequence[str]) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
        run = backends.named("eager").prepare(program, outputs)

        def spoiled(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            out = run(inputs)
            for name, t in out.items():
                if t.is_floating_point() and t.numel() > self.least:
                    mark = torch.zeros_like(t)
                    mark.view(-1)[-1] = 0.01
                    out[name] = t + mark
            return out

        return spoiled


class Point:
    """An entry point that loads a backend."""

    def __init__(self, backend: Wrong) -> None:
        self.backend = backend

    def load(self) -> Wrong:
        return self.backend
