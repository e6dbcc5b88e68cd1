"""Pair stages: an attend (or one side of its backward) as sums over pairs, before it is cut into tiles.

    for every grid position:  for rows x keys admitted by the mask:
        products   x = sum[d](row operand * key operand)        matrix products
        lets       pointwise values of products, positions and tokens
        softmax    w = exp(score - running maximum), shared by all kinds of keys
        sums       reduced over the keys: one value a row, or one vector a row with an operand of the keys
        keyed      an element of an array for each pair: histograms, gradients of tables
    finals         pointwise in the sums: what is stored

A stage stores nothing on pairs. Every read of an outer value keeps its index in terms of the pair axes; a value of the stage
is read by its name after a percent sign, without an index. Sums over the rows are a stage with the roles exchanged: statistics
along the query axis, and the key side of a backward pass. So forward, statistics and both sides of a backward pass are all of
this form.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..errors import Span
from .expr import Expr, Read, walk


def value(name: str) -> Read:
    """A read of a value of the stage."""
    return Read(f"%{name}", (), "float")


def value_name(expr: Expr) -> str:
    """The name of the stage's value that an expression reads, "" for any other expression."""
    return expr.source[1:] if isinstance(expr, Read) and expr.source.startswith("%") else ""


def values_in(expr: Expr) -> set[str]:
    """Names of the stage's values read anywhere in an expression."""
    return {name for e in walk(expr) if (name := value_name(e))}


@dataclass(frozen=True, slots=True)
class Product:
    """`name = sum over `over` of row * key`. `row` has no key axis, `key` no row axis but those of the grid.

    turned: seen from the keys of the attend, so `row` is what its keys bring.
    """

    name: str
    row: Read
    key: Read
    over: str
    turned: bool = False

    def turn(self) -> Product:
        """The same product, seen from the other side."""
        return replace(self, row=self.key, key=self.row, turned=not self.turned)


@dataclass(frozen=True, slots=True)
class Keys:
    """One kind of keys: their tiled axes, the products and pointwise values of a pair, and which pairs are admitted (None: all).

    repeat: axes summed as well, whose positions are taken one after the other (the query heads of a key head, seen from the
    keys).
    """

    axes: tuple[str, ...]
    repeat: tuple[str, ...] = ()
    products: tuple[Product, ...] = ()
    lets: tuple[tuple[str, Expr], ...] = ()
    mask: Expr | None = None


@dataclass(frozen=True, slots=True)
class Softmax:
    """Weights `name = exp(score - m)` under the running maximum m over the keys of a row, their sum `total`, `lse = m +
    log(total)`.

    A row without an admitted pair has total 0 and lse -inf. guard: a value of the row that the scores are without; where it is -inf the
    row is as one without an admitted pair, where it is inf or not a number, the total is not a number. whole: the score with such
    values, where there are some; its derivatives are those of the score.
    """

    name: str
    score: Expr
    total: str
    lse: str
    guard: Expr | None = None
    whole: Expr | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """What a sum takes from the keys numbered `keys`: `expr` for a pair, times `by`, an operand with an axis of its own."""

    keys: int
    expr: Expr
    by: Read | None = None


@dataclass(frozen=True, slots=True)
class Sum:
    """`name = op over the keys of its terms`. feature: the axis that the operands bring, "" without one.

    scaled: the terms are linear in the softmax's weights, so the sum is relative to the running maximum.
    """

    name: str
    terms: tuple[Term, ...]
    op: str = "sum"
    feature: str = ""
    scaled: bool = False


@dataclass(frozen=True, slots=True)
class Keyed:
    """`array[index] += term` for every pair, the array being all zeros at first and called after its sum.

    axes: those of the array, the stage's grid among them. index: a position along each of them, a plain `Index` of the grid or
    of a tiled axis, or the key: any integer of the pair. A pair whose key lies outside the array adds nothing.
    """

    sum: Sum
    axes: tuple[str, ...]
    index: tuple[Expr, ...]

    @property
    def name(self) -> str:
        return self.sum.name


@dataclass(frozen=True, slots=True)
class Final:
    """`name[axes] = expr`, pointwise in sums, softmax statistics and row tokens. acc: stored in the accumulation type."""

    name: str
    axes: tuple[str, ...]
    kind: str
    expr: Expr
    acc: bool = False


@dataclass(frozen=True, slots=True)
class PairStage:
    """Grid axes, the tiled rows, the tiled keys of each kind, and what is computed. notes: decisions in words."""

    name: str
    grid: tuple[str, ...]
    rows: tuple[str, ...]
    keys: tuple[Keys, ...]
    softmax: Softmax | None
    sums: tuple[Sum, ...]
    finals: tuple[Final, ...]
    notes: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)
    keyed: tuple[Keyed, ...] = ()


@dataclass(frozen=True)
class Part:
    """A share of the gradient of `source`: the value `name`, stored along `stored`, summed over those beyond `axes`, in their
    order."""

    source: str
    name: str
    stored: tuple[str, ...]
    axes: tuple[str, ...]
