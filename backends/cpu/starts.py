"""Sums around a product of a pair, taken into the product: c x + b is the product of a scaled operand, started from b.

A product keeps its results in registers while it sums; starting them from b instead of 0 costs nothing, and neither does a factor of
an operand that is read once an owner. So where a pair's product x is used as c x + b alone, with c a number that all rows of a tile
share and b one of the key or of all pairs, no arithmetic is left on it: a distance -|q - k|^2 / 2 s^2 under a softmax is q k / s^2
started from -|k|^2 / 2 s^2, a logistic function gets its scaled and shifted score.

Each of the D steps of the sum is then rounded at the size of b as well, which adds up to about sqrt(D) / 4 units in the last place of
b. Norms are of the size of the products themselves. A backward pass is left as it is: most have several products of pairs, beside
which the gain is lost, and a log-sum-exp is no number to start from. So is an online softmax that stores its log-sum-exp: another
kernel computes the weights again under it, and finds them summing up to 1 only where scores are rounded as here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from attncc.ir.expr import Apply, Const, Expr, Index, Read, children, kind_of, rebuild, walk
from attncc.tile.nodes import (
    Block,
    Dot,
    If,
    Init,
    Load,
    Map,
    Program,
    Repeat,
    Scalar,
    Set,
    Stmt,
    TileLoop,
    defined,
    inner,
    statements,
    value,
)

from .factors import same_everywhere
from .few import dims_of
from .ready import reads

_ONE, _NONE = Const(1.0), Const(0.0)
Line = tuple[Expr, Expr]
"""(c, b) of c x + b."""


def start(program: Program) -> Program:
    """The program with such sums in its products, where all uses of a product's result allow it."""
    return program if same_everywhere(program.body) or _again(program) else _Starter(program).run()


def _again(program: Program) -> bool:
    """Whether another kernel computes the scores again, under the log-sum-exp that this one stores."""
    return any(a.role == "out" and a.acc for a in program.args) and any(
        isinstance(s, Block) and s.kind == "online" for s in _all(program.body)
    )


