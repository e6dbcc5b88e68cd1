"""Which keys of a tile the rows of one vector admit: the rest of a tile that a mask cuts need not be computed.

A tile of keys is what all rows of an owner's tile admit; a vector of them admits fewer. Where the mask bounds the outermost axis of the
keys by the rows alone (j <= i, or i - 63 <= j, or a window that is moved inside at the borders), those bounds are worked out for each
vector of a strip, and products and pointwise loops run between them. What lies outside adds nothing, as tiles that are not visited add
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, walk
from attncc.tile.nodes import Dim, Dot, Map, Reduce, Set, Stmt, TileLoop, defined, statements

from .ready import Value, reads
from .sharing import Rescaled


@dataclass(frozen=True)
class Bound:
    """`at` is the least (low) or the greatest position of the keys' outermost axis that a row admits."""

    low: bool
    at: Expr


@dataclass(frozen=True)
class Narrow:
    """dim: of the keys. bounds: of its outermost axis. filled: tiles of pairs that are read whole, so that what is not computed must
    be 0. whole: something sums over the owner's rows, all strips of them. admits: what says which pairs count; exact: it is the bounds
    alone."""

    dim: str
    bounds: tuple[Bound, ...]
    filled: frozenset[str]
    whole: bool
    admits: str
    exact: bool


def narrow(loop: TileLoop, keys: Dim, owner: str, values: Mapping[str, Value], rounds: Callable[[Dot], bool]) -> Narrow | None:
    """How a loop's pairs are bounded; None where they are not, or where something reads pairs in another way than by their keys.

    values: of the program. rounds: whether a product runs on a matrix unit, which takes whole tiles.
    """
    body = tuple(statements(loop.body))
    mask = next((s.expr for s in body if isinstance(s, Map) and s.out == loop.admits), None) if loop.admits else None
    if mask is None or any(isinstance(s, TileLoop) for s in body):
        return None

    def free(at: Expr) -> bool:
        return _of_rows(at, keys, values)

    found = tuple(bounds(mask, keys.axes[0], free))
    filled = _filled(body, (owner, keys.name), values, rounds)
    whole = any(isinstance(s, Dot | Reduce) and s.over == owner for s in body)
    if not found or filled is None:
        return None
    exact = all(bounds(part, keys.axes[0], free) for part in _parts(mask))
    return Narrow(keys.name, found, filled, whole, loop.admits, exact)


def _parts(mask: Expr) -> list[Expr]:
    """Conditions that hold together."""
    match mask:
        case Apply("and", (a, b)):
            return _parts(a) + _parts(b)
    return [mask]


def bounds(mask: Expr, axis: str, free: Callable[[Expr], bool]) -> list[Bound]:
    """Bounds of the position along an axis that a condition implies. free: whether an expression may be one."""
    match mask:
        case Apply("and", (a, b)):
            return bounds(a, axis, free) + bounds(b, axis, free)
        case Apply("eq", (a, b)):
            return bounds(Apply("le", (a, b)), axis, free) + bounds(Apply("le", (b, a)), axis, free)
        case Apply("ge" | "gt" as op, (a, b)):
            return bounds(Apply("le" if op == "ge" else "lt", (b, a)), axis, free)
        case Apply("le" | "lt" as op, (a, b)):
            left, right = _split(a, axis), _split(b, axis)
            if left is None or right is None or abs(left[0] - right[0]) != 1:
                return []
            low = left[0] < right[0]  # rest <= position
            here, there = (left[1], right[1]) if low else (right[1], left[1])
            at = _sum([*here, *(_negated(x) for x in there), *([Const(1 if low else -1)] if op == "lt" else [])])
            return [Bound(low, at)] if free(at) else []
    return []


