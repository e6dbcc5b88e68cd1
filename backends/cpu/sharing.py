"""Rewritings of tile programs for this printer: operands that are read in two layouts, work that two statements share, and
accumulators that a product rescales on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from attncc.ir.expr import Apply, Expr, Read, kind_of, rebuild, walk
from attncc.tile.nodes import Block, Dot, If, Load, Map, Program, Repeat, Set, Stmt, TileLoop, statements

_COSTLY = {
    "exp", "exp2", "log", "log2", "tanh", "sigmoid", "silu", "log1p", "expm1", "softplus", "logsigmoid", "erf", "gelu", "gelu_tanh",
    "elu", "sin", "cos", "tan", "atan", "pow",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rescaled:
    """A product added to an accumulator that is multiplied by `by`, a value of the owner, first."""

    dot: Dot
    by: str


def split(program: Program) -> tuple[Program, frozenset[str]]:
    """Loads of the owner's rows that a product sums over get a copy of their own, to be stored by rows; the names of those."""
    loads = {s.out: s.dims for s in statements(program.body) if isinstance(s, Load)}
    made: dict[str, str] = {}
    for stmt in statements(program.body):
        if isinstance(stmt, Dot) and stmt.over == program.owner:
            name = next((n for n in (stmt.a, stmt.b) if stmt.dims[1] in loads.get(n, ())), "")
            if name:
                made[name] = f"{name}_rows"

    def new(stmt: Stmt) -> tuple[Stmt, ...]:
        match stmt:
            case Load(out) if out in made:
                return stmt, replace(stmt, out=made[out])
            case Dot(a, b) if stmt.over == program.owner:
                return (replace(stmt, a=made.get(a, a), b=made.get(b, b)),)
        return (_inside(stmt, new),)

    body = tuple(s for stmt in program.body for s in new(stmt))
    return replace(program, body=body), frozenset(made.values())


def _inside(stmt: Stmt, new: Callable[[Stmt], tuple[Stmt, ...]]) -> Stmt:
    if isinstance(stmt, TileLoop | If | Repeat | Block):
        return replace(stmt, body=tuple(s for one in stmt.body for s in new(one)))
    return stmt


def shared(
    body: Sequence[Stmt], dims: Callable[[Expr], tuple[str, ...]], carried: Callable[[str], bool], define: Callable[..., str]
) -> tuple[Stmt, ...]:
    """A body in which costly parts that several pointwise statements have in common are computed once.

    dims: of an expression. carried: whether a value changes. define: makes a value known, gives its name.
    """
    out = list(body)
    while True:
        found: dict[Expr, list[int]] = {}
        for number, stmt in enumerate(out):
            if isinstance(stmt, Map | Set):
                for e in dict.fromkeys(walk(stmt.expr)):
                    if (
                        isinstance(e, Apply)
                        and e.op in _COSTLY
                        and kind_of(e) == "float"
                        and dims(e)
                        and not _changes(e, carried)
                    ):
                        found.setdefault(e, []).append(number)
        several = {e: at for e, at in found.items() if len(at) > 1}
        if not several:
            return tuple(out)
        part = max(several, key=lambda e: sum(1 for _ in walk(e)))
        first = several[part][0]
        mine = out[first]
        whole = isinstance(mine, Map) and mine.expr == part
        name = mine.out if whole and isinstance(mine, Map) else define("part", dims(part))
        read = Read(name, (), "float")
        for number in several[part]:
            if whole and number == first:
                continue
            stmt = out[number]
            assert isinstance(stmt, Map | Set)
            out[number] = replace(stmt, expr=_replaced(stmt.expr, part, read))
        if not whole:
            out.insert(first, Map(name, part, dims(part)))


def _changes(expr: Expr, carried: Callable[[str], bool]) -> bool:
    return any(isinstance(e, Read) and carried(e.source) for e in walk(expr))


def _replaced(expr: Expr, part: Expr, new: Expr) -> Expr:
    return new if expr == part else rebuild(expr, lambda child: _replaced(child, part, new))


def rescaled(
    body: Sequence[Stmt | Rescaled], reads: Callable[[Stmt | Rescaled], set[str]], owner: str
) -> tuple[Stmt | Rescaled, ...]:
    """A body in which `acc := acc * r` goes into the product that next adds to acc. reads: what a statement reads."""
    out = list(body)
    for number, stmt in enumerate(body):
        match stmt:
            case Set(acc, Apply("mul", (Read(a, ()), Read(b, ())))) if acc in (a, b) and a != b:
                by = b if a == acc else a
            case _:
                continue
        later = [(n, s) for n, s in enumerate(body) if n > number and acc in reads(s)]
        if later and isinstance(later[0][1], Dot) and later[0][1].into == acc and owner in later[0][1].dims:
            out[later[0][0]] = Rescaled(later[0][1], by)
            return rescaled(out[:number] + out[number + 1 :], reads, owner)
    return tuple(out)
