"""Plans of a program's forward pass with what it saves, and of its backward pass, where stages for both exist."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ..errors import AttnUnsupportedError
from ..ir.expr import Apply, Const
from ..ir.nodes import Attend, Input, Program, Value
from ..ir.pairs import Final, value
from ..passes.differentiate import Derivative, Part
from .flash import lower
from .plan import Fused, Plan, equal_sizes, plan
from .token import lower_definition


@dataclass(frozen=True, eq=False)
class Differentiated:
    """forward: the plan that also leaves what is saved. saved: those values. given: all that the backward pass reads beside the
    inputs, by name. grads: outputs to the names of their cotangents. opaque: inputs without a backward stage."""

    program: Program
    forward: Plan
    saved: tuple[Value, ...]
    acc: frozenset[str]
    given: tuple[Value, ...]
    grads: dict[str, str]
    opaque: frozenset[str]
    derivative: Derivative

    def backward(self, needs: Collection[str]) -> tuple[Plan, tuple[Part, ...]]:
        """The plan for the gradients of some inputs, and how its values add up to them."""
        return _backward(self, frozenset(needs))


def differentiated(program: Program, outputs: Sequence[str]) -> Differentiated | None:
    """The plans of a program that is one fused attend, None where a part of it has no backward stage."""
    forward = plan(program, outputs)
    whole = forward.program
    if len(forward.steps) != 1 or len(whole.nodes) != 1 or any(a.parts for a in whole.axes):
        return None
    step, node = forward.steps[0], whole.nodes[0]
    if not isinstance(step, Fused) or not isinstance(node, Attend) or step.before or step.after or step.definitions:
        return None
    if any(o.kind != "float" for o in whole.outputs):
        return None
    try:
        derivative = Derivative(whole, node)
        forward = _keeping(forward, step, derivative)
    except AttnUnsupportedError:
        return None
    given = derivative.given()
    grads = {node.name: derivative.grad} | ({derivative.emitted: derivative.grad_lse} if derivative.emitted else {})
    axes = {node.name: node.axes, derivative.emitted: derivative.rows}
    if any(o.value not in grads or {a for d in o.dims for a in d} != set(axes[o.value]) for o in whole.outputs):
        return None
    names = {o.name: grads[o.value] for o in whole.outputs}
    if len(set(names.values())) != len(names):
        return None
    saved = tuple(v for v in given if v.name in (derivative.lse, derivative.o))
    acc = frozenset({derivative.lse} - {""})
    made = Differentiated(whole, forward, saved, acc, given, names, derivative.opaque, derivative)
    made.backward([i.name for i in whole.inputs if i.kind == "float" and i.name not in derivative.opaque])
    return made


def _keeping(made: Plan, step: Fused, derivative: Derivative) -> Plan:
    """The forward plan with the log-sum-exp of the scores stored, +inf for a row without a key."""
    name = derivative.lse
    if not name:
        return made
    at = next((n for n, s in enumerate(step.stages) if s.softmax is not None), None)
    if at is None:
        raise AttnUnsupportedError("the forward pass has no log-sum-exp to keep", step.node.span)
    stage = step.stages[at]
    if stage.softmax is None or any(s.softmax is not None and s.softmax.score != stage.softmax.score for s in step.stages):
        raise AttnUnsupportedError("several softmaxes to keep", step.node.span)
    empty = Apply("eq", (value(stage.softmax.total), Const(0.0)))
    kept = Apply("where", (empty, Const(float("inf")), value(stage.softmax.lse)))
    stage = replace(stage, finals=(*stage.finals, Final(name, derivative.rows, "float", kept, acc=True)))
    kernel = lower(stage, made.arrays, step.acc, equal_sizes(made.program))
    values = list(step.values)
    done = [f.name for s in step.stages[: at + 1] for f in s.finals]
    values.insert(len(done), Value(name, derivative.rows, "float"))
    new = replace(
        step,
        stages=(*step.stages[:at], stage, *step.stages[at + 1 :]),
        kernels=(*step.kernels[:at], kernel, *step.kernels[at + 1 :]),
        acc=step.acc | {name},
        values=tuple(values),
    )
    return replace(made, steps=(new,), arrays={**made.arrays, name: derivative.rows}, kinds={**made.kinds, name: "float"})


@lru_cache(maxsize=256)
def _backward(of: Differentiated, needs: frozenset[str]) -> tuple[Plan, tuple[Part, ...]]:
    program, back = of.program, of.derivative.backward(needs)
    arrays = {i.name: tuple(a for dim in i.dims for a in dim) for i in program.inputs} | {v.name: v.axes for v in of.given}
    kinds = {i.name: i.kind for i in program.inputs} | {v.name: v.kind for v in of.given}
    acc = back.acc | of.acc
    features = {p.over for s in back.stages for k in s.keys for p in k.products}
    features |= {x.feature for s in back.stages for x in s.sums if x.feature} | {of.derivative.pieces.feature} - {""}
    definitions = []
    for d in back.definitions:
        definitions.append(lower_definition(d, arrays, features, acc))
        arrays[d.name], kinds[d.name] = d.axes, d.kind
    kernels, sizes = [], equal_sizes(program)
    for stage in back.stages:
        kernels.append(lower(stage, arrays, acc, sizes))
        for final in stage.finals:
            arrays[final.name], kinds[final.name] = final.axes, final.kind
    wanted = [p.name for p in back.parts]
    values = tuple(Value(n, arrays[n], "float") for n in wanted)
    node = of.program.nodes[0]
    assert isinstance(node, Attend)
    step = Fused(node, (), tuple(definitions), back.stages, tuple(kernels), (), acc, values)
    inputs = (*program.inputs, *(Input(v.name, tuple((a,) for a in v.axes)) for v in of.given))
    whole = replace(program, name=f"{program.name}_backward", inputs=inputs, nodes=(), outputs=())
    steps = (step,) if definitions or kernels else ()
    return Plan(whole, steps, arrays, kinds), back.parts
