"""The plan of a program: which attends and definitions become kernels, which nodes run on PyTorch, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..errors import AttnUnsupportedError
from ..ir.expr import Apply, Expr, kind_of, sources_of, walk
from ..ir.graph import live, trim
from ..ir.nodes import Assign, Attend, Node, Program, Value, values_of
from ..passes.classify import query_axes
from ..passes.differentiate.script import reads_of
from ..passes.digits import with_digits
from ..passes.fuse import Fusion, fuse
from ..passes.wide import wide
from ..tile.nodes import Program as Tiles
from .definitions import runs
from .flash import lower
from .grouped import grouped
from .order import right_order
from .steps import Fused, Plan, Step, Torch
from .token import lower_definition


def plan(program: Program, outputs: Collection[str]) -> Plan:
    """How to compute some outputs."""
    program = with_digits(live(program, outputs))
    arrays = {i.name: tuple(a for dim in i.dims for a in dim) for i in program.inputs}
    kinds = {i.name: i.kind for i in program.inputs}
    kept = wide(program)
    steps: list[Step] = []
    for node in program.nodes:
        made = [*values_of(node)]
        for step in _steps(program, node, arrays, kept):
            steps.append(step)
            if isinstance(step, Fused):
                made += [*step.values, *(Value(a.name, a.axes, a.kind) for a in (step.fusion.before if step.fusion else step.before))]
        for value in made:
            arrays[value.name], kinds[value.name] = value.axes, value.kind
    return Plan(program, _with_definitions(program, steps, arrays, kept), arrays, kinds)


def _with_definitions(
    program: Program, steps: Sequence[Step], arrays: Mapping[str, tuple[str, ...]], kept: frozenset[str]
) -> tuple[Step, ...]:
    """The steps with definitions as kernels where that is possible: several of the same tokens in one. kept: those in the
    accumulation type."""
    features, tokens = known_features(steps), token_axes(program)
    acc = kept.union(*(s.acc for s in steps if isinstance(s, Fused)))
    out: list[Step] = []
    items = [s.node if isinstance(s, Torch) and isinstance(s.node, Assign) else None for s in steps]
    others = iter([s for s, item in zip(steps, items, strict=True) if item is None])
    for found in runs(items, arrays, features, acc, tokens):
        if found is None:
            out.append(next(others))
            continue
        nodes, made = found
        if isinstance(made, str):
            out += [Torch(n, made) for n in nodes]
        else:
            values = tuple(v for n in nodes for v in values_of(n))
            out.append(Fused(nodes[-1], (), (made,), (), (), (), kept, values, beside=nodes[:-1]))
    return tuple(out)


def known_features(steps: Collection[Step]) -> tuple[str, ...]:
    """Axes that products and sums of attends run over: their sizes are known when compiling."""
    stages = [s for step in steps if isinstance(step, Fused) for s in step.stages]
    found = [p.over for s in stages for k in s.keys for p in k.products]
    return tuple(dict.fromkeys([*found, *(x.feature for s in stages for x in s.sums if x.feature)]))


def token_axes(program: Program) -> frozenset[str]:
    """Axes of rows that are queries, and of keys, of some attend: they are long, so they are cut into tiles."""
    found: set[str] = set()
    for node in program.nodes:
        if isinstance(node, Attend):
            found |= set(query_axes(node)).union(*(s.over for s in node.segments))
    return frozenset(found)


def _steps(program: Program, node: Node, arrays: Mapping[str, tuple[str, ...]], kept: frozenset[str]) -> list[Step]:
    """A node as steps: emits of an attend that cannot be fused are computed apart from the rest. kept: definitions in the
    accumulation type."""
    if not isinstance(node, Attend):
        return [Torch(node, "no attend")]
    try:
        return [_fused(program, node, arrays, kept)]
    except AttnUnsupportedError as error:
        reason = error.message
    apart = {e.name: why for e in node.emits if (why := _refusal(program, only(node, {e.name}), arrays))}
    rest = ({node.name} if node.name else set()) | {e.name for e in node.emits} - set(apart)
    if not apart or not rest or _refusal(program, only(node, rest), arrays):
        return [Torch(node, reason)]
    return [_fused(program, only(node, rest), arrays, kept), *(Torch(only(node, {name}), why) for name, why in apart.items())]


def _refusal(program: Program, node: Attend, arrays: Mapping[str, tuple[str, ...]]) -> str:
    """Why an attend cannot be fused, "" when it can."""
    try:
        _fused(program, node, arrays, frozenset())
    except AttnUnsupportedError as error:
        return error.message
    return ""


def only(node: Attend, names: set[str]) -> Attend:
    """The attend with what some of its values need."""
    trimmed = trim(node, names)
    assert isinstance(trimmed, Attend)
    return trimmed


def _fused(program: Program, node: Attend, arrays: Mapping[str, tuple[str, ...]], kept: frozenset[str]) -> Fused:
    fusion = fuse(program, node, taken=arrays)
    known = {**arrays, **{a.name: a.axes for a in fusion.before}}
    sizes = equal_sizes(program)
    acc = {*fusion.acc, *kept}
    features = {p.over for stage in fusion.stages for k in stage.keys for p in k.products}
    features |= {x.feature for stage in fusion.stages for x in stage.sums if x.feature}
    before = _needed(fusion)
    definitions: tuple[Tiles, ...] = ()
    try:
        definitions = tuple(lower_definition(a, known, features, acc) for a in before)
        before = ()
    except AttnUnsupportedError:
        definitions = ()
    right = right_order(fusion.stages, known, frozenset(acc), sizes, node.order)
    kernels: list[Tiles] = []
    made: list[Value] = []
    for stage in fusion.stages:
        kernels.append(lower(stage, known, frozenset(acc), sizes))
        for final in stage.finals:
            known[final.name] = final.axes
            made.append(Value(final.name, final.axes, final.kind))
            if final.acc:
                acc.add(final.name)
        for keyed in stage.keyed:
            known[keyed.name] = keyed.axes
            made.append(Value(keyed.name, keyed.axes, "float"))
            acc.add(keyed.name)
    shared = grouped(fusion.stages, kernels, known, acc, sizes)
    return Fused(
        node,
        before,
        definitions,
        fusion.stages,
        tuple(kernels),
        fusion.after,
        frozenset(acc),
        tuple(made),
        right,
        fusion,
        grouped=shared,
    )


def _needed(fusion: Fusion) -> tuple[Assign, ...]:
    """The definitions before an attend that its stages and what follows them read."""
    read = {n for stage in fusion.stages for n in reads_of(stage)} | {n for a in fusion.after for n in sources_of(a.expr)}
    out: list[Assign] = []
    for a in reversed(fusion.before):
        if a.name in read:
            out.insert(0, a)
            read |= set(sources_of(a.expr))
    return tuple(out)


def equal_sizes(program: Program) -> dict[str, Expr]:
    """Sizes given by integer equations, for the analysis of masks."""
    plain = {"add", "sub", "mul", "floordiv", "mod", "cdiv", "exact", "min", "max"}
    return {
        a.name: a.size
        for a in program.axes
        if a.size is not None and kind_of(a.size) == "int" and all(e.op in plain for e in walk(a.size) if isinstance(e, Apply))
    }
