"""Attends in PyTorch: pair values are formed block by block of rows, so that large maps are never whole in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.utils.checkpoint import checkpoint

from attncc.errors import AttnValueError
from attncc.ir.expr import Along, Apply, Expr, Index, Read, Reduce, axes_of, walk
from attncc.ir.nodes import Attend, pair_values

from .elementwise import cast
from .evaluate import Evaluator
from .named import Named, Value, aligned, union
from .reduce import einsum, full


@dataclass(frozen=True)
class Block:
    """Part of a row axis."""

    axis: str
    start: int
    length: int


def attend(ev: Evaluator, node: Attend) -> dict[str, Value]:
    """The values an attend defines."""
    wanted = ([node.name] if node.name else []) + [e.name for e in node.emits]
    axis = _splittable(ev, node)
    pairs = _pairs(ev, node)
    if axis is None or pairs <= ev.block:
        return _block(ev, node, None)
    length = max(1, int(ev.sizes[axis] * ev.block / pairs))
    parts: list[dict[str, Value]] = []
    for start in range(0, ev.sizes[axis], length):
        block = Block(axis, start, min(length, ev.sizes[axis] - start))
        if torch.is_grad_enabled():
            parts.append(checkpoint(_block, ev, node, block, use_reentrant=False))
        else:
            parts.append(_block(ev, node, block))
    return {name: _joined([p[name] for p in parts], axis) for name in wanted}


def _joined(parts: list[Value], axis: str) -> Value:
    first = parts[0]
    if not isinstance(first, Named) or axis not in first.axes:
        return first
    return Named(torch.cat([p.t for p in parts if isinstance(p, Named)], first.axes.index(axis)), first.axes)


def _pairs(ev: Evaluator, node: Attend) -> int:
    """How many pair values the largest intermediate holds."""
    most = 0
    for segment in node.segments:
        for _, score in segment.scores:
            for e in walk(score):
                if isinstance(e, Reduce) and not _is_product(e.body):
                    most = max(most, math.prod(ev.sizes[a] for a in (*axes_of(e.body),)))
            most = max(most, math.prod(ev.sizes[a] for a in axes_of(score)))
    for _, e in (*node.maps, *node.posts):
        most = max(most, math.prod(ev.sizes[a] for a in axes_of(e)))
    return most


def _is_product(e: Expr) -> bool:
    return isinstance(e, Apply) and e.op == "mul"


def _splittable(ev: Evaluator, node: Attend) -> str | None:
    """The longest row axis along which blocks are independent: no map, post or emit looks across it."""
    own = {n for n, _ in (*node.maps, *node.posts)} | {n for s in node.segments for n, _ in s.scores} | {"admitted"}
    busy: set[str] = set()
    for e in (
        e for root in (*(x for _, x in node.maps), *(x for _, x in node.posts), *(m.expr for m in node.emits)) for e in walk(root)
    ):
        if isinstance(e, Reduce | Along):
            busy |= set(e.axes)
        if isinstance(e, Read) and e.source in own:
            moved = [i for i in e.index if not isinstance(i, Index)]
            if moved:
                return None
    emitted = [set(m.axes) for m in node.emits]
    free = [a for a in node.rows if a not in busy and a in (node.axes or a) and all(a in axes for axes in emitted)]
    return max(free, key=lambda a: ev.sizes[a], default=None)


def _block(outer: Evaluator, node: Attend, block: Block | None) -> dict[str, Value]:
    ev = outer.child()
    if block is not None:
        ev.windows[block.axis] = (block.start, block.length)
    scores, admitted, mix = _segments(ev, node)
    known = pair_values(node)
    for name, score in scores.items():
        ev.values[name] = _ordered(ev, score, known[name].axes)
    ev.pairs = {*scores, *(n for n, _ in (*node.maps, *node.posts)), "admitted"}
    ev.admitted = admitted
    over = node.over
    ev.values["admitted"] = _ordered(ev, True if admitted is None else admitted, known["admitted"].axes)
    weight: Value = 0.0
    for name, e in node.maps:
        weight = cast(ev.eval(e), "float", ev.acc)
        if admitted is not None:
            weight = _where(ev, weight, admitted)
            if node.empty != "zero":
                weight = _empty(ev, node, e, weight, admitted)
        ev.values[name] = weight = _ordered(ev, weight, known[name].axes)
    for name, e in node.posts:
        ev.cache.clear()
        weight = cast(ev.eval(e), "float", ev.acc)
        if admitted is not None and set(admitted.axes) <= set(known[name].axes):
            weight = _where(ev, weight, _counted(ev, node, e, admitted))
        ev.values[name] = weight = _ordered(ev, weight, known[name].axes)
    out: dict[str, Value] = {}
    if node.name:
        assert mix is not None
        spread = full(ev, weight, tuple(a for a in over if a not in union([weight, mix])))
        mixed = einsum([spread, full(ev, cast(mix, "float", ev.acc), ())], over)
        out[node.name] = _ordered(ev, mixed, node.axes)
    for emit in node.emits:
        ev.cache.clear()
        found = ev.eval(emit.expr)
        ev.values[emit.name] = out[emit.name] = _ordered(ev, found, emit.axes) if emit.axes else found
    return out


def _where(ev: Evaluator, weight: Value, admitted: Named) -> Named:
    """The weight of admitted pairs, 0 of others."""
    axes = union([weight, admitted])
    t = aligned(full(ev, weight, ()), axes)
    return Named(torch.where(aligned(admitted, axes), t, torch.zeros((), dtype=t.dtype, device=t.device)), axes)


def _ordered(ev: Evaluator, v: Value, axes: tuple[str, ...]) -> Named:
    return Named(aligned(full(ev, v, axes), axes), axes)


def _segments(ev: Evaluator, node: Attend) -> tuple[dict[str, Value], Named | None, Value | None]:
    """Scores, admitted pairs and mixed values; several segments are laid side by side along the key axis."""
    if not node.keys:
        segment = node.segments[0]
        mask = None if segment.mask is None else ev.eval(segment.mask)
        admitted = ev.guard = None if mask is None else full(ev, mask, ())
        scores: dict[str, Value] = {}
        for name, e in segment.scores:
            scores[name] = ev.eval(e)
            ev.values[name] = _ordered(ev, scores[name], axes_of(e))
        return scores, admitted, None if segment.mix is None else ev.eval(segment.mix)
    key = node.keys[0]
    names = [n for n, _ in node.segments[0].scores]
    columns: dict[str, list[tuple[Value, tuple[str, ...]]]] = {n: [] for n in names}
    masks: list[tuple[Value, tuple[str, ...]]] = []
    mixes: list[tuple[Value, tuple[str, ...]]] = []
    for segment in node.segments:
        ev.guard = None
        masks.append((True if segment.mask is None else ev.eval(segment.mask), segment.over))
        ev.guard = None if segment.mask is None else full(ev, masks[-1][0], ())
        for name, e in segment.scores:
            columns[name].append((ev.eval(e), segment.over))
        if segment.mix is not None:
            mixes.append((ev.eval(segment.mix), segment.over))
    ev.guard = None
    admitted = None if all(s.mask is None for s in node.segments) else _beside(ev, masks, key)
    return {n: _beside(ev, c, key) for n, c in columns.items()}, admitted, _beside(ev, mixes, key) if mixes else None


def _beside(ev: Evaluator, parts: list[tuple[Value, tuple[str, ...]]], key: str) -> Named:
    """Values of several segments along one key axis."""
    rows = tuple(dict.fromkeys(a for v, over in parts for a in union([v]) if a not in over))
    columns = []
    for v, over in parts:
        t = full(ev, v, (*rows, *over))
        lined = aligned(t, (*rows, *over))
        columns.append(lined.reshape(*lined.shape[: len(rows)], math.prod(lined.shape[len(rows) :])))
    dtype = columns[0].dtype
    for c in columns[1:]:
        dtype = torch.promote_types(dtype, c.dtype)
    return Named(torch.cat([c.to(dtype) for c in columns], -1), (*rows, key))


def _counted(ev: Evaluator, node: Attend, e: Expr, admitted: Named) -> Named:
    """The pairs that a post may leave a weight: admitted ones, and under `empty uniform` those of rows without any."""
    if node.empty == "zero":
        return admitted
    some = _some(ev, node, e, admitted)
    axes = union([admitted, some])
    return Named(aligned(admitted, axes) | ~aligned(some, axes), axes)


def _some(ev: Evaluator, node: Attend, e: Expr, admitted: Named) -> Named:
    """Whether a row has an admitted key."""
    over = tuple(a for a in node.over if not isinstance(e, Along) or a in e.axes)
    whole = full(ev, admitted, over)
    some = whole.t
    for d in sorted((whole.axes.index(a) for a in over), reverse=True):
        some = some.any(d)
    return Named(some, tuple(a for a in whole.axes if a not in over))


def _empty(ev: Evaluator, node: Attend, e: Expr, weight: Value, admitted: Named) -> Value:
    """Rows without an admitted key: equal weights over every key, masked ones included, or an error."""
    over = tuple(a for a in node.over if not isinstance(e, Along) or a in e.axes)
    left = _some(ev, node, e, admitted)
    if node.empty == "error":
        if not bool(left.t.all()):
            raise AttnValueError("a row has no admitted key", node.span, "this attend says 'empty error'")
        return weight
    count = math.prod(ev.sizes[a] for a in over)
    return ev.eval_apply("where", [left, weight, 1.0 / max(count, 1)])
