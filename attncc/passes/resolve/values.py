"""What an expression of the language can be while it is resolved.

Static values are plain Python numbers, strings, lists, tuples and dicts. A tensor, an index or a run-time scalar is an IR
expression.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...errors import AttnTypeError, Span
from ...ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size


@dataclass(frozen=True, slots=True)
class AxisRef:
    """An axis by name: one atomic axis, or a row-major product of several."""

    name: str
    atoms: tuple[str, ...]

    def index(self) -> Expr:
        """The position along it."""
        out: Expr | None = None
        for atom in self.atoms:
            step: Expr = Index(atom)
            out = step if out is None else Apply("add", (Apply("mul", (out, Size(atom))), step))
        return out if out is not None else Const(0)

    def size(self) -> Expr:
        """Its number of positions."""
        out: Expr | None = None
        for atom in self.atoms:
            out = Size(atom) if out is None else Apply("mul", (out, Size(atom)))
        return out if out is not None else Const(1)


@dataclass(frozen=True, slots=True)
class PackOf:
    """A value for each axis of a pack; every operator works on it entry by entry."""

    items: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Absent:
    """An expression that mentions an input or parameter that was not given."""

    what: str


@dataclass(frozen=True, slots=True)
class Several:
    """The results of a call with several outputs, which stand for the first one inside an expression, or the parts of a split."""

    items: tuple[Any, ...]
    called: bool = False


@dataclass(frozen=True, slots=True)
class RowsAt:
    """A static list of lists read at a run-time position; it can stand on the right of `in` only."""

    rows: tuple[tuple[Any, ...], ...]
    at: Expr


class Lazy:
    """A name whose value is worked out at its first use: a default, a size, a scalar of `where`."""

    def __init__(self, thunk: Callable[[], Value], span: Span, what: str, given: Any = None) -> None:
        self.thunk, self.span, self.what, self.given, self.busy = thunk, span, what, given, False

    def get(self) -> Value:
        if self.busy:
            raise AttnTypeError(f"'{self.what}' depends on itself", self.span, "give it a value that does not use it")
        self.busy = True
        try:
            return self.thunk()
        finally:
            self.busy = False


Value = Any
"""bool | int | float | str | None | list | tuple | dict | Expr | AxisRef | PackOf | Absent | Several"""

EXPR_TYPES = (Const, Index, Size, Read, Apply, Reduce, Along)


def is_static(value: Value) -> bool:
    """A plain Python value: known while compiling."""
    return isinstance(value, bool | int | float | str | list | tuple | dict) or value is None


def is_number(value: Value) -> bool:
    return isinstance(value, bool | int | float)


def lift(fn: Callable[..., Value], *args: Value) -> Value:
    """Apply `fn`, passing absence through and working on packs entry by entry. Lists of numbers beside a pack count as packs."""
    for arg in args:
        if isinstance(arg, Absent):
            return arg
    packs = [arg for arg in args if isinstance(arg, PackOf)]
    if not packs:
        return fn(*args)
    rank = len(packs[0].items)
    rows = [
        arg.items if isinstance(arg, PackOf) else arg if isinstance(arg, list) and len(arg) == rank else [arg] * rank
        for arg in args
    ]
    if any(len(row) != rank for row in rows):
        raise ValueError("packs of different rank")
    return PackOf(tuple(fn(*entry) for entry in zip(*rows, strict=True)))
