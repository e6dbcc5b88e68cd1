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
    found = tuple(products)

    def visit(e: Expr) -> Expr:
        inside = clamped(e, found, before)
        return rebuild(e, visit) if inside is None else inside

    return visit(expr)


def clamped(expr: Expr, products: Iterable[Product], before: Mapping[str, Assign]) -> Expr | None:
    """What is clamped, where an expression is such a clamp."""
    match expr:
        case Apply("max", (Apply("sub", (Apply("add", (a, b)), Apply("mul", (Const(2.0), Read() as x)))) as inside, Const(0.0))):
            p = next((p for p in products if value(p.name) == x), None)
            return inside if p is not None and _norms(a, b, p, before) else None
    return None


def norm_of(operand: Read, over: str) -> Expr:
    """|operand|^2 along an axis, as it is defined."""
    return Reduce("sum", (over,), Apply("mul", (operand, operand)))


def _norms(a: Expr, b: Expr, p: Product, before: Mapping[str, Assign]) -> bool:
    """Whether two values are the squared norms of a product's operands."""
    return all(
        isinstance(x, Read) and x.source in before and before[x.source].expr == norm_of(operand, p.over)
        for x, operand in zip((a, b), (p.row, p.key), strict=True)
    )
