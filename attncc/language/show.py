"""Any piece of a syntax tree as one line of the language: `show(node)`. Parsing the line gives the node back.

A file has one line for each declaration, with the titles of its patterns above them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import tree as T

# How tightly each operator binds, loosest first: the levels of the expression rules of grammar/attn.lark.
LEVEL = {"??": 1, "or": 2, "and": 3, "+": 6, "-": 6, "*": 7, "/": 7, "div": 7, "mod": 7, "^": 9}
NOT, COMPARE, SUM, NEGATE, POSTFIX, ATOM = 4, 5, 6, 8, 10, 11


def show(node: T.Node) -> str:
    """The node on one line, with the parentheses it needs and no others."""
    return Shower().text(node)


def level(node: T.Node) -> int:
    """How tightly the outermost operator of an expression binds."""
    match node:
        case T.Binary():
            return LEVEL[node.op]
        case T.Unary():
            return NOT if node.op == "not" else NEGATE
        case T.Compare():
            return COMPARE
        case T.Num():
            return NEGATE if node.value < 0 else ATOM
        case T.Bracket() | T.Call() | T.Attr():
            return POSTFIX
    return ATOM


def operands(node: T.Binary) -> tuple[int, int]:
    """The levels that the left and right operand must have to stand without parentheses."""
    own = LEVEL[node.op]
    return (POSTFIX, NEGATE) if node.op == "^" else (own, own + 1)


def number(value: int | float) -> str:
    """A number as the language writes it: 1e-5 rather than 1e-05."""
    mantissa, _, exponent = repr(value).partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


class Shower:
    """One line per node. The formatter overrides `number` and `wrapped` to keep what the author wrote."""

    def number(self, node: T.Num) -> str:
        return number(node.value)

    def wrapped(self, node: T.Node, least: int) -> bool:
        """Whether the expression stands in parentheses where only `least` or tighter may stand without."""
        return level(node) < least

    def expr(self, node: T.Node, least: int = 0) -> str:
        text = self.text(node)
        return f"({text})" if self.wrapped(node, least) else text

    def exprs(self, nodes: Iterable[T.Node]) -> str:
        return ", ".join(self.expr(n) for n in nodes)

    def text(self, node: T.Node) -> str:
        return _SHOW[type(node)](self, node)

    # ------------------------------------------------------------------------------------------------------ expressions

    def name(self, node: T.Name) -> str:
        return "".join([p if isinstance(p, str) else self.text(p) for p in node.parts]) + "'" * node.primes

    def family(self, node: T.Family) -> str:
        return f"{{{node.var} in {self.range(node.range, SUM)}}}"

    def range(self, node: T.Node, least: int = 0) -> str:
        if isinstance(node, T.Range):
            return f"{self.expr(node.start, least)} .. {self.expr(node.stop)}"
        return self.expr(node, least)

    def unary(self, node: T.Unary) -> str:
        sign = "not " if node.op == "not" else "-"
        return sign + self.expr(node.value, NOT if node.op == "not" else NEGATE)

    def binary(self, node: T.Binary) -> str:
        left, right = operands(node)
        return f"{self.expr(node.left, left)} {node.op} {self.expr(node.right, right)}"

    def compare(self, node: T.Compare) -> str:
        first, *others = [self.expr(o, SUM) for o in node.operands]
        return first + "".join([f" {op} {o}" for op, o in zip(node.ops, others, strict=True)])

    def bracket(self, node: T.Bracket) -> str:
        return f"{self.expr(node.base, POSTFIX)}[{self.exprs(node.items)}{self.bar(node.such_that)}{self.fill(node.fill)}]"

    def bar(self, cond: T.Expr | None) -> str:
        return f" | {self.expr(cond)}" if cond is not None else ""

    def fill(self, value: T.Expr | None) -> str:
        return f" else {self.expr(value)}" if value is not None else ""

    def call(self, node: T.Call) -> str:
        inside = f"{self.exprs(node.args)}{self.bar(node.such_that)}"
        if node.options:
            inside += f"; {self.exprs(node.options)}"
        return f"{self.expr(node.fn, POSTFIX)}({inside.removeprefix(' ')})"

    def given(self, node: T.Arg | T.Named) -> str:
        return f"{self.text(node.name)} = {self.expr(node.value)}" if node.name is not None else self.expr(node.value)

    # ----------------------------------------------------------------------------------------------- dims and signatures

    def sized(self, node: T.AxisDim | T.PackDim) -> str:
        star = "*" if isinstance(node, T.PackDim) else ""
        return star + self.text(node.name) + (f": {self.expr(node.size)}" if node.size is not None else "")

    def part(self, node: T.Dim) -> str:
        return f"({self.text(node)})" if isinstance(node, T.SumDim) else self.text(node)

    def dims(self, dims: tuple[T.Dim, ...] | None) -> str:
        return f"[{', '.join([self.text(d) for d in dims])}]" if dims else ""

    def type(self, node: T.Type) -> str:
        match node.kind:
            case "enum":
                text = " | ".join([f'"{v}"' for v in node.values])
            case "list":
                text = f"{self.text(node.items[0])}[{self.expr(node.length) if node.length is not None else ''}]"
            case "tuple":
                text = f"({', '.join([self.text(t) for t in node.items])})"
            case "record":
                text = "{" + ", ".join([f"{name}: {self.text(t)}" for name, t in node.fields]) + "}"
            case _:
                text = node.values[0] if node.values else node.kind
        return text + "?" * node.optional

    def slot(self, node: T.Input | T.Output) -> str:
        kind = f": {node.type}" if node.type else ""
        cond = f" if {self.expr(node.cond)}" if node.cond is not None else ""
        return f"{self.text(node.name)}{self.dims(node.dims)}{'?' * node.optional}{kind}{cond}"

    def param(self, node: T.Param) -> str:
        default = f" = {self.expr(node.default)}" if node.default is not None else ""
        return f"{self.text(node.name)}: {self.text(node.type)}{default}"

    def include(self, node: T.Include) -> str:
        prefix = self.text(node.prefix) if node.prefix is not None else ""
        axes = [f"{k} = " + (f"({', '.join(v)})" if isinstance(v, tuple) else self.text(v)) for k, v in node.renames]
        return f"{prefix}*: {node.bundle}" + (f"({', '.join(axes)})" if axes else "")

    def out_family(self, node: T.OutputFamily) -> str:
        outputs = ", ".join([self.text(o) for o in node.outputs])
        return f"({outputs}) for {self.binder(node.vars)} in {self.range(node.range)}"

    def binder(self, names: tuple[str, ...]) -> str:
        return names[0] if len(names) == 1 else f"({', '.join(names)})"

    def where(self, node: T.Where) -> str:
        cond = f" if {self.expr(node.cond)}" if node.cond is not None else ""
        return f"{self.text(node.left)} = {self.expr(node.right)}{cond}"

    def signature(self, node: T.Pattern | T.Bundle | T.Define) -> str:
        inputs, params = (", ".join([self.text(e) for e in entries]) for entries in (node.inputs, node.params))
        return f"({inputs}; {params})" if params else f"({inputs})"

    def sizes(self, where: tuple[T.Where, ...]) -> str:
        return f" where {', '.join([self.text(w) for w in where])}" if where else ""

    def pattern(self, node: T.Pattern) -> str:
        outputs = ", ".join([self.text(o) for o in node.outputs])
        return f"pattern {node.name}{self.signature(node)} -> {outputs}{self.sizes(node.where)} {self.block(node.body)}"

    def define(self, node: T.Define) -> str:
        start = self.define_start(node) + self.signature(node)
        only = node.body[0] if len(node.body) == 1 else None
        if node.vjp_grad is not None:
            return f"{start} {self.block(node.body)} vjp ({node.vjp_grad}) {self.block(node.vjp)}"
        if isinstance(only, T.Return):
            return f"{start} = {self.expr(only.value)}"
        return f"{start} {self.block(node.body)}"

    def define_start(self, node: T.Define) -> str:
        return f"define {node.name}" + (f"[{self.exprs(node.axes)}]" if node.axes else "")

    def titled(self, node: T.Pattern | T.Bundle | T.Define) -> str:
        title = node.title if isinstance(node, T.Pattern) else ""
        return "".join([f"# {line}\n" for line in title.split("\n") if title]) + self.text(node)

    # --------------------------------------------------------------------------------- statements and clauses, one line

    def assign(self, node: T.Assign) -> str:
        return f"{', '.join([self.text(t) for t in node.targets])} = {self.exprs(node.values)}"

    def axes(self, axes: tuple[T.Expr, ...]) -> str:
        return self.text(axes[0]) if len(axes) == 1 else f"({', '.join([self.text(a) for a in axes])})"

    def head(self, node: T.Node) -> str:
        """What stands before the `{` of a statement or clause with a block."""
        match node:
            case T.Attend():
                over = f" over {self.axes(node.axes)}" if node.axes else ""
                return "attend" + (f" {self.text(node.target)}" if node.target else "") + over
            case T.Over():
                return f"over {self.axes(node.axes)}" + (f" if {self.expr(node.cond)}" if node.cond is not None else "")
            case T.Fold():
                step = f" by {self.expr(node.step)}" if node.step is not None else ""
                return f"fold {self.binder(node.vars)} in {self.range(node.range)}{step}"
            case T.If() | T.ClauseIf():
                return f"if {self.expr(node.cond)}"
        raise TypeError(f"{type(node).__name__} has no block")

    def block(self, items: tuple[T.Node, ...], gap: str = "   ") -> str:
        return f"{{ {gap.join([self.text(i) for i in items])} }}" if items else "{ }"

    def with_block(self, node: Any) -> str:
        match node:
            case T.Attend() | T.Over():
                return f"{self.head(node)} {self.block(node.clauses)}"
            case T.Fold():
                return f"{self.head(node)} {self.block(node.body)}"
        return f"{self.head(node)} {self.block(node.then)}" + (f" else {self.block(node.orelse)}" if node.orelse else "")


def _listed(word: str, field: str) -> Callable[[Shower, Any], str]:
    return lambda s, n: f"{word} {s.exprs(getattr(n, field))}"


def _single(word: str, field: str) -> Callable[[Shower, Any], str]:
    return lambda s, n: f"{word} {s.expr(getattr(n, field))}"


_SHOW: dict[type, Callable[[Shower, Any], str]] = {
    T.Num: lambda s, n: s.number(n),
    T.Str: lambda s, n: f'"{n.value}"',
    T.Index: lambda s, n: f"{{{s.expr(n.value)}}}",
    T.Family: Shower.family,
    T.Name: Shower.name,
    T.Pack: lambda s, n: f"*{s.text(n.name)}",
    T.Product: lambda s, n: f"({' '.join([s.text(f) for f in n.factors])})",
    T.Concat: lambda s, n: " ++ ".join([s.expr(p) for p in n.parts]),
    T.Unary: Shower.unary,
    T.Binary: Shower.binary,
    T.Compare: Shower.compare,
    T.Tuple: lambda s, n: f"({s.exprs(n.items)})",
    T.List: lambda s, n: f"[{s.exprs(n.items)}]",
    T.Range: Shower.range,
    T.Bind: lambda s, n: f"{s.expr(n.left)} = {s.expr(n.right)}",
    T.Arrow: lambda s, n: f"{s.expr(n.left)} -> {s.expr(n.right)}",
    T.Bracket: Shower.bracket,
    T.Arg: Shower.given,
    T.Rest: lambda s, n: "...",
    T.Glob: lambda s, n: f"{s.text(n.prefix)}*",
    T.Call: Shower.call,
    T.Attr: lambda s, n: f"{s.expr(n.base, POSTFIX)}.{n.name}",
    T.AxisDim: Shower.sized,
    T.PackDim: Shower.sized,
    T.OneDim: lambda s, n: "1",
    T.ProductDim: lambda s, n: f"({' '.join([s.part(f) for f in n.factors])})",
    T.SumDim: lambda s, n: " ++ ".join([s.part(p) for p in n.parts]),
    T.Type: Shower.type,
    T.Input: Shower.slot,
    T.Output: Shower.slot,
    T.Param: Shower.param,
    T.Include: Shower.include,
    T.OutputFamily: Shower.out_family,
    T.Where: Shower.where,
    T.Target: lambda s, n: s.text(n.name) + s.dims(n.dims),
    T.Named: Shower.given,
    T.Assign: Shower.assign,
    T.Require: _listed("require", "conds"),
    T.Assume: _listed("assume", "conds"),
    T.Return: _single("return", "value"),
    T.Score: _listed("score", "items"),
    T.Normalize: _listed("normalize", "items"),
    T.Emit: _listed("emit", "items"),
    T.Mask: _single("mask", "value"),
    T.Mix: _single("mix", "value"),
    T.Post: _single("post", "item"),
    T.Setting: lambda s, n: f"{n.key} {n.value}",
    T.Local: lambda s, n: f"{s.text(n.name)} = {s.expr(n.value)}",
    T.Attend: Shower.with_block,
    T.Over: Shower.with_block,
    T.Fold: Shower.with_block,
    T.If: Shower.with_block,
    T.ClauseIf: Shower.with_block,
    T.Pattern: Shower.pattern,
    T.Bundle: lambda s, n: f"bundle {n.name}{s.signature(n)}{s.sizes(n.where)}",
    T.Define: Shower.define,
    T.File: lambda s, n: "\n\n".join([s.titled(d) for d in n.decls]),
}
