"""Inline: a value over both rows and keys of an attend is never stored.

An assignment that is elementwise (no reduction, no FFT) and read by an attend that has one of its axes among the rows and another
among the keys is put in place of its reads there. What is also an output, or read elsewhere, stays as well.
"""

from __future__ import annotations

from functools import partial

from ..ir.expr import Along, Expr, Index, Read, Reduce, axes_of, keeping_axes, rebuild, substitute, walk
from ..ir.nodes import Assign, Attend, Node, Program, map_exprs, used_by, values_of

LIMIT = 200
"""Larger expressions stay stored: computing them again for every pair would cost more."""


def inline(program: Program) -> Program:
    """Put pair-valued elementwise assignments into the attends that read them."""
    known: dict[str, Assign] = {}
    nodes: list[Node] = []
    for node in program.nodes:
        if isinstance(node, Attend) and known:
            keys = {a for s in node.segments for a in s.over}
            here = {n: a for n, a in known.items() if keys & set(a.axes) and set(node.rows) & set(a.axes)}
            if here:
                node = map_exprs(node, keeping_axes(partial(_expand, here)))
        elif isinstance(node, Assign) and len(node.axes) > 1 and _elementwise(node.expr):
            known[node.name] = node
        nodes.append(node)
    return program.with_nodes(_live(tuple(nodes), {o.value for o in program.outputs} | _checked(program)))


def _elementwise(e: Expr) -> bool:
    return all(n < LIMIT and not isinstance(inner, Reduce | Along) for n, inner in enumerate(walk(e)))


def _expand(here: dict[str, Assign], e: Expr) -> Expr:
    e = rebuild(e, partial(_expand, here))
    if isinstance(e, Read) and e.source in here and e.fill is None:
        node = here[e.source]
        at = {a: i for a, i in zip(node.axes, e.index, strict=True) if i != Index(a)}
        missing = [a for a in node.axes if a not in axes_of(node.expr)]
        if not missing:
            return _expand(here, substitute(node.expr, at))
    return e


def _checked(program: Program) -> set[str]:
    return {e.source for c in program.checks for e in walk(c.cond) if isinstance(e, Read)}


def _live(nodes: tuple[Node, ...], need: set[str]) -> tuple[Node, ...]:
    out: list[Node] = []
    for node in reversed(nodes):
        if need & {v.name for v in values_of(node)}:
            need = need | used_by(node)
            out.append(node)
    return tuple(out[::-1])
