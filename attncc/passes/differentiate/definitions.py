"""The derivative of a definition over tokens, as definitions over tokens.

From the cotangent of `name[axes] = expr` come shares of the cotangents of what it reads: one expression for each way in which a value
is read, over the definition's axes and the value's own, summed over features that the value lacks. The rules for operations are
those of `ir.derivative`; a sum over features spreads its cotangent over them, a mean and a norm follow.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from ...errors import AttnUnsupportedError
from ...ir.algebra import chain
from ...ir.expr import Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, sources_of, walk
from ...ir.nodes import Assign
from ..fuse.algebra import add
from ..fuse.products import plain

LIMIT = 400
"""Nodes of a share's expression; a longer one is left to autograd."""


@dataclass(frozen=True)
class Share:
    """A part of the cotangent of `read.source`, `made`. Axes of it that the read lacks are still to be summed."""

    read: Read
    made: Assign


def shares(
    node: Assign, cotangent: Read, wrt: Collection[str], features: Collection[str], name: Callable[[str], str]
) -> tuple[Share, ...]:
    """The shares of some values from a definition's cotangent. features: axes that are summed here; name: gives fresh names.

    Raises AttnUnsupportedError for a definition that is not differentiated so.
    """
    found: dict[Read, Expr] = {}
    _Pull(node, wrt, found).visit(node.expr, cotangent)
    out = []
    for read, whole in found.items():
        extra = tuple(a for a in node.axes if a in features and a not in axes_of(read))
        for axis in extra:
            whole = Reduce("sum", (axis,), whole)
        if sum(1 for _ in walk(whole)) > LIMIT:
            raise AttnUnsupportedError(f"the derivative of {node.name} is too long", node.span)
        own = axes_of(read)
        axes = tuple(dict.fromkeys([*(a for a in node.axes if a not in extra), *own]))
        axes = own if set(axes) == set(own) else axes
        if set(axes_of(whole)) != set(axes):
            raise AttnUnsupportedError(f"the derivative of {node.name} is not over its own axes", node.span)
        out.append(Share(read, Assign(name(f"d_{read.source}_of_{node.name}"), axes, "float", whole, node.span)))
    return tuple(out)


class _Pull:
    """Cotangents along an expression. found: of the reads, added up."""

    def __init__(self, node: Assign, wrt: Collection[str], found: dict[Read, Expr]) -> None:
        self.node, self.wrt, self.found = node, set(wrt), found

    def visit(self, expr: Expr, t: Expr) -> None:
        """t: the cotangent of the expression, over at least its axes."""
        if not self.wrt & set(sources_of(expr)):
            return
        match expr:
            case Read() if expr.source in self.wrt and plain(expr):
                known = self.found.get(expr)
                self.found[expr] = t if known is None else add(known, t)
            case Apply(op, args):
                for k, arg in enumerate(args):
                    if self.wrt & set(sources_of(arg)) and (below := chain(op, args, k, t)) is not None:
                        self.visit(arg, below)
            case Reduce():
                self.reduce(expr, t)
            case _:
                raise AttnUnsupportedError(f"{self.node.name} is not differentiated token by token", self.node.span)

    def reduce(self, expr: Reduce, t: Expr) -> None:
        whole = t
        own = axes_of(expr)
        for axis in (a for a in axes_of(t) if a not in own):
            whole = Reduce("sum", (axis,), whole)
        match expr:
            case Reduce("sum"):
                pass
            case Reduce("mean", (axis,), _, None):
                whole = Apply("div", (whole, Apply("to_float", (Size(axis),))))
            case Reduce("norm", _, body):
                slope = Apply("div", (body, expr))
                whole = Apply("where", (Apply("eq", (expr, Const(0.0))), Const(0.0), Apply("mul", (whole, slope))))
            case _:
                raise AttnUnsupportedError(f"{expr.op} in {self.node.name} is not differentiated token by token", self.node.span)
        if expr.cond is not None:
            whole = Apply("where", (expr.cond, whole, Const(0.0)))
        self.visit(expr.body, whole)


def cotangent_of(node: Assign, name: str) -> Read:
    """A read of the cotangent of a definition, stored under a name."""
    return Read(name, tuple(map(Index, node.axes)), "float")
