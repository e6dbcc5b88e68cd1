"""From the parser's reductions to expression nodes: one method per rule of grammar/attn.lark, bottom-up, so nothing recurses.

Each method gets the rule's children in order, every token included: tokens are strings with `type`, `start_pos` and `end_pos`,
the rest are nodes or `Part`s.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

from ..errors import AttnSyntaxError, Source, Span
from . import tree as T
from .limits import MAX_PRIMES


class Part(NamedTuple):
    """Something between two offsets that is no node of its own: a block, a signature, a bracketed list."""

    items: tuple[Any, ...]
    start: int
    end: int


def is_token(child: Any) -> bool:
    return isinstance(child, str)


def start(child: Any) -> int:
    if isinstance(child, T.Node):
        return child.span.start
    return child.start if isinstance(child, Part) else child.start_pos


def end(child: Any) -> int:
    if isinstance(child, T.Node):
        return child.span.end
    return child.end if isinstance(child, Part) else child.end_pos


def nodes(children: list[Any]) -> tuple[Any, ...]:
    return tuple([c for c in children if not isinstance(c, str)])


def index(children: list[Any], kind: str) -> int:
    """The place of the first token of this type, or -1."""
    for i, child in enumerate(children):
        if isinstance(child, str) and getattr(child, "type", None) == kind:
            return i
    return -1


def after(children: list[Any], kind: str) -> Any:
    """What follows the first token of this type, or None."""
    i = index(children, kind)
    return children[i + 1] if i >= 0 else None


class Expressions:
    """The callbacks of the expression rules. `source` is the text being parsed."""

    source: Source

    def span(self, children: list[Any]) -> Span:
        return Span(self.source, start(children[0]), end(children[-1]))

    def part(self, children: list[Any]) -> Part:
        return Part(nodes(children), start(children[0]), end(children[-1]))

    def fail(self, message: str, child: Any, help: str = "") -> NoReturn:
        raise AttnSyntaxError(message, Span(self.source, start(child), end(child)), help)

    def _plain(self, names: Any) -> tuple[str, ...]:
        for name in names:
            if name.plain is None:
                self.fail("expected a plain name, without family indices", name)
        return tuple(name.plain for name in names)

    def binary(self, c: list[Any]) -> T.Expr:
        left = c[0]
        for i in range(1, len(c), 2):
            left = T.Binary(Span(self.source, start(c[0]), end(c[i + 1])), str(c[i]), left, c[i + 1])
        return left

    expr = disj = conj = sum = term = power = binary

    def comp(self, c: list[Any]) -> T.Compare:
        return T.Compare(self.span(c), tuple([str(op) for op in c[1::2]]), tuple(c[::2]))

    def unary(self, c: list[Any]) -> T.Unary:
        return T.Unary(self.span(c), str(c[0]), c[1])

    def bracket(self, c: list[Any]) -> T.Bracket:
        bar, other = index(c, "VBAR"), index(c, "ELSE")
        items = c[2 : bar if bar >= 0 else other if other >= 0 else -1]
        return T.Bracket(self.span(c), c[0], nodes(items), after(c, "VBAR"), after(c, "ELSE"))

    def call(self, c: list[Any]) -> T.Call:
        bar, semi = index(c, "VBAR"), index(c, "SEMICOLON")
        args = c[2 : bar if bar >= 0 else semi if semi >= 0 else -1]
        options = c[semi:] if semi >= 0 else []
        return T.Call(self.span(c), c[0], nodes(args), after(c, "VBAR"), nodes(options))

    def attr(self, c: list[Any]) -> T.Attr:
        return T.Attr(self.span(c), c[0], str(c[2]))

    def integer(self, c: list[Any]) -> T.Num:
        if len(c[0]) > 19 or (value := int(c[0])) >= 2**63:
            self.fail("this integer does not fit in 64 bits", c[0], "write it as a float: 1e30")
        return T.Num(self.span(c), value)

    def decimal(self, c: list[Any]) -> T.Num:
        value = float(c[0])
        if math.isinf(value):
            self.fail("this number is too large for a float", c[0], "write 'inf' for infinity")
        return T.Num(self.span(c), value)

    def string(self, c: list[Any]) -> T.Str:
        return T.Str(self.span(c), str(c[0])[1:-1])

    def parens(self, c: list[Any]) -> T.Expr:
        if len(c) == 3:
            return replace(c[1], span=self.span(c))  # the parentheses belong to the expression's place, not to its meaning
        return T.Tuple(self.span(c), nodes(c))

    def listing(self, c: list[Any]) -> T.List:
        return T.List(self.span(c), nodes(c))

    def bind(self, c: list[Any]) -> T.Bind:
        return T.Bind(self.span(c), c[0], c[2])

    def arrow(self, c: list[Any]) -> T.Arrow:
        return T.Arrow(self.span(c), c[0], c[2])

    def axisexpr(self, c: list[Any]) -> T.Concat:
        return T.Concat(self.span(c), nodes(c))

    def product(self, c: list[Any]) -> T.Product:
        return T.Product(self.span(c), nodes(c))

    def pack(self, c: list[Any]) -> T.Pack:
        return T.Pack(self.span(c), c[1])

    def arg(self, c: list[Any]) -> T.Arg:
        return T.Arg(self.span(c), c[0] if len(c) > 1 else None, c[-1])

    def glob(self, c: list[Any]) -> T.Glob:
        return T.Glob(self.span(c), c[0])

    def rest(self, c: list[Any]) -> T.Rest:
        return T.Rest(self.span(c))

    def name(self, c: list[Any]) -> T.Name:
        primes = len(c[-1]) if is_token(c[-1]) and c[-1].type == "PRIMES" else 0
        if primes > MAX_PRIMES:
            raise AttnSyntaxError(f"a name has {primes} primes, more than the {MAX_PRIMES} allowed", self.span(c))
        parts = tuple([str(p) if isinstance(p, str) else p for p in (c[:-1] if primes else c)])
        return T.Name(self.span(c), parts, primes)

    goalname = localname = name

    def family(self, c: list[Any]) -> T.Index | T.Family:
        value, stop = c[1], c[3] if len(c) > 3 else None
        if isinstance(value, T.Compare) and value.ops == ("in",) and isinstance(value.operands[0], T.Name):
            var, range_ = value.operands
            if stop is not None:
                range_ = T.Range(range_.span.to(stop.span), range_, stop)
            return T.Family(self.span(c), self._plain([var])[0], range_)
        if stop is not None:
            self.fail("a range in a family brace needs a name", self.part(c), "write {n in 0 .. 3}")
        return T.Index(self.span(c), value)
