"""Scalar expressions of the IR in index notation: seven frozen node kinds over named axes.

An expression is a function of the positions along its free axes. `Read` takes one position for each axis of a stored value;
the plain reference `q` is `q[b, h, i, d]`. Nothing broadcasts but by name, nothing is summed but by `Reduce`.

Floating-point meaning is the tree itself: the constructors never rewrite. Algebra (solving a predicate, costs, derivatives) goes
through `algebra.py`, which admits sympy's rewrites only where they are exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from ..errors import AttnInternalError
from .ops import ALONG, OPS, REDUCERS, result_kind


@dataclass(frozen=True, slots=True)
class Const:
    """A number or a truth value. An int is exact, a float is a double that takes the accumulation type where it is used.

    Equality is identity of meaning: `1`, `1.0` and `true` differ, `0.0` and `-0.0` differ, `nan` equals itself.
    """

    value: bool | int | float

    def _key(self) -> tuple[str, object]:
        return type(self.value).__name__, self.value.hex() if isinstance(self.value, float) else self.value

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Const) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())


@dataclass(frozen=True, slots=True)
class Index:
    """The position along an axis, 0 to size - 1."""

    axis: str


@dataclass(frozen=True, slots=True)
class Size:
    """The number of positions of an axis."""

    axis: str


class _Hashed:
    """Remembers its hash: expressions are trees that passes look up again and again."""

    __slots__ = ("_hash",)
    __match_args__: ClassVar[tuple[str, ...]]
    _hash: int

    def __hash__(self) -> int:
        try:
            return self._hash
        except AttributeError:
            found = hash((type(self).__name__, *(getattr(self, name) for name in self.__match_args__)))
            object.__setattr__(self, "_hash", found)
            return found


@dataclass(frozen=True, slots=True)
class Read(_Hashed):
    """`source[index else fill]`: an input, a node's value or a name of the enclosing attend, at one position per axis.

    Without a fill every position must be inside; with one, a position outside reads `fill`. kind is the source's.
    """

    source: str
    index: tuple[Expr, ...]
    kind: str
    fill: Expr | None = None
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Apply(_Hashed):
    """An elementwise operation of `ops.OPS`."""

    op: str
    args: tuple[Expr, ...]
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Reduce(_Hashed):
    """`op[axes | cond](body)`. count has no body of its own: its body is the condition `true`.

    An empty sum is 0, prod 1, any false, all true, max -inf, min inf, lse -inf; an empty mean is 0.
    """

    op: str
    axes: tuple[str, ...]
    body: Expr
    cond: Expr | None = None
    __hash__ = _Hashed.__hash__


@dataclass(frozen=True, slots=True)
class Along(_Hashed):
    """`op[axes | cond](body)` with the axes kept: softmax and its kin. `sink` adds exp(sink) to a softmax's denominator."""

    op: str
    axes: tuple[str, ...]
    body: Expr
    cond: Expr | None = None
    sink: Expr | None = None
    __hash__ = _Hashed.__hash__


Expr = Const | Index | Size | Read | Apply | Reduce | Along

TRUE, FALSE, ZERO, ONE = Const(True), Const(False), Const(0), Const(1)


def children(expr: Expr) -> tuple[Expr, ...]:
    """The direct sub-expressions."""
    match expr:
        case Apply(_, args):
            return args
        case Read(_, index, _, fill):
            return index if fill is None else (*index, fill)
        case Reduce(_, _, body, cond):
            return (body,) if cond is None else (body, cond)
        case Along(_, _, body, cond, sink):
            return tuple(x for x in (body, cond, sink) if x is not None)
    return ()


def rebuild(expr: Expr, new: Callable[[Expr], Expr]) -> Expr:
    """The expression with `new` applied to each direct sub-expression."""

    def maybe(x: Expr | None) -> Expr | None:
        return None if x is None else new(x)

    match expr:
        case Apply(op, args):
            return Apply(op, tuple(map(new, args)))
        case Read(source, index, kind, fill):
            return Read(source, tuple(map(new, index)), kind, maybe(fill))
        case Reduce(op, axes, body, cond):
            return Reduce(op, axes, new(body), maybe(cond))
        case Along(op, axes, body, cond, sink):
            return Along(op, axes, new(body), maybe(cond), maybe(sink))
    return expr


def walk(expr: Expr) -> Iterator[Expr]:
    """The expression and everything below it, parents first."""
    stack = [expr]
    while stack:
        top = stack.pop()
        yield top
        stack.extend(reversed(children(top)))


def of_sizes(expr: Expr) -> bool:
    """Whether an expression is made of sizes and numbers alone, so that it is one number a call."""
    return all(isinstance(e, Apply | Const | Size) for e in walk(expr))


