"""Squared distances as fused scores have them, max(|a|^2 + |b|^2 - 2 a b, 0): the clamp stops rounding from going below 0.

It is no part of the function: where rounding makes it hold, the derivative is still 2 (a - b), which its three terms give.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...ir.expr import Apply, Const, Expr, Read, Reduce, rebuild
from ...ir.nodes import Assign
from ...ir.pairs import Product, value


def unclamped(expr: Expr, products: Iterable[Product], before: Mapping[str, Assign]) -> Expr:
    """The expression without such clamps. before: definitions by name, among them the squared norms of the products' operands."""
    found = {value(p.name): p for p in products}

    def visit(e: Expr) -> Expr:
        match e:
            case Apply(
                "max", (Apply("sub", (Apply("add", (a, b)), Apply("mul", (Const(2.0), Read() as x)))) as inside, Const(0.0))
            ):
                p = found.get(x)
                if p is not None and _norms(a, b, p, before):
                    return inside
        return rebuild(e, visit)

    return visit(expr)


def _norms(a: Expr, b: Expr, p: Product, before: Mapping[str, Assign]) -> bool:
    """Whether two values are the squared norms of a product's operands."""
    squares = [Reduce("sum", (p.over,), Apply("mul", (x, x))) for x in (p.row, p.key)]
    return all(
        isinstance(x, Read) and x.source in before and before[x.source].expr == s for x, s in zip((a, b), squares, strict=True)
    )
