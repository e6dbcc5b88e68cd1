"""The eager backend: PyTorch operators on any device, float64 for float64. See `interpreter`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from attncc.ir.nodes import Program


class Eager:
    """The oracle and the fallback: takes every program."""

    name = "eager"
    devices = ("cpu", "cuda", "mps", "xpu")

    def __init__(self, block: int | None = None) -> None:
        """block: pair values computed at a time, when it should not be the usual number."""
        self.block = block

    def refuses(self, program: Program) -> list[str]:
        return []

    def prepare(
        self, program: Program, outputs: Sequence[str]
    ) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
        from .interpreter import run

        return lambda inputs: run(program, inputs, outputs, self.block)

    def notes(self, program: Program) -> list[tuple[str, str, str]]:
        return []


backend = Eager()
