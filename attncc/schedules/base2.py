"""Exponentials in base 2, the base of the hardware: exp(u) is exp2(u log2 e), with log2 e folded into a constant factor of u.

`base2(u)` is u log2(e) with the constant pushed to where it costs least: into constants, uniform factors and logarithms. `faster`
rewrites exp, sigmoid and silu that way, and leaves everything else alone.
"""

from __future__ import annotations

import math

from ..ir.expr import ONE, Apply, Const, Expr, Index, Read, axes_of, kind_of, rebuild, walk
from ..passes.fuse.algebra import factors, product

LOG2E = math.log2(math.e)
LN2 = math.log(2.0)


def uniform(expr: Expr) -> bool:
    """Whether the value is the same for all pairs of a call: constants and sizes alone."""
    return not axes_of(expr) and not any(isinstance(e, Read | Index) for e in walk(expr))


def base2(expr: Expr) -> Expr:
    """expr * log2(e)."""
    match expr:
        case Const(value):
            return Const(float(value) * LOG2E)
        case Apply("add" | "sub" | "max" | "min" as op, (a, b)) if kind_of(expr) == "float":
            return Apply(op, (base2(a), base2(b)))
        case Apply("where", (c, a, b)):
            return Apply("where", (c, base2(a), base2(b)))
        case Apply("log", (a,)):
            return Apply("log2", (a,))
        case Apply("mul" | "div" | "neg", _):
            parts = factors(expr)
            first = min(parts, key=lambda part: (not uniform(part), len(axes_of(part)), not isinstance(part, Apply)))
            if uniform(first) or (isinstance(first, Apply) and first.op == "div"):
                return product(_constants([Const(LOG2E), *parts]))
            parts[parts.index(first)] = base2(first)
            return product(parts)
    if uniform(expr):
        return Apply("mul", (expr, Const(LOG2E)))
    if isinstance(expr, Apply) and expr.op == "to_float":
        return Apply("mul", (Const(LOG2E), expr.args[0]))
    return Apply("mul", (Const(LOG2E), expr))


def _constants(parts: list[Expr]) -> list[Expr]:
    """Factors with the constants as one; log2(e) log(2) is 1."""
    numbers = [p.value for p in parts if isinstance(p, Const) and not isinstance(p.value, bool)]
    whole = math.prod(numbers)
    rest: list[Expr] = [p for p in parts if not isinstance(p, Const)]
    return rest if rest and abs(whole - 1.0) < 1e-15 else [Const(whole), *rest]


def in_base2(expr: Expr) -> Expr:
    """An expression of a pair with its exponentials in base 2 and uniform factors where a multiply-add takes them."""
    return spread(faster(spread(expr)))


def spread(expr: Expr) -> Expr:
    """Uniform factors taken into sums: u (a x + b) is (u a) x + u b, one multiplication less where a is uniform too. Not into sums of
    whole numbers, which are exact where their terms are no floats."""
    expr = rebuild(expr, spread)
    match expr:
        case Apply("neg", (Apply("sub", (a, b)),)):
            return Apply("sub", (b, a))
        case Apply("mul", (a, Apply("add" | "sub" as op, (b, c)) as total)) if uniform(a) and _spreads(total):
            return Apply(op, (spread(Apply("mul", (a, b))), spread(Apply("mul", (a, c)))))
        case Apply("mul", (Apply("add" | "sub") as total, b)) if uniform(b) and _spreads(total):
            return spread(Apply("mul", (b, total)))
        case Apply("div", (Apply("add" | "sub" as op, (a, c)) as total, b)) if uniform(b) and _spreads(total):
            return Apply(op, (Apply("div", (a, b)), Apply("div", (c, b))))
    return expr


def _spreads(total: Expr) -> bool:
    return kind_of(total) == "float" and not uniform(total)


def faster(expr: Expr) -> Expr:
    """The expression with exp, sigmoid and silu in base 2."""
    expr = rebuild(expr, faster)
    match expr:
        case Apply("exp", (u,)):
            return Apply("exp2", (base2(u),))
        case Apply("sigmoid", (u,)):
            return _logistic(ONE, u)
        case Apply("silu", (u,)):
            return _logistic(u, u)
    return expr


def _logistic(top: Expr, u: Expr) -> Expr:
    """top / (1 + exp(-u)); the denominator may be inf, which gives 0."""
    below = base2(u.args[0]) if isinstance(u, Apply) and u.op == "neg" else Apply("neg", (base2(u),))
    return Apply("div", (top, Apply("add", (Const(1.0), Apply("exp2", (below,))))))