def rises(expr: Expr, axis: str) -> int | None:
    """1 where an expression of positions never falls along an axis, -1 where it never rises, 0 where it stays; None if unknown."""
    match expr:
        case Index(name):
            return int(name == axis)
        case Const() | Size() | Read(_, ()):
            return 0
        case Apply("neg", (a,)):
            way = rises(a, axis)
            return None if way is None else -way
        case Apply("mul", (Const(int() as n), a)) | Apply("mul", (a, Const(int() as n))):
            way = rises(a, axis)
            return None if way is None else way if n > 0 else -way if n < 0 else 0
        case Apply("add" | "sub" | "min" | "max" as op, (a, b)):
            first, second = rises(a, axis), rises(Apply("neg", (b,)) if op == "sub" else b, axis)
            if first is None or second is None or first * second < 0:
                return None
            return first or second
    return None


def _split(expr: Expr, axis: str) -> tuple[int, list[Expr]] | None:
    """(n, terms): an expression as n times the position along an axis and a sum of other terms."""
    match expr:
        case Index(name) if name == axis:
            return 1, []
        case Apply("add" | "sub" as op, (a, b)):
            left, right = _split(a, axis), _split(b, axis)
            if left is None or right is None:
                return None
            if op == "add":
                return left[0] + right[0], left[1] + right[1]
            return left[0] - right[0], left[1] + [_negated(x) for x in right[1]]
        case _ if any(isinstance(e, Index) and e.axis == axis for e in walk(expr)):
            return None
    return 0, [expr]


def _negated(expr: Expr) -> Expr:
    match expr:
        case Const(int() as n):
            return Const(-n)
        case Apply("neg", (a,)):
            return a
    return Apply("neg", (expr,))


def _sum(terms: list[Expr]) -> Expr:
    """All terms added, numbers last."""
    number = sum(t.value for t in terms if isinstance(t, Const) and isinstance(t.value, int))
    out: Expr | None = None
    for term in (t for t in terms if not isinstance(t, Const)):
        match term:
            case Apply("neg", (a,)) if out is not None:
                out = Apply("sub", (out, a))
            case _:
                out = term if out is None else Apply("add", (out, term))
    if out is None:
        return Const(number)
    return out if number == 0 else Apply("add" if number > 0 else "sub", (out, Const(abs(number))))


def _of_rows(expr: Expr, keys: Dim, values: Mapping[str, Value]) -> bool:
    """Whether rows and scalars alone give an expression, without what is loaded."""
    for e in walk(expr):
        if isinstance(e, Index) and e.axis in keys.axes:
            return False
        source = getattr(e, "source", "")
        if source in values and values[source].dims:
            return False
        if isinstance(e, Apply) and e.op not in ("add", "sub", "neg", "mul", "min", "max"):
            return False
    return True


def _filled(
    body: Sequence[Stmt], pair: tuple[str, str], values: Mapping[str, Value], rounds: Callable[[Dot], bool]
) -> frozenset[str] | None:
    """Tiles of pairs that something reads whole; None where pairs are read, or made, in a way that needs all of them."""
    owner, keys = pair
    tiles = {n for n, v in values.items() if set(v.dims) == set(pair)}
    mapped = {s.out for s in body if isinstance(s, Map)}
    filled: set[str] = set()
    for stmt in body:
        dot = stmt.dot if isinstance(stmt, Rescaled) else stmt
        if isinstance(dot, Dot) and {dot.a, dot.b, dot.out} & tiles:
            used = {dot.a, dot.b} & tiles
            if rounds(dot) or (isinstance(stmt, Rescaled) and stmt.by in tiles):
                return None
            if dot.over == owner and used <= mapped:
                filled |= used
            elif not ((dot.over == keys and dot.into and owner in dot.dims) or (dot.out in tiles and not used)):
                return None
        elif isinstance(stmt, Reduce) and stmt.tile in tiles:
            if stmt.over == owner:
                if stmt.tile not in mapped:
                    return None
                filled.add(stmt.tile)
        elif isinstance(stmt, Map | Set) or not (reads(stmt) | {defined(stmt)}) & tiles:
            continue
        elif not isinstance(stmt, Reduce):
            return None
    return frozenset(filled)
