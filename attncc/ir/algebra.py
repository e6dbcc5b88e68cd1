"""Algebra on expressions: integers through sympy, exactly; floats only by derivatives, which keep their meaning.

What sympy may see. Int and bool expressions over positions, sizes and opaque integers are converted, and every rewrite of
sympy's is then exact: sums are reordered, `i + 1 - 1` is `i`, `not (i < j)` is `i >= j`. Anything else is an opaque symbol that
keeps its expression: a float expression whole, and a comparison of floats as one truth value. So none of these happens to a
float, all of which sympy does on construction and each of which changes a value, a nan, an infinity or the sign of a zero:

    x - x -> 0           nan and infinities          x + y + z reordered         rounding
    0 * x -> 0           nan, infinities, -0.0       x * (1 / x) -> 1            0, infinities, rounding
    x / x -> 1           0, nan, infinities          x ^ a * x ^ b merged        overflow, domain
    x + 0.0 -> x         -0.0                        sqrt(x) ^ 2 -> x            x < 0, rounding
    exp(log(x)) -> x     x <= 0, rounding            0.1 + 0.2 folded            precision of the fold
    x == x -> true       nan                         not (x < y) -> x >= y       nan
    (x + y) - y -> x     rounding                    2 * (x + y) expanded        overflow

`diff` is therefore no sympy derivative: it applies the chain rule on the tree (derivative.py), and the only rewrites in its
result are `0 + x -> x` for zeros of its own making and `1 * x -> x`, which is exact for every x.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from .derivative import chain, diff
from .expr import Expr, axes_of

__all__ = ["chain", "diff", "from_sympy", "holds", "simplify_int", "to_sympy"]


def to_sympy(expr: Expr, nonempty: bool = False) -> Any:
    """The sympy form of an expression; `from_sympy` is the way back. A float expression is one symbol.

    Positions are non-negative integer symbols, and so are sizes: axes may be empty. nonempty: sizes are positive, for callers
    that run on no empty axis; conversions with and without it do not mix, as their symbols differ.
    """
    from .bridge import ToSympy

    return ToSympy(nonempty).convert(expr)


def from_sympy(value: Any) -> Expr:
    """The expression of an integer or boolean sympy form over the symbols of `to_sympy`.

    Raises: bridge.NoExpr (a ValueError) when the IR has no words for it, as for a fraction or a sine.
    """
    from .bridge import from_sympy

    return from_sympy(value)


def simplify_int(expr: Expr, nonempty: Iterable[str] = (), keep_axes: bool = False) -> Expr:
    """An equal expression with its int and bool parts made smaller where that can be proved; floats stay as they are.

    Equal wherever the first one is defined: sizes that are divisors are not 0, `exact` leaves no remainder. nonempty: axes that have a
    position wherever the expression is evaluated, beside its own free axes. keep_axes: the free axes stay the same, and in order, as they
    must for a pair value of an attend, whose reads list the axes of its expression.
    """
    return _simplify(expr, frozenset(nonempty).union(axes_of(expr)), keep_axes)


def holds(cond: Expr, nonempty: Iterable[str] = ()) -> bool | None:
    """Whether a condition holds at all positions (True), at none (False), or neither can be proved (None)."""
    from .simplify import decide

    return decide(cond, frozenset(nonempty).union(axes_of(cond)))


@lru_cache(maxsize=4096)
def _simplify(expr: Expr, alive: frozenset[str], keep: bool) -> Expr:
    from .simplify import simplify

    try:
        return simplify(expr, alive, keep)
    except RecursionError:  # a tree of several hundred levels; it is right as it is
        return expr
