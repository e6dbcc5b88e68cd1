"""The backward pass in the files of `attncc compile --backward FORM`: two more functions of the module.

<pattern>_forward(inputs...)                             the outputs, then what the backward pass reads again
<pattern>_backward(inputs..., kept..., cotangents...)    a gradient for each floating input
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from attncc.errors import AttnUnsupportedError
from attncc.ir.nodes import Input, Output, Program
from attncc.schedules.backward import Differentiated, Launch, Tape, differentiated
from attncc.schedules.plan import Plan

from .forms import kernels, rewrite


@dataclass(frozen=True)
class Passes:
    """The plans of both passes, as programs of their own. form: that of the backward one."""

    forward: Plan
    backward: Plan
    form: str

    @property
    def all(self) -> Plan:
        """The kernels of both."""
        both, back = self.forward, self.backward
        return replace(
            both, steps=(*both.steps, *back.steps), arrays={**both.arrays, **back.arrays}, kinds={**both.kinds, **back.kinds}
        )


def passes(program: Program, outputs: Sequence[str], form: str) -> Passes:
    """Both passes. Raises AttnValueError for a form that is none, AttnUnsupportedError where a part of the backward pass is no
    kernel, or a gradient no single array."""
    made = differentiated(program, outputs, rewrite(form))
    if made is None:
        raise AttnUnsupportedError(
            f"'{program.name}' has no attend with a backward pass by kernels", None, "leave --backward out"
        )
    needs = [i.name for i in made.program.inputs if i.kind == "float" and not i.const]
    tape = made.backward(needs, [o.name for o in made.program.outputs if o.kind == "float"])
    for move in tape.moves:
        if not isinstance(move, Launch):
            raise AttnUnsupportedError(
                f"a part of the backward pass of '{program.name}' runs on PyTorch, so there is no self-contained module",
                None,
                "compile the attention core as a pattern of its own",
            )
    return Passes(_kept(made), _backward(made, tape), "joint" if kernels(tape) else "split")


def _kept(made: Differentiated) -> Plan:
    """The forward plan with what is kept among its outputs."""
    known = {o.value for o in made.program.outputs}
    extra = tuple(Output(v.name, v.name, tuple((a,) for a in v.axes), v.kind) for v in made.saved if v.name not in known)
    return replace(made.forward, program=replace(made.program, outputs=(*made.program.outputs, *extra)))


def _backward(made: Differentiated, tape: Tape) -> Plan:
    """The backward plan with cotangents among its inputs and gradients as outputs."""
    grads = {v: d for move in tape.moves if isinstance(move, Launch) for v, d in move.grads.items()}
    cotangents = []
    for out in made.program.outputs:
        if out.value in grads:
            axes = tuple(a for d in out.dims for a in d)
            if axes != tape.axes[out.value]:
                raise AttnUnsupportedError(
                    f"output {out.name} is stored in another order of axes: no module is made for its cotangent"
                )
            cotangents.append(Input(grads.pop(out.value), out.dims, "float"))
    if grads:
        raise AttnUnsupportedError(f"the cotangent of {next(iter(grads))} is a sum of several: no module is made for it")
    parts = [p for move in tape.moves if isinstance(move, Launch) for p in move.parts]
    gradients = []
    for wanted in made.program.inputs:
        own = [p for p in parts if p.source == wanted.name]
        if len(own) > 1:
            raise AttnUnsupportedError(f"the gradient of {wanted.name} is a sum of {len(own)} arrays: no module is made for it")
        for part in own:
            read = iter(part.axes)  # an axis of the input may be read under another name: keys of self-attention
            gradients.append(Output(f"d_{wanted.name}", part.name, tuple(tuple(next(read) for _ in d) for d in wanted.dims)))
    stored = {o.value: o.dims for o in made.program.outputs}
    inputs = tuple(replace(i, dims=stored.get(i.name, i.dims)) for i in tape.plan.program.inputs)
    program = replace(tape.plan.program, inputs=(*inputs, *cotangents), outputs=tuple(gradients))
    return replace(tape.plan, program=program)
