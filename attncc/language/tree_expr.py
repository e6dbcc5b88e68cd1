"""Expressions of the syntax tree, each node with its span, and names.

A `Name` is text with family indices: `w_pw{k}'` is `Name(("w_pw", Index(k)), primes=1)`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import Span


@dataclass(frozen=True, slots=True)
class Node:
    """Base of all syntax nodes."""

    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Num(Node):
    """`3`, `0.5`, `1e-6`."""

    value: int | float


@dataclass(frozen=True, slots=True)
class Str(Node):
    """`"swin"`."""

    value: str


@dataclass(frozen=True, slots=True)
class Index(Node):
    """A family index in a use of a name: the `k` of `w_pw{k}`."""

    value: Expr


@dataclass(frozen=True, slots=True)
class Family(Node):
    """A family index in a declaration: `{k in 0 .. order - 2}` or `{m in ("q", "k")}`."""

    var: str
    range: Expr


@dataclass(frozen=True, slots=True)
class Name(Node):
    """An identifier with family indices and primes."""

    parts: tuple[str | Index | Family, ...]
    primes: int = 0

    @property
    def plain(self) -> str | None:
        """The text when there are no family indices (primes included), else None."""
        return self.parts[0] + "'" * self.primes if len(self.parts) == 1 and isinstance(self.parts[0], str) else None


@dataclass(frozen=True, slots=True)
class Pack(Node):
    """`*g`: all axes of a pack, in a bracket, dims or `over`."""

    name: Name


@dataclass(frozen=True, slots=True)
class Product(Node):
    """`(h d)` used as an axis in a bracket: a row-major product."""

    factors: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Concat(Node):
    """`n ++ k` used as an axis in a bracket or a `where`: a direct sum."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-x`, `not x`."""

    op: str
    value: Expr


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`+ - * / div mod ^ and or ??`."""

    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """A chain `a <= b < c`; each op is one of `== != <= >= < > in`. operands has one entry more than ops."""

    ops: tuple[str, ...]
    operands: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Tuple(Node):
    """`(a, b)`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class List(Node):
    """`[a, b]`."""

    items: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Range(Node):
    """`a .. b`, both ends included; empty when b < a."""

    start: Expr
    stop: Expr


@dataclass(frozen=True, slots=True)
class Bind(Node):
    """`t = i` inside brackets."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Arrow(Node):
    """`t -> w` inside brackets."""

    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Bracket(Node):
    """`base[items | such_that else fill]`: a read, a reducer's axes, a definition's axes or a list entry."""

    base: Expr
    items: tuple[Expr, ...]
    such_that: Expr | None = None
    fill: Expr | None = None


@dataclass(frozen=True, slots=True)
class Arg(Node):
    """One argument of a call, named or not."""

    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Rest(Node):
    """`...`: every remaining input, bundle and parameter of equal name."""


@dataclass(frozen=True, slots=True)
class Glob(Node):
    """`s_*`: a bundle under a prefix; the prefix keeps its underscore, `Name(("s_",))`."""

    prefix: Name


@dataclass(frozen=True, slots=True)
class Call(Node):
    """`f(args | such_that; options)`. `f` may be a Bracket: `sum[j](e)`, `rope[t, d](x)`, `topk[t -> w](r)`."""

    fn: Expr
    args: tuple[Arg, ...]
    such_that: Expr | None = None
    options: tuple[Arg, ...] = ()


@dataclass(frozen=True, slots=True)
class Attr(Node):
    """`n.size`, `layer.heads`."""

    base: Expr
    name: str


Expr = (
    Num | Str | Name | Pack | Product | Concat | Unary | Binary | Compare | Tuple | List | Range | Bind | Arrow | Bracket
    | Rest | Glob | Call | Attr
)
