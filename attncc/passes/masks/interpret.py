"""The plan run in plain Python integers: for tests, drawings and reports.

`visited` walks the very loops that a backend prints (`tiles.loops`), so what it shows is what a kernel does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from ...errors import AttnInternalError
from ...ir.expr import Apply, Const, Expr, Index, Read, Size
from ...ir.sizes import WHOLE
from .plan import Let, MaskPlan, Statement, Walk
from .tiles import Cursor, Loops, loops

Data = Mapping[str, Callable[..., int] | Sequence[object] | int]
"""Scalar reads by source: a number, a nested sequence, or a function of the positions."""

Names = dict[str, int]
"""Values by name: scalars of the plan, `|i|` for a size, `@i` for the position along an axis that is not tiled."""

Code = Callable[[Names], int]

_OPS: dict[str, Callable[..., int]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, **WHOLE, "exact": WHOLE["floordiv"], "neg": operator.neg,
    "pow": operator.pow, "min": min, "max": max, "abs": abs, "not": operator.not_,
    "eq": operator.eq, "ne": operator.ne, "le": operator.le, "lt": operator.lt, "ge": operator.ge, "gt": operator.gt,
    "sign": lambda a: (a > 0) - (a < 0), "isqrt": lambda a: math.isqrt(max(a, 0)),
    "floor": int, "ceil": int, "round": int, "to_int": int, "stop_grad": int,
}  # fmt: skip


def compiled(expr: Expr, data: Data) -> Code:
    """An expression of whole numbers and truth values as a function. Raises AttnInternalError for anything else."""
    match expr:
        case Const(value):
            return lambda names: value  # type: ignore[return-value]  # of whole numbers and truth values, as said
        case Index(axis):
            return operator.itemgetter(f"@{axis}")
        case Size(axis):
            return operator.itemgetter(f"|{axis}|")
        case Read(source, (), _) if source not in data:
            return operator.itemgetter(source)
        case Read():
            return _read(expr, data)
        case Apply(op, args):
            return _apply(op, [compiled(a, data) for a in args])
    raise AttnInternalError(f"a mask plan holds {expr}, which is no scalar code")


def _apply(op: str, args: list[Code]) -> Code:
    match op, args:
        case "where", [cond, a, b]:
            return lambda names: a(names) if cond(names) else b(names)
        case "and", [a, b]:
            return lambda names: a(names) and b(names)
        case "or", [a, b]:
            return lambda names: a(names) or b(names)
        case _, [a] if op in _OPS:
            one = _OPS[op]
            return lambda names: one(a(names))
        case _, [a, b] if op in _OPS:
            two = _OPS[op]
            return lambda names: two(a(names), b(names))
    raise AttnInternalError(f"a mask plan holds '{op}', which is no scalar code")


def _read(read: Read, data: Data) -> Code:
    source, index = data[read.source], [compiled(e, data) for e in read.index]
    fill = None if read.fill is None else compiled(read.fill, data)

    def value(names: Names) -> int:
        found: object = source
        at = [position(names) for position in index]
        if callable(found):
            return int(found(*at))
        for position in at:
            assert isinstance(found, Sequence)
            if fill is not None and not 0 <= position < len(found):
                return fill(names)
            found = found[position]
        return int(found)  # type: ignore[call-overload]  # as deep as there are axes

    return value


def _block(statements: Sequence[Statement], data: Data) -> Callable[[Names], None]:
    """Statements as a function that defines their names in order."""
    steps = [(s.name, compiled(s.expr, data) if isinstance(s, Let) else _search(s, data)) for s in statements]

    def run(names: Names) -> None:
        for name, value in steps:
            names[name] = value(names)

    return run


def _search(s: Statement, data: Data) -> Code:
    assert not isinstance(s, Let)
    first, last, cond = (compiled(e, data) for e in (s.low, s.high, s.cond))
    place = f"@{s.axis}"

    def value(names: Names) -> int:
        low, high = first(names) - 1, last(names)
        while low < high:  # cond holds up to low, and not above high
            middle = (low + high + 1) // 2
            low, high = (middle, high) if cond({**names, place: middle}) else (low, middle - 1)
        return low

    return value


# ------------------------------------------------------------------------------------------------------------ tiles


@dataclass(frozen=True, slots=True)
class Visit:
    """A pair of tiles: the positions along each row axis and each key axis, without what overhangs. full: needs no test."""

    rows: tuple[range, ...]
    keys: tuple[range, ...]
    full: bool


def visited(
    plan: MaskPlan,
    sizes: Mapping[str, int],
    tile: Mapping[str, int],
    at: Mapping[str, int] | None = None,
    data: Data | None = None,
    transposed: bool = False,
    start: str = "range",
) -> Iterator[Visit]:
    """The tiles that kernels visit, in their order.

    sizes: of every axis. tile: positions of a tile along each row and key axis. at: the position along each axis that is not
    tiled. data: the scalars that the mask reads. start: see `tiles`.
    """
    walk, data = plan.transposed if transposed else plan.forward, data or {}
    names: Names = {f"|{a}|": n for a, n in sizes.items()} | {f"@{a}": p for a, p in (at or {}).items()}
    owner = _owner(walk, tile, data)
    inside = _nest(loops(walk, {a: tile[a] for a in walk.loop}, start), data)
    own = [(a, s.modulus, compiled(e, data)) for s in plan.splits for a, e in ((s.row, s.group), (s.key, s.key_group))]
    for groups in product(*(range(s.modulus) for s in plan.splits)):
        for s, g in zip(plan.splits, groups, strict=True):
            names[s.group.source] = g
        steps = {a: (modulus, offset(names)) for a, modulus, offset in own}
        for _ in owner(names):
            for full in inside(names):
                rows, keys = (tuple(_positions(a, steps, names) for a in axes) for axes in (plan.rows, plan.keys))
                yield Visit(rows, keys, full)


def _positions(axis: str, steps: Mapping[str, tuple[int, int]], names: Names) -> range:
    step, offset = steps.get(axis, (1, 0))
    return range(step * names[f"{axis}.first"] + offset, step * names[f"{axis}.last"] + offset + 1, step)


def _owner(walk: Walk, tile: Mapping[str, int], data: Data) -> Callable[[Names], Iterator[None]]:
    """Sets the owner's tile to each in turn."""
    limits = [compiled(walk.limits[a], data) for a in walk.owner]

    def tiles(names: Names) -> Iterator[None]:
        ends = [limit(names) for limit in limits]
        for starts in product(*(range(0, end + 1, tile[a]) for a, end in zip(walk.owner, ends, strict=True))):
            for a, begin, end in zip(walk.owner, starts, ends, strict=True):
                names[f"{a}.first"], names[f"{a}.last"] = begin, min(begin + tile[a] - 1, end)
            yield

    return tiles


