"""Reductions in PyTorch: contractions as einsum, such-that conditions solved instead of enumerated.

A condition `out == f` with f free of `out` turns the sum into a scatter along `out`; a reduced axis that equals an expression is
replaced by it; bounds `lo <= t < hi` become a window as wide as the widest interval. What remains is a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from attncc.ir.expr import Apply, Const, Expr, Index, Reduce, Size, axes_of, conjoin, conjuncts, kind_of, substitute

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
    if admitted is None and e.cond is not None:
        solved = _substitution(ev, e) or _scatter(ev, e) or _window(ev, e)
        if solved is not None:
            return solved
    elif admitted is not None and e.cond is not None:
        solved = _scatter(ev, e, admitted)
        if solved is not None:
            return solved
    if e.cond is None and admitted is None and e.op == "sum":
        product = _contract(ev, e)
        if product is not None:
            return product
    cond = admitted
    if e.cond is not None:
        test = ev.eval(e.cond)
        cond = _both(test, admitted, ev) if admitted is not None else test if isinstance(test, Named) else _full(ev, test, ())
    return dense(ev, e.op, e.axes, ev.eval(e.body), cond)


def _both(test: Value, admitted: Named, ev: Evaluator) -> Named:
    if not isinstance(test, Named):
        return admitted if test else Named(torch.zeros_like(admitted.t), admitted.axes)
    axes = union([test, admitted])
    return Named(aligned(test, axes) & aligned(admitted, axes), axes)


def _full(ev: Evaluator, v: Value, axes: tuple[str, ...]) -> Named:
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
    have = union([body] if cond is None else [body, cond])
    spread = _full(ev, body, tuple(a for a in axes if a not in have) if cond is None else (*[a for a in have if a not in _axes(body)], *[a for a in axes if a not in have]))  # fmt: skip
    t, names = spread.t, spread.axes
    mask = aligned(_full(ev, cond, ()), names) if cond is not None and not count else None
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
        t = torch.where(mask, t, _neutral(op, t))
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


def _neutral(op: str, t: torch.Tensor) -> torch.Tensor:
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
    out = einsum(tensors, e.axes)
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


def _equality(cond: Expr) -> list[tuple[str, Expr]]:
    """Ways to read a condition as `axis == expression free of it`."""
    if not (isinstance(cond, Apply) and cond.op == "eq"):
        return []
    a, b = cond.args
    pairs = [
        (x.axis, y) for x, y in ((a, b), (b, a)) if isinstance(x, Index) and kind_of(y) == "int" and x.axis not in axes_of(y)
    ]
    return pairs


def _substitution(ev: Evaluator, e: Reduce) -> Value | None:
    """`sum[j | j == f and ..](body)`: j takes the one position f, if that is inside."""
    parts = conjuncts(e.cond)
    for part in parts:
        for axis, at in _equality(part):
            if axis in e.axes and not set(axes_of(at)) & set(e.axes):
                inside = [Apply("ge", (at, Const(0))), Apply("lt", (at, Size(axis)))]
                safe = Apply("min", (Apply("max", (at, Const(0))), Apply("sub", (Size(axis), Const(1)))))
                if ev.sizes[axis] == 0:
                    return None
                rest = [substitute(p, {axis: safe}) for p in parts if p is not part]
                axes = tuple(a for a in e.axes if a != axis)
                return ev.eval(Reduce(e.op, axes, substitute(e.body, {axis: safe}), conjoin([*inside, *rest])))
    return None


def _scatter(ev: Evaluator, e: Reduce, admitted: Named | None = None) -> Value | None:
    """`sum[t | out == f(t)](body)`: each position of t adds to one position of `out`."""
    parts = conjuncts(e.cond)
    targets: dict[str, Expr] = {}
    rest: list[Expr] = []
    for part in parts:
        for axis, at in _equality(part):
            if axis not in e.axes and axis not in targets and set(axes_of(at)) & set(e.axes) and ev.is_whole(axis):
                targets[axis] = at
                break
        else:
            rest.append(part)
    if not targets or any(t in axes_of(at) for t in targets for at in targets.values()):
        return None
    if admitted is not None and set(admitted.axes) & set(targets):
        return None
    at = dict(targets)
    body, cond = substitute(e.body, at), conjoin([substitute(p, at) for p in rest])
    where = {axis: ev.eval(f) for axis, f in targets.items()}
    v = ev.eval(body)
    if e.op in ("mean", "lse", "norm"):
        v = cast(v, "float", ev.acc)
    test = ev.eval(cond) if cond is not None else True
    if admitted is not None:
        test = _both(test, admitted, ev)
    sources = [x for x in (v, test, *where.values()) if isinstance(x, Named)]
    axes = union(sources)
    moving = tuple(a for a in axes if a in e.axes or any(a in _axes(w) for w in where.values()))
    axes = (*(a for a in axes if a not in moving), *moving)
    extra = [a for a in e.axes if a not in axes]
    if extra or e.op in ("norm", "lse"):
        return None
    return _scattered(ev, e, v, test, where, axes, moving)


def _scattered(
    ev: Evaluator, e: Reduce, v: Value, test: Value, where: dict[str, Value], axes: tuple[str, ...], moving: tuple[str, ...]
) -> Named:
    kept = tuple(a for a in moving if a not in e.axes)  # rows that share the index but stay
    shape = [ev.extent(a) for a in axes]
    lead = len(axes) - len(moving)
    flat = torch.zeros([1] * len(moving), dtype=torch.int64, device=ev.device)
    ok: torch.Tensor = torch.ones((), dtype=torch.bool, device=ev.device)
    for a in kept:
        flat = flat * ev.extent(a) + aligned(Named(torch.arange(ev.extent(a), device=ev.device), (a,)), moving)
    for axis, w in where.items():
        t = aligned(_full(ev, w, ()), moving)
        ok = ok & (t >= 0) & (t < ev.sizes[axis])
        flat = flat * ev.sizes[axis] + t
    total = math.prod([ev.extent(a) for a in kept] + [ev.sizes[a] for a in where])
    mask = ok if isinstance(test, bool) and test else ok & aligned(_full(ev, test, ()), axes)
    mask = mask.expand(shape)
    value = aligned(_full(ev, v if e.op != "count" else 1, ()), axes).expand(shape)
    integral = value.dtype == torch.bool
    value = value.to(torch.int64) if integral else value
    start = EMPTY[e.op] if value.dtype.is_floating_point or e.op not in ("max", "min") else int(_neutral(e.op, value))
    size = math.prod(shape[lead:])
    index = torch.where(mask, flat, total).reshape(*shape[:lead], size)
    value = value.reshape(*shape[:lead], size)
    out = torch.full([*shape[:lead], total + 1], int(start) if integral else start, dtype=value.dtype, device=ev.device)
    how = {
        "sum": "sum",
        "count": "sum",
        "mean": "sum",
        "prod": "prod",
        "max": "amax",
        "min": "amin",
        "any": "amax",
        "all": "amin",
    }[e.op]
    out = out.scatter_add(-1, index, value) if how == "sum" else out.scatter_reduce(-1, index, value, how, include_self=True)
    if e.op == "mean":
        n = torch.zeros_like(out).scatter_add(-1, index, torch.ones_like(value))
        out = out / n.clamp(min=1)
    out = out[..., :total].reshape(*shape[:lead], *(ev.extent(a) for a in kept), *(ev.sizes[a] for a in where))
    if integral and e.op in ("any", "all"):
        out = out.to(torch.bool)
    return Named(out, (*axes[:lead], *kept, *where))


def _window(ev: Evaluator, e: Reduce) -> Value | None:
    """`sum[t | t >= lo and t < hi](body)` with bounds free of t: a window of the widest interval."""
    if len(e.axes) != 1:
        return None
    axis = e.axes[0]
    low: Expr | None = None
    high: Expr | None = None
    rest: list[Expr] = []
    for part in conjuncts(e.cond):
        bound = _half_line(part, axis)
        if bound is None:
            rest.append(part)
        elif bound[0] == "low":
            low = bound[1] if low is None else Apply("max", (low, bound[1]))
        else:
            high = bound[1] if high is None else Apply("min", (high, bound[1]))
    if low is None or high is None or not (axes_of(low) or axes_of(high)):
        return None
    first, stop = ev.eval(Apply("max", (low, Const(0)))), ev.eval(Apply("min", (high, Size(axis))))
    spread = ev.eval_apply("sub", [stop, first])
    n = spread.t.numel() and int(spread.t.max()) if isinstance(spread, Named) else int(spread)  # type: ignore[arg-type]
    if n <= 0 or n * 2 > ev.sizes[axis]:
        return None
    window = ev.pseudo_axis(n)
    at = Apply("add", (Apply("max", (low, Const(0))), Index(window)))
    safe = Apply("min", (at, Apply("sub", (Size(axis), Const(1)))))
    inside = Apply("lt", (at, Apply("min", (high, Size(axis)))))
    cond = conjoin([inside, *(substitute(p, {axis: safe}) for p in rest)])
    return ev.eval(Reduce(e.op, (window,), substitute(e.body, {axis: safe}), cond))


def _half_line(part: Expr, axis: str) -> tuple[str, Expr] | None:
    """`axis >= e` as ("low", e) and `axis < e` as ("high", e), with e free of the axis."""
    if not isinstance(part, Apply) or part.op not in ("le", "lt", "ge", "gt"):
        return None
    a, b = part.args
    op = part.op
    if b == Index(axis):
        a, b, op = b, a, {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt"}[op]
    if a != Index(axis) or axis in axes_of(b) or kind_of(b) != "int":
        return None
    one = Apply("add", (b, Const(1)))
    return {"ge": ("low", b), "gt": ("low", one), "lt": ("high", b), "le": ("high", one)}[op]
