"""Expressions as sums of monomials: factors, and conditions under which the whole is 0.

The derivative of an output with respect to one of its sums often is the output itself times something: d(S / Z) / dZ = -(S / Z) / Z.
Then the backward pass reads the stored output and keeps nothing else. Comparing factors finds that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...ir.expr import Apply, Const, Expr
from ..fuse.algebra import factors, inverse, is_const, neg, product


@dataclass(frozen=True)
class Monomial:
    """The product of `factors` (a divisor x is the factor 1 / x), but 0 where one of `guards` holds."""

    guards: tuple[Expr, ...]
    factors: tuple[Expr, ...]

    def expr(self) -> Expr:
        """The monomial as an expression."""
        numbers = [f.value for f in self.factors if isinstance(f, Const)]
        sign = -1 if sum(1 for n in numbers if n == -1) % 2 else 1
        rest = [f for f in self.factors if not (isinstance(f, Const) and abs(f.value) == 1)]
        out = product(rest) if rest else Const(1.0)
        out = neg(out) if sign < 0 else out
        for guard in reversed(self.guards):
            out = Apply("where", (guard, Const(0.0), out))
        return out

    def over(self, base: Monomial) -> Monomial | None:
        """What is left of it without the factors and guards of `base`; None where it lacks one of them."""
        if not set(base.guards) <= set(self.guards):
            return None
        rest = list(self.factors)
        for f in base.factors:
            if isinstance(f, Const) and abs(f.value) == 1:
                if f.value < 0:
                    rest.append(Const(-1))
                continue
            if f not in rest:
                return None
            rest.remove(f)
        return Monomial(tuple(g for g in self.guards if g not in base.guards), tuple(rest))

    def times(self, *more: Expr) -> Monomial:
        """With more factors."""
        return Monomial(self.guards, (*self.factors, *more))


def monomial(expr: Expr) -> Monomial:
    """An expression as one monomial, a sum being a factor."""
    guards: list[Expr] = []
    parts: list[Expr] = []
    pending = [(f, False) for f in factors(expr)]
    while pending:
        part, below = pending.pop(0)
        match part:
            case Apply("where", (c, a, b)) if is_const(a, 0) and not below:
                guards.append(c)
                pending[:0] = [(f, False) for f in factors(b)]
                continue
            case Apply("where", (c, a, b)) if is_const(b, 0) and not below:
                guards.append(Apply("not", (c,)))
                pending[:0] = [(f, False) for f in factors(a)]
                continue
            case Apply("pow", (a, Const(2))):
                pending[:0] = [(f, below) for f in (*factors(a), *factors(a))]
                continue
            case Apply("div", (a, b)) if is_const(a, 1):
                inner = factors(b)
                if len(inner) > 1:
                    pending[:0] = [(f, True) for f in (inverse(x) for x in inner)]
                    continue
        parts.append(part)
    return Monomial(tuple(dict.fromkeys(guards)), tuple(p for p in parts if not is_const(p, 1)))


def monomials(expr: Expr) -> list[Monomial]:
    """The monomials whose sum is the expression; sums inside products stay factors."""
    match expr:
        case Apply("add", (a, b)):
            return [*monomials(a), *monomials(b)]
        case Apply("sub", (a, b)):
            return [*monomials(a), *(m.times(Const(-1)) for m in monomials(b))]
        case Apply("neg", (a,)):
            return [m.times(Const(-1)) for m in monomials(a)]
        case Apply("where", (c, a, b)) if is_const(a, 0):
            return [Monomial((c, *m.guards), m.factors) for m in monomials(b)]
        case Apply("where", (c, a, b)) if is_const(b, 0):
            return [Monomial((Apply("not", (c,)), *m.guards), m.factors) for m in monomials(a)]
    return [] if is_const(expr, 0) else [monomial(expr)]


def total(parts: Sequence[Expr]) -> Expr:
    """The sum of some expressions, 0 of none."""
    out: Expr | None = None
    for part in parts:
        out = part if out is None else Apply("add", (out, part))
    return Const(0.0) if out is None else out
