"""Picks in PyTorch: integers chosen by data. Ties go to the lowest position."""

from __future__ import annotations

import torch

from attncc.errors import AttnShapeError, AttnValueError
from attncc.ir.nodes import Pick

from .evaluate import Evaluator
from .named import Named, Value, aligned
from .reduce import full


def pick(ev: Evaluator, node: Pick) -> Value:
    """The value of a pick."""
    v = ev.eval(node.expr)
    cond = None if node.cond is None else ev.eval(node.cond)
    before = tuple(a for a in node.axes if a != node.target) if node.op != "argmax" else node.axes
    whole = full(ev, v, (node.source, *before))
    axes = (*before, node.source)
    t = aligned(whole, axes).detach()
    out = _along_last(ev, node, t, None if cond is None else aligned(full(ev, cond, axes), axes))
    if node.op == "argmax":
        return Named(out, before)
    last = (*before, node.target)
    return Named(aligned(Named(out, last), node.axes), node.axes)


def _descending(t: torch.Tensor) -> torch.Tensor:
    """Positions from the greatest to the least."""
    return torch.argsort(t, dim=-1, descending=True, stable=True)


def _along_last(ev: Evaluator, node: Pick, t: torch.Tensor, cond: torch.Tensor | None) -> torch.Tensor:
    n = t.shape[-1]
    match node.op:
        case "topk":
            k = ev.sizes[node.target]
            if k > n:
                raise AttnShapeError(
                    f"topk takes {k} of {n} positions", node.span, f"axis '{node.target}' must not be longer than '{node.source}'"
                )
            return _descending(t)[..., :k]
        case "argsort":
            return torch.argsort(t, dim=-1, stable=True)
        case "sort":
            return torch.sort(t, dim=-1, stable=True).values
        case "argmax":
            if n == 0:
                raise AttnShapeError("argmax over an empty axis", node.span)
            return _descending(t)[..., 0]
        case "positions":
            k = ev.sizes[node.target]
            found = t.sum(-1)
            if bool((found != k).any()):
                raise AttnValueError(
                    f"the condition holds at {found.reshape(-1).tolist()[:4]} positions, axis '{node.target}' has {k}", node.span
                )
            return torch.argsort((~t).to(torch.int8), dim=-1, stable=True)[..., :k]
        case "in_top":
            if cond is None:
                cond = torch.ones_like(t, dtype=torch.bool)
            order = _descending(torch.where(cond, t, -torch.inf))
            order = order.gather(-1, torch.argsort((~cond.gather(-1, order)).to(torch.int8), dim=-1, stable=True))
            rank = torch.empty_like(order).scatter_(-1, order, torch.arange(n, device=t.device).expand(order.shape))
            count = ev.eval(node.count) if node.count is not None else 0
            limit = (
                aligned(count, (*[a for a in node.axes if a != node.target], node.target)) if isinstance(count, Named) else count
            )
            return (rank < limit) & cond
    raise AttnValueError(f"unknown pick '{node.op}'", node.span)
