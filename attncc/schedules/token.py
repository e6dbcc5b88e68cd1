"""The token schedule: a definition over tokens (a norm, a scaled operand) as one sweep, with its features whole in a tile.

for each tile of the token axis, at each position of the others:  load -> pointwise, sums over features -> store
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import AttnUnsupportedError
from ..ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, children, kind_of, rebuild, walk
from ..ir.nodes import Assign
from ..tile.nodes import Arg, Dim, Load, Map, Program, Scalar, Stmt, Store, value
from ..tile.nodes import Reduce as Fold
from ..tile.verify import verify
from .base2 import uniform

_OPS = {"sum": 0.0, "max": float("-inf"), "min": float("inf"), "mean": 0.0, "norm": 0.0}


def lower_definition(
    node: Assign, arrays: Mapping[str, tuple[str, ...]], features: Collection[str], acc: Collection[str]
) -> Program:
    """The tile program of a definition.

    features: axes whose sizes are known when compiling. acc: names of values in the accumulation type, this one too if it is.
    Raises AttnUnsupportedError for a definition that is no such sweep.
    """
    return verify(_Token(node, arrays, features, acc).program())


class _Token:
    def __init__(
        self, node: Assign, arrays: Mapping[str, tuple[str, ...]], features: Collection[str], acc: Collection[str]
    ) -> None:
        self.node, self.arrays, self.acc = node, arrays, acc
        reduced = {a for e in walk(node.expr) if isinstance(e, Reduce | Along) for a in e.axes}
        last = node.axes[-1:] if node.axes and node.axes[-1] in features else ()
        self.features = tuple(dict.fromkeys([*last, *(a for a in features if a in reduced)]))
        rest = tuple(a for a in node.axes if a not in last)
        if any(isinstance(e, Along) for e in walk(node.expr)) or not reduced <= set(features):
            raise AttnUnsupportedError(f"{node.name} is no definition token by token", node.span)
        if not rest or node.kind != "float":
            raise AttnUnsupportedError(f"{node.name} has no token axis", node.span)
        self.owner, self.grid = rest[-1], rest[:-1]
        self.body: list[Stmt] = []
        self.loads: dict[Expr, str] = {}
        self.kinds: dict[str, str] = {}
        self.scalars: dict[Expr, Scalar] = {}
        self.taken = {node.name, *(a for axes in arrays.values() for a in axes)}

    def name(self, hint: str) -> str:
        new, number = hint, 2
        while new in self.taken:
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new

    def program(self) -> Program:
        node = self.node
        out = self.expr(node.expr)
        dims = self.dims(node.expr)
        made = self.name("out")
        self.body.append(Map(made, out, dims))
        self.body.append(Store(node.name, tuple(Index(a) for a in node.axes), made, dims))
        args = [Arg(n, self.arrays[n], kind, "in", n in self.acc) for n, kind in self.kinds.items()]
        used = {d for stmt in self.body if isinstance(stmt, Load | Map) for d in stmt.dims}
        wide = tuple(Dim(a, (a,), whole=True) for a in self.features if a in used)
        return Program(
            node.name,
            (Dim(self.owner, (self.owner,)), *wide),
            (*args, Arg(node.name, node.axes, "float", "out", node.name in self.acc)),
            tuple(self.scalars.values()),
            self.grid,
            self.owner,
            tuple(self.body),
            (f"{node.name} is computed once a token, for the kernels that follow",),
        )

    def dims(self, expr: Expr) -> tuple[str, ...]:
        """Dims of a definition's expression. Raises AttnUnsupportedError for more than a token and one feature axis."""
        axes = axes_of(expr)
        wide = tuple(a for a in self.features if a in axes)
        if len(wide) > 1:
            raise AttnUnsupportedError(f"{self.node.name} has values over {' and '.join(wide)} at once", self.node.span)
        return (*((self.owner,) if self.owner in axes else ()), *wide)

    def expr(self, expr: Expr) -> Expr:
        """The tile expression; loads and reductions are added to the body."""
        self.dims(expr)
        match expr:
            case Const() | Index():
                return expr
            case Size() | Apply() if uniform(expr):
                return self.scalar(expr)
            case Read():
                return self.load(expr)
            case Reduce():
                return self.reduce(expr)
            case Apply():
                return rebuild(expr, self.expr)
        raise AttnUnsupportedError(f"{self.node.name} is no definition token by token", self.node.span)

    def scalar(self, expr: Expr) -> Expr:
        if kind_of(expr) != "float" or not children(expr):
            return expr
        if expr not in self.scalars:
            self.scalars[expr] = Scalar(self.name("factor"), expr)
        return value(self.scalars[expr].name)

    def load(self, expr: Read) -> Expr:
        if expr not in self.loads:
            index = tuple(self.expr(x) for x in expr.index)
            fill = None if expr.fill is None else self.expr(expr.fill)
            made = self.name(expr.source)
            self.body.append(Load(made, expr.source, index, self.dims(expr), fill=fill))
            self.loads[expr], self.kinds[expr.source] = made, expr.kind
        return value(self.loads[expr], expr.kind)

    def reduce(self, expr: Reduce) -> Expr:
        if expr in self.loads:
            return value(self.loads[expr])
        if expr.op not in _OPS or len(expr.axes) != 1:
            raise AttnUnsupportedError(f"{expr.op} over {', '.join(expr.axes)} is no sum over one feature axis", self.node.span)
        axis = expr.axes[0]
        body = Apply("mul", (expr.body, expr.body)) if expr.op == "norm" else expr.body
        inside: Expr = Apply("lt", (Index(axis), Size(axis)))
        if expr.cond is not None:
            inside = Apply("and", (inside, expr.cond))
        made = self.name(f"{expr.op}_of")
        op = expr.op if expr.op in ("max", "min") else "sum"
        kept = Apply("where", (inside, body, Const(_OPS[op])))
        dims = self.dims(kept)
        tile = self.name("term")
        self.body.append(Map(tile, self.expr(kept), dims))
        self.body.append(Fold(made, op, tile, axis, tuple(d for d in dims if d != axis)))
        self.loads[expr] = made
        out: Expr = value(made)
        if expr.op == "mean":
            out = Apply("div", (out, Apply("to_float", (Size(axis),))))
        return Apply("sqrt", (out,)) if expr.op == "norm" else out
