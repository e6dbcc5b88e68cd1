"""What else computes the same: functions of other libraries that a pattern is compared with. One row of `PEERS` each.

A peer is found from the IR, never from names, and its result is compared with the oracle before it is timed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from ..ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, axes_of, rebuild, walk
from ..ir.nodes import Attend, Input
from ..ir.sizes import Unknown, scalar
from ..passes.classify import query_axes
from ..testing.calls import Sample
from .picture import pictures

Tensors = Mapping[str, torch.Tensor]
Peer = Callable[[Tensors], torch.Tensor]


def sdpa(sample: Sample) -> Peer | None:
    """`scaled_dot_product_attention`, for one softmax over keys of a scaled dot product of inputs; None for anything else."""
    program = sample.program
    outputs = [o for o in program.outputs if not o.on_request]
    if len(program.nodes) != 1 or not isinstance(program.nodes[0], Attend) or len(outputs) != 1:
        return None
    node = program.nodes[0]
    if len(node.segments) != 1 or node.posts or len(node.maps) != 1 or outputs[0].value != node.name:
        return None
    segment = node.segments[0]
    weights = node.maps[0][1]
    if not (isinstance(weights, Along) and weights.op == "softmax" and set(weights.axes) == set(segment.over)):
        return None
    plain = len(segment.scores) == 1 and weights.cond is None and weights.sink is None and isinstance(weights.body, Read)
    if not plain or not isinstance(segment.mix, Read):
        return None
    dot = _scaled_dot(segment.scores[0][1], sample.sizes)
    inputs = {i.name: i for i in program.inputs}
    if dot is None:
        return None
    scale, a, b, feature = dot
    if set(segment.over) & set(axes_of(a)):
        a, b = b, a
    reads = (a, b, segment.mix)
    whole = all(r.source in inputs and all(isinstance(i, Index) for i in r.index) for r in reads)
    if not whole or set(segment.over) & set(axes_of(a)):
        return None
    queries = query_axes(node)
    batch = tuple(x for x in node.rows if x not in queries)
    mixed = tuple(x for x in axes_of(segment.mix) if x not in (*batch, *segment.over))
    mask, causal = _mask(sample, node, batch)
    if segment.mask is not None and mask is None and not causal:
        return None

    def run(tensors: Tensors) -> torch.Tensor:
        groups = ((batch, queries, (feature,)), (batch, segment.over, (feature,)), (batch, segment.over, mixed))
        q, k, v = (
            _lined(tensors[r.source], inputs[r.source], r, sample.sizes, g) for r, g in zip(reads, groups, strict=True)
        )
        out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, scale=scale)
        sizes = [sample.sizes[x] for x in (*batch, *queries, *mixed)]
        stored = [x for dim in outputs[0].dims for x in dim]
        order = [(*batch, *queries, *mixed).index(x) for x in stored]
        out = out.reshape(sizes).permute(order)
        return out.reshape([math.prod(sample.sizes[x] for x in dim) for dim in outputs[0].dims])

    return run


PEERS: dict[str, Callable[[Sample], Peer | None]] = {"sdpa": sdpa}


def peers(sample: Sample) -> dict[str, Peer]:
    """The peers of a sample's pattern whose results agree with the eager backend's, by name."""
    out: dict[str, Peer] = {}
    for name, find in PEERS.items():
        peer = find(sample)
        if peer is None:
            continue
        with torch.no_grad():
            (expected,) = sample.call("eager")
            got = peer(sample.tensors)
        if got.shape == expected.shape and torch.allclose(got.double(), expected.double(), rtol=2e-2, atol=2e-3):
            out[name] = peer
    return out


def _scaled_dot(score: Expr, sizes: Mapping[str, int]) -> tuple[float, Read, Read, str] | None:
    """A score that is a number times a dot product: the number, both factors, the axis summed."""
    sums = [e for e in walk(score) if isinstance(e, Reduce)]
    if len(sums) != 1 or sums[0].op != "sum" or len(sums[0].axes) != 1 or sums[0].cond is not None:
        return None
    body = sums[0].body
    if not (isinstance(body, Apply) and body.op == "mul" and all(isinstance(x, Read) for x in body.args)):
        return None
    try:
        at = [float(scalar(_with(score, sums[0], Const(x)), sizes)) for x in (0.0, 1.0, 3.0)]
    except (Unknown, TypeError, ArithmeticError):
        return None
    if at[0] != 0 or abs(at[2] - 3 * at[1]) > 1e-9 * abs(at[1]):
        return None
    a, b = body.args
    assert isinstance(a, Read) and isinstance(b, Read)
    return at[1], a, b, sums[0].axes[0]


def _with(e: Expr, old: Expr, new: Expr) -> Expr:
    return new if e == old else rebuild(e, lambda child: _with(child, old, new))


def _mask(sample: Sample, node: Attend, batch: tuple[str, ...]) -> tuple[torch.Tensor | None, bool]:
    """The mask as a bool tensor, or that it is plain causal; (None, False) without one, or when it depends on the batch."""
    mask = node.segments[0].mask
    if mask is None or set(axes_of(mask)) & set(batch):
        return None, False
    (picture,) = pictures(sample)
    found = picture.admitted.to(sample.device)
    if found.shape[0] == found.shape[1] and torch.equal(found, torch.ones_like(found).tril()):
        return None, True
    return found, False


def _lined(
    t: torch.Tensor, item: Input, read: Read, sizes: Mapping[str, int], groups: tuple[tuple[str, ...], ...]
) -> torch.Tensor:
    """A stored input as it is read, one dim for each group of axes behind a first dim of 1; axes that it lacks are repeated."""
    t = t.reshape([sizes[a] for dim in item.dims for a in dim])
    axes = [i.axis for i in read.index if isinstance(i, Index)]
    wanted = [a for group in groups for a in group]
    t = t.permute([axes.index(a) for a in wanted if a in axes])
    for n, a in enumerate(wanted):
        t = t if a in axes else t.unsqueeze(n)
    t = t.expand([sizes[a] for a in wanted])
    return t.reshape([1, *(math.prod(sizes[a] for a in group) for group in groups)])
