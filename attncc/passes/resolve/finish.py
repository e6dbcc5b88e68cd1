"""The last step: what no output needs is dropped, and the axes that nothing mentions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import AttnTypeError, Span
from ...ir.expr import Index, Read, Size, walk
from ...ir.nodes import Attend, Axis, Node, Output, Program, exprs_of, used_by, values_of
from .scope import Builder


def finish(name: str, builder: Builder, outputs: tuple[Output, ...]) -> Program:
    """Drop what no output needs and the axes nothing mentions."""
    outputs = tuple(o for o in outputs if o.value)
    checks = tuple(dict.fromkeys(builder.checks))
    need = {o.value for o in outputs} | {e.source for c in checks for e in walk(c.cond) if isinstance(e, Read)}
    nodes: list[Node] = []
    for node in reversed(builder.blocks[0]):
        if need & {v.name for v in values_of(node)}:
            if isinstance(node, Attend):
                node = _trim(node, need)
            need |= used_by(node)
            nodes.append(node)
    nodes.reverse()
    axes = _used_axes(builder, nodes, outputs, checks)
    _sized(builder, axes, nodes, outputs)
    return Program(name, axes, tuple(builder.inputs.values()), checks, tuple(nodes), outputs)


def _sized(builder: Builder, axes: tuple[Axis, ...], nodes: list[Node], outputs: tuple[Output, ...]) -> None:
    """Raise AttnTypeError for an axis whose size nothing gives, or that is given by itself."""
    by_name = {a.name: a for a in axes}
    known = {a for i in builder.inputs.values() for d in i.dims for a in d}
    todo = list(known)
    while todo:
        more = {p for part in by_name[todo.pop()].parts for p in part} - known
        known |= more
        todo.extend(more)

    def place(axis: str) -> Span | None:
        places = [o.span for o in outputs if any(axis in d for d in o.dims)]
        places += [n.span for n in nodes if axis in _node_axes(n)]
        return next((p for p in places if p is not None), None)

    def reach(axis: str, seen: tuple[str, ...]) -> None:
        if axis in seen:
            raise AttnTypeError(f"the size of axis '{axis}' depends on itself", place(axis), "give one of the sizes in 'where'")
        size = by_name[axis].size
        for e in walk(size) if size is not None else ():
            if isinstance(e, Size):
                reach(e.axis, (*seen, axis))

    for axis in axes:
        if axis.size is None and not axis.parts and axis.name not in known:
            help = f"no input has it: say 'where {axis.name} = ...'"
            raise AttnTypeError(f"nothing gives the size of axis '{axis.name}'", place(axis.name), help)
        reach(axis.name, ())


def _trim(node: Attend, need: set[str]) -> Attend:
    """An attend without emits that nothing uses."""
    kept = []
    wanted = set(need)
    for emit in reversed(node.emits):
        if emit.name in wanted:
            kept.append(emit)
            wanted |= {e.source for e in walk(emit.expr) if isinstance(e, Read)}
    return replace(node, emits=tuple(reversed(kept)))


def _used_axes(builder: Builder, nodes: list[Node], outputs: tuple[Output, ...], checks: tuple[Any, ...]) -> tuple[Axis, ...]:
    used = {a for i in builder.inputs.values() for d in i.dims for a in d} | {a for o in outputs for d in o.dims for a in d}
    exprs = [e for n in nodes for e in exprs_of(n)] + [c.cond for c in checks]
    for node in nodes:
        used |= _node_axes(node)
    for e in exprs:
        for inner in walk(e):
            if isinstance(inner, Index | Size):
                used.add(inner.axis)
            used |= set(getattr(inner, "axes", ()))
    todo = list(used)
    while todo:
        axis = builder.axes[todo.pop()]
        more = {a for part in axis.parts for a in part}
        if axis.size is not None:
            more |= {e.axis for e in walk(axis.size) if isinstance(e, Size)}
        todo.extend(more - used)
        used |= more
    return tuple(a for n, a in builder.axes.items() if n in used)


def _node_axes(node: Node) -> set[str]:
    out = {a for v in values_of(node) for a in v.axes}
    for inner in getattr(node, "body", ()):
        out |= _node_axes(inner)
    for name in ("source", "target"):
        axis = getattr(node, name, "")
        if axis:
            out.add(axis)
    for field in ("along", "over", "rows", "keys"):
        out |= set(getattr(node, field, ()))
    for segment in getattr(node, "segments", ()):
        out |= set(segment.over)
    for cotangent in getattr(node, "cotangents", ()):
        for inner in cotangent.body:
            out |= _node_axes(inner)
    return out
