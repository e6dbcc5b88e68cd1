"""The sympy side of algebra.py, which is its public face: conversion both ways, bounds, and the simplifying conversion.

Only integers and truth values are converted, which sympy treats exactly. Everything else becomes an `Atom`, a symbol that keeps its
expression. Division by zero is undefined in the IR, so a rewrite may take any divisor as not zero.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import sympy

from .expr import Apply, Const, Expr, Index, Reduce, Size, axes_of, kind_of
from .printer import show_expr

Sym = Any
"""A sympy expression or truth value."""


class NoExpr(Exception):
    """A sympy expression that the IR has no words for."""


class Atom(sympy.Symbol):
    """A symbol that stands for an expression of the IR."""

    __slots__ = ("expr", "key")

    def __new__(cls, expr: Expr, **assumptions: bool) -> Atom:
        self = sympy.Symbol.__xnew__(cls, show_expr(expr), **assumptions)
        self.expr, self.key = expr, repr(expr)  # the text leaves out kinds, the repr leaves out nothing
        return self

    def _hashable_content(self) -> tuple:
        return (self.key, *super()._hashable_content())

    def __getnewargs_ex__(self) -> tuple:
        return (self.expr,), self._assumptions_orig


class Exact(sympy.Function):
    """Division without a remainder."""

    is_integer = True

    @classmethod
    def eval(cls, a: Sym, b: Sym) -> Sym:
        if b == 1:
            return a
        return a / b if a.is_Integer and b.is_Integer and b != 0 and a % b == 0 else None


class Isqrt(sympy.Function):
    """The integer part of a square root."""

    is_integer = True
    is_nonnegative = True

    @classmethod
    def eval(cls, a: Sym) -> Sym:
        return sympy.integer_nthroot(int(a), 2)[0] if a.is_Integer and a >= 0 else None


# ------------------------------------------------------------------------------------------------------------ to sympy

_RELATIONS: dict[str, Callable[[Sym, Sym], Sym]] = {
    "eq": sympy.Eq, "ne": sympy.Ne, "le": sympy.Le, "lt": sympy.Lt, "ge": sympy.Ge, "gt": sympy.Gt,
}  # fmt: skip
_LOGIC = {"and": sympy.And, "or": sympy.Or, "not": sympy.Not}
_SAME = {"to_int", "floor", "ceil", "round", "stop_grad"}  # on an int


class ToSympy:
    """Converts int and bool expressions. nonempty: sizes are positive, not only non-negative."""

    def __init__(self, nonempty: bool = False) -> None:
        self.sizes = {"positive" if nonempty else "nonnegative": True}

    def convert(self, expr: Expr) -> Sym:
        kind = kind_of(expr)
        match expr:
            case Const(value) if kind != "float":
                return sympy.true if value is True else sympy.false if value is False else sympy.Integer(value)
            case Index():
                return Atom(expr, integer=True, nonnegative=True)
            case Size():
                return Atom(expr, integer=True, **self.sizes)
            case Apply(op, args) if kind == "int" and all(kind_of(a) in ("int", "bool") for a in args):
                found = self.whole(op, args)
                if found is not None:
                    return found
            case Apply(op, args) if op in _RELATIONS and all(kind_of(a) in ("int", "bool") for a in args):
                if op in ("eq", "ne") and all(kind_of(a) == "bool" for a in args):
                    return (sympy.Equivalent if op == "eq" else sympy.Xor)(*map(self.convert, args))
                return self.relation(op, self.number(args[0]), self.number(args[1]))
            case Apply(op, args) if op in _LOGIC:
                return _LOGIC[op](*map(self.convert, args))
        if kind == "bool":
            return Atom(expr)
        if kind == "int":
            return Atom(expr, integer=True, **({"nonnegative": True} if isinstance(expr, Reduce) and expr.op == "count" else {}))
        return Atom(expr)

    def number(self, expr: Expr) -> Sym:
        """An expression as a number: a truth value is 0 or 1."""
        found = self.convert(expr)
        return found if kind_of(expr) != "bool" else self.where(found, sympy.Integer(1), sympy.Integer(0))

    def whole(self, op: str, args: tuple[Expr, ...]) -> Sym | None:
        """An int operation on ints, None when it stays opaque."""
        if op == "where":
            return self.where(self.convert(args[0]), self.number(args[1]), self.number(args[2]))
        if op == "pow":
            n = args[1].value if isinstance(args[1], Const) and not isinstance(args[1].value, bool) else -1
            return self.number(args[0]) ** int(n) if n >= 0 else None
        values = [self.number(a) for a in args]
        match op, values:
            case "add", [a, b]:
                return a + b
            case "sub", [a, b]:
                return a - b
            case "mul", [a, b]:
                return a * b
            case "neg", [a]:
                return -a
            case ("floordiv" | "mod" | "cdiv" | "exact"), [_, b] if b == 0:
                return None
            case "floordiv", [a, b]:
                return self.floordiv(a, b)
            case "mod", [a, b]:
                return self.mod(a, b)
            case "cdiv", [a, b]:
                return self.cdiv(a, b)
            case "exact", [a, b]:
                return Exact(a, b)
            case "min", [a, b]:
                return self.least(a, b)
            case "max", [a, b]:
                return -self.least(-a, -b) if self.decides else sympy.Max(a, b)
            case "abs", [a]:
                return sympy.Abs(a)
            case "sign", [a]:
                return sympy.sign(a)
            case "isqrt", [a]:
                return Isqrt(a)
        return values[0] if op in _SAME else None
