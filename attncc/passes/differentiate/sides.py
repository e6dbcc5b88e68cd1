"""What a backward pass knows about the pairs of one kind of keys."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.expr import Const, Expr, Read
from ...ir.pairs import Product, Sum
from ..fuse.pieces import Kind
from .ends import Ends


@dataclass(eq=False)
class Operand:
    """What the operand of a term gets from pairs: the sum over the rows of weights times cotangents, for each of `parts`."""

    by: Read
    parts: list[tuple[Expr, Read]]
    feature: str
    ends: Ends
    sum: Sum


@dataclass
class Entry:
    """A share of the cotangent of a value at a pair. flow: the term it comes through, where it is alpha times the cotangent of
    that term times the term."""

    expr: Expr
    flow: Operand | None = None
    alpha: Expr = field(default_factory=lambda: Const(1.0))


@dataclass
class Side:
    """One kind of keys backward: products and values of a pair, the cotangents so far, weights under a known log-sum-exp (to the
    score and the stored statistic), and what operands with an axis of their own get."""

    kind: Kind
    products: list[Product]
    lets: list[tuple[str, Expr]]
    cots: dict[Read, list[Entry]] = field(default_factory=dict)
    weights: dict[Read, tuple[Expr, Read]] = field(default_factory=dict)
    operands: list[Operand] = field(default_factory=list)
