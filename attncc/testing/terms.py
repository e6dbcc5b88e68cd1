"""The first of the two terms that a gradient through a normalizer is the difference of.

Weights that divide by a sum have ds = p (dp - delta), where dp is what comes back for a weight and delta = sum(p dp) for its row. Kernels
work both out on their own and subtract (FlashAttention-2, Dao 2023, algorithm 2), so each is rounded by itself: where the two are
equal, as in a row with one admitted key, what is left is the rounding of p dp, however small the gradient is. A gradient of the program
below is that of p dp alone, the statistics of rows being constants: its magnitude is the scale of the error.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.expr import Along, Apply, Const, Expr, Reduce, rebuild
from ..ir.nodes import Attend, Node, Program


def first_terms(program: Program) -> Program:
    """The program with the same values, in which no gradient goes through what a normalizer sums along pairs."""
    return replace(program, nodes=tuple(_node(n) for n in program.nodes))


def _node(node: Node) -> Node:
    if not isinstance(node, Attend):
        return node
    maps, posts = (tuple((name, _fixed(e)) for name, e in items) for items in (node.maps, node.posts))
    return replace(node, maps=maps, posts=posts)


def _fixed(expr: Expr) -> Expr:
    match expr:
        case Reduce():
            return Apply("stop_grad", (expr,))
        case Along("softmax", body=score):
            return Apply("mul", (Apply("stop_grad", (expr,)), Apply("add", (Const(1.0), _nothing(score)))))
        case Along("log_softmax", body=score):
            return Apply("add", (Apply("stop_grad", (expr,)), _nothing(score)))
    return rebuild(expr, _fixed)


def _nothing(score: Expr) -> Expr:
    """score - stop_grad(score): 0, with the gradient of the score, also where that is infinite."""
    gap = Apply("sub", (score, Apply("stop_grad", (score,))))
    return Apply("where", (Apply("eq", (gap, Const(0.0))), gap, Const(0.0)))
