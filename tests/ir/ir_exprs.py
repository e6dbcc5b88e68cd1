"""Random expressions of the IR, legal by construction: every kind and operation, awkward names and numbers."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from attncc.ir.expr import TRUE, Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, kind_of
from attncc.ir.nodes import Value
from attncc.ir.ops import ALONG, OPS, REDUCERS
from attncc.ir.printer import RESERVED

NAMES = [*"abcdhijkmnopqrstuvwxyz", "y'", "y''", "m~1", "w_pw3", "ñ", "a b", "`", "\\", "a\nb", "1x", "x-y", "q[0]", "_"]
NAMES += [
    *RESERVED,
    *OPS,
    *REDUCERS,
    "rows",
    "over",
    "keys",
    "score",
    "mask",
    "map",
    "post",
    "mix",
    "emit",
    "empty",
    "order",
    "by",
]
NAMES += ["then", "along", "grad", "const", "program", "sink", "float", "zero"]
FLOATS = st.one_of(
    st.floats(allow_nan=True), st.sampled_from([0.0, -0.0, 1.0, -3.0, 0.1, 1e-6, 1e300, float("inf"), -float("inf")])
)
INTS = st.one_of(st.integers(-5, 5), st.integers())
FUNCTIONS = [row.name for row in OPS.values() if row.result == "float" and row.arity == 1 and row.name != "to_float"]

ARITHMETIC = ["add", "sub", "mul", "floordiv", "mod", "min", "max", "neg", "abs"]
CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure


@dataclass
class Maker:
    """Draws the parts of one program."""

    draw: st.DrawFn
    axes: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    taken: set[str] = field(default_factory=lambda: {"", "admitted"})

    def pick(self, items: list) -> object:
        return self.draw(st.sampled_from(items))

    def some(self, items: list[str] | tuple[str, ...], least: int = 0, most: int = 3) -> tuple[str, ...]:
        most = min(most, len(items))
        least = min(least, most)
        if most == 0:
            return ()
        return tuple(self.draw(st.lists(st.sampled_from(list(items)), min_size=least, max_size=most, unique=True)))

    def number(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def coin(self) -> bool:
        return self.draw(st.booleans())

    def fresh(self) -> str:
        base = str(self.pick(NAMES))
        name, n = base, 0
        while name in self.taken:
            n += 1
            name = f"{base}~{n}"
        self.taken.add(name)
        return name

    # -------------------------------------------------------------------------------------------------------- expressions

    def expr(self, kind: str, axes: tuple[str, ...], depth: int = 3) -> Expr:
        """An expression of a kind whose free axes are among `axes`."""
        build = {"int": self.int, "bool": self.bool, "float": self.float, "complex": self.complex}[kind]
        out = build(axes, depth)
        assert kind_of(out) == kind and set(axes_of(out)) <= set(axes), (out, kind, axes)
        return out

    def narrow(self, kind: str, axes: tuple[str, ...], depth: int) -> Expr:
        """An expression of this kind or a narrower one."""
        kinds = ["bool", "int", "float", "complex"]
        return self.expr(str(self.pick(kinds[: kinds.index(kind) + 1])), axes, depth)

    def read(self, kind: str, axes: tuple[str, ...], depth: int) -> Expr | None:
        found = [v for v in self.values if v.kind == kind]
        if not found:
            return None
        value = self.pick(found)
        assert isinstance(value, Value)
        index = []
        for axis in value.axes:
            plain = axis in axes and (depth <= 0 or self.coin())
            index.append(Index(axis) if plain else self.expr("int", axes, min(depth - 1, 1)))
        fill = self.narrow(kind, axes, 0) if index and self.number(0, 4) == 0 else None
        return Read(value.name, tuple(index), kind, fill)

    def shared(self, kind: str, axes: tuple[str, ...], depth: int, choices: list[str]) -> Expr:
        """A construct that every kind has."""
        how = self.pick(choices)
        if how == "read":
            found = self.read(kind, axes, depth)
            if found is not None:
                return found
            how = "where"
        if how == "where":
            second = self.narrow(kind, axes, depth - 1)
            return Apply("where", (self.expr("bool", axes, depth - 1), self.expr(kind, axes, depth - 1), second))
        if how == "stop":
            return Apply("stop_grad", (self.expr(kind, axes, depth - 1),))
        raise AssertionError(how)

    def reduce(self, op: str, kind: str, axes: tuple[str, ...], depth: int) -> Expr:
        over = self.some(self.axes)
        inside = tuple(dict.fromkeys((*axes, *over)))
        cond = self.expr("bool", inside, depth - 1) if self.coin() else None
        return Reduce(op, over, TRUE if op == "count" else self.expr(kind, inside, depth - 1), cond)

    def arithmetic(self, kind: str, axes: tuple[str, ...], depth: int, ops: list[str]) -> Expr:
        op = str(self.pick(ops))
        if OPS[op].arity == 1:
            return Apply(op, (self.expr(kind, axes, depth - 1),))
        pair = [self.expr(kind, axes, depth - 1), self.narrow(kind, axes, depth - 1)]
        if self.coin():
            pair.reverse()
        return Apply(op, tuple(pair))

    def int(self, axes: tuple[str, ...], depth: int) -> Expr:
        if depth <= 0:
            choices: list[Expr] = [Const(self.draw(INTS)), *(Index(a) for a in axes), *(Size(a) for a in self.axes)]
            return self.pick(choices)
        match self.pick(["leaf", "pair", "pair", "whole", "unary", "pow", "reduce", "count", "shared"]):
            case "leaf":
                return self.int(axes, 0)
            case "pair":
                return self.arithmetic(
                    "int", axes, depth, ["add", "sub", "mul", "floordiv", "mod", "min", "max", "neg", "abs", "sign"]
                )
            case "whole":
                return Apply(str(self.pick(["cdiv", "exact"])), (self.int(axes, depth - 1), self.int(axes, depth - 1)))
            case "unary":
                op = str(self.pick(["floor", "ceil", "round", "to_int"]))
                return Apply(op, (self.expr("float", axes, depth - 1),))
            case "pow":
                return Apply("pow", (self.int(axes, depth - 1), Const(self.number(0, 3))))
            case "reduce":
                return self.reduce(str(self.pick(["sum", "prod", "max", "min"])), "int", axes, depth)
            case "count":
                return self.reduce("count", "bool", axes, depth)
        return self.shared("int", axes, depth, ["read", "where", "stop"])

    def bool(self, axes: tuple[str, ...], depth: int) -> Expr:
        if depth <= 0:
            return Const(self.coin())
        match self.pick(["compare", "compare", "logic", "not", "nan", "reduce", "shared"]):
            case "compare":
                kind = str(self.pick(["int", "float"]))
                op = str(self.pick(["eq", "ne", "le", "lt", "ge", "gt"]))
                return Apply(op, (self.expr(kind, axes, depth - 1), self.narrow(kind, axes, depth - 1)))
            case "logic":
                return Apply(str(self.pick(["and", "or"])), (self.bool(axes, depth - 1), self.bool(axes, depth - 1)))
            case "not":
                return Apply("not", (self.bool(axes, depth - 1),))
            case "nan":
                return Apply("isnan", (self.expr("float", axes, depth - 1),))
            case "reduce":
                return self.reduce(str(self.pick(["any", "all"])), "bool", axes, depth)
        return self.shared("bool", axes, depth, ["read", "stop"])

    def float(self, axes: tuple[str, ...], depth: int) -> Expr:
        if depth <= 0:
            return Const(self.draw(FLOATS))
        match self.pick(["pair", "pair", "function", "div", "pow", "reduce", "along", "part", "shared", "shared"]):
            case "pair":
                return self.arithmetic("float", axes, depth, [*ARITHMETIC, "div"])
            case "function":
                return Apply(str(self.pick(FUNCTIONS)), (self.expr("float", axes, depth - 1),))
            case "div":
                op, kind = str(self.pick(["div", "to_float"])), str(self.pick(["bool", "int", "float"]))
                args = (self.expr(kind, axes, depth - 1), self.expr("int", axes, depth - 1))
                return Apply(op, args if op == "div" else args[:1])
            case "pow":
                return Apply("pow", (self.expr("float", axes, depth - 1), self.narrow("float", axes, depth - 1)))
            case "reduce":
                op = str(self.pick(["sum", "mean", "prod", "max", "min", "norm", "lse"]))
                return self.reduce(op, "float", axes, depth)
            case "along" if axes:
                along = self.some(axes, 1)
                op = str(self.pick(list(ALONG)))
                cond = self.bool(axes, depth - 1) if self.coin() else None
                sink = self.expr("float", axes, depth - 1) if op.endswith("softmax") and self.coin() else None
                return Along(op, along, self.expr("float", axes, depth - 1), cond, sink)
            case "part":
                return Apply(str(self.pick(["real", "imag", "abs"])), (self.complex(axes, depth - 1),))
        return self.shared("float", axes, depth, ["read", "read", "where", "stop"])

    def complex(self, axes: tuple[str, ...], depth: int) -> Expr:
        if depth <= 1 or self.coin():
            return Apply("complex", (self.narrow("float", axes, depth - 1), self.narrow("float", axes, depth - 1)))
        if self.coin():
            return self.arithmetic("complex", axes, depth, ["add", "sub", "mul", "div", "neg"])
        return self.shared("complex", axes, depth, ["read", "where"])


@st.composite
def exprs(draw: st.DrawFn, kinds: tuple[str, ...] = ("float", "int", "bool", "complex")) -> tuple[Expr, dict[str, str]]:
    """An expression, and the kind of each value it may read."""
    maker = Maker(draw)
    maker.axes = [maker.fresh() for _ in range(3)]
    for kind in ("float", "int", "bool", "complex"):
        maker.values.append(Value(maker.fresh(), maker.some(maker.axes), kind))
    expr = maker.expr(str(maker.pick(list(kinds))), tuple(maker.axes), 4)
    return expr, {v.name: v.kind for v in maker.values}
