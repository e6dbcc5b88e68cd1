"""Where each part of a pointwise expression is computed: by the caller, once an owner, once a tile of keys, or for each pair.

A part without axes and reads is a number of the caller. A part that depends on the grid or the owner's rows alone is computed
before the loops, a part of the keys alone once a tile. Products are regrouped so that such parts come together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ..ir.expr import ONE, Apply, Const, Expr, Index, Read, Size, axes_of, children, kind_of, rebuild, walk
from ..ir.pairs import value_name
from ..passes.fuse.algebra import factors, is_const, mul, product
from ..tile.nodes import Load, Map, Scalar, Stmt, value
from .base2 import uniform

_PLAIN = {
    "add",
    "sub",
    "mul",
    "neg",
    "floordiv",
    "mod",
    "cdiv",
    "exact",
    "min",
    "max",
    "where",
    "eq",
    "ne",
    "le",
    "lt",
    "ge",
    "gt",
}
"""Integer operations that a kernel does itself."""


@dataclass
class Scope:
    """A place for statements. dims: axis to tiled dim, here and outside. moving: axes that are scalars of this scope alone."""

    body: list[Stmt]
    dims: dict[str, str]
    parent: Scope | None = None
    moving: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    known: dict[Expr, Read] = field(default_factory=dict)

    def find(self, expr: Expr) -> Read | None:
        scope: Scope | None = self
        while scope is not None:
            if expr in scope.known:
                return scope.known[expr]
            scope = scope.parent
        return None


class Placer:
    """Turns stage expressions into tile expressions, adding the loads and maps they need to the right scopes.

    arrays: the axes of every outer value. values: dims of the stage's values known so far. inside: names that bodies of loops used.
    """

    def __init__(self, arrays: Mapping[str, tuple[str, ...]], order: tuple[str, ...], taken: set[str]) -> None:
        self.arrays = arrays
        self.order = order
        self.taken = taken
        self.inside: set[str] = set()
        self.values: dict[str, tuple[str, ...]] = {}
        self.kinds: dict[str, str] = {}
        self.scalars: dict[Expr, Scalar] = {}
        self.reads: dict[str, str] = {}
        self.places: dict[str, Scope] = {}
        self.ensure: Callable[[str, Scope], None] | None = None

    def name(self, hint: str, outer: bool = False) -> str:
        """A fresh name for a tile value. outer: of a scope around bodies, whose names (`inside`) are free again in one another."""
        new, number = hint, 2
        while new in self.taken or (outer and new in self.inside):
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new

    def dims(self, expr: Expr, scope: Scope) -> frozenset[str]:
        """Dims of a stage expression."""
        if name := value_name(expr):
            if name not in self.values and self.ensure is not None:
                self.ensure(name, scope)
            return frozenset(self.values[name])
        if isinstance(expr, Index):
            return frozenset({scope.dims[expr.axis]}) if expr.axis in scope.dims else frozenset()
        return frozenset().union(*(self.dims(c, scope) for c in children(expr)))

    def define(self, name: str, dims: tuple[str, ...], scope: Scope, kind: str = "float") -> None:
        """Make a stage value known, as a tile value of the same name."""
        self.values[name], self.kinds[name], self.places[name] = dims, kind, scope

    def sorted(self, dims: frozenset[str]) -> tuple[str, ...]:
        return tuple(d for d in self.order if d in dims)

    def home(self, expr: Expr, scope: Scope) -> Scope:
        """The outermost scope where an expression can be computed."""
        dims, axes = self.dims(expr, scope), set(axes_of(expr))
        places = [self.places.get(name) for name in _values(expr)]
        while scope.parent is not None:
            if dims & scope.own or axes & scope.moving or any(place is scope for place in places):
                return scope
            scope = scope.parent
        return scope

    def expr(self, expr: Expr, scope: Scope, at: frozenset[str] | None = None) -> Expr:
        """The tile expression, with parts of fewer dims than `at` computed in maps of their own."""
        here = self.dims(expr, scope)
        at = here if at is None else at
        if isinstance(expr, Const | Size):
            return expr
        if uniform(expr):
            return self._uniform(expr)
        if isinstance(expr, Index) or (isinstance(expr, Read) and not expr.index and "." in expr.source):
            return expr
        if name := value_name(expr):
            return value(name, self.kinds.get(name, "float"))
        if isinstance(expr, Read):
            return self.load(expr, scope)
        if isinstance(expr, Apply) and expr.op in ("mul", "div", "neg") and kind_of(expr) == "float":
            out = self._product(expr, scope, here)
        else:
            out = rebuild(expr, lambda child: self.expr(child, scope, here))
        if here < at and kind_of(expr) == "float":
            return self.map("", expr, out, self.home(expr, scope))
        return out

    def map(self, hint: str, key: Expr, out: Expr, scope: Scope) -> Expr:
        """`out` stored under a name in a scope, once for equal keys."""
        if isinstance(out, Const | Index | Size) or (isinstance(out, Read) and not hint):
            return out
        known = scope.find(key)
        if known is not None:
            return known
        made = self.name(hint or _hint(key), outer=scope.parent is None)
        dims = self.sorted(self.dims(key, scope))
        read = value(made, kind_of(key))
        scope.body.append(Map(made, out, dims, kind_of(key)))
        self.values[made] = dims
        self.kinds[made] = read.kind
        scope.known[key] = read
        return read

    def operands(self, a: Read, b: Read, scope: Scope, acc: Collection[str]) -> tuple[Read, Read]:
        """Two operands of a product, of one type: that of the elements, or the accumulation type where either array has it (acc)."""
        own = (a.source in acc) == (b.source in acc)
        return self.load(a, scope, own), self.load(b, scope, own)

    def load(self, expr: Read, scope: Scope, own: bool = False, hint: str = "") -> Read:
        """A load of an outer value, in the outermost scope that can."""
        key = Read(f"own {expr.source}", expr.index, expr.kind) if own else expr
        known = scope.find(key)
        if known is not None:
            return known
        place = self.home(expr, scope)
        here = self.dims(expr, scope)
        index = tuple(self.expr(x, place, here) for x in expr.index)
        fill = None if expr.fill is None else self.expr(expr.fill, place, here)
        made = self.name(hint or expr.source, outer=place is not scope)
        dims = self.sorted(here)
        place.body.append(Load(made, expr.source, index, dims, own, fill))
        self.values[made] = dims
        self.reads[expr.source] = expr.kind
        read = value(made, expr.kind)
        self.kinds[made] = expr.kind
        place.known[key] = read
        return read

    def _uniform(self, expr: Expr) -> Expr:
        kind = kind_of(expr)
        if kind == "bool" or (kind == "int" and all(e.op in _PLAIN for e in walk(expr) if isinstance(e, Apply))):
            return expr
        if expr not in self.scalars:
            hint = "count" if kind == "int" else "scale" if not self.scalars else "factor"
            self.scalars[expr] = Scalar(self.name(hint), expr, kind)
        return value(self.scalars[expr].name, kind)

    def _product(self, expr: Apply, scope: Scope, here: frozenset[str]) -> Expr:
        """Factors grouped by their dims, the group with the fewest computed first."""
        groups: dict[tuple[bool, frozenset[str]], list[Expr]] = {}
        sign = False
        for part in factors(expr):
            if is_const(part, -1):
                sign = not sign
                continue
            groups.setdefault((uniform(part), self.dims(part, scope)), []).append(part)
        ordered = sorted(groups.items(), key=lambda g: (not g[0][0], len(g[0][1])))
        if sign:
            if ordered and len(ordered) > 1:
                ordered[0][1].insert(0, Const(-1))
            else:
                inner = self._joined(ordered[0][1], scope, here) if ordered else ONE
                return Apply("neg", (inner,))
        out: Expr = ONE
        bottom: Expr = ONE
        for _, parts in ordered:
            whole = product(parts)
            if isinstance(whole, Apply) and whole.op == "div" and self.dims(whole, scope) == here and not uniform(whole):
                top, below = whole.args
                out = mul(self._joined([top], scope, here), out)
                bottom = mul(self._joined([below], scope, here), bottom)
            else:
                out = mul(self._joined(parts, scope, here), out)
        return out if is_const(bottom, 1) else Apply("div", (out, bottom))

    def _joined(self, parts: list[Expr], scope: Scope, here: frozenset[str]) -> Expr:
        whole = product(parts)
        if uniform(whole):
            return whole if isinstance(whole, Const) else self._uniform(whole)
        dims = self.dims(whole, scope)
        if dims < here:
            inner = (
                rebuild(whole, lambda child: self.expr(child, scope, dims))
                if isinstance(whole, Apply)
                else self.expr(whole, scope)
            )
            return self.map("", whole, inner, self.home(whole, scope))
        if len(parts) == 1 and not (isinstance(whole, Apply) and whole.op in ("mul", "div", "neg")):
            return self.expr(whole, scope, here)
        return (
            rebuild(whole, lambda child: self.expr(child, scope, here))
            if isinstance(whole, Apply)
            else self.expr(whole, scope, here)
        )


def _values(expr: Expr) -> set[str]:
    found = {value_name(expr)} - {""}
    return found.union(*(_values(c) for c in children(expr)))


def _hint(expr: Expr) -> str:
    """A name for a part: after what it does or reads."""
    last = expr.args[-1] if isinstance(expr, Apply) and expr.op == "where" else expr
    if isinstance(last, Apply) and last.op == "div" and is_const(last.args[0], 1):
        return "inverse"
    for e in walk(expr):
        if isinstance(e, Read):
            return f"{value_name(e) or e.source}_part"
    return "part"
