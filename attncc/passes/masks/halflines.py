"""Isolate one axis in `linear >= 0`: half-lines lo <= axis and axis <= hi whose ends are scalars.

All other positions have been replaced by scalars before (`interval.extreme`), so the ends are final. Inverses are closed:

    i + c <= R        i <= R - c               c i <= R       i <= R div c
    i div c <= R      i <= c R + c - 1         i div c >= R   i >= c R
    min(f, g) <= R    f <= R or g <= R         max(f, g) <= R f <= R and g <= R        (and the other way round for >=)
    |f| <= R          f <= R and -f <= R       f ^ 2 <= R     |f| <= isqrt(R), R >= 0
    where(c, f, g)    f where c holds, else g  s i <= R       i <= R div s for a scalar s >= 0

An or of half-lines on the same side is one half-line. What no rule opens may still be monotone: `direction` says so, and the
end is then found by bisection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ...ir.expr import TRUE, Apply, Const, Expr, Index, axes_of
from .algebra import Algebra
from .interval import both, either, nonneg
from .linear import FAR, Linear, constant, term


@dataclass(frozen=True, slots=True)
class Half:
    """Positions at or above every lo and at or below every hi, if guard holds; none otherwise."""

    lo: tuple[Linear, ...] = ()
    hi: tuple[Linear, ...] = ()
    guard: Expr = TRUE


def isolate(alg: Algebra, lin: Linear, axis: str) -> Half | None:
    """The positions of an axis where lin >= 0, exactly; None when no rule applies."""
    inside = [(t, c) for t, c in lin.terms if axis in axes_of(t)]
    if not inside:
        return Half(guard=nonneg(alg, lin))
    for t, c in inside:
        rest = lin - term(t, c)
        match t:
            case Apply("min" | "max" as op, args):
                parts = [isolate(alg, rest + alg.linear(a) * c, axis) for a in args]
                return _and(parts) if (op == "min") == (c > 0) else _or(alg, parts)
            case Apply("abs", (x,)):
                parts = [isolate(alg, rest + alg.linear(x) * (c * sign), axis) for sign in (1, -1)]
                return _and(parts) if c < 0 else _or(alg, parts)
            case Apply("where", (cond, a, b)) if axis not in axes_of(cond):
                first, second = (isolate(alg, rest + alg.linear(x) * c, axis) for x in (a, b))
                return _or(alg, [_guarded(first, cond), _guarded(second, Apply("not", (cond,)))])
    if len(inside) > 1:
        return None
    ((t, c),) = inside
    rest = lin - term(t, c)
    if c > 0:
        return _at_least(alg, t, alg.floordiv(-rest + (c - 1), constant(c)), axis)
    return _at_most(alg, t, alg.floordiv(rest, constant(-c)), axis)


def _at_most(alg: Algebra, t: Expr, bound: Linear, axis: str) -> Half | None:
    """t <= bound, for one term."""
    match t:
        case Index():
            return Half(hi=(bound,))
        case Apply("floordiv", (x, d)) if axis not in axes_of(d) and alg.divides(d) and alg.least(alg.linear(d)) >= 0:
            by = alg.linear(d)
            return isolate(alg, alg.product(bound, by) + by - 1 - alg.linear(x), axis)
        case Apply("pow", (x, Const(2))):
            root = alg.root(bound)
            base = alg.linear(x)
            sides = [isolate(alg, root - base, axis)]
            if alg.least(base) < 0:
                sides.append(isolate(alg, root + base, axis))
            return _and([*sides, Half(guard=nonneg(alg, bound))])
        case Apply("mul", args):
            return _scaled(alg, args, bound, axis, True)
    return None


def _at_least(alg: Algebra, t: Expr, bound: Linear, axis: str) -> Half | None:
    """t >= bound, for one term."""
    match t:
        case Index():
            return Half(lo=(bound,))
        case Apply("floordiv", (x, d)) if axis not in axes_of(d) and alg.divides(d) and alg.least(alg.linear(d)) >= 0:
            return isolate(alg, alg.linear(x) - alg.product(bound, alg.linear(d)), axis)
        case Apply("mul", args):
            return _scaled(alg, args, bound, axis, False)
    return None


def _scaled(alg: Algebra, args: tuple[Expr, ...], bound: Linear, axis: str, most: bool) -> Half | None:
    """s x <= bound or s x >= bound for a scalar s >= 0; for s = 0 all positions or none."""
    for scale, x in (args, args[::-1]):
        s = alg.linear(scale)
        if axis in axes_of(scale) or alg.least(s) < 0:
            continue
        by = alg.pick("max", [s, constant(1)])
        end = alg.floordiv(bound, by) if most else -alg.floordiv(-bound, by)
        found = isolate(alg, end - alg.linear(x) if most else alg.linear(x) - end, axis)
        if alg.least(s) >= 1:
            return found
        none = Half(guard=nonneg(alg, bound if most else -bound))
        return _or(alg, [_guarded(found, nonneg(alg, s - 1)), _guarded(none, nonneg(alg, -s))])
    return None


def _guarded(half: Half | None, cond: Expr) -> Half | None:
    return None if half is None else Half(half.lo, half.hi, both(half.guard, cond))


def _and(parts: Iterable[Half | None]) -> Half | None:
    lo: tuple[Linear, ...] = ()
    hi: tuple[Linear, ...] = ()
    guard: Expr = TRUE
    for part in parts:
        if part is None:
            return None
        lo, hi, guard = lo + part.lo, hi + part.hi, both(guard, part.guard)
    return Half(lo, hi, guard)


def _or(alg: Algebra, parts: list[Half | None]) -> Half | None:
    """An or of half-lines on one side: where a guard fails the end is out of reach; where there is no end everything is in."""
    known = [p for p in parts if p is not None]
    if len(known) < len(parts) or (any(p.lo for p in known) and any(p.hi for p in known)):
        return None
    upper = any(p.hi for p in known)
    everything, nothing = constant(FAR if upper else -FAR), constant(-FAR if upper else FAR)
    ends, free = [], []
    for part in known:
        own = part.hi if upper else part.lo
        if own:
            ends.append(alg.where(part.guard, alg.pick("min" if upper else "max", own), nothing))
        else:
            free.append(part.guard)
    end = alg.where(either(*free), everything, alg.pick("max" if upper else "min", ends) if ends else nothing)
    return Half(hi=(end,)) if upper else Half(lo=(end,))


def direction(alg: Algebra, lin: Linear, axis: str) -> int | None:
    """1 where a sum never falls along an axis, -1 where it never rises, 0 without the axis, None when neither is known."""
    found = 0
    for t, c in lin.terms:
        way = _direction(alg, t, axis)
        if way is None or way * found * c < 0:
            return None
        found = found or (way if c > 0 else -way)
    return found


def _direction(alg: Algebra, t: Expr, axis: str) -> int | None:
    if axis not in axes_of(t):
        return 0

    def ways(args: Iterable[Expr]) -> int | None:
        found = 0
        for a in args:
            way = direction(alg, alg.linear(a), axis)
            if way is None or way * found < 0:
                return None
            found = found or way
        return found

    match t:
        case Index():
            return 1
        case Apply("floordiv", (x, d)) if axis not in axes_of(d) and alg.divides(d) and alg.least(alg.linear(d)) >= 0:
            return ways((x,))
        case Apply("min" | "max", args):
            return ways(args)
        case Apply("where", (cond, a, b)) if axis not in axes_of(cond):
            return ways((a, b))
        case Apply("pow", (x, _)) if alg.least(alg.linear(x)) >= 0:
            return ways((x,))
        case Apply("isqrt", (x,)):
            return ways((x,))
        case Apply("mul", args) if all(alg.least(alg.linear(a)) >= 0 for a in args):
            return ways(args)
    return None
