"""Checks of an attend: its rows and keys, the names of its clauses and what each can see, the result."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..errors import Span
from .check import Scope, check_assign, check_expr, check_kind, show_axes, within
from .expr import Expr, axes_of
from .nodes import Attend, Segment, Value, pair_values
from .ops import result_kind
from .rules import fail


def check_attend(node: Attend, scope: Scope) -> None:
    """Hold an attend to the rules."""
    title = f"attend '{node.name}'" if node.name else "an attend"
    _keys(node, scope, title)
    if node.empty not in ("zero", "uniform", "error") or node.order not in ("auto", "left", "right"):
        fail("attend-word", f"{title} says 'empty {node.empty}' and 'order {node.order}'", node.span)
    names = [[name for name, _ in segment.scores] for segment in node.segments]
    if any(found != names[0] for found in names):
        listed = " and ".join(show_axes(found) for found in names)
        fail("attend-scores", f"the segments of {title} have the scores {listed}", node.span)
    taken = {node.name} if node.name else set()
    inside = [_segment(segment, node, scope, taken) for segment in node.segments]
    taken.update(names[0])
    pairs = (*node.rows, *node.over)
    bare = replace(node, maps=(), posts=())
    outer = scope.plus(pair_values(bare).values())
    weight: tuple[str, frozenset[str]] | None = None
    for n, (name, expr) in enumerate((*node.maps, *node.posts), 1):
        weight = _pair_value(name, expr, pairs, outer, taken, title, node.span)
        cut = len(node.maps)
        outer = outer.plus([pair_values(replace(bare, maps=node.maps[:n], posts=node.posts[: max(n - cut, 0)]))[name]])
    _mix(node, inside, outer, weight, title)
    for emit in node.emits:
        _local_name(emit.name, outer, taken, emit.span or node.span)
        check_kind(emit.kind, f"'{emit.name}'", emit.span)
        scope.distinct(emit.axes, f"'{emit.name}'", emit.span)
        check_assign(emit, outer)
        outer = outer.plus([Value(emit.name, emit.axes, emit.kind)])


def _keys(node: Attend, scope: Scope, title: str) -> None:
    if not node.segments:
        fail("attend-keys", f"{title} has no keys", node.span)
    overs = [segment.over for segment in node.segments]
    scope.distinct(node.rows, f"the rows of {title}", node.span)
    for over in (*overs, node.keys):
        scope.distinct(over, f"the keys of {title}", node.span)
        both = [a for a in over if a in node.rows]
        if both:
            fail("attend-pairs", f"axes {show_axes(both)} of {title} are rows and keys", node.span)
    if len(node.segments) == 1 and node.keys:
        fail("attend-keys", f"{title} has one segment and the keys axis {show_axes(node.keys)}", node.span)
    if len(node.segments) > 1:
        if len(node.keys) != 1:
            fail("attend-keys", f"{title} has {len(overs)} segments and the keys axes {show_axes(node.keys)}", node.span)
        parts = scope.axes[node.keys[0]].parts
        if Counter(parts) != Counter(overs) or len(set(overs)) != len(overs):
            found = " ++ ".join(show_axes(over) for over in overs)
            fail("attend-keys", f"the segments {found} of {title} are not the parts of '{node.keys[0]}'", node.span)


def _local_name(name: str, scope: Scope, taken: set[str], span: Span | None) -> None:
    scope.fresh(name, span)
    if name in taken:
        fail("name-once", f"'{name}' is defined twice", span)


def _pair_value(
    name: str, expr: Expr, pairs: tuple[str, ...], scope: Scope, taken: set[str], title: str, span: Span | None
) -> tuple[str, frozenset[str]]:
    _local_name(name, scope, taken, span)
    what = f"'{name}' of {title}"
    kind, free = check_expr(expr, scope, what, span)
    within(free, pairs, "attend-pairs", what, span)
    return kind, free


def _segment(segment: Segment, node: Attend, scope: Scope, taken: set[str]) -> Scope:
    """Check a segment's scores and mask. Returns: what its mix can see."""
    title = f"attend '{node.name}'" if node.name else "an attend"
    pairs = (*node.rows, *segment.over)
    for name, expr in segment.scores:
        kind, _ = _pair_value(name, expr, pairs, scope, taken, title, node.span)
        scope = scope.plus([Value(name, axes_of(expr), kind)])
    if segment.mask is not None:
        kind, free = check_expr(segment.mask, scope, f"the mask of {title}", node.span)
        if kind != "bool":
            fail("cond-bool", f"the mask of {title} is {kind}, not bool", node.span)
        within(free, pairs, "attend-pairs", f"the mask of {title}", node.span)
    return scope


def _mix(node: Attend, inside: list[Scope], outer: Scope, weight: tuple[str, frozenset[str]] | None, title: str) -> None:
    mixes = [(segment, see) for segment, see in zip(node.segments, inside, strict=True) if segment.mix is not None]
    if bool(mixes) != bool(node.name) or (mixes and weight is None):
        lack = "name" if mixes and not node.name else "weight" if mixes else "mix"
        fail("attend-mix", f"{title} has no {lack}", node.span)
    if not mixes and (node.axes or node.kind != "float"):
        fail("attend-mix", f"{title} mixes nothing and has axes {show_axes(node.axes)}, kind {node.kind}", node.span)
    if weight is None or not mixes:
        return
    kinds = [weight[0]]
    summed = {*node.keys, *(a for segment in node.segments for a in segment.over)}
    wanted = weight[1] - summed
    for segment, see in mixes:
        assert segment.mix is not None
        kind, free = check_expr(segment.mix, outer if len(node.segments) == 1 else see, f"the mix of {title}", node.span)
        kinds.append(kind)
        wanted |= free - set(segment.over)
    stray = [a for a in node.axes if a in summed]
    if stray:
        fail("attend-axes", f"{title} has its key axes {show_axes(stray)} in the result", node.span)
    missing = sorted(wanted - set(node.axes))
    if missing:
        fail("attend-axes", f"{title} has axes {show_axes(node.axes)}, weight and mix also {show_axes(missing)}", node.span)
    kind = result_kind("number", kinds)
    if kind != node.kind:
        fail("value-kind", f"'{node.name}' is {node.kind} and its mix is {kind}", node.span)
