"""Mixing order in words: (Q K^T) V from the left or (Q)(K^T V) from the right, why, and from what length on.

Right association is legal where every sum is separable (see `passes.separate`). Multiply-adds at each grid position, n rows, m keys,
d contracted, e mixed:

    left    n m (d + e), half of it under a causal mask
    right   (m + n) d e for each state, causal with chunks of c: and n c (d + e) / 2

States count double, for what they cost in memory. The comparison is made at call time, in whole numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import AttnUnsupportedError
from ..ir.nodes import Attend, Program, values_of
from ..ir.printer import show_expr
from ..ir.sizes import Unknown
from ..passes.fuse import fuse
from ..passes.separate import separate
from .order import Right, right_order
from .plan import equal_sizes


@dataclass(frozen=True)
class Mixing:
    """right: the kernels from the right, None where only the left is legal or asked. reason: why."""

    right: Right | None
    reason: str
    asked: str

    def choose(self, sizes: Mapping[str, int]) -> str:
        """`left` or `right` for known sizes."""
        return "right" if self.right is not None and self.right.chosen(sizes) else "left"

    def told(self, sizes: Mapping[str, int] | None) -> tuple[str, str]:
        """The decision and its reason. sizes: those that are known."""
        if self.right is None:
            return "from the left, (Q K) V", self.reason
        if self.asked == "right":
            return "from the right, (Q)(K V), as the pattern says", self.reason
        condition = f"the right where {show_expr(self.right.cheaper)}; {self.right.flip(sizes)}"
        try:
            chosen = self.choose(sizes or {})
        except Unknown:
            return "from the left or the right: the sizes say which is cheaper", f"{self.reason}: {condition}"
        return f"from the left or the right: the {chosen} is cheaper for these sizes", f"{self.reason}: {condition}"


def mixing(program: Program, node: Attend) -> Mixing:
    """The orders of mixing of an attend."""
    if node.order == "left":
        return Mixing(None, "as the pattern says", node.order)
    try:
        fusion = fuse(program, node)
    except AttnUnsupportedError as error:
        return Mixing(None, error.message, node.order)
    arrays = {i.name: tuple(a for dim in i.dims for a in dim) for i in program.inputs}
    arrays |= {v.name: v.axes for n in program.nodes for v in values_of(n)} | {a.name: a.axes for a in fusion.before}
    right = right_order(fusion.stages, arrays, frozenset(fusion.acc), equal_sizes(program), node.order)
    if right is None:
        for stage in fusion.stages:
            try:
                separate(stage)
            except AttnUnsupportedError as error:
                return Mixing(None, error.message, node.order)
        return Mixing(None, "there is nothing to mix", node.order)
    causal = any(form.sep.causal is not None for form in right.forms)
    reason = "weights are dot products times factors of rows and of keys" + (", causal: states in chunks" if causal else "")
    return Mixing(right, reason, node.order)
