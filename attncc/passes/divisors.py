"""Divisors of integer divisions: one of sizes and numbers must not be 0, which each call checks.

    i div w     is an error where w, a size, is 0: a requirement `w != 0` is added to the program
    i div n[j]  for data and positions a division by 0 has a result, so that no kernel has to look: x div 0 = 0 and x mod 0 = x

A requirement holds where the division is not worked out: along an axis that is empty, for a value without elements, or in the branch of
a `where` of sizes that is not taken. Divisors that are provably not 0 need none.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import reduce

from ..ir.expr import Apply, Const, Expr, Size, axes_of, children, kind_of, of_sizes
from ..ir.nodes import Assign, Attend, Check, Program, exprs_of
from ..ir.ops import OPS

DIVISIONS = ("floordiv", "mod", "cdiv", "exact")


def divisors(program: Program) -> Program:
    """The program with a requirement for each divisor of sizes."""
    found: dict[Check, None] = dict.fromkeys(program.checks)
    for node in program.nodes:
        over = node.axes if isinstance(node, Assign | Attend) else ()
        for expr in exprs_of(node):
            for op, cond in _conditions(expr, over, ()):
                found.setdefault(Check(cond, False, node.span, f"'{OPS[op].infix or op}' by zero"))
    return program.with_checks(tuple(found))


def _conditions(expr: Expr, over: tuple[str, ...], idle: tuple[Expr, ...]) -> Iterator[tuple[str, Expr]]:
    """Divisions in an expression, each with what must hold. over: axes of the value that it is for. idle: conditions of sizes under any
    of which it is not worked out."""
    match expr:
        case Apply("where", (cond, a, b)) if of_sizes(cond):
            yield from _conditions(cond, over, idle)
            yield from _conditions(a, over, (*idle, Apply("not", (cond,))))
            yield from _conditions(b, over, (*idle, cond))
            return
        case Apply(op, (_, by)) if op in DIVISIONS and kind_of(expr) == "int" and not isinstance(by, Const) and of_sizes(by):
            axes = tuple(dict.fromkeys((*axes_of(expr), *over)))
            if not _positive(by, axes):
                empty = tuple(Apply("eq", (Size(a), Const(0))) for a in axes)
                yield op, reduce(lambda x, y: Apply("or", (x, y)), (Apply("ne", (by, Const(0))), *empty, *idle))
    for part in children(expr):
        yield from _conditions(part, over, idle)


def _positive(size: Expr, axes: Collection[str]) -> bool:
    """Whether an expression of sizes is at least 1 where some axes are not empty. False when that is not known."""
    match size:
        case Const(value):
            return value > 0
        case Size(axis):
            return axis in axes
        case Apply("mul" | "min" | "cdiv", args):
            return all(_positive(a, axes) for a in args)
        case Apply("max", args):
            return any(_positive(a, axes) for a in args)
        case Apply("add", (a, b)):
            return _positive(a, axes) and _positive(b, axes)
    return False
