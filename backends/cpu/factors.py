"""Uniform factors of a product's result, folded into the operand of the attend's rows.

A score is used as x * s alone, with a number s of the caller: as itself, where admitted, and as the greatest of a row. Then
what the rows bring is multiplied by s, and every x * s becomes x. That saves work on pairs; and x s - max(x s) is never above 0,
which a fused multiply-add of x, s and a rounded maximum may be, by far where scores are huge. It is the rows' operand in every
kernel, those that own keys too: a score is then rounded alike wherever it is computed, and where one key has all the weight of a
row the backward pass finds that weight to be 1.

Not where x s is added to something else, a bias or a norm: there a multiply-add costs what an addition does, and a kernel that uses x
in other ways as well, which keep it from folding, computes the same sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from attncc.ir.expr import Apply, Const, Expr, Read, children, kind_of, rebuild, walk
from attncc.tile.nodes import Block, Dot, If, Load, Map, Program, Reduce, Repeat, Set, Stmt, TileLoop, inner, statements, value

from .ready import reads

_ORDER = ("ge", "gt", "le", "lt", "eq", "ne")


def fold(program: Program) -> Program:
    """The program with factors folded, where all uses allow it.

    Not where a pair's value is stored as the greatest or least of its row, or compared with one that was: the next kernel may have
    no factor to fold, and the same pair's value would be rounded in another way there.
    """
    return program if same_everywhere(program.body) else _Folder(program).run()


def same_everywhere(body: Sequence[Stmt]) -> bool:
    """Whether some value of pairs is the same in every kernel, to the last bit."""
    return any(map(_same, _outside(body)))


def _outside(body: Sequence[Stmt]) -> Iterator[Stmt]:
    """Every statement but those of an online normalizer."""
    for stmt in body:
        if not (isinstance(stmt, Block) and stmt.kind == "online"):
            yield stmt
            yield from _outside(inner(stmt))


def _same(stmt: Stmt) -> bool:
    """Whether it takes values of pairs that are the same in every kernel."""
    match stmt:
        case Reduce(_, "max" | "min"):
            return True
        case Map(_, expr) | Set(_, expr):
            return any(isinstance(e, Apply) and e.op in _ORDER and all(map(_varies, e.args)) for e in walk(expr))
    return False


def _varies(expr: Expr) -> bool:
    return kind_of(expr) == "float" and not isinstance(expr, Const)


class _Folder:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.scalars = {s.name for s in program.scalars}
        self.loads = {s.out for s in statements(program.body) if isinstance(s, Load) and len(s.dims) == 2}
        self.scaled: dict[tuple[str, Expr], str] = {}

    def run(self) -> Program:
        return replace(self.program, body=self.placed(self.body(self.program.body)))

    def placed(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        """The body with scaled operands where they are loaded. A tile of a loop is loaded a second time for it: products may read the
        first where it lies, and vectors may not."""
        out: list[Stmt] = []
        read = {name for stmt in statements(tuple(body)) if isinstance(stmt, Dot) for name in (stmt.a, stmt.b)}
        for stmt in body:
            out.append(replace(stmt, body=self.placed(stmt.body)) if isinstance(stmt, TileLoop | Repeat | If) else stmt)
            if isinstance(stmt, Load):
                for (name, factor), made in self.scaled.items():
                    if name == stmt.out and made in read:
                        if self.program.owner not in stmt.dims:
                            name = f"{made}_from"
                            out.append(replace(stmt, out=name, own=False))
                        out.append(Map(made, Apply("mul", (value(name), factor)), stmt.dims))
        return tuple(out)

    def body(self, body: Sequence[Stmt]) -> tuple[Stmt, ...]:
        out = list(body)
        for stmt in body:
            if isinstance(stmt, Dot) and stmt.out:
                name = stmt.b if stmt.turned else stmt.a
                if name in self.loads:
                    out = self.folded(out, stmt, name)
        return tuple(self.inside(s) for s in out)

    def inside(self, stmt: Stmt) -> Stmt:
        match stmt:
            case TileLoop() | Repeat() | If():
                return replace(stmt, body=self.body(stmt.body))
            case Block():
                return stmt
        return stmt

    def folded(self, body: list[Stmt], dot: Dot, operand: str) -> list[Stmt]:
        """The body with the factor of a product folded, or the body itself."""
        family, factor = self.family(body, dot.out)
        if factor is None:
            return body
        key = (operand, factor)
        made = self.scaled.setdefault(key, f"{operand}_scaled" + (f"_{len(self.scaled)}" if self.scaled else ""))

        def visit(expr: Expr) -> Expr:
            if (u := self.multiple(expr, family)) is not None:
                return u[0]
            return rebuild(expr, visit)

        def new(stmt: Stmt) -> Stmt:
            match stmt:
                case Dot() if stmt.out == dot.out:
                    return replace(stmt, a=made if stmt.a == operand else stmt.a, b=made if stmt.b == operand else stmt.b)
                case Map() | Set():
                    return replace(stmt, expr=visit(stmt.expr))
                case Block():
                    return replace(stmt, body=tuple(new(s) for s in stmt.body))
            return stmt

        return [new(s) for s in body]

    def family(self, body: Sequence[Stmt], first: str) -> tuple[set[str], Expr | None]:
        """What has the unit of a product: the product, where it is admitted, its extremes; and the factor all are used with."""
        family, factors = {first}, set()
        for stmt in statements(tuple(body)):
            if not reads(stmt) & family:
                continue
            match stmt:
                case Reduce(out, "max" | "min"):
                    family.add(out)
                case Map(out, Apply("where", (cond, a, b))) if self.unit(a, family) and self.unit(b, family):
                    if self.inside_reads(cond) & family:
                        return family, None
                    family.add(out)
                case Map(_, expr) | Set(_, expr):
                    found: list[Expr] = []
                    if not self.uses(expr, family, found):
                        return family, None
                    factors |= set(found)
                case _:
                    return family, None
        return family, next(iter(factors)) if len(factors) == 1 else None

    def unit(self, expr: Expr, family: set[str]) -> bool:
        if isinstance(expr, Const):
            return expr.value in (0, float("inf"), float("-inf"))
        return isinstance(expr, Read) and expr.source in family

    def uses(self, expr: Expr, family: set[str], found: list[Expr]) -> bool:
        """Whether an expression reads the family as multiples alone, not as terms but in an exponent relative to the greatest; their
        factors are added to `found`."""
        if (pair := self.multiple(expr, family)) is not None:
            found.append(pair[1])
            return True
        match expr:
            case Read(source):
                return source not in family
            case Apply("add" | "sub", args) if any(self.multiple(a, family) for a in args):
                return False
            case Apply("exp" | "exp2", (Apply("sub", parts) | Apply("min", (Apply("sub", parts), Const())),)):
                return all(self.uses(part, family, found) for part in parts)
        return all(self.uses(child, family, found) for child in children(expr))

    def multiple(self, expr: Expr, family: set[str]) -> tuple[Expr, Expr] | None:
        """(u, s) of u * s, u of the family and s a number of the caller."""
        match expr:
            case Apply("mul", (Read(u, ()) as a, s)) if u in family and self.number(s):
                return a, s
            case Apply("mul", (s, Read(u, ()) as a)) if u in family and self.number(s):
                return a, s
        return None

    def number(self, expr: Expr) -> bool:
        if isinstance(expr, Const):
            return not isinstance(expr.value, bool) and abs(expr.value) < float("inf") and expr.value == expr.value
        return isinstance(expr, Read) and expr.source in self.scalars

    def inside_reads(self, expr: Expr) -> set[str]:
        found = {expr.source} if isinstance(expr, Read) else set()
        return found.union(*(self.inside_reads(c) for c in children(expr)))
