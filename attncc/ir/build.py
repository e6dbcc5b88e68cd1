"""Builds IR from the syntax trees of grammar/ir.lark; `parser.py` is its public face."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import AttnNameError, AttnSyntaxError, Source, Span
from .expr import TRUE, Along, Apply, Const, Expr, Index, Read, Reduce, Size, kind_of
from .nodes import (
    Assign,
    Attend,
    Axis,
    Call,
    Carry,
    Check,
    Cotangent,
    Dims,
    Fold,
    Input,
    Node,
    Output,
    Pick,
    Program,
    Segment,
    values_of,
)
from .ops import ALONG, KINDS, OPS, REDUCERS

Tree = Any
"""A lark tree or token."""

_CONSTANTS = {"INF": math.inf, "NAN": math.nan, "TRUE": True, "FALSE": False}


class Builder:
    """Turns trees of one text into IR. kinds: the kind of each name that can be read."""

    def __init__(self, source: Source, kinds: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.kinds = dict(kinds or {})

    # -------------------------------------------------------------------------------------------------------- errors

    def span(self, tree: Tree) -> Span:
        where = tree.meta if hasattr(tree, "meta") else tree
        return Span(self.source, getattr(where, "start_pos", 0), getattr(where, "end_pos", 0))

    def refuse(self, message: str, tree: Tree, help: str = "") -> AttnSyntaxError:
        return AttnSyntaxError(message, self.span(tree), help)

    def unknown(self, what: str, name: str, known: Iterable[str], tree: Tree) -> AttnNameError:
        close = difflib.get_close_matches(name, list(known), 1)
        return AttnNameError(f"unknown {what} '{name}'", self.span(tree), f"did you mean '{close[0]}'?" if close else "")

    # -------------------------------------------------------------------------------------------------------- expressions

    def expr(self, tree: Tree) -> Expr:
        if not hasattr(tree, "data"):
            if tree.type == "NUMBER":
                return Const(int(tree) if tree.isdigit() else float(tree))
            return Const(_CONSTANTS[tree.type])
        what, parts = str(tree.data), tree.children
        if what == "group":
            return self.expr(parts[0])
        if what == "index":
            return Index(name(parts[0]))
        if what == "size":
            return Size(name(parts[0]))
        if what == "read":
            return self.read(tree)
        if what == "reduce":
            return self.reduce(tree)
        if what == "apply":
            return self.apply(tree)
        if what == "neg" and getattr(parts[0], "type", "") in ("NUMBER", "INF"):
            literal = self.expr(parts[0])
            assert isinstance(literal, Const)
            return Const(-literal.value)
        return Apply(what, tuple([self.expr(part) for part in parts]))

    def read(self, tree: Tree) -> Read:
        token, bracket = tree.children
        source = name(token)
        if bracket.children[0] is not None and bracket.children[0].data == "such_that":
            raise self.refuse("'|' belongs to reductions, not to reads", bracket)
        positions, fill = bracket.children
        if source not in self.kinds:
            raise self.unknown("value", source, self.kinds, token)
        index = () if positions is None else tuple([self.expr(e) for e in positions.children])
        return Read(source, index, self.kinds[source], None if fill is None else self.expr(fill))

    def reduce(self, tree: Tree) -> Reduce | Along:
        token, bracket, args = tree.children
        op = name(token)
        if op not in REDUCERS and op not in ALONG:
            raise self.unknown("reduction", op, [*REDUCERS, *ALONG], token)
        axes, cond = self.such_that(bracket)
        named = self.named(args, ("sink",) if op in ALONG else ())
        body = self.plain(args)
        if op == "count" and not body:
            return Reduce(op, axes, TRUE, cond)
        if len(body) != 1:
            raise self.refuse(f"'{op}' takes one argument, found {len(body)}", tree)
        return Reduce(op, axes, body[0], cond) if op in REDUCERS else Along(op, axes, body[0], cond, named.get("sink"))

    def such_that(self, bracket: Tree) -> tuple[tuple[str, ...], Expr | None]:
        first, *rest = bracket.children
        if rest and rest[0] is not None:
            raise self.refuse("'else' belongs to reads, not to reductions", bracket)
        cond = None
        if first is not None and first.data == "such_that":
            cond = self.expr(first.children[-1])
            first = first.children[0] if len(first.children) == 2 else None
        axes = [] if first is None else first.children
        for axis in axes:
            if getattr(axis, "data", "") != "index":
                raise self.refuse("a reduction runs over axes, not positions", axis)
        return tuple(name(axis.children[0]) for axis in axes), cond

    def apply(self, tree: Tree) -> Apply:
        token, args = tree.children
        op = name(token)
        if op not in OPS:
            help = f"a reduction has its axes in brackets: {op}[..](..)" if op in REDUCERS or op in ALONG else ""
            error = self.unknown("function", op, OPS, token)
            error.help = help or error.help
            raise error
        self.named(args, ())
        found = self.plain(args)
        arity = OPS[op].arity
        if len(found) != arity if arity is not None else len(found) < 2:
            raise self.refuse(f"'{op}' takes {_count(arity)}, found {len(found)}", tree)
        return Apply(op, found)

    def plain(self, args: Tree) -> tuple[Expr, ...]:
        out = []
        for arg in args.children:
            if getattr(arg, "data", "") != "named":
                out.append(self.expr(arg))
        return tuple(out)

    def named(self, args: Tree, allowed: tuple[str, ...]) -> dict[str, Expr]:
        out: dict[str, Expr] = {}
        for arg in args.children:
            if getattr(arg, "data", "") == "named":
                key = name(arg.children[0])
                if key not in allowed or key in out:
                    raise self.refuse(f"there is no argument '{key}' here" if key not in out else f"'{key}' is given twice", arg)
                out[key] = self.expr(arg.children[1])
        return out

    # -------------------------------------------------------------------------------------------------------- declarations

    def program(self, tree: Tree) -> Program:
        title, *statements = tree.children
        sorted_out: dict[str, list[Tree]] = {}
        for statement in statements:
            what = str(statement.data)
            group = "axis" if what.startswith("axis") else "check" if what in ("require", "assume") else what
            sorted_out.setdefault(group if group in ("axis", "input", "check", "output") else "node", []).append(statement)
        inputs = tuple([self.input(t) for t in sorted_out.get("input", [])])
        self.kinds.update({given.name: given.kind for given in inputs})
        axes = tuple([self.axis(t) for t in sorted_out.get("axis", [])])  # a size may be an entry of an input
        checks = tuple([Check(self.expr(t.children[0]), t.data == "assume", self.span(t)) for t in sorted_out.get("check", [])])
        nodes = tuple([self.node(t) for t in sorted_out.get("node", [])])
        outputs = tuple([self.output(t) for t in sorted_out.get("output", [])])
        return Program(name(title), axes, inputs, checks, nodes, outputs)

    def axis(self, tree: Tree) -> Axis:
        title, *rest = tree.children
        if tree.data == "axis":
            return Axis(name(title))
        if tree.data == "axis_sized":
            if getattr(rest[0], "data", "") == "index":  # `axis r = kk`: a size has no index, so this is a sum of one part
                return Axis(name(title), None, ((name(rest[0].children[0]),),))
            return Axis(name(title), self.expr(rest[0]))
        if tree.data == "axis_part":
            return Axis(name(title), self.expr(rest[1]), ((name(rest[0]),),))
        parts = tuple(factors(part) for part in rest[0].children)
        return Axis(name(title), None if rest[1] is None else self.expr(rest[1]), parts)

    def input(self, tree: Tree) -> Input:
        title, dims, kind, const = tree.children
        return Input(name(title), stored(dims), self.kind(kind), const is not None, self.span(tree))

    def output(self, tree: Tree) -> Output:
        title, dims, request, kind, value = tree.children
        return Output(name(title), name(value), stored(dims), self.kind(kind), request is not None, self.span(tree))

    def kind(self, token: Tree) -> str:
        if token not in KINDS:
            raise self.unknown("kind", str(token), KINDS, token)
        return str(token)

    # -------------------------------------------------------------------------------------------------------- nodes

    def node(self, tree: Tree) -> Node:
        node: Node = getattr(self, str(tree.data))(tree)
        self.kinds.update({value.name: value.kind for value in values_of(node)})
        return node

    def head(self, tree: Tree) -> tuple[str, tuple[str, ...], str]:
        title, *axes, kind = tree.children
        return name(title), tuple(map(name, axes)), self.kind(kind)

    def assign(self, tree: Tree) -> Assign:
        head, value = tree.children
        return Assign(*self.head(head), self.expr(value), self.span(tree))

    def attend(self, tree: Tree) -> Attend:
        head, rows, word, keys, clauses = tree.children
        outer = dict(self.kinds)
        over = names(keys) if word == "over" else None
        found = _Clauses.sort(self, clauses, flat=over is not None)
        blocks = [(over, found)] if over is not None else []
        for block in found.segments:
            blocks.append((names(block.children[0]), _Clauses.sort(self, block.children[1], flat=True, inner=True)))
        segments, mixes = [], []
        local: dict[str, list[str]] = {}
        for axes, inner in blocks:
            self.kinds = dict(outer)
            scores = []
            for score in inner.score:
                title = name(score.children[0])
                scores.append((title, self.expr(score.children[1])))
                self.kinds[title] = kind_of(scores[-1][1])
                local.setdefault(title, []).append(self.kinds[title])
            mask = None if not inner.mask else self.expr(inner.mask[0].children[0])
            segments.append((axes, tuple(scores), mask))
            mixes.append(inner.mix)
        self.kinds = outer | {title: kinds[0] if over is not None else "float" for title, kinds in local.items()}
        self.kinds["admitted"] = "bool"
        maps = self.weights(found.map)
        posts = self.weights(found.post)
        mixed = [None if not mix else self.expr(mix[0].children[0]) for mix in mixes]
        emits = []
        for emit in found.emit:
            title, axes_, kind = self.head(emit.children[0])
            emits.append(Assign(title, axes_, kind, self.expr(emit.children[1]), self.span(emit)))
            self.kinds[title] = kind
        self.kinds = outer
        title, out_axes, kind = ("", (), "float") if head is None else self.head(head)
        parts = tuple(Segment(axes or (), scores, mask, mix) for (axes, scores, mask), mix in zip(segments, mixed, strict=True))
        empty = str(found.empty[0].children[0]) if found.empty else "zero"
        order = str(found.order[0].children[0]) if found.order else "auto"
        keyed = () if over is not None else names(keys)
        return Attend(
            title, out_axes, kind, names(rows), parts, maps, posts, tuple(emits), keyed, empty, order, self.span(tree)
        )  # fmt: skip

    def weights(self, clauses: list[Tree]) -> tuple[tuple[str, Expr], ...]:
        out = []
        for clause in clauses:
            title, value = name(clause.children[0]), self.expr(clause.children[1])
            self.kinds[title] = kind_of(value)
            out.append((title, value))
        return tuple(out)

    def pick(self, tree: Tree) -> Pick:
        head, op, source, target, cond, args = tree.children
        named = self.named(args, ("count",))
        body = self.plain(args)
        if len(body) != 1:
            raise self.refuse(f"'{op}' takes one argument, found {len(body)}", tree)
        arrow = "" if target is None else name(target)
        given = None if cond is None else self.expr(cond)
        return Pick(*self.head(head), str(op), name(source), arrow, body[0], given, named.get("count"), self.span(tree))

    def fold(self, tree: Tree) -> Fold:
        var, start, stop, step, body = tree.children
        bounds = self.expr(start), self.expr(stop), self.expr(step)
        outer = dict(self.kinds)
        self.kinds[name(var)] = "int"
        inner = self.body(body, ("carry",))
        carries = []
        for carry in inner["carry"]:
            head, init, then = carry.children
            carries.append(Carry(*self.head(head), name(init), name(then)))
            self.kinds[carries[-1].name] = carries[-1].kind
        nodes = tuple([self.node(t) for t in inner["node"]])
        self.kinds = outer
        return Fold(name(var), *bounds, tuple(carries), nodes, self.span(tree))

    def call(self, tree: Tree) -> Call:
        head, op, inputs, along, target, grad, body = tree.children
        title, axes, kind = self.head(head)
        outer = dict(self.kinds)
        inner = self.body(body, ("formal", "return", "cotangent"))
        formals = []
        for formal in inner["formal"]:
            formals.append(Assign(*self.head(formal.children[0]), self.expr(formal.children[1]), self.span(formal)))
        self.kinds.update({f.name: f.kind for f in formals})
        nodes = tuple([self.node(t) for t in inner["node"]])
        value = self.result(inner["return"])
        given = "" if grad is None else name(grad)
        if given:
            self.kinds[given] = kind
        scope = dict(self.kinds)
        cotangents = []
        for cotangent in inner["cotangent"]:
            self.kinds = dict(scope)
            own = self.body(cotangent.children[1], ("return",))
            steps = tuple([self.node(t) for t in own["node"]])
            if not own["return"]:
                raise self.refuse("a cotangent ends with 'return NAME'", cotangent)
            cotangents.append(Cotangent(name(cotangent.children[0]), steps, self.result(own["return"])))
        self.kinds = outer
        axes_along = () if along is None else names(along)
        arrow = "" if target is None else name(target)
        return Call(
            title, axes, kind, str(op), names(inputs), axes_along, arrow, tuple(formals), nodes, value, given, tuple(cotangents),
            self.span(tree),
        )  # fmt: skip

    def body(self, tree: Tree, allowed: tuple[str, ...]) -> dict[str, list[Tree]]:
        """The statements of a block: nodes under `node`, the others by their word. Raises AttnSyntaxError."""
        out: dict[str, list[Tree]] = {"node": [], **{word: [] for word in allowed}}
        for statement in () if tree is None else tree.children:
            word = str(statement.data)
            if word in ("carry", "formal", "return", "cotangent") and word not in allowed:
                raise self.refuse(f"'{word}' has no place here", statement)
            out[word if word in allowed else "node"].append(statement)
        return out

    def result(self, returns: list[Tree]) -> str:
        if len(returns) > 1:
            raise self.refuse("'return' is given twice", returns[1])
        return name(returns[0].children[0]) if returns else ""


@dataclass
class _Clauses:
    """The clauses of an attend or of one of its segments, by word."""

    score: list[Tree] = field(default_factory=list)
    mask: list[Tree] = field(default_factory=list)
    mix: list[Tree] = field(default_factory=list)
    map: list[Tree] = field(default_factory=list)
    post: list[Tree] = field(default_factory=list)
    emit: list[Tree] = field(default_factory=list)
    empty: list[Tree] = field(default_factory=list)
    order: list[Tree] = field(default_factory=list)
    segments: list[Tree] = field(default_factory=list)

    @staticmethod
    def sort(builder: Builder, tree: Tree, flat: bool, inner: bool = False) -> _Clauses:
        """flat: keys are described here, not in segments. inner: this is a segment. Raises AttnSyntaxError."""
        out = _Clauses()
        for clause in tree.children:
            word = str(clause.data)
            keyed, once = word in ("score", "mask", "mix"), word in ("mask", "mix", "empty", "order")
            if (word == "segment" and flat) or (keyed and not flat) or (inner and not keyed):
                where = "in a segment" if inner else "beside 'over'" if flat else "outside a segment"
                raise builder.refuse(f"'{'over' if word == 'segment' else word}' has no place {where}", clause)
            group = out.segments if word == "segment" else getattr(out, word)
            if once and group:
                raise builder.refuse(f"'{word}' is given twice", clause)
            group.append(clause)
        return out


def name(token: Tree) -> str:
    """The name of a token, out of its backquotes."""
    text = str(token)
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text.startswith("`") else text


def names(tree: Tree) -> tuple[str, ...]:
    return tuple(map(name, tree.children))


def factors(tree: Tree) -> tuple[str, ...]:
    """The axes of a part or dim: a name, or a product."""
    return names(tree) if hasattr(tree, "data") else (name(tree),)


def stored(tree: Tree) -> Dims:
    return tuple(() if getattr(dim, "type", "") == "UNIT" else factors(dim) for dim in tree.children)


def _count(arity: int | None) -> str:
    return "two or more arguments" if arity is None else "one argument" if arity == 1 else f"{arity} arguments"