def axes_of(expr: Expr) -> tuple[str, ...]:
    """Free axes, in order of first appearance."""
    match expr:
        case Index(axis):
            return (axis,)
        case Reduce(_, axes, _, _):
            inner = dict.fromkeys(a for child in children(expr) for a in axes_of(child))
            return tuple(a for a in inner if a not in axes)
        case Along(_, axes, _, _, _):
            return tuple(dict.fromkeys([*(a for child in children(expr) for a in axes_of(child)), *axes]))
    return tuple(dict.fromkeys(a for child in children(expr) for a in axes_of(child)))


def kind_of(expr: Expr) -> str:
    """`bool`, `int`, `float` or `complex`."""
    match expr:
        case Const(value):
            return "bool" if isinstance(value, bool) else "int" if isinstance(value, int) else "float"
        case Index() | Size():
            return "int"
        case Read(_, _, kind, fill):
            return kind if fill is None else result_kind("same", [kind, kind_of(fill)])
        case Apply("pow", (base, exponent)):
            whole = isinstance(exponent, Const) and isinstance(exponent.value, int) and exponent.value >= 0
            scalar = not axes_of(expr) and kind_of(exponent) == "int"
            return result_kind("number" if whole or scalar else "float", [kind_of(base), kind_of(exponent)])
        case Apply(op, args):
            return result_kind(OPS[op].result, [kind_of(a) for a in args])
        case Reduce(op, _, body, _):
            return result_kind(REDUCERS[op], [kind_of(body)])
        case Along(op, _, body, _, _):
            return result_kind(ALONG[op], [kind_of(body)])
    raise TypeError(expr)


def keeping_axes(new: Callable[[Expr], Expr]) -> Callable[[Expr], Expr]:
    """A rewrite that lets an expression be where it would change the order of its axes: reads of pair values list them in that order."""

    def guarded(expr: Expr) -> Expr:
        found = new(expr)
        return found if axes_of(found) == axes_of(expr) else expr

    return guarded


def sources_of(expr: Expr) -> tuple[str, ...]:
    """Names of the values read, in order of first appearance."""
    return tuple(dict.fromkeys(e.source for e in walk(expr) if isinstance(e, Read)))


def substitute(expr: Expr, at: Mapping[str, Expr]) -> Expr:
    """Replace the position along each axis of `at`. Bound axes are left alone; the caller keeps bound and free axes apart.

    Raises AttnInternalError for the position along an axis that an `Along` works on: only a stored value can be read elsewhere.
    """
    if isinstance(expr, Index):
        return at.get(expr.axis, expr)
    if isinstance(expr, Along):
        for a in expr.axes:
            if at.get(a, Index(a)) != Index(a):
                raise AttnInternalError(f"{expr.op} along axis '{a}' has no value at another position of it")
    if isinstance(expr, Reduce | Along) and any(a in at for a in expr.axes):
        at = {a: e for a, e in at.items() if a not in expr.axes}
    return rebuild(expr, lambda child: substitute(child, at)) if at else expr


def rename(expr: Expr, names: Mapping[str, str]) -> Expr:
    """Rename axes everywhere, bound ones and sizes included."""
    match expr:
        case Index(axis):
            return Index(names.get(axis, axis))
        case Size(axis):
            return Size(names.get(axis, axis))
    out = rebuild(expr, lambda child: rename(child, names))
    if isinstance(out, Reduce):
        return Reduce(out.op, tuple(names.get(a, a) for a in out.axes), out.body, out.cond)
    if isinstance(out, Along):
        return Along(out.op, tuple(names.get(a, a) for a in out.axes), out.body, out.cond, out.sink)
    return out


def replace_reads(expr: Expr, new: Callable[[Read], Expr | None]) -> Expr:
    """Replace each read for which `new` gives an expression."""
    if isinstance(expr, Read):
        found = new(expr)
        if found is not None:
            return found
    return rebuild(expr, lambda child: replace_reads(child, new))


def apply(op: str, *args: Expr | bool | int | float) -> Apply:
    """`Apply` with plain numbers allowed."""
    return Apply(op, tuple(Const(a) if isinstance(a, bool | int | float) else a for a in args))


def conjuncts(cond: Expr | None) -> list[Expr]:
    """The parts of an and-chain; none for None and `true`."""
    if cond is None or cond == TRUE:
        return []
    if isinstance(cond, Apply) and cond.op == "and":
        return [part for arg in cond.args for part in conjuncts(arg)]
    return [cond]


def conjoin(parts: list[Expr]) -> Expr | None:
    """The and of some conditions, None when there is none."""
    out: Expr | None = None
    for part in parts:
        out = part if out is None else Apply("and", (out, part))
    return out