class _Starter:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.top = {defined(s): s for s in program.body if defined(s)}
        self.dims = {s.name: () for s in program.scalars} | {
            n: d for s in statements(program.body) if (n := defined(s)) for d in (dims_of(s) or (),)
        }
        self.taken = set(self.dims) | {a.name for a in program.args}
        self.scaled: dict[tuple[str, Expr], str] = {}

    def run(self) -> Program:
        body = list(self.body(self.program.body))
        for (operand, factor), made in self.scaled.items():
            needed = {operand} | _sources(factor)
            at = max(n for n, s in enumerate(body) if defined(s) in needed)
            body.insert(at + 1, Map(made, Apply("mul", (value(operand), factor)), self.dims[operand]))
        return replace(self.program, body=tuple(body))

    def body(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        out = list(body)
        products = [s for s in body if isinstance(s, Dot) and s.out]
        if len(products) == 1 and not products[0].turned:
            out = self.started(out, products[0])
        return tuple(self.inside(s) for s in out)

    def inside(self, stmt: Stmt) -> Stmt:
        return replace(stmt, body=self.body(stmt.body)) if isinstance(stmt, TileLoop | Repeat | If) else stmt

    def started(self, body: list[Stmt], dot: Dot) -> list[Stmt]:
        """The body with the sum around its product in the product, or the body itself."""
        owner = self.program.owner
        operand = next((n for n in (dot.a, dot.b) if isinstance(self.top.get(n), Load) and owner in self.dims[n]), "")
        line = self.used(body, dot.out)
        if not operand or len(self.dims[operand]) != 2 or owner not in dot.dims or line is None or line == (_ONE, _NONE):
            return body
        c, b = line
        loop = next(d for d in dot.dims if d != owner)
        within = {defined(s) for one in body for s in statements(inner(one))}
        if (
            not self.of(c, set(), True)
            or not self.of(b, {loop}, False)
            or _sources(b) & within
            or (b == _NONE and _owned(c, self.program.scalars))
        ):
            return body
        made = operand
        if c != _ONE:
            made = self.scaled.get((operand, c)) or self.fresh(f"{operand}_scaled")
            self.scaled[operand, c] = made
        first = ""
        before: list[Stmt] = []
        if b != _NONE:
            first = self.fresh(f"{dot.out}_start")
            dims = (loop,) if any(loop in self.dims.get(n, ()) for n in _sources(b)) else ()
            self.dims[first] = dims
            before.append(Map(first, b, dims))
        x = value(dot.out)

        def visit(expr: Expr) -> Expr:
            return x if _line(expr, x) not in (None, (_NONE, expr)) else rebuild(expr, visit)

        def new(stmt: Stmt) -> Stmt:
            match stmt:
                case Map() | Set():
                    return replace(stmt, expr=visit(stmt.expr))
                case Block():
                    return replace(stmt, body=tuple(new(s) for s in stmt.body))
            return stmt

        a, other = (made if n == operand else n for n in (dot.a, dot.b))
        before.append(replace(dot, a=a, b=other, start=first))
        at = next(n for n, s in enumerate(body) if any(dot.out in reads(x) for x in statements((s,))))
        return [new(s) for s in body[:at] if s is not dot] + before + [new(s) for s in body[at:]]

    def used(self, body: Sequence[Stmt], name: str) -> Line | None:
        """c and b with which every use of a product's result is c x + b, as far as an expression goes; None where they differ."""
        found: set[Line] = set()
        x = value(name)

        def uses(expr: Expr) -> bool:
            if name not in _sources(expr):
                return True
            line = _line(expr, x)
            if line is None:
                return all(uses(child) for child in children(expr))
            found.add(line)
            return True

        for stmt in statements(tuple(body)):
            if name in reads(stmt) and not (isinstance(stmt, Map | Set) and uses(stmt.expr)):
                return None
        return next(iter(found)) if len(found) == 1 else None

    def of(self, expr: Expr, dims: set[str], outside: bool) -> bool:
        """Whether an expression is of numbers and of values with some dims at most, no positions; outside: those known before any loop."""
        if kind_of(expr) != "float" or any(isinstance(e, Index) for e in walk(expr)):
            return False
        names = _sources(expr)
        known = {s.name for s in self.program.scalars} | set(self.top)
        fixed = all(n in self.dims and set(self.dims[n]) <= dims and not (outside and n not in known) for n in names)
        return fixed and not any(isinstance(self.top.get(n), Init) for n in names)

    def fresh(self, hint: str) -> str:
        made, number = hint, 2
        while made in self.taken:
            made, number = f"{hint}{number}", number + 1
        self.taken.add(made)
        return made


def _all(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement, blocks among them."""
    for stmt in body:
        yield stmt
        yield from _all(inner(stmt))


def _owned(c: Expr, scalars: Sequence[Scalar]) -> bool:
    """Whether a factor alone is a number of the caller: then it is folded with the extremes (`factors`)."""
    names = {s.name for s in scalars}
    return _sources(c) <= names


def _line(expr: Expr, x: Read) -> Line | None:
    """(c, b) of an expression c x + b, None where it is none."""
    if expr == x:
        return _ONE, _NONE
    if not any(e == x for e in walk(expr)):
        return _NONE, expr
    match expr:
        case Apply("add" | "sub" as op, (u, v)):
            p, q = _line(u, x), _line(v, x)
            if p is None or q is None:
                return None
            return _joined(op, p[0], q[0]), _joined(op, p[1], q[1])
        case Apply("neg", (u,)):
            p = _line(u, x)
            return None if p is None else (_joined("sub", _NONE, p[0]), _joined("sub", _NONE, p[1]))
        case Apply("mul", (u, v)):
            if any(e == x for e in walk(u)):
                u, v = v, u
            p = None if any(e == x for e in walk(u)) else _line(v, x)
            return None if p is None else (_times(u, p[0]), _times(u, p[1]))
    return None


def _joined(op: str, a: Expr, b: Expr) -> Expr:
    if b == _NONE:
        return a
    if a == _NONE:
        return b if op == "add" else Const(-b.value) if isinstance(b, Const) else Apply("neg", (b,))
    return Apply(op, (a, b))


def _times(a: Expr, b: Expr) -> Expr:
    if b == _NONE or a == _ONE:
        return b
    return a if b == _ONE else Apply("mul", (a, b))


def _sources(expr: Expr) -> set[str]:
    return {e.source for e in walk(expr) if isinstance(e, Read)}
