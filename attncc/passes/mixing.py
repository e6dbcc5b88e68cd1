"""Mixing order: (Q K^T) V from the left or Q (K^T V) from the right, decided by symbolic costs.

Right association is legal when the weight is a dot product times factors of rows and of keys alone (linear attention): with
weights w_ij = r_i k_j sum_d q_id k_jd the mixed value is r_i sum_d q_id (sum_j k_j k_jd v_je). A mask is allowed when it is none,
or causal in one key axis (chunks of states). Multiply-adds per head, n rows, m keys, d contracted, e mixed:

    left    n m (d + e)                    right    (n + m) d e, causal with chunks of c: (n + m) d e + n c (d + e)

The costs are sympy expressions in the sizes, so the choice stays open until the sizes are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..ir.expr import Apply, Const, Expr, Index, Read, Reduce, axes_of
from ..ir.nodes import Attend

CHUNK = 64
"""Rows of a chunk when a causal state is carried along."""


@dataclass(frozen=True, slots=True)
class Order:
    """Whether right association is legal, both costs (sympy, in symbols named like the axes), and why."""

    legal: bool
    causal: bool
    left: Any
    right: Any
    reason: str

    def choose(self, sizes: Mapping[str, int], asked: str = "auto") -> str:
        """`left` or `right` for known sizes."""
        if not self.legal or asked == "left":
            return "left"
        if asked == "right":
            return "right"
        at = {symbol: sizes[str(symbol)] for symbol in self.left.free_symbols | self.right.free_symbols}
        return "right" if self.right.subs(at) < self.left.subs(at) else "left"


def mixing_order(node: Attend) -> Order:
    """The legality and the costs of both orders for an attend."""
    import sympy

    def size(axes: tuple[str, ...]) -> Any:
        return sympy.Mul(*(sympy.Symbol(a, positive=True, integer=True) for a in axes))

    segment = node.segments[0]
    mixed = tuple(a for a in node.axes if a not in node.rows)
    dot, why = _dot(node)
    inner = dot.axes if dot is not None else ()
    batch = _shared(node)
    rows = tuple(a for a in node.rows if a not in batch)
    n, m, d, e = size(rows), size(segment.over), size(inner), size(mixed)
    left, right = size(batch) * n * m * (d + e), size(batch) * (n + m) * d * e
    if dot is None:
        return Order(False, False, left, right, why)
    causal = False
    if segment.mask is not None:
        causal = _causal(segment.mask, rows, segment.over)
        if not causal:
            return Order(False, False, left, right, "the mask is neither absent nor causal")
        right = right + size(batch) * n * CHUNK * (d + e)
    return Order(
        True, causal, left, right, "weights are dot products times row and key factors" + (", causal in chunks" if causal else "")
    )


def _dot(node: Attend) -> tuple[Reduce | None, str]:
    """The one dot product that the weight is linear in."""
    if len(node.segments) != 1 or len(node.segments[0].scores) != 1 or not node.name:
        return None, "several segments or scores"
    over = set(node.over)
    weight: Expr = node.segments[0].scores[0][1]
    name = node.segments[0].scores[0][0]
    for _, e in (*node.maps, *node.posts):
        if isinstance(e, Apply) and e.op == "div" and not over & set(axes_of(e.args[1])):  # a row sum divides after mixing
            e = e.args[0]
        if isinstance(e, Read) and e.source == name:
            continue
        return None, "the normalizer is not linear in the score"
    dots = []
    for factor in _factors(weight):
        if isinstance(factor, Reduce) and factor.op == "sum" and factor.cond is None and _is_product(factor, node):
            dots.append(factor)
        elif set(axes_of(factor)) & over and set(axes_of(factor)) & set(node.rows) - set(_shared(node)):
            return None, "a factor of the score depends on both row and key"
    if len(dots) != 1:
        return None, "the score is not one dot product times factors"
    return dots[0], ""


def _shared(node: Attend) -> tuple[str, ...]:
    mix = node.segments[0].mix
    return tuple(a for a in node.rows if mix is not None and a in axes_of(mix))


def _factors(e: Expr) -> list[Expr]:
    if isinstance(e, Apply) and e.op == "mul":
        return [f for a in e.args for f in _factors(a)]
    if isinstance(e, Apply) and e.op == "div":
        return [*_factors(e.args[0]), Apply("div", (Const(1), e.args[1]))]
    return [e]


def _is_product(e: Reduce, node: Attend) -> bool:
    if not isinstance(e.body, Apply) or e.body.op != "mul":
        return False
    over = set(node.over)
    sides = [bool(set(axes_of(x)) & over) for x in e.body.args]
    return sorted(sides) == [False, True]


def _causal(mask: Expr, rows: tuple[str, ...], over: tuple[str, ...]) -> bool:
    """`j <= i` for one row axis and one key axis."""
    if not isinstance(mask, Apply) or len(rows) != 1 or len(over) != 1:
        return False
    i, j = Index(rows[0]), Index(over[0])
    return (mask.op == "le" and mask.args == (j, i)) or (mask.op == "ge" and mask.args == (i, j))
