"""The backward pass of a program: its steps in reverse, attends by kernels where there are stages for them.

What is kept is values that steps read and statistics of rows, never weights. A fused attend is differentiated by pair stages (with
respect to every value that it reads), a definition around it or any other node by autograd of that one node, computed again from
what it reads. So is an attend without backward stages, alone, for a reason that is named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from ..errors import AttnUnsupportedError
from ..ir.expr import sources_of
from ..ir.nodes import Assign, Attend, Input, Node, Program, Value, used_by, values_of
from ..ir.pairs import Final, PairStage, Part
from ..passes.differentiate.build import Derivative
from ..passes.differentiate.script import Backward, Phase, reads_of
from ..passes.differentiate.shifts import constant, still_values
from .flash import lower
from .grouped import grouped
from .order import right_order
from .plan import Fused, Plan, Torch, equal_sizes, known_features, plan, token_axes
from .pulls import Token, token_pull
from .tapes import Launch, Move, Pull, Tape
from .token import lower_definition

Axes = dict[str, tuple[str, ...]]
Rewrite = Callable[[Fused, Axes, tuple[Part, ...], Program], tuple[Fused, Axes, tuple[Part, ...]]]
"""Another way to run the kernels of a phase: from (phase, axes of values, parts, program) to the new ones."""


class _Names:
    """Fresh names for a whole program. What a backward pass names, a copy does: passes for other inputs have the same names."""

    def __init__(self, forward: Plan) -> None:
        self.taken = set(forward.arrays) | {a.name for a in forward.program.axes}
        for step in forward.steps:
            self.taken |= {v.name for v in values_of(step.node)}
            for stage in step.stages if isinstance(step, Fused) else ():
                self.taken |= {stage.name} | {s.name for s in stage.sums} | {f.name for f in stage.finals}
                self.taken |= {n for k in stage.keys for n, _ in k.lets} | {p.name for k in stage.keys for p in k.products}
                self.taken |= {stage.softmax.name, stage.softmax.total, stage.softmax.lse} if stage.softmax else set()
            if isinstance(step.node, Attend):
                self.taken |= {n for s in step.node.segments for n, _ in s.scores}

    def copy(self) -> _Names:
        made = object.__new__(_Names)
        made.taken = set(self.taken)
        return made

    def __call__(self, hint: str) -> str:
        new, number = hint, 2
        while new in self.taken:
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new


@dataclass(frozen=True, eq=False)
class Differentiated:
    """forward: the plan that also leaves what is saved. saved: those values. acc: values in the accumulation type. derivatives: of
    each step, or the reason why there is none. rewrite: another way to run a phase."""

    program: Program
    forward: Plan
    saved: tuple[Value, ...]
    acc: frozenset[str]
    derivatives: tuple[Derivative | str, ...]
    names: _Names
    rewrite: Rewrite | None = None

    def backward(self, needs: Collection[str], outputs: Collection[str]) -> Tape:
        """The moves for the gradients of some inputs from the cotangents of some outputs."""
        return _tape(self, frozenset(needs), frozenset(outputs))


def differentiated(
    program: Program, outputs: Sequence[str], rewrite: Rewrite | None = None, capped: bool = False
) -> Differentiated | None:
    """The passes of a program, None where no attend has backward stages. capped: as in `Derivative`."""
    forward = plan(program, outputs)
    names = _Names(forward)
    derivatives: list[Derivative | str] = []
    for step in forward.steps:
        derivatives.append("" if isinstance(step, Torch) else _derivative(step, names, forward, capped))
    if not any(isinstance(d, Derivative) for d in derivatives):
        return None
    acc = frozenset(n for s in forward.steps if isinstance(s, Fused) for n in s.acc)
    made = Differentiated(forward.program, forward, (), acc, tuple(derivatives), names, rewrite)
    needs = {i.name for i in forward.program.inputs if i.kind == "float"}
    floats = {o.name for o in forward.program.outputs if o.kind == "float"}
    read = _Reverse(made, needs, floats).reads()
    kept = {n: f for d in derivatives if isinstance(d, Derivative) for n, f in d.kept.finals.items() if n in read}
    forward = _keeping(forward, derivatives, kept)
    inputs = {i.name for i in program.inputs}
    saved = tuple(Value(n, a, forward.kinds[n]) for n, a in forward.arrays.items() if n in read and n not in inputs)
    return replace(made, forward=forward, saved=saved, acc=acc | set(kept))


def _derivative(step: Fused, names: _Names, forward: Plan, capped: bool) -> Derivative | str:
    """What differentiates a fused attend, or why nothing does; "" for definitions."""
    if step.fusion is None:
        return ""
    assert isinstance(step.node, Attend)
    try:
        values = {v.name for n in forward.program.nodes for v in values_of(n)}
        made = Derivative(step.node, step.fusion, names, forward.arrays, capped, values)
        floats = {n for s in step.stages for n in reads_of(s)} - set(made.finals) - set(made.opaque)
        made.backward(floats, set(made.grads), names.copy())
    except AttnUnsupportedError as error:
        return error.message
    return made


def _keeping(made: Plan, derivatives: Sequence[Derivative | str], kept: Mapping[str, Final]) -> Plan:
    """The forward plan with more finals stored."""
    arrays, kinds = dict(made.arrays), dict(made.kinds)
    sizes = equal_sizes(made.program)
    steps = list(made.steps)
    for n, (step, derivative) in enumerate(zip(made.steps, derivatives, strict=True)):
        if not isinstance(step, Fused) or not isinstance(derivative, Derivative):
            continue
        extra = {name: f for name, f in derivative.kept.finals.items() if name in kept}
        if not extra:
            continue
        acc = step.acc | set(extra)
        stages, kernels, values = list(step.stages), list(step.kernels), list(step.values)
        for name, final in extra.items():
            at = derivative.kept.at[name]
            stages[at] = replace(stages[at], finals=(*stages[at].finals, final))
            values.append(Value(name, final.axes, "float"))
            arrays[name], kinds[name] = final.axes, "float"
        known = {**arrays, **{a.name: a.axes for a in step.fusion.before}} if step.fusion else arrays
        for k in {derivative.kept.at[name] for name in extra}:
            kernels[k] = lower(stages[k], known, acc, sizes)
        assert isinstance(step.node, Attend)
        right = None if step.right is None else right_order(stages, known, acc, sizes, step.node.order)
        shared = grouped(stages, kernels, known, acc, sizes)
        steps[n] = replace(
            step, stages=tuple(stages), kernels=tuple(kernels), values=tuple(values), acc=acc, right=right, grouped=shared
        )
    return replace(made, steps=tuple(steps), arrays=arrays, kinds=kinds)


class _Reverse:
    """The steps of a program in reverse."""

    def __init__(self, of: Differentiated, needs: Collection[str], outputs: Collection[str]) -> None:
        self.of, self.program, self.names = of, of.program, of.names.copy()
        self.kinds = dict(of.forward.kinds)
        self.axes = dict(of.forward.arrays)
        for step in of.forward.steps:
            if isinstance(step, Fused):
                self._known(*(Value(a.name, a.axes, a.kind) for a in (*self._before(step), *step.after)))
        self.active = self._active(set(needs))
        self.given = {o.value for o in self.program.outputs if o.name in outputs}
        self.cots = set(self.given)
        fused = [(s.fusion.pieces.node, s.fusion) for s in of.forward.steps if isinstance(s, Fused) and s.fusion is not None]
        self.still = still_values(self.program, outputs, fused)
        self.features, self.tokens = known_features(of.forward.steps), token_axes(of.program)
        self.moves: list[Move | Token | tuple[Fused, Backward, dict[str, str]]] = []
        self.back: list[tuple[Fused, Derivative, Backward]] = []
        for step, derivative in reversed(list(zip(of.forward.steps, of.derivatives, strict=True))):
            if isinstance(step, Torch):
                self._pull(step.node, step.reason if isinstance(step.node, Attend) else "")
            elif isinstance(derivative, str):
                for node in reversed(step.nodes):
                    self._pull(node, derivative)
            else:
                self._fused(step, derivative)

    @staticmethod
    def _before(step: Fused) -> tuple[Assign, ...]:
        return step.fusion.before if step.fusion is not None else step.before

    def _known(self, *values: Value) -> None:
        for value in values:
            self.kinds[value.name], self.axes[value.name] = value.kind, value.axes

    def _active(self, needs: set[str]) -> set[str]:
        """Float values that depend on what is needed."""
        active = set(needs)
        for step in self.of.forward.steps:
            made: list[Value] = []
            if isinstance(step, Fused):
                for a in self._before(step):
                    if a.kind == "float" and set(sources_of(a.expr)) & active:
                        active.add(a.name)
                made += step.values
            if used_by(step.node) & active:
                active |= {v.name for v in (*values_of(step.node), *made) if v.kind == "float"}
        return active

    def _pull(self, node: Node, reason: str, names: Collection[str] | None = None) -> None:
        """Autograd of a node, for what it reads (or `names`)."""
        outs = tuple(v.name for v in values_of(node) if v.name in self.cots and v.kind == "float")
        used = used_by(node) if names is None else names
        if isinstance(node, Assign) and node.name in self.still:
            used = [n for n in used if not constant(node, n, self.still[node.name])]
        wrt = tuple(sorted(n for n in used if n in self.active and self.kinds.get(n, "float") == "float"))
        if outs and wrt:
            found = None
            if names is None:
                given = any(n in self.given for n in outs)
                found = token_pull(node, wrt, self.axes, self.of.acc, self.features, self.tokens, self.names, given)
            self.moves.append(Pull(node, outs, wrt, reason) if found is None else found)
            self.cots |= set(wrt)

    def _fused(self, step: Fused, derivative: Derivative) -> None:
        opaque = [n for n in derivative.opaque if n in self.active]
        done = self._opaque(step, derivative, opaque) if opaque else set()
        for node in reversed(step.after):
            self._pull(node, "")
        given = {f for f in derivative.grads if f in self.cots}
        elsewhere = {*derivative.finals, *derivative.opaque, *done}
        wants = {n for s in step.stages for n in reads_of(s)} & self.active - elsewhere
        if not given or not wants:
            return
        back = derivative.backward(wants, given, self.names)
        if not back.parts:
            return
        self.moves.append((step, back, {n: derivative.grads[n] for n in given}))
        self.cots |= {p.source for p in back.parts}
        for token in back.tokens:
            self._known(Value(token.name, token.axes, "float"))
            self._pull(token, "", used_by(token) - done if done else None)
        for node in reversed(self._before(step)):
            self._pull(node, "", used_by(node) - done if done else None)

    def _opaque(self, step: Fused, derivative: Derivative, names: list[str]) -> set[str]:
        """Gradients that no stage sums: autograd of the whole attend, for these values alone. Returns them: what else the attend
        does with such a value is in its gradient already."""
        before = {a.name: a for a in self._before(step)}
        outer = {n for n in names if n not in before}
        for name in names:
            if name in before:
                outer |= set(sources_of(before[name].expr))
        done = outer & used_by(step.node)
        self._pull(step.node, "; ".join(derivative.opaque[n] for n in names), done)
        return done

    def reads(self) -> set[str]:
        """Names of values of the forward pass that the moves read."""
        out: set[str] = set()
        for move in self.moves:
            if isinstance(move, Pull):
                out |= used_by(move.node)
            elif isinstance(move, Token):
                out |= move.reads
            elif isinstance(move, tuple):
                step, back, _ = move
                out |= {n for s in back.stages for n in reads_of(s)}
                definitions = [*(d for phase in back.phases for d in phase.definitions), *self._needed(step, out)]
                out |= {n for d in definitions for n in sources_of(d.expr)}
        made = {a.name for s in self.of.forward.steps if isinstance(s, Fused) for a in self._before(s)}
        return out - made

    def _needed(self, step: Fused, read: set[str]) -> tuple[Assign, ...]:
        """Definitions before an attend that are computed again, for some values that are read."""
        out: list[Assign] = []
        read = set(read)
        for node in reversed(self._before(step)):
            if node.name in read:
                out.append(node)
                read |= set(sources_of(node.expr))
        return tuple(reversed(out))

    # Lowering.

    def tape(self) -> Tape:
        arrays = {i.name: tuple(a for dim in i.dims for a in dim) for i in self.program.inputs}
        arrays |= {v.name: v.axes for v in self.of.saved}
        for derivative in self.of.derivatives:
            if isinstance(derivative, Derivative):
                arrays |= {d: self.axes[n] for n, d in derivative.grads.items()}
        again = {n for move in self.moves if isinstance(move, Pull) for n in used_by(move.node)}
        again = again.union(*(move.reads for move in self.moves if isinstance(move, Token)))
        moves: list[Move] = []
        for move in self.moves:
            if isinstance(move, Launch | Pull):
                moves.append(move)
                continue
            if isinstance(move, Token):
                moves.append(Launch((move.step,), move.grads, move.parts))
                arrays |= {v.name: v.axes for v in move.step.values} | {grad: self.axes[n] for n, grad in move.grads.items()}
                continue
            step, back, grads = move
            read = {n for s in back.stages for n in reads_of(s)}
            read |= {n for phase in back.phases for d in phase.definitions for n in sources_of(d.expr)}
            first = self._needed(step, read | (again & {a.name for a in self._before(step)}))
            phases, arrays, parts = self._lowered(step, first, back, arrays)
            moves.append(Launch(phases, grads, parts))
        steps = tuple(s for move in moves if isinstance(move, Launch) for s in move.phases)
        given = tuple(Input(v.name, tuple((a,) for a in v.axes), v.kind) for v in self.of.saved)
        whole = replace(
            self.program, name=f"{self.program.name}_backward", inputs=(*self.program.inputs, *given), nodes=(), outputs=()
        )
        return Tape(Plan(whole, steps, arrays, {n: self.kinds.get(n, "float") for n in arrays}), tuple(moves), self.axes)

    def _lowered(
        self, step: Fused, first: tuple[Assign, ...], back: Backward, arrays: dict[str, tuple[str, ...]]
    ) -> tuple[tuple[Fused, ...], dict[str, tuple[str, ...]], tuple[Part, ...]]:
        acc = frozenset(self.of.acc | back.acc | (step.fusion.acc if step.fusion else frozenset()))
        sizes = equal_sizes(self.program)
        features = _features(back.stages) + _features(step.stages)
        phases = list(back.phases)
        if first:
            phases[0] = Phase((*first, *phases[0].definitions), phases[0].stages)
        parts = back.parts
        used = {p.name for p in parts} | {a.name for a in first}
        later = [self._reads(phase) for phase in phases]
        out: list[Fused] = []
        for n, phase in enumerate(phases):
            known = {**arrays, **{d.name: d.axes for d in phase.definitions}}
            before: tuple[Assign, ...] = phase.definitions
            definitions = []
            try:
                at = dict(arrays)
                for d in phase.definitions:
                    definitions.append(lower_definition(d, at, features, acc))
                    at[d.name] = d.axes
                before = ()
            except AttnUnsupportedError:
                definitions = []
            assert isinstance(step.node, Attend)
            right = right_order(phase.stages, known, acc, sizes, step.node.order) if phase.stages else None
            kernels = []
            for stage in phase.stages:
                kernels.append(lower(stage, known, acc, sizes))
                known |= {f.name: f.axes for f in stage.finals} | {x.name: x.axes for x in stage.keyed}
            arrays = known
            made = [d.name for d in phase.definitions if not before]
            made += [x for s in phase.stages for x in (*(f.name for f in s.finals), *(y.name for y in s.keyed))]
            wanted = used.union(*later[n + 1 :])
            values = tuple(Value(x, arrays[x], "float") for x in made if x in wanted)
            shared = grouped(phase.stages, kernels, known, acc, sizes)
            fused = Fused(
                step.node, before, tuple(definitions), phase.stages, tuple(kernels), (), acc, values, right, grouped=shared
            )
            if self.of.rewrite is not None:
                fused, arrays, parts = self.of.rewrite(fused, arrays, parts, self.program)
            out.append(fused)
        return tuple(out), arrays, parts

    @staticmethod
    def _reads(phase: Phase) -> set[str]:
        return {n for s in phase.stages for n in reads_of(s)} | {n for d in phase.definitions for n in sources_of(d.expr)}


def _features(stages: Sequence[PairStage]) -> tuple[str, ...]:
    """Axes of operands that products and sums run over."""
    found = [p.over for s in stages for k in s.keys for p in k.products] + [
        x.feature for s in stages for x in s.sums if x.feature
    ]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=256)
def _tape(of: Differentiated, needs: frozenset[str], outputs: frozenset[str]) -> Tape:
    return _Reverse(of, needs, outputs).tape()
