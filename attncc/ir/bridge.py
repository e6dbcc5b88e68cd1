"""The sympy side of algebra.py, which is its public face: conversion both ways.

Only integers and truth values are converted, which sympy treats exactly. Everything else becomes an `Atom`, a symbol that keeps
its expression. A divisor of sizes is not 0, which calls check; a division by anything else that may be 0 stays opaque: it has a
result there, x div 0 = 0 and x mod 0 = x, and sympy's rewrites take every divisor as not 0.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import sympy

from .expr import Apply, Const, Expr, Index, Reduce, Size, kind_of, of_sizes
from .printer import show_expr

Sym = Any
"""A sympy expression or truth value."""


class NoExpr(ValueError):
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

RELATIONS: dict[str, Callable[..., Sym]] = {
    "eq": sympy.Eq, "ne": sympy.Ne, "le": sympy.Le, "lt": sympy.Lt, "ge": sympy.Ge, "gt": sympy.Gt,
}  # fmt: skip
LOGIC: dict[str, Callable[..., Sym]] = {"and": sympy.And, "or": sympy.Or, "not": sympy.Not}
SAME_INT = ("to_int", "floor", "ceil", "round", "stop_grad")
MAX_POWER = 4


class ToSympy:
    """Converts int and bool expressions. The methods from `floordiv` on are what a simplifying conversion does differently."""

    def __init__(self, nonempty: bool = False) -> None:
        self.nonempty = nonempty

    def convert(self, expr: Expr) -> Sym:
        kind = kind_of(expr)
        match expr:
            case Const(value) if kind != "float":
                return sympy.true if value is True else sympy.false if value is False else sympy.Integer(value)
            case Index():
                return Atom(expr, integer=True, nonnegative=True)
            case Size(axis):
                return self.size(axis)
            case Apply(op, args) if op in LOGIC:
                return LOGIC[op](*[self.convert(a) for a in args])
            case Apply(op, args) if all(kind_of(a) in ("int", "bool") for a in args):
                found = self.relation_of(op, args) if op in RELATIONS else self.whole(op, args) if kind == "int" else None
                if found is not None:
                    return found
        return self.atom(expr, kind)

    def atom(self, expr: Expr, kind: str) -> Sym:
        """An expression that stays opaque."""
        count = isinstance(expr, Reduce) and expr.op == "count"
        return Atom(expr, integer=True, **({"nonnegative": True} if count else {})) if kind == "int" else Atom(expr)

    def size(self, axis: str) -> Sym:
        return Atom(Size(axis), integer=True, **{"positive" if self.nonempty else "nonnegative": True})

    def number(self, expr: Expr) -> Sym:
        """An expression as a number: a truth value is 0 or 1."""
        found = self.convert(expr)
        return self.where(found, sympy.Integer(1), sympy.Integer(0)) if kind_of(expr) == "bool" else found

    def relation_of(self, op: str, args: tuple[Expr, ...]) -> Sym | None:
        if op in ("eq", "ne") and all(kind_of(a) == "bool" for a in args):
            return (sympy.Equivalent if op == "eq" else sympy.Xor)(*[self.convert(a) for a in args])
        return self.relation(op, self.number(args[0]), self.number(args[1]))

    def whole(self, op: str, args: tuple[Expr, ...]) -> Sym | None:
        """An int operation on ints, None when it stays opaque."""
        if op == "where":
            return self.where(self.convert(args[0]), self.number(args[1]), self.number(args[2]))
        if op == "pow":
            n = args[1].value if isinstance(args[1], Const) and not isinstance(args[1].value, bool) else -1
            return self.number(args[0]) ** int(n) if 0 <= n <= MAX_POWER else None
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
            case (("floordiv" | "mod" | "cdiv" | "exact"), [_, b]) if b == 0 or b.has(sympy.Piecewise):
                return None  # sympy takes the power -1 into a Piecewise, where a branch may be 0
            case (("floordiv" | "mod" | "cdiv" | "exact"), [_, b]) if not (of_sizes(args[1]) or self.nonzero(b)):
                return None
            case (("floordiv" | "mod" | "cdiv" | "min" | "max"), [a, b]):
                return getattr(self, op)(a, b)
            case "exact", [a, b]:
                return _unless_stuck(Exact(a, b))
            case "abs", [a]:
                return sympy.Abs(a)
            case "sign", [a]:
                return sympy.sign(a)
            case "isqrt", [a]:
                return _unless_stuck(Isqrt(a))
        return values[0] if op in SAME_INT else None

    def nonzero(self, a: Sym) -> bool:
        return bool(a.is_nonzero)

    def floordiv(self, a: Sym, b: Sym) -> Sym:
        return sympy.floor(a / b)

    def mod(self, a: Sym, b: Sym) -> Sym:
        return sympy.Mod(a, b)

    def cdiv(self, a: Sym, b: Sym) -> Sym:
        return sympy.ceiling(a / b)

    def min(self, a: Sym, b: Sym) -> Sym:
        return sympy.Min(a, b)

    def max(self, a: Sym, b: Sym) -> Sym:
        return sympy.Max(a, b)

    def where(self, cond: Sym, yes: Sym, no: Sym) -> Sym:
        if cond in (sympy.true, sympy.false):
            return yes if cond == sympy.true else no
        return sympy.Piecewise((yes, cond), (no, True), evaluate=False)

    def relation(self, op: str, a: Sym, b: Sym) -> Sym | None:
        """A comparison; None, so opaque, with a Piecewise in it: as a condition sympy would solve that over the reals."""
        return None if a.has(sympy.Piecewise) or b.has(sympy.Piecewise) else RELATIONS[op](a, b)


def _unless_stuck(x: Sym) -> Sym | None:
    """None for a function of numbers that has no value: sympy would try to work it out."""
    return None if x.is_number and not x.is_Integer else x


# ------------------------------------------------------------------------------------------------------------ from sympy

_WORDS = {
    sympy.Eq: "eq", sympy.Ne: "ne", sympy.Le: "le", sympy.Lt: "lt", sympy.Ge: "ge", sympy.Gt: "gt", sympy.Equivalent: "eq",
    sympy.Xor: "ne", sympy.And: "and", sympy.Or: "or", sympy.Not: "not", sympy.Min: "min", sympy.Max: "max", sympy.Mod: "mod",
    sympy.Abs: "abs", sympy.sign: "sign", Exact: "exact", Isqrt: "isqrt",
}  # fmt: skip


def from_sympy(x: Sym) -> Expr:
    """The IR of an integer or boolean sympy expression over atoms. Raises: NoExpr when there is none."""
    if isinstance(x, Atom):
        return x.expr
    if x in (sympy.true, sympy.false):
        return Const(bool(x))
    if x.is_Integer:
        return Const(int(x))
    if x.is_Add:
        return _sum(x.as_ordered_terms())
    if x.is_Mul:
        return _product(x)
    if x.is_Pow and x.exp.is_Integer and x.exp > 0:
        return Apply("pow", (from_sympy(x.base), Const(int(x.exp))))
    if isinstance(x, sympy.floor | sympy.ceiling):
        over, under = sympy.fraction(sympy.together(x.args[0]))
        return Apply("floordiv" if isinstance(x, sympy.floor) else "cdiv", (from_sympy(over), from_sympy(under)))
    if isinstance(x, sympy.Piecewise):
        *cases, (last, always) = x.args
        if always != sympy.true:
            raise NoExpr(x)
        if [value for value, _ in cases] == [1] and last == 0:
            return Apply("to_int", (from_sympy(cases[0][1]),))
        out = from_sympy(last)
        for value, cond in reversed(cases):
            out = Apply("where", (from_sympy(cond), from_sympy(value), out))
        return out
    if type(x) in _WORDS:
        ordered = x.args if len(x.args) < 2 or isinstance(x, sympy.Rel | sympy.Mod | Exact) else sorted(x.args, key=_key)
        parts = [from_sympy(a) for a in ordered]
        op = _WORDS[type(x)]
        if len(parts) == 1:
            return Apply(op, (parts[0],))
        if op in ("eq", "ne") and len(parts) != 2:
            raise NoExpr(x)
        return reduce(lambda a, b: Apply(op, (a, b)), parts)
    raise NoExpr(x)


_key = sympy.default_sort_key


def _sum(terms: list[Sym]) -> Expr:
    """Terms added and subtracted, beginning with one that is added where there is one."""
    first = next((t for t in terms if not t.could_extract_minus_sign()), terms[0])
    out = from_sympy(first)
    for term in terms:
        if term is not first:
            minus = term.could_extract_minus_sign()
            out = Apply("sub" if minus else "add", (out, from_sympy(-term if minus else term)))
    return out


def _product(x: Sym) -> Expr:
    """A coefficient and factors."""
    coefficient, rest = x.as_coeff_Mul()
    if not coefficient.is_Integer:
        raise NoExpr(x)
    parts = [from_sympy(a) for a in sorted(sympy.Mul.make_args(rest), key=_key)]
    if coefficient == -1:
        return Apply("neg", (reduce(lambda a, b: Apply("mul", (a, b)), parts),))
    if coefficient != 1:
        parts.insert(0, Const(int(coefficient)))
    return reduce(lambda a, b: Apply("mul", (a, b)), parts)
