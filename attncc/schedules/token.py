"""The token schedule: definitions over tokens (a norm, a feature map, a scaled operand) as one sweep, their features whole in a tile.

for each tile of the token axis, at each position of the others:  load -> pointwise, sums over features -> store

Definitions of the same tokens share a sweep: what one of them computes, a later one takes from the tile.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..errors import AttnUnsupportedError
from ..ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, children, kind_of, rebuild, walk
from ..ir.nodes import Assign
from ..tile.nodes import Arg, Dim, Load, Map, Program, Scalar, Stmt, Store, value
from ..tile.nodes import Reduce as Fold
from ..tile.verify import verify
from .base2 import uniform

_OPS = {"sum": 0.0, "max": float("-inf"), "min": float("inf"), "mean": 0.0, "norm": 0.0}


def lower_definition(
    node: Assign,
    arrays: Mapping[str, tuple[str, ...]],
    features: Collection[str],
    acc: Collection[str],
    tokens: Collection[str] = (),
) -> Program:
    """The tile program of a definition.

    features: axes whose sizes are known when compiling. acc: names of values in the accumulation type, this one too if it is.
    tokens: axes of which one is tiled; the last axis that is no feature where the definition has none of them.
    Raises AttnUnsupportedError for a definition that is no such sweep.
    """
    return lower_definitions((node,), arrays, features, acc, tokens)


def lower_definitions(
    nodes: Sequence[Assign],
    arrays: Mapping[str, tuple[str, ...]],
    features: Collection[str],
    acc: Collection[str],
    tokens: Collection[str] = (),
) -> Program:
    """The tile program of definitions over the same tokens, in order, each of which may read earlier ones at its own position. All
    of them are stored. Arguments and errors as for `lower_definition`."""
    return verify(_Token(nodes, arrays, features, acc, tokens).program())


def tokens_of(node: Assign, features: Collection[str]) -> tuple[str, ...]:
    """The axes of a definition beside its last one, if that is a feature."""
    return node.axes[:-1] if node.axes and node.axes[-1] in features else node.axes


class _Token:
    def __init__(
        self,
        nodes: Sequence[Assign],
        arrays: Mapping[str, tuple[str, ...]],
        features: Collection[str],
        acc: Collection[str],
        tokens: Collection[str],
    ) -> None:
        self.nodes, self.node, self.arrays, self.acc = nodes, nodes[0], arrays, acc
        whole: list[str] = []
        rest = tokens_of(self.node, features)
        for node in nodes:
            self.node = node
            reduced = {a for e in walk(node.expr) if isinstance(e, Reduce | Along) for a in e.axes}
            whole += [*node.axes[-1:], *reduced]
            if any(isinstance(e, Along) for e in walk(node.expr)) or not reduced <= set(features):
                raise AttnUnsupportedError(f"{node.name} is no definition token by token", node.span)
            if not rest or node.kind != "float" or tokens_of(node, features) != rest:
                raise AttnUnsupportedError(f"{node.name} has no token axis", node.span)
        self.features = tuple(a for a in dict.fromkeys(features) if a in whole)
        self.owner = next((a for a in reversed(rest) if a in tokens), rest[-1])
        self.grid = tuple(a for a in rest if a != self.owner)
        if both := set(rest) & set(self.features):
            raise AttnUnsupportedError(f"{self.node.name} sums over {both.pop()}, which is an axis of its own, too", self.node.span)
        self.body: list[Stmt] = []
        self.made: dict[str, Expr] = {}
        self.loads: dict[Expr, str] = {}
        self.kinds: dict[str, str] = {}
        self.scalars: dict[Expr, Scalar] = {}
        self.taken = {*(n.name for n in nodes), *(a for axes in arrays.values() for a in axes)}

    def name(self, hint: str) -> str:
        new, number = hint, 2
        while new in self.taken:
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new

    def program(self) -> Program:
        for node in self.nodes:
            self.node = node
            out = self.expr(self.node.expr)
            dims = self.dims(self.node.expr)
            made = self.name("out")
            self.body.append(Map(made, out, dims))
            self.body.append(Store(self.node.name, tuple(map(Index, self.node.axes)), made, dims))
            self.made[self.node.name] = value(made)
        args = [Arg(n, self.arrays[n], kind, "in", n in self.acc) for n, kind in self.kinds.items()]
        used = {d for stmt in self.body if isinstance(stmt, Load | Map) for d in stmt.dims}
        wide = tuple(Dim(a, (a,), whole=True) for a in self.features if a in used)
        names = " and ".join(n.name for n in self.nodes)
        return Program(
            self.node.name,
            (Dim(self.owner, (self.owner,)), *wide),
            (*args, *(Arg(n.name, n.axes, "float", "out", n.name in self.acc) for n in self.nodes)),
            tuple(self.scalars.values()),
            self.grid,
            self.owner,
            tuple(self.body),
            (f"{names} {'is' if len(self.nodes) == 1 else 'are'} computed once a token, for the kernels that follow",),
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
        if expr.source in self.made:
            own = next(n for n in self.nodes if n.name == expr.source)
            if expr.index != tuple(map(Index, own.axes)):
                raise AttnUnsupportedError(f"{expr.source} is read at another token than its own", self.node.span)
            return self.made[expr.source]
        if expr not in self.loads:
            index = tuple(self.expr(x) for x in expr.index)
            fill = None if expr.fill is None else self.expr(expr.fill)
            made = self.name(expr.source)
            self.body.append(Load(made, expr.source, index, self.dims(expr), fill=fill))
            self.loads[expr], self.kinds[expr.source] = made, expr.kind
        return value(self.loads[expr], expr.kind)

    def reduce(self, expr: Reduce) -> Expr:
        if expr.op not in _OPS or len(expr.axes) != 1 or kind_of(expr) != "float" or (expr.op == "mean" and expr.cond is not None):
            raise AttnUnsupportedError(f"{expr.op} over {', '.join(expr.axes)} is no sum over one feature axis", self.node.span)
        axis = expr.axes[0]
        if expr not in self.loads:
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
        out: Expr = value(self.loads[expr])
        if expr.op == "mean":
            out = Apply("div", (out, Apply("to_float", (Size(axis),))))
        return Apply("sqrt", (out,)) if expr.op == "norm" else out
