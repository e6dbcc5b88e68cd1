"""Digits: sums that cancel, in the form that keeps their digits.

    elu(x) + 1, 1 + elu(x)      where(x >= 0, x + 1, exp(min(x, 0)))

The feature map of linear attention (Katharopoulos et al. 2020, equation 7): below about -16 the sum as written is 0 in float32, and
at -10 it has three digits. Kernels run this form; the eager backend runs the program as it is written.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.expr import Apply, Const, Expr, apply, keeping_axes, rebuild
from ..ir.nodes import Program, map_exprs


def with_digits(program: Program) -> Program:
    """The program with such sums rewritten."""
    return replace(program, nodes=tuple(map_exprs(n, keeping_axes(_rewritten)) for n in program.nodes))


def _rewritten(e: Expr) -> Expr:
    e = rebuild(e, _rewritten)
    match e:
        case (
            Apply("add", (Apply("elu", (x,)), Const(value=one)))
            | Apply("add", (Const(value=one), Apply("elu", (x,))))
        ) if one == 1 and not isinstance(one, bool):  # fmt: skip
            return apply("where", apply("ge", x, 0), apply("add", x, 1), apply("exp", apply("min", x, 0)))
    return e
