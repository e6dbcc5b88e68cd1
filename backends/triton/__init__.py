"""The Triton backend: fused attends as readable Triton kernels, on NVIDIA and AMD GPUs, and under Triton's interpreter on the
CPU.

    frame, memory, walks, kernel     a tile program -> a kernel's text
    style                            choices of a configuration that change the text
    whole                            the form for lengths that fill their tiles
    balance, turns                   how long tiles take, and which tile of which head a program takes
    expressions, intrinsics          pointwise operations
    host, launch, module             what runs around kernels, and the whole module
    backward, forms                  gradients, split or joint
    load, run                        modules and programs at run time
    machine                          compiling without a GPU, and what the machine code says

Importing this loads neither triton nor torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from attncc.backends.compiling import Compiling

if TYPE_CHECKING:
    from attncc.ir.nodes import Program
    from attncc.runtime.gradient import Gradient

    from .run import Runner


class Triton(Compiling):
    """Fused kernels for attends; other nodes of a program run through the eager backend."""

    name = "triton"
    devices: tuple[str, ...] = ("cuda", "cpu")

    def missing(self) -> str:
        """What this backend lacks here; "" when nothing."""
        return "" if find_spec("triton") is not None else "triton is not installed"

    def runner(self, program: Program, outputs: Sequence[str]) -> Runner:
        """A callable for some outputs, made anew. It raises AttnUnsupportedError for float64."""
        from .run import Runner

        return Runner(program, outputs)

    def gradient(self, program: Program, outputs: Sequence[str]) -> Gradient | None:
        """Both passes of a program with kernels for an attend or more; None where none has backward stages."""
        from .backward import gradient

        return gradient(program, outputs)

    def forms(self, program: Program) -> list[tuple[str, str, str]]:
        """(what, decision, reason) of the backward pass of a call: in which form it runs, and why."""
        from attncc.schedules.backward import differentiated

        from .forms import rewrite, why

        made = differentiated(program, [o.name for o in program.outputs if not o.on_request], rewrite("joint"))
        if made is None:
            return []
        needs = [i.name for i in made.program.inputs if i.kind == "float" and not i.const]
        form, reason = why(made.backward(needs, [o.name for o in made.program.outputs if o.kind == "float"]))
        return [("backward", form, reason)]

    def source(self, program: Program, outputs: Sequence[str], features: dict[str, int], target: str, bits: int = 16) -> str:
        """The generated module for a target. features: sizes of head dimensions by axis, 64 where not given."""
        from attncc.schedules.plan import plan

        from .run import module_of

        made = plan(program, outputs)
        return module_of(made, {a: features.get(made.twins.get(a, a), 64) for a in made.features}, target, bits).text


backend = Triton()
