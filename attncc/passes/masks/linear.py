"""A whole-number expression as a sum of terms with integer coefficients.

A term is an `Expr` that `algebra.Algebra` does not open: a position, a size, a scalar read, or a `floordiv`, `mod`, `min`,
`max`, `abs`, square, `where` or product of canonical sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ...ir.expr import Apply, Const, Expr, Read

FAR = 1 << 30
"""Beyond every position: an end that nothing bounds, or the start of an empty range. It is compared, never multiplied."""


class NotWhole(Exception):
    """An expression is no whole number, or the algebra does not read it: why, and which part. It never leaves this package."""

    def __init__(self, expr: Expr, why: str) -> None:
        super().__init__(why)
        self.expr = expr
        self.why = why


@lru_cache(maxsize=65536)
def order(expr: Expr) -> str:
    """A fixed order of terms."""
    return repr(expr)


def _rank(pair: tuple[Expr, int]) -> str:
    return order(pair[0])


@dataclass(frozen=True, slots=True)
class Linear:
    """`const` plus the sum of coefficient times term: terms distinct and in a fixed order, coefficients not 0."""

    terms: tuple[tuple[Expr, int], ...] = ()
    const: int = 0

    def __add__(self, other: Linear | int) -> Linear:
        if isinstance(other, int):
            return Linear(self.terms, self.const + other)
        const = self.const + other.const
        if not self.terms or not other.terms:
            return Linear(self.terms or other.terms, const)
        sums = dict(self.terms)
        for t, c in other.terms:
            sums[t] = sums.get(t, 0) + c
        kept = [(t, c) for t, c in sums.items() if c]
        return Linear(tuple(sorted(kept, key=_rank) if len(kept) > 1 else kept), const)

    def __sub__(self, other: Linear | int) -> Linear:
        return self + other * -1 if isinstance(other, Linear) else Linear(self.terms, self.const - other)

    def __mul__(self, factor: int) -> Linear:
        return Linear(tuple((t, c * factor) for t, c in self.terms), self.const * factor) if factor else Linear()

    def __neg__(self) -> Linear:
        return self * -1


def term(expr: Expr, coefficient: int = 1) -> Linear:
    """One term, taken as it is."""
    return Linear(((expr, coefficient),), 0)


def constant(value: int) -> Linear:
    """A number."""
    return Linear((), value)


def is_plain(lin: Linear) -> bool:
    """Whether a sum is a number or the name of a scalar."""
    match lin:
        case Linear(()) | Linear(((Read(_, ()), 1),), 0):
            return True
    return False


def to_expr(lin: Linear) -> Expr:
    """The sum as an expression, added terms before subtracted ones."""
    out: Expr | None = None
    for t, c in sorted(lin.terms, key=lambda pair: pair[1] < 0):
        part = t if abs(c) == 1 else Apply("mul", (Const(abs(c)), t))
        if out is None:
            out = part if c > 0 else Apply("neg", (part,))
        else:
            out = Apply("add" if c > 0 else "sub", (out, part))
    if out is None:
        return Const(lin.const)
    if lin.const == 0:
        return out
    return Apply("add" if lin.const > 0 else "sub", (out, Const(abs(lin.const))))
