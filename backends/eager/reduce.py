"""Reductions in PyTorch: contractions as einsum, solved such-that conditions by `such_that`, the rest under a mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from attncc.ir.expr import Apply, Expr, Reduce, kind_of

from . import such_that
from .elementwise import cast
from .elementwise import kind_of as value_kind
from .named import Named, Value, aligned, union

if TYPE_CHECKING:
    from .evaluate import Evaluator

EMPTY = {
    "sum": 0,
    "mean": 0,
    "count": 0,
    "prod": 1,
    "any": False,
    "all": True,
    "max": -math.inf,
    "min": math.inf,
    "norm": 0,
    "lse": -math.inf,
}
"""What a reduction gives over nothing."""


def reduce(ev: Evaluator, e: Reduce, admitted: Named | None) -> Value:
    """Evaluate a reduction; `admitted` further restricts it to admitted pairs."""
    if e.cond is not None:
        found = such_that.solved(ev, e, admitted)
        if found is not None:
            return found
    if e.cond is None and admitted is None and e.op == "sum":
        product = _contract(ev, e)
        if product is not None:
            return product
    cond = admitted
    if e.cond is not None:
        test = ev.eval(e.cond)
        cond = both(test, admitted) if admitted is not None else test if isinstance(test, Named) else full(ev, test, ())
    return dense(ev, e.op, e.axes, ev.eval(e.body), cond)


def both(test: Value, admitted: Named) -> Named:
    if not isinstance(test, Named):
        return admitted if test else Named(torch.zeros_like(admitted.t), admitted.axes)
    axes = union([test, admitted])
    return Named(aligned(test, axes) & aligned(admitted, axes), axes)


def full(ev: Evaluator, v: Value, axes: tuple[str, ...]) -> Named:
    """A value spread over given axes."""
    v = (
        v
        if isinstance(v, Named)
        else Named(torch.as_tensor(v, device=ev.device, dtype=None if isinstance(v, bool | int) else ev.acc), ())
    )
    missing = tuple(a for a in axes if a not in v.axes)
    if not missing:
        return v
    shape = [*v.t.shape, *(ev.extent(a) for a in missing)]
    return Named(v.t.reshape(*v.t.shape, *[1] * len(missing)).expand(shape), (*v.axes, *missing))


def dense(ev: Evaluator, op: str, axes: tuple[str, ...], body: Value, cond: Named | None) -> Value:
    """Reduce with the condition as a mask."""
    if op in ("mean", "norm", "lse"):
        body = cast(body, "float", ev.acc)
    count = op == "count"
    if count:
        body = cond if cond is not None else True
    spread = full(ev, body, tuple(dict.fromkeys((*(() if cond is None else cond.axes), *axes))))
    t, names = spread.t, spread.axes
    mask = aligned(full(ev, cond, ()), names) if cond is not None and not count else None
    dims = [names.index(a) for a in axes]
    left = tuple(a for a in names if a not in axes)
    if op in ("sum", "count", "mean"):
        t = t.to(torch.int64) if t.dtype == torch.bool else t
        t = torch.where(mask, t, torch.zeros((), dtype=t.dtype, device=t.device)) if mask is not None else t
        total = t.sum(dims) if dims else t
        if op == "mean":
            n = mask.expand(t.shape).sum(dims) if mask is not None else math.prod(t.shape[d] for d in dims)
            if isinstance(n, int):
                return Named(total / max(n, 1), left)
            return Named(total / n.clamp(min=1), left)
        return Named(total, left)
    if op in ("any", "all"):
        t = (t & mask if op == "any" else t | ~mask) if mask is not None else t
        return Named(_each(t, dims, torch.any if op == "any" else torch.all), left)
    if mask is not None:
        t = torch.where(mask, t, neutral(op, t))
    if op == "prod":
        return Named(_each(t, dims, torch.prod), left)
    if op == "norm":
        return Named(torch.linalg.vector_norm(t, dim=dims) if dims else t.abs(), left)
    if not dims:
        return Named(t, left)
    if any(t.shape[d] == 0 for d in dims):
        return Named(torch.full([t.shape[names.index(a)] for a in left], EMPTY[op], dtype=t.dtype, device=t.device), left)
    if op == "lse":
        top = t.detach().amax(dims, keepdim=True)
        top = torch.where(torch.isinf(top), torch.zeros_like(top), top)
        total = (t - top).exp().sum(dims)
        return Named(
            torch.where(total > 0, total.clamp(min=torch.finfo(t.dtype).tiny).log(), -math.inf) + top.reshape(total.shape), left
        )
    return Named(t.amax(dims) if op == "max" else t.amin(dims), left)


def _axes(v: Value) -> tuple[str, ...]:
    return v.axes if isinstance(v, Named) else ()


def neutral(op: str, t: torch.Tensor) -> torch.Tensor:
    if t.dtype.is_floating_point:
        value: float = EMPTY[op]
    else:
        limits = torch.iinfo(t.dtype)
        value = {"max": limits.min, "min": limits.max}.get(op, EMPTY[op])
    return torch.tensor(value, dtype=t.dtype, device=t.device)


def _each(t: torch.Tensor, dims: list[int], fn: Callable[..., torch.Tensor]) -> torch.Tensor:
    for d in sorted(dims, reverse=True):
        t = fn(t, d)
    return t


def factors(e: Expr) -> list[Expr]:
    """The factors of a product."""
    return [f for arg in e.args for f in factors(arg)] if isinstance(e, Apply) and e.op == "mul" else [e]


def _contract(ev: Evaluator, e: Reduce) -> Value | None:
    """A sum of a product of floats: einsum, factors without a summed axis outside."""
    parts = factors(e.body)
    if len(parts) < 2 or kind_of(e.body) not in ("float", "complex"):
        return None
    values = [ev.eval(p) for p in parts]
    tensors = [v for v in values if isinstance(v, Named) and value_kind(v) in ("float", "complex")]
    others = [v for v in values if not any(v is t for t in tensors)]
    if len(tensors) < 2 or any(isinstance(v, Named) and set(v.axes) & set(e.axes) for v in others):
        return None
    out: Value = einsum(tensors, e.axes)
    missing = [a for a in e.axes if not any(a in t.axes for t in tensors)]
    for v in [*others, *(ev.extent(a) for a in missing)]:
        out = ev.multiply(out, v)
    return out


def einsum(tensors: list[Named], over: tuple[str, ...]) -> Named:
    """The product of some tensors summed over axes, two at a time."""
    done = tensors[0]
    dtype = tensors[0].t.dtype
    for t in tensors[1:]:
        dtype = torch.promote_types(dtype, t.t.dtype)
    for n, t in enumerate(tensors[1:], 1):
        later = {a for u in tensors[n + 1 :] for a in u.axes}
        names = union([done, t])
        gone = {a for a in names if a in over and a not in later}
        number = {a: i for i, a in enumerate(names)}
        keep = [a for a in names if a not in gone]
        sub = [[number[a] for a in x.axes] for x in (done, t)]
        done = Named(torch.einsum(done.t.to(dtype), sub[0], t.t.to(dtype), sub[1], [number[a] for a in keep]), tuple(keep))
    left = [a for a in done.axes if a in over]
    return Named(done.t.sum([done.axes.index(a) for a in left]), tuple(a for a in done.axes if a not in left)) if left else done
