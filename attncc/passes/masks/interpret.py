"""The plan run in plain Python integers: for tests, drawings and reports.

`visited` walks the very loops that a backend prints (`tiles.loops`), so what it shows is what a kernel does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from ...errors import AttnInternalError
from ...ir.expr import Apply, Const, Expr, Index, Read, Size
from .plan import Let, MaskPlan, Statement, Walk
from .tiles import Cursor, Loops, loops

Data = Mapping[str, Callable[..., int] | Sequence[object] | int]
"""Scalar reads by source: a number, a nested sequence, or a function of the positions."""


@dataclass
class Env:
    """What expressions are evaluated in. at: positions by axis; names: scalars of the plan."""

    sizes: Mapping[str, int]
    at: Mapping[str, int] = field(default_factory=dict)
    data: Data = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)


_OPS: dict[str, Callable[..., int]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "floordiv": operator.floordiv, "exact": operator.floordiv,
    "mod": operator.mod, "neg": operator.neg, "pow": operator.pow, "min": min, "max": max, "abs": abs, "not": operator.not_,
    "eq": operator.eq, "ne": operator.ne, "le": operator.le, "lt": operator.lt, "ge": operator.ge, "gt": operator.gt,
    "cdiv": lambda a, b: -(-a // b), "sign": lambda a: (a > 0) - (a < 0), "isqrt": lambda a: math.isqrt(max(a, 0)),
    "floor": int, "ceil": int, "round": int, "to_int": int, "stop_grad": int,
}  # fmt: skip


def evaluate(expr: Expr, env: Env) -> int:
    """The value of an expression of whole numbers and truth values. Raises AttnInternalError for anything else."""
    match expr:
        case Const(value):
            return value  # type: ignore[return-value]
        case Index(axis):
            return env.at[axis]
        case Size(axis):
            return env.sizes[axis]
        case Read(source, index, _, fill):
            return env.names[source] if not index and source in env.names else _read(source, index, fill, env)
        case Apply("where", (cond, a, b)):
            return evaluate(a if evaluate(cond, env) else b, env)
        case Apply("and", args):
            return all(evaluate(a, env) for a in args)
        case Apply("or", args):
            return any(evaluate(a, env) for a in args)
        case Apply(op, args) if op in _OPS:
            return _OPS[op](*[evaluate(a, env) for a in args])
    raise AttnInternalError(f"a mask plan holds {expr}, which is no scalar code")


def _read(source: str, index: tuple[Expr, ...], fill: Expr | None, env: Env) -> int:
    found: object = env.data[source]
    at = [evaluate(e, env) for e in index]
    if callable(found):
        return int(found(*at))
    for position in at:
        assert isinstance(found, Sequence)
        if fill is not None and not 0 <= position < len(found):
            return evaluate(fill, env)
        found = found[position]
    return int(found)  # type: ignore[call-overload, no-any-return]


def run(statements: Sequence[Statement], env: Env) -> None:
    """Define the names of some statements, in order."""
    for s in statements:
        if isinstance(s, Let):
            env.names[s.name] = evaluate(s.expr, env)
            continue
        low, high = evaluate(s.low, env) - 1, evaluate(s.high, env)
        while low < high:  # cond holds up to low, and not above high
            middle = (low + high + 1) // 2
            inner = Env(env.sizes, {**env.at, s.axis: middle}, env.data, env.names)
            low, high = (middle, high) if evaluate(s.cond, inner) else (low, middle - 1)
        env.names[s.name] = low


@dataclass(frozen=True, slots=True)
class Visit:
    """A pair of tiles: the positions along each row axis and each key axis, those outside the axis left out. full: needs no test."""

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

    sizes: of every axis. tile: positions of a tile along each row and key axis. at: the position along each axis that is not tiled.
    data: the scalars that the mask reads. start: see `tiles`.
    """
    walk = plan.transposed if transposed else plan.forward
    env = Env(sizes, at or {}, data or {})
    nest = loops(walk, {a: tile[a] for a in walk.loop}, start)
    for groups in product(*(range(s.modulus) for s in plan.splits)):
        for s, g in zip(plan.splits, groups, strict=True):
            env.names[s.group.source] = g
        steps = {a: (s.modulus, evaluate(e, env)) for s in plan.splits for a, e in ((s.row, s.group), (s.key, s.key_group))}
        for _ in _tiles_of(walk, tile, env):
            for full in _walked(nest, env):
                rows, keys = (tuple(_positions(a, steps, env) for a in axes) for axes in (plan.rows, plan.keys))
                yield Visit(rows, keys, full)


def _tiles_of(walk: Walk, tile: Mapping[str, int], env: Env) -> Iterator[None]:
    """Sets the owner's tile to each in turn."""
    ends = {a: evaluate(walk.limits[a], env) for a in walk.owner}
    for starts in product(*(range(0, ends[a] + 1, tile[a]) for a in walk.owner)):
        for a, begin in zip(walk.owner, starts, strict=True):
            env.names[f"{a}.first"], env.names[f"{a}.last"] = begin, min(begin + tile[a] - 1, ends[a])
        yield


def _walked(nest: Loops, env: Env, depth: int = 0) -> Iterator[bool]:
    """Sets the loop axes to each visited tile in turn; gives whether it is full."""
    if depth < len(nest.outer):
        statements, cursor = nest.outer[depth]
        run(statements, env)
        for _ in _steps(cursor, nest, env):
            yield from _walked(nest, env, depth + 1)
        return
    run(nest.statements, env)
    for _ in _steps(nest.full, nest, env):
        yield True
    for _ in _steps(nest.part, nest, env):
        if evaluate(nest.test, env):
            yield False


def _steps(cursor: Cursor, nest: Loops, env: Env) -> Iterator[None]:
    for u in range(evaluate(cursor.count, env)):
        env.names[cursor.counter] = u
        run(cursor.statements, env)
        for axis, begin in zip(cursor.axes, cursor.starts, strict=True):
            low = evaluate(begin, env)
            high = min(low + evaluate(nest.sizes[axis], env) - 1, evaluate(nest.limits[axis], env))
            env.names[f"{axis}.first"], env.names[f"{axis}.last"] = low, high
        yield


def _positions(axis: str, steps: Mapping[str, tuple[int, int]], env: Env) -> range:
    step, offset = steps.get(axis, (1, 0))
    low, high = env.names[f"{axis}.first"], env.names[f"{axis}.last"]
    return range(step * low + offset, step * high + offset + 1, step)
