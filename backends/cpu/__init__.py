"""The CPU backend: fused attends as C with vector types, compiled by the machine's own compiler. The default for CPU tensors.

    ready, expressions, frame, memory                            a tile program -> C: values, where they live, loads and stores,
    lanes, groups, products, kernel                              pointwise loops, strips, products, a whole kernel
    headers/                                                     vectors, functions, products, loads: the C that kernels include
    boxes, numbers, module                                       tile sizes, numbers of the caller, a whole library
    compiler, library, threads                                   building, loading, OpenMP
    run, launch, backward                                        programs and gradients at run time

Importing this loads no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from attncc.backends.compiling import Compiling

if TYPE_CHECKING:
    from attncc.ir.nodes import Program
    from attncc.runtime.gradient import Gradient

    from .run import Runner

_ELEMENTS = {16: "bfloat16", 32: "float32", 64: "float64"}


class Cpu(Compiling):
    """Generated C for attends; other nodes of a program run through the eager backend."""

    name = "cpu"
    devices: tuple[str, ...] = ("cpu",)

    def missing(self) -> str:
        """What this backend lacks here; "" when nothing."""
        from .compiler import missing

        return missing()

    def refuses(self, program: Program) -> list[str]:
        """Why no attend of a program can run as a kernel here, for want of a compiler, too; [] when one can."""
        return [self.missing()] if self.missing() else super().refuses(program)

    def runner(self, program: Program, outputs: Sequence[str]) -> Runner:
        """A callable for some outputs, made anew."""
        from .run import Runner

        return Runner(program, outputs)

    def gradient(self, program: Program, outputs: Sequence[str]) -> Gradient | None:
        """Both passes of a program with kernels for an attend or more; None where none has backward stages."""
        from .backward import gradient

        return gradient(program, outputs)

    def source(
        self, program: Program, outputs: Sequence[str], features: dict[str, int], target: str = "cpu", bits: int = 32
    ) -> str:
        """The generated C. features: sizes of head dimensions by axis, 64 where not given. bits: of an element; 16 is bfloat16."""
        from attncc.schedules.plan import Fused, plan

        from .module import print_module

        made = plan(program, outputs)
        programs = [p for s in made.steps if isinstance(s, Fused) for p in (*s.definitions, *s.kernels)]
        sizes = {a: features.get(made.twins.get(a, a), 64) for a in made.features}
        return print_module(made.program.name, programs, sizes, _ELEMENTS[bits]).text


backend = Cpu()
