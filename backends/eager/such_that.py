"""Such-that conditions that the predicates pass has solved, carried out without enumerating what they exclude.

`out == f` with f free of `out` is a scatter along `out`; a summed axis that equals an expression is read there; bounds
`t >= lo`, `t < hi` become a window as wide as the widest interval. What else the condition says stays a mask.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from attncc.ir.expr import Apply, Const, Expr, Index, Reduce, Size, axes_of, conjoin, conjuncts, kind_of, substitute

from . import reduce
from .elementwise import cast
from .named import Named, Value, aligned, union

if TYPE_CHECKING:
    from .evaluate import Evaluator


def _equality(cond: Expr) -> tuple[str, Expr] | None:
    """A condition `axis == f`, in the form that the predicates pass leaves."""
    if isinstance(cond, Apply) and cond.op == "eq" and isinstance(cond.args[0], Index) and kind_of(cond.args[1]) == "int":
        axis, at = cond.args[0].axis, cond.args[1]
        return (axis, at) if axis not in axes_of(at) else None
    return None


def solved(ev: Evaluator, e: Reduce, admitted: Named | None) -> Value | None:
    """The reduction by way of its solved condition; None when only a mask is left to do it."""
    if admitted is not None:
        return _scatter(ev, e, admitted)
    for way in (_substitution, _scatter, _window):
        found = way(ev, e)
        if found is not None:
            return found
    return None


def _substitution(ev: Evaluator, e: Reduce) -> Value | None:
    """`sum[j | j == f and ..](body)`: j takes the one position f, if that is inside."""
    parts = conjuncts(e.cond)
    for part in parts:
        axis, at = _equality(part) or ("", part)
        if axis not in e.axes or set(axes_of(at)) & set(e.axes) or ev.sizes[axis] == 0:
            continue
        inside = [Apply("ge", (at, Const(0))), Apply("lt", (at, Size(axis)))]
        safe = Apply("min", (Apply("max", (at, Const(0))), Apply("sub", (Size(axis), Const(1)))))
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
        axis, at = _equality(part) or ("", part)
        if axis and axis not in e.axes and axis not in targets and set(axes_of(at)) & set(e.axes) and ev.is_whole(axis):
            targets[axis] = at
        else:
            rest.append(part)
    if not targets or any(t in axes_of(at) for t in targets for at in targets.values()):
        return None
    if admitted is not None and set(admitted.axes) & set(targets):
        return None
    body, cond = substitute(e.body, targets), conjoin([substitute(p, targets) for p in rest])
    where = {axis: ev.eval(f) for axis, f in targets.items()}
    v = ev.eval(body)
    if e.op in ("mean", "lse", "norm"):
        v = cast(v, "float", ev.acc)
    test = ev.eval(cond) if cond is not None else True
    if admitted is not None:
        test = reduce.both(test, admitted)
    sources = [x for x in (v, test, *where.values()) if isinstance(x, Named)]
    axes = union(sources)
    moving = tuple(a for a in axes if a in e.axes or any(a in (w.axes if isinstance(w, Named) else ()) for w in where.values()))
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
        t = aligned(reduce.full(ev, w, ()), moving)
        ok = ok & (t >= 0) & (t < ev.sizes[axis])
        flat = flat * ev.sizes[axis] + t
    total = math.prod([ev.extent(a) for a in kept] + [ev.sizes[a] for a in where])
    mask = ok if isinstance(test, bool) and test else ok & aligned(reduce.full(ev, test, ()), axes)
    mask = mask.expand(shape)
    value = aligned(reduce.full(ev, v if e.op != "count" else 1, ()), axes).expand(shape)
    integral = value.dtype == torch.bool
    value = value.to(torch.int64) if integral else value
    start = (
        reduce.EMPTY[e.op] if value.dtype.is_floating_point or e.op not in ("max", "min") else int(reduce.neutral(e.op, value))
    )
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
    n = spread.t.numel() and int(spread.t.max()) if isinstance(spread, Named) else int(spread)  # type: ignore[arg-type]  # a difference of positions is a whole number
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
