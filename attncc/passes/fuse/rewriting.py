"""Expressions of pair values rewritten: statistics by what is stored of them, values written out, one axis at one position."""

from __future__ import annotations

from ...ir.expr import Along, Apply, Const, Expr, Index, rebuild, substitute
from ...ir.pairs import value_name
from .algebra import replace_part


def plain_logs(expr: Expr) -> Expr:
    """log_softmax as the logarithm of the softmax, so that both share one statistic."""
    expr = rebuild(expr, plain_logs)
    if isinstance(expr, Along) and expr.op == "log_softmax":
        return Apply("log", (Along("softmax", expr.axes, expr.body, expr.cond, expr.sink),))
    return expr


def weights_of(stat: Along, lse: Expr) -> list[tuple[Expr, Expr]]:
    """A softmax and its logarithm in terms of its log-sum-exp."""
    log: Expr = Apply("sub", (stat.body, lse))
    weight: Expr = Apply("exp", (log,))
    if stat.cond is not None:
        log = Apply("where", (stat.cond, log, Const(float("-inf"))))
        weight = Apply("where", (stat.cond, weight, Const(0.0)))
    return [(Apply("log", (stat,)), log), (stat, weight)]


def with_values(expr: Expr, values: dict[str, Expr]) -> Expr:
    """The expression with values of the stage written out."""
    name = value_name(expr)
    return values[name] if name in values else rebuild(expr, lambda child: with_values(child, values))


def replaced(expr: Expr, parts: list[tuple[Expr, Expr]]) -> Expr:
    for old, new in parts:
        expr = replace_part(expr, old, new)
    return expr


def at_position(expr: Expr, axis: str, at: int) -> Expr:
    """The expression at one position of an axis that nothing inside binds."""
    if isinstance(expr, Along):
        return Along(
            expr.op,
            expr.axes,
            at_position(expr.body, axis, at),
            None if expr.cond is None else at_position(expr.cond, axis, at),
            None if expr.sink is None else at_position(expr.sink, axis, at),
        )
    if isinstance(expr, Index):
        return substitute(expr, {axis: Const(at)})
    return rebuild(expr, lambda child: at_position(child, axis, at))
