"""Random programs of the pattern IR, legal by construction: every node kind, nested folds and calls, several segments."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st
from ir_exprs import NAMES
from ir_exprs import Maker as ExprMaker

from attncc.ir.expr import Apply, Const, Expr, Size, axes_of, kind_of
from attncc.ir.nodes import (
    Assign,
    Attend,
    Axis,
    Call,
    Carry,
    Check,
    Cotangent,
    Fold,
    Input,
    Node,
    Output,
    Pick,
    Program,
    Segment,
    Value,
    pair_values,
    values_of,
)
from attncc.ir.ops import result_kind


@dataclass
class Maker(ExprMaker):
    """Draws the nodes of one program. sums: axes that are direct sums, with their parts. released: local names of attends."""

    sums: dict[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    released: list[str] = field(default_factory=list)

    def local(self, used: list[str]) -> str:
        """A name for a score or weight, perhaps that of another attend. used: those of this one."""
        old = [name for name in self.released if name not in used]
        used.append(str(self.pick(old)) if old and self.coin() else self.fresh())
        return used[-1]

    def kind(self) -> str:
        return str(self.pick(["float", "float", "float", "int", "bool", "complex"]))

    def assign(self, axes: tuple[str, ...] | None = None, kind: str | None = None) -> Assign:
        axes = self.some(self.axes) if axes is None else axes
        kind = kind or self.kind()
        expr = self.expr(kind, axes)
        return Assign(self.fresh(), axes, kind, expr)

    def stored(self, axes: tuple[str, ...], kind: str) -> tuple[Node, Value]:
        """A node that defines a value with these axes and kind, and the value."""
        node = self.assign(axes, kind)
        return node, Value(node.name, axes, kind)

    def attend(self, sums: dict[str, tuple[tuple[str, ...], ...]]) -> Attend:
        """An attend. sums: axes that are direct sums of distinct parts."""
        usable = {name: parts for name, parts in sums.items() if len(set(parts)) == len(parts) > 1}
        keys: tuple[str, ...] = ()
        if usable and self.coin():
            keys = (str(self.pick(list(usable))),)
            overs = [tuple(part) for part in self.draw(st.permutations(usable[keys[0]]))]
        else:
            overs = [self.some(self.axes, 1, 2)]
        busy = {*keys, *(a for over in overs for a in over)}
        rows = self.some([a for a in self.axes if a not in busy])
        outer = list(self.values)
        used: list[str] = []
        names = [self.local(used) for _ in range(self.number(0, 2))]
        kinds = [str(self.pick(["float", "int", "bool"])) for _ in names]
        pairs = (*rows, *(keys or overs[0]))
        segments: list[Segment] = []
        for over in overs:
            inside = (*rows, *over)
            self.values = list(outer)
            scores = []
            for name, kind in zip(names, kinds, strict=True):
                scores.append((name, self.expr(kind, inside)))
                self.values.append(Value(name, axes_of(scores[-1][1]), kind))
            mask = self.expr("bool", inside, 2) if self.coin() else None
            segments.append(Segment(over, tuple(scores), mask))
        node = Attend("", (), "float", rows, tuple(segments), (), keys=keys)
        self.values = [*outer, *pair_values(node).values()]
        for _ in range(self.number(0, 3)):
            kind = str(self.pick(["float", "float", "int"]))
            weight = (self.local(used), self.expr(kind, pairs))
            if node.posts or (node.maps and self.coin()):
                node = replace(node, posts=(*node.posts, weight))
            else:
                node = replace(node, maps=(*node.maps, weight))
            self.values = [*outer, *pair_values(node).values()]
        weights = (*node.maps, *node.posts)
        extra = self.some([a for a in self.axes if a not in busy and a not in rows], 0, 1)
        if weights and self.coin():
            mixes: list[Expr | None] = []
            for segment in segments:
                local = self.values
                if len(segments) > 1:
                    self.values = [*outer, *(Value(n, axes_of(e), kind_of(e)) for n, e in segment.scores)]
                mixes.append(self.expr("float", (*rows, *segment.over, *extra), 2))
                self.values = local
            segments = [replace(s, mix=m) for s, m in zip(segments, mixes, strict=True)]
            axes = tuple(self.draw(st.permutations([*rows, *extra])))
            kind = result_kind("number", [kind_of(weights[-1][1]), "float"])
            node = replace(node, name=self.fresh(), axes=axes, kind=kind, segments=tuple(segments))
        emits: list[Assign] = []
        for _ in range(self.number(0, 2)):
            emits.append(self.assign(self.some(self.axes), str(self.pick(["float", "int", "bool"]))))
            self.values.append(Value(emits[-1].name, emits[-1].axes, emits[-1].kind))
        self.values = outer
        self.released += used
        words = str(self.pick(["zero", "uniform", "error"])), str(self.pick(["auto", "left", "right"]))
        return replace(node, emits=tuple(emits), empty=words[0], order=words[1])

    def choose(self) -> Pick:
        op = str(self.pick(["topk", "argmax", "argsort", "sort", "positions", "in_top"]))
        source, *others = self.some(self.axes, 3, 4)
        moves = op in ("topk", "positions") or (op in ("argsort", "sort") and self.coin())
        target = others.pop() if moves else str(self.pick(["", source]))
        inside = (source, *others)
        kind = "bool" if op == "positions" else str(self.pick(["float", "int", "bool"]))
        expr = self.expr(kind, inside)
        cond = self.expr("bool", inside, 2) if self.coin() else None
        count = self.expr("int", tuple(others), 2) if op == "in_top" else None
        axes = tuple(others) if op == "argmax" else (*others, target or source)
        result = {"sort": kind, "in_top": "bool"}.get(op, "int")
        return Pick(self.fresh(), tuple(self.draw(st.permutations(axes))), result, op, source, target, expr, cond, count)

    def fold(self, depth: int) -> tuple[list[Node], Fold]:
        """Nodes that define the first values, and a fold."""
        before: list[Node] = []
        inits: list[Value] = []
        for _ in range(self.number(1, 2)):
            node, value = self.stored(self.some(self.axes), str(self.pick(["float", "int"])))
            before.append(node)
            inits.append(value)
        bounds = [self.expr("int", (), 1) for _ in range(3)]
        if bounds[2] == Const(0):
            bounds[2] = Const(1)
        outer = [*self.values, *inits]
        var = self.fresh()
        carried = [Value(self.fresh(), tuple(self.draw(st.permutations(v.axes))), v.kind) for v in inits]
        self.values = [*outer, Value(var, (), "int"), *carried]
        body = list(self.body(depth - 1))
        nexts = []
        for value in carried:
            if self.coin():
                node, result = self.stored(value.axes, value.kind)
                body.append(node)
                self.values.append(result)
                nexts.append(result.name)
            else:
                nexts.append(value.name)
        self.values = outer
        carries = [Carry(v.name, v.axes, v.kind, i.name, n) for v, i, n in zip(carried, inits, nexts, strict=True)]
        return before, Fold(var, bounds[0], bounds[1], bounds[2], tuple(carries), tuple(body))

    def call(self, depth: int) -> tuple[list[Node], Call]:
        """Nodes that define the inputs, and a call."""
        op = str(self.pick(["vjp", "rfft", "irfft", "grad"]))
        if op in ("rfft", "irfft"):
            axes = self.some(self.axes, 2, 4)
            target, *have = axes
            full, half = ("float", "complex") if op == "rfft" else ("complex", "float")
            node, value = self.stored(tuple(have), full)
            along = self.some(have, 1)
            result = tuple(target if a == along[-1] else a for a in have)
            return [node], Call(self.fresh(), result, half, op, (value.name,), along, target)
        if op == "grad":
            axes = self.some(self.axes)
            wrt, given = self.stored(axes, "float")
            self.values.append(given)
            scalar, value = self.stored((), "float")
            return [wrt, scalar], Call(self.fresh(), axes, "float", op, (value.name, given.name))
        inputs = [self.stored(self.some(self.axes), "float") for _ in range(self.number(1, 2))]
        outer = [*self.values, *(value for _, value in inputs)]
        formals, values = [], []
        if self.coin():
            for _, value in inputs:
                self.values = [value]
                formals.append(self.assign(value.axes, "float"))
                values.append(Value(formals[-1].name, formals[-1].axes, "float"))
        self.values = [*outer, *values]
        body = list(self.body(depth - 1))
        kind = str(self.pick(["float", "complex"]))
        node, result = self.stored(self.some(self.axes), kind)
        body.append(node)
        name, grad = self.fresh(), self.fresh() if self.coin() else ""
        axes = tuple(self.draw(st.permutations(result.axes)))
        inner = [*self.values, result, *([Value(grad, axes, kind)] if grad else [])]
        cotangents = []
        for value in values or [value for _, value in inputs]:
            if self.coin():
                self.values = list(inner)
                steps = list(self.body(0))
                node, back = self.stored(value.axes, value.kind)
                cotangents.append(Cotangent(value.name, (*steps, node), back.name))
        self.values = outer
        call = Call(
            name, axes, kind, op, tuple(v.name for _, v in inputs), (), "", tuple(formals), tuple(body), result.name, grad
        )
        return [node for node, _ in inputs], replace(call, cotangents=tuple(cotangents))

    def body(self, depth: int) -> tuple[Node, ...]:
        """Some nodes, added to the scope."""
        out: list[Node] = []
        for _ in range(self.number(0 if depth < 2 else 1, depth + 1)):
            how = self.pick(["assign", "attend", "pick"] + (["fold", "call"] if depth > 0 else []))
            new: list[Node]
            if how == "fold":
                before, fold = self.fold(depth)
                new = [*before, fold]
            elif how == "call":
                before, call = self.call(depth)
                new = [*before, call]
            else:
                new = [self.attend(self.sums) if how == "attend" else self.choose() if how == "pick" else self.assign()]
            out.extend(new)
            known = {v.name for v in self.values}
            self.values.extend(v for node in new for v in values_of(node) if v.name not in known)
        return tuple(out)


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A program that keeps every rule."""
    maker = Maker(draw)
    plain = [maker.fresh() for _ in range(maker.number(4, 5))]
    maker.axes = list(plain)
    axes = [Axis(name) for name in plain]
    for _ in range(maker.number(0, 2)):
        size = Apply("add", (Apply("mul", (Size(str(maker.pick(plain))), Const(maker.number(-2, 3)))), Const(maker.number(0, 3))))
        axes.append(Axis(maker.fresh(), maker.pick([Size(plain[0]), size, Const(3)])))
        maker.axes.append(axes[-1].name)
    for _ in range(maker.number(0, 2)):
        parts = tuple(maker.some(plain, 0, 2) for _ in range(maker.number(1, 3)))
        name = maker.fresh()
        axes.append(Axis(name, Const(7) if maker.coin() else None, parts))
        maker.axes.append(name)
        maker.sums[name] = parts
    inputs = []
    for n in range(maker.number(1, 3)):
        have = tuple(plain) if n == 0 else maker.some(maker.axes)
        dims: list[tuple[str, ...]] = []
        for axis in have:
            if maker.coin() and dims:
                dims[-1] = (*dims[-1], axis)
            else:
                dims.append((axis,))
        if maker.coin():
            dims.insert(maker.number(0, len(dims)), ())
        kind = str(maker.pick(["float", "int", "bool"]))
        inputs.append(Input(maker.fresh(), tuple(dims), kind, maker.coin()))
        maker.values.append(Value(inputs[-1].name, tuple(a for dim in dims for a in dim), kind))
    checks = []
    for _ in range(maker.number(0, 2)):
        if maker.coin():
            checks.append(Check(maker.expr("bool", maker.some(maker.axes), 3), True))
        else:
            left: Expr = Size(str(maker.pick(maker.axes)))
            checks.append(Check(Apply("le", (Apply("mod", (left, Const(4))), Size(str(maker.pick(maker.axes)))))))
    nodes = maker.body(2)
    found = [v for v in maker.values if v.kind != "complex"]
    outputs = []
    for _ in range(maker.number(1, 3)):
        value = maker.pick(found)
        assert isinstance(value, Value)
        rest = maker.some([a for a in maker.axes if a not in value.axes], 0, 1)
        dims = [(a,) for a in draw(st.permutations([*value.axes, *rest]))]
        outputs.append(Output(f"{maker.pick(NAMES)}~{len(outputs)}", value.name, tuple(dims), value.kind, maker.coin()))
    return Program(maker.fresh(), tuple(axes), tuple(inputs), tuple(checks), nodes, tuple(outputs))