def _nest(nest: Loops, data: Data) -> Callable[[Names], Iterator[bool]]:
    """Sets the loop axes to each visited tile in turn; gives whether it is full."""
    outer = [(_block(statements, data), _cursor(cursor, nest, data)) for statements, cursor in nest.outer]
    block, test = _block(nest.statements, data), compiled(nest.test, data)
    full, part = _cursor(nest.full, nest, data), _cursor(nest.part, nest, data)

    def tiles(names: Names, depth: int = 0) -> Iterator[bool]:
        if depth < len(outer):
            before, steps = outer[depth]
            before(names)
            for _ in steps(names):
                yield from tiles(names, depth + 1)
            return
        block(names)
        for _ in full(names):
            yield True
        for _ in part(names):
            if test(names):
                yield False

    return tiles


def _cursor(cursor: Cursor, nest: Loops, data: Data) -> Callable[[Names], Iterator[None]]:
    count, block = compiled(cursor.count, data), _block(cursor.statements, data)
    axes = [
        (f"{a}.first", f"{a}.last", compiled(begin, data), compiled(nest.sizes[a], data), compiled(nest.limits[a], data))
        for a, begin in zip(cursor.axes, cursor.starts, strict=True)
    ]

    def steps(names: Names) -> Iterator[None]:
        for u in range(count(names)):
            names[cursor.counter] = u
            block(names)
            for first, last, begin, size, limit in axes:
                names[first] = begin(names)
                names[last] = min(names[first] + size(names) - 1, limit(names))
            yield

    return steps
