"""Canonicalise: one form for expressions that are equal by exact integer and boolean arithmetic.

    x + 0, x - 0, x * 1, x div 1, x /! 1    x            and, or, not, where with a known condition    decided
    x * 0, x mod 1 (integers)               0            (x + 1) - 3                                   x - 2
    -(-x)                                   x            a comparison of equal integer expressions     decided

Floats keep their tree but for `x * 1` and `x / 1` with the integer one, which are exact for every x, NaN and infinities included.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import AttnError
from ..ir.expr import FALSE, TRUE, Apply, Const, Expr, Reduce, keeping_axes, kind_of, rebuild
from ..ir.nodes import Attend, Node, Program, map_exprs
from ..ir.sizes import SCALAR

_EXACT = {"bool", "int"}


def canonicalise(program: Program) -> Program:
    """Rewrite every expression of a program."""
    return program.with_nodes(tuple(_node(map_exprs(n, keeping_axes(rewrite))) for n in program.nodes))


def _node(node: Node) -> Node:
    """A mask that always holds is no mask."""
    if isinstance(node, Attend):
        segments = tuple(replace(s, mask=None) if s.mask == TRUE else s for s in node.segments)
        return replace(node, segments=segments)
    return node


def rewrite(e: Expr) -> Expr:
    """The canonical form of an expression, from the leaves up."""
    e = rebuild(e, rewrite)
    if isinstance(e, Reduce) and e.cond == TRUE:
        return Reduce(e.op, e.axes, e.body)
    if not isinstance(e, Apply):
        return e
    known = _constants(e)
    if known is not None:
        return known
    rule = RULES.get(e.op)
    found = rule(e) if rule is not None else None
    return e if found is None else found


def _constants(e: Apply) -> Expr | None:
    """An operation on known integers and truth values."""
    values = [a.value for a in e.args if isinstance(a, Const)]
    if len(values) != len(e.args) or any(isinstance(v, float) for v in values) or kind_of(e) not in _EXACT or e.op not in SCALAR:
        return None
    try:
        return Const(SCALAR[e.op](*values))
    except (ArithmeticError, ValueError, AttnError):  # left as it is: it fails where it is evaluated, with its own message
        return None


def _is(e: Expr, value: int) -> bool:
    return isinstance(e, Const) and not isinstance(e.value, bool | float) and e.value == value


def _exact(*exprs: Expr) -> bool:
    return all(kind_of(e) in _EXACT for e in exprs)


def _offset(e: Expr) -> tuple[Expr, int]:
    """An integer expression as (rest, constant)."""
    if isinstance(e, Apply) and e.op in ("add", "sub") and isinstance(e.args[1], Const) and _exact(e.args[1]):
        rest, c = _offset(e.args[0])
        return rest, c + (int(e.args[1].value) if e.op == "add" else -int(e.args[1].value))
    return e, 0


def _shifted(rest: Expr, c: int) -> Expr:
    return rest if c == 0 else Apply("add" if c > 0 else "sub", (rest, Const(abs(c))))


def _sum(e: Apply) -> Expr | None:
    if not _exact(e):
        return None
    a, b = e.args
    if _is(a, 0) and e.op == "add":
        return b
    if isinstance(a, Const) and e.op == "add":
        a, b = b, a
    rest, c = _offset(Apply(e.op, (a, b)))
    new = _shifted(rest, c)
    return new if new != e else None


def _product(e: Apply) -> Expr | None:
    a, b = e.args
    if _is(b, 1):
        return a
    if _is(a, 1):
        return b
    if _exact(e) and (_is(a, 0) or _is(b, 0)):
        return Const(0)
    return None


def _quotient(e: Apply) -> Expr | None:
    return e.args[0] if _is(e.args[1], 1) and (e.op != "div" or not _exact(e.args[0])) else None


def _and(e: Apply) -> Expr | None:
    a, b = e.args
    if FALSE in (a, b):
        return FALSE
    return b if a == TRUE else a if b == TRUE or a == b else None


def _or(e: Apply) -> Expr | None:
    a, b = e.args
    if TRUE in (a, b):
        return TRUE
    return b if a == FALSE else a if b == FALSE or a == b else None


def _not(e: Apply) -> Expr | None:
    inner = e.args[0]
    return inner.args[0] if isinstance(inner, Apply) and inner.op == "not" else None


def _where(e: Apply) -> Expr | None:
    cond, a, b = e.args
    if isinstance(cond, Const) and kind_of(a) == kind_of(b):
        return a if cond.value else b
    return a if a == b else None


def _compare(e: Apply) -> Expr | None:
    if not _exact(*e.args):
        return None
    (a, m), (b, n) = _offset(e.args[0]), _offset(e.args[1])
    return Const(SCALAR[e.op](m, n)) if a == b else None


def _extreme(e: Apply) -> Expr | None:
    if not _exact(e):
        return None
    (a, m), (b, n) = _offset(e.args[0]), _offset(e.args[1])
    return _shifted(a, SCALAR[e.op](m, n)) if a == b else None


def _negation(e: Apply) -> Expr | None:
    inner = e.args[0]
    return inner.args[0] if isinstance(inner, Apply) and inner.op == "neg" else None


RULES = {
    "add": _sum, "sub": _sum, "mul": _product, "div": _quotient, "exact": _quotient, "floordiv": _quotient,
    "mod": lambda e: Const(0) if _is(e.args[1], 1) else None, "and": _and, "or": _or, "not": _not, "where": _where,
    **dict.fromkeys(("eq", "ne", "le", "lt", "ge", "gt"), _compare), "min": _extreme, "max": _extreme, "neg": _negation,
}  # fmt: skip
"""A rule for each operation that has one."""
