"""Simplification of integer expressions and proofs of conditions, over the conversion of bridge.py.

Known: a position lies in 0 .. size - 1, so the axis of an index is not empty; other sizes are not negative. A bound is proved on
a polynomial: choices (min, max, where, abs) must hold either way, roundings are replaced by their worst case, positions and
remainders by the ends of their range, and what is left is not negative when all coefficients are not, with every size that is
known to be positive written as 1 + rest.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sympy

from .bridge import RELATIONS, Atom, NoExpr, ToSympy, from_sympy
from .expr import TRUE, Along, Apply, Expr, Index, Reduce, Size, axes_of, kind_of, rebuild, walk

Sym = Any

MAX_STEPS = 200
MAX_NODES = 300
_GIVES_UP = (NoExpr, sympy.PolynomialError, NotImplementedError, RecursionError)


def simplify(expr: Expr, alive: frozenset[str], keep: bool) -> Expr:
    """The expression with its int and bool parts simplified. alive: axes known not to be empty. keep: free axes stay so."""
    if isinstance(expr, Apply) and kind_of(expr) in ("int", "bool"):
        found = _candidate(expr, alive, keep)
        if found is not None and (not keep or axes_of(found) == axes_of(expr)):
            return found
    return _inside(expr, alive, keep)


def decide(cond: Expr, alive: frozenset[str]) -> bool | None:
    """Whether a condition always (True) or never (False) holds; None when that is not known."""
    try:
        found = Simplifier(alive).convert(cond)
    except _GIVES_UP:
        return None
    return True if found == sympy.true else False if found == sympy.false else None


def _inside(expr: Expr, alive: frozenset[str], keep: bool) -> Expr:
    """The expression with its parts simplified, and without a condition that always holds."""
    inner = alive.union(expr.axes) if isinstance(expr, Reduce | Along) else alive
    out = rebuild(expr, lambda part: simplify(part, inner, keep))
    return replace(out, cond=None) if isinstance(out, Reduce | Along) and out.cond == TRUE else out


def _candidate(expr: Expr, alive: frozenset[str], keep: bool) -> Expr | None:
    """A smaller equal expression of the same kind, when there is one."""
    size = sum(1 for _ in walk(expr))
    if size > MAX_NODES:
        return None
    try:
        found = from_sympy(Simplifier(alive, keep).convert(expr))
    except _GIVES_UP:
        return None
    return found if kind_of(found) == kind_of(expr) and sum(1 for _ in walk(found)) < size else None


class Simplifier(ToSympy):
    """A conversion that decides what it can while it converts."""

    def __init__(self, alive: frozenset[str], keep: bool = False) -> None:
        super().__init__()
        self.alive = alive
        self.keep = keep

    def size(self, axis: str) -> Sym:
        return Atom(Size(axis), integer=True, **{"positive" if axis in self.alive else "nonnegative": True})

    def atom(self, expr: Expr, kind: str) -> Sym:
        return super().atom(_inside(expr, self.alive, self.keep), kind)

    def nonzero(self, a: Sym) -> bool:
        return self.proves(a - 1) or self.proves(-a - 1)

    def floordiv(self, a: Sym, b: Sym) -> Sym:
        whole, rest = _split(a, b)
        if rest == 0 or self.within(rest, b):
            return whole
        if isinstance(rest, sympy.floor) and b.is_Integer and b > 0:
            rest = rest.args[0]
        return whole + sympy.floor(rest / b)

    def mod(self, a: Sym, b: Sym) -> Sym:
        _, rest = _split(a, b)
        if rest == 0 or self.within(rest, b):
            return rest
        return rest % b if rest.is_Integer and b.is_Integer else sympy.Mod(rest, b, evaluate=False)

    def cdiv(self, a: Sym, b: Sym) -> Sym:
        whole, rest = _split(a, b)
        if rest == 0 or self.within(-rest, b):
            return whole
        return whole + 1 if self.within(rest - 1, b) else whole + sympy.ceiling(rest / b)

    def within(self, rest: Sym, size: Sym) -> bool:
        """Whether 0 <= rest < size."""
        return self.proves(rest) and self.proves(size - 1 - rest)

    def min(self, a: Sym, b: Sym) -> Sym:
        return a if self.proves(b - a) else b if self.proves(a - b) else sympy.Min(a, b)

    def max(self, a: Sym, b: Sym) -> Sym:
        return a if self.proves(a - b) else b if self.proves(b - a) else sympy.Max(a, b)

    def where(self, cond: Sym, yes: Sym, no: Sym) -> Sym:
        return yes if yes == no else super().where(cond, yes, no)

    def relation(self, op: str, a: Sym, b: Sym) -> Sym | None:
        if op in ("ge", "gt"):
            return self.relation("le" if op == "ge" else "lt", b, a)
        if op == "ne":
            equal = self.relation("eq", a, b)
            return None if equal is None else sympy.Not(equal)
        gap = sympy.expand(b - a)
        if op == "eq":
            if gap == 0:
                return sympy.true
            if self.proves(gap - 1) or self.proves(-gap - 1):
                return sympy.false
        else:
            strict = int(op == "lt")
            if self.proves(gap - strict):
                return sympy.true
            if self.proves(-gap - 1 + strict):
                return sympy.false
        if gap.has(sympy.Piecewise):
            return None
        terms = sympy.Add.make_args(gap)
        left = sympy.Add(*[-t for t in terms if t.could_extract_minus_sign()])
        return RELATIONS[op](left, gap + left, evaluate=False)

    def proves(self, value: Sym) -> bool:
        """Whether an integer is never negative. False when that is not known."""
        self.steps = MAX_STEPS
        return self._bounded(value)

    def _bounded(self, value: Sym) -> bool:
        self.steps -= 1
        if self.steps < 0:
            return False
        value = sympy.expand(value)
        if value.is_number:
            return bool(value.is_Rational and value >= 0)
        for case in sorted(value.atoms(sympy.Piecewise), key=sympy.default_sort_key):
            return all(self._bounded(value.xreplace({case: branch})) for branch, _ in case.args)
        poly = sympy.Poly(value)
        for part in sorted(poly.gens, key=_rank):
            slope, rest = _linear(poly, part)
            if slope is None:
                continue
            bounds = self._bounds(part, slope)
            if bounds:
                return any(all(self._bounded(slope * end + rest) for end in ends) for ends in bounds)
        if not all(part.is_nonnegative for part in poly.gens):
            return False
        raised = [part + 1 if part.is_positive else part for part in poly.gens]
        shifted = sum(c * sympy.prod(g**n for g, n in zip(raised, powers, strict=True)) for powers, c in poly.terms())
        return all(c >= 0 for c in sympy.Poly(shifted, *poly.gens).coeffs())

    def _bounds(self, part: Sym, slope: Sym) -> list[list[Sym]]:
        """What may stand for a part that is multiplied by `slope`, so that the product gets no greater.

        Alternatives, any of which will do; each is a list of values, one of which is low enough. Empty: nothing is known.
        """
        up = slope.is_number and slope > 0
        down = slope.is_number and slope < 0
        if isinstance(part, sympy.Min | sympy.Max | sympy.Abs):
            values = list(part.args) if not isinstance(part, sympy.Abs) else [part.args[0], -part.args[0]]
            sure = down if isinstance(part, sympy.Min) else up  # any of the values bounds the product
            return [[value] for value in values] if sure else [values]
        if isinstance(part, sympy.floor | sympy.ceiling) and (up or down):
            over, under = sympy.fraction(sympy.together(part.args[0]))
            out = []
            if under.is_Integer:
                gap = sympy.Rational(under - 1, under)
                low, high = (gap, 0) if isinstance(part, sympy.floor) else (0, gap)
                out.append([part.args[0] - low if up else part.args[0] + high])
            elif down and under.is_positive and self._bounded(over):
                out.append([over])
            return [*out, [sympy.Integer(0)]] if up and part.is_nonnegative else out
        if isinstance(part, sympy.Mod) and self._bounded(part.args[1] - 1):
            return [[sympy.Integer(0), part.args[1] - 1]]
        if isinstance(part, Atom) and isinstance(part.expr, Index):
            return [[sympy.Integer(0), self.size(part.expr.axis) - 1]]
        return []


def _rank(part: Sym) -> tuple:
    """Choices first, then roundings and remainders, positions last: each may be bounded by the later ones."""
    kinds = (sympy.Min, sympy.Max, sympy.Abs), (sympy.floor, sympy.ceiling), (sympy.Mod,)
    return next((n for n, kind in enumerate(kinds) if isinstance(part, kind)), len(kinds)), sympy.default_sort_key(part)


def _linear(poly: Sym, part: Sym) -> tuple[Sym | None, Sym]:
    """(slope, rest) of a polynomial in one of its generators; no slope when it is not linear."""
    at = poly.gens.index(part)
    slope, rest = sympy.Integer(0), sympy.Integer(0)
    for powers, c in poly.terms():
        term = c * sympy.prod(g**n for g, n in zip(poly.gens, powers, strict=True) if g != part)
        if powers[at] > 1:
            return None, rest
        slope, rest = (slope + term, rest) if powers[at] else (slope, rest + term)
    return slope, rest


def _split(a: Sym, b: Sym) -> tuple[Sym, Sym]:
    """(whole, rest) with a = whole * b + rest for any b that is not 0, whole an integer."""
    whole, rest = sympy.Integer(0), sympy.Integer(0)
    for term in sympy.Add.make_args(sympy.expand(a)):
        ratio = term / b
        if sympy.fraction(ratio)[1] == 1:
            whole += ratio
        else:
            rest += term
    if rest != 0 and b.is_Add and not rest.has(sympy.Piecewise):
        ratio = sympy.cancel(rest / b)
        if sympy.fraction(ratio)[1] == 1:
            whole, rest = whole + ratio, sympy.Integer(0)
    return whole, rest
