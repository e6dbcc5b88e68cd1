"""A tile program made ready for printing.

Every value gets a name of its own, blocks are opened (their titles kept), and tests that always hold are dropped: this
printer cuts tiles at the end of the arrays, so a position is always inside its axis.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from attncc.ir.expr import ONE, TRUE, Apply, Const, Expr, Index, Read, Size, rebuild, walk
from attncc.tile.nodes import (
    Bisect,
    Block,
    Dot,
    If,
    Init,
    Load,
    Map,
    Program,
    Reduce,
    Repeat,
    Set,
    Stmt,
    Store,
    TileLoop,
    inner,
    statements,
)  # fmt: skip

from .sharing import Rescaled, rescaled, shared


@dataclass(frozen=True, slots=True)
class Value:
    """A tile value. wide: an integer that needs 64 bits, because it comes from data. carried: an accumulator."""

    name: str
    dims: tuple[str, ...]
    kind: str
    wide: bool = False
    carried: bool = False


@dataclass(frozen=True)
class Ready:
    """program: with a name for every value. titles: of blocks, by the first value they define. online: values of an online
    normalizer. factors: what loaded tiles are multiplied by on the way."""

    program: Program
    values: Mapping[str, Value]
    titles: Mapping[str, str]
    online: frozenset[str]
    factors: Mapping[str, Expr] = field(default_factory=dict)


def prepare(program: Program) -> Ready:
    """The program, ready."""
    return _Preparer(program).run()


def scaled(ready: Ready, by_rows: frozenset[str]) -> Ready:
    """Tiles of the owner's rows that are read as a multiple alone, with a number of the caller, are loaded as that multiple.

    by_rows: tiles that are stored by rows, which are left as they are.
    """
    program, numbers = ready.program, {s.name for s in ready.program.scalars}
    readers: dict[str, list[Stmt]] = {}
    for stmt in statements(program.body):
        for name in reads(stmt):
            readers.setdefault(name, []).append(stmt)
    found: dict[str, tuple[str, Expr]] = {}
    for stmt in statements(program.body):
        if not isinstance(stmt, Load) or len(stmt.dims) != 2 or program.owner not in stmt.dims:
            continue
        match readers.get(stmt.out, []):
            case [Map(out, Apply("mul", (Read(a) as x, Read(b) as y)), dims, "float")] if dims == stmt.dims:
                other = y if a == stmt.out else x
                if other.source in numbers and a != b and not {out, stmt.out} & by_rows:
                    found[stmt.out] = out, other
    gone = {out for out, _ in found.values()}

    def body(stmts: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for stmt in stmts:
            match stmt:
                case Load(name) if name in found:
                    out.append(replace(stmt, out=found[name][0]))
                case TileLoop() | Repeat() | If():
                    out.append(replace(stmt, body=body(stmt.body)))
                case _ if not (isinstance(stmt, Map) and stmt.out in gone):
                    out.append(stmt)
        return tuple(out)

    return replace(ready, program=replace(program, body=body(program.body)), factors=dict(found.values()))


Names = dict[str, Expr]
"""What names of the program now stand for."""


class _Preparer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.values: dict[str, Value] = {s.name: Value(s.name, (), s.kind) for s in program.scalars}
        self.titles: dict[str, str] = {}
        self.title = ""
        self.kind = ""
        self.online: set[str] = set()
        self.latest: dict[str, str] = {}
        self.kinds = {a.name: a.kind for a in program.args}

    def run(self) -> Ready:
        names: Names = {}
        carry = tuple(s for s in self.body(self.program.carry, names) if isinstance(s, Init))
        body = self.body(self.program.body, names)
        return Ready(replace(self.program, body=body, carry=carry), self.values, self.titles, frozenset(self.online))

    def body(self, body: tuple[Stmt, ...], names: Names) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for stmt in body:
            if isinstance(stmt, Block):
                self.title, self.kind = stmt.title, stmt.kind
                out += self.body(stmt.body, names)
                self.title = self.kind = ""
            elif (made := self.statement(stmt, names)) is not None:
                out.append(made)
        out = list(shared(out, self.dims, lambda n: n in self.values and self.values[n].carried, self._part))
        return rescaled(out, reads, self.program.owner)  # type: ignore[return-value]  # the printer takes Rescaled for a statement

    def _part(self, hint: str, dims: tuple[str, ...]) -> str:
        return self.define(hint, {}, dims, "float")

    def dims(self, expr: Expr) -> tuple[str, ...]:
        """Dims of an expression, in the program's order."""
        found: set[str] = set()
        for e in walk(expr):
            if isinstance(e, Read) and e.source in self.values:
                found |= set(self.values[e.source].dims)
            elif isinstance(e, Index):
                found |= {d.name for d in self.program.dims if e.axis in d.axes}
        return tuple(d.name for d in self.program.dims if d.name in found)

    def statement(self, stmt: Stmt, names: Names) -> Stmt | None:
        """The statement with new names, None for one that only names a constant or another value. What it defines goes to
        `names`."""

        def old(name: str) -> str:
            now = names.get(name)
            return now.source if isinstance(now, Read) else name

        def text(expr: Expr) -> Expr:
            return _settled(_renamed(expr, names))

        match stmt:
            case Load(out, _, index, dims, _, fill):
                index = tuple(text(x) for x in index)
                kind = self.kinds[stmt.arg]
                made = self.define(out, names, dims, kind, kind == "int")
                return replace(stmt, out=made, index=index, fill=None if fill is None else text(fill))
            case Init(acc, dims, start, kind):
                start = text(start)
                return replace(stmt, acc=self.define(acc, names, dims, kind, kind == "int", carried=True), start=start)
            case Map(out, expr, dims, kind):
                expr = text(expr)
                if (isinstance(expr, Const) and kind == "bool") or self.alias(expr, dims, kind):
                    names[out] = expr
                    return None
                return replace(stmt, out=self.define(out, names, dims, kind, kind == "int" and self.wide(expr)), expr=expr)
            case Set(acc, expr):
                return replace(stmt, acc=old(acc), expr=text(expr))
            case Dot(a, b, _, dims, out, into):
                a, b, into, first = old(a), old(b), old(into), old(stmt.start)
                return replace(stmt, a=a, b=b, into=into, start=first, out=self.define(out, names, dims, "float") if out else "")
            case Reduce(out, _, tile, _, dims):
                tile = old(tile)
                found = self.values[tile]
                return replace(stmt, tile=tile, out=self.define(out, names, dims, found.kind, found.wide))
            case Store(_, index, tile):
                return replace(stmt, index=tuple(text(x) for x in index), tile=old(tile))
            case Bisect(out, _, low, high, cond):
                low, high, cond = text(low), text(high), text(cond)
                return replace(stmt, low=low, high=high, cond=cond, out=self.define(out, names, (), "int"))
            case TileLoop(counter=counter, lets=lets, body=body):
                count, inside = text(stmt.count), dict(names)
                counter = self.define(counter, inside, (), "int")
                lets = self.body(lets, inside)
                self.latest.pop(stmt.admits, None)
                starts = tuple(_settled(_renamed(e, inside)) for e in stmt.starts)
                body = self.body(body, inside)
                admits = self.latest.get(stmt.admits, "") if stmt.admits else ""
                return replace(stmt, counter=counter, count=count, lets=lets, starts=starts, body=body, admits=admits)
            case If(cond, body):
                return replace(stmt, cond=text(cond), body=self.body(body, dict(names)))
            case Repeat(_, body):
                return replace(stmt, body=self.body(body, dict(names)))
        raise TypeError(stmt)

    def define(self, name: str, names: Names, dims: tuple[str, ...], kind: str, wide: bool = False, carried: bool = False) -> str:
        made, number = name, 2
        while made in self.values:
            made, number = f"{name}_{number}", number + 1
        names[name] = Read(made, (), kind)
        self.latest[name] = made
        self.values[made] = Value(made, dims, kind, wide, carried)
        if self.kind == "online":
            self.online.add(made)
        if self.title:
            self.titles[made], self.title = self.title, ""
        return made

    def alias(self, expr: Expr, dims: tuple[str, ...], kind: str) -> bool:
        """Whether an expression is another value, one that does not change."""
        found = self.values.get(expr.source) if isinstance(expr, Read) and not expr.index else None
        return found is not None and not found.carried and found.dims == dims and found.kind == kind

    def wide(self, expr: Expr) -> bool:
        return any(isinstance(e, Read) and e.source in self.values and self.values[e.source].wide for e in walk(expr))


def where_holds(expr: Expr, condition: str) -> Expr:
    """An expression where a condition that it reads holds."""
    return _settled(_renamed(expr, {condition: TRUE}))


def _renamed(expr: Expr, names: Mapping[str, Expr]) -> Expr:
    if isinstance(expr, Read) and not expr.index and expr.source in names:
        return names[expr.source]
    return rebuild(expr, lambda child: _renamed(child, names))


def _settled(expr: Expr) -> Expr:
    """Without tests that a position inside its axis passes."""
    expr = rebuild(expr, _settled)
    match expr:
        case Apply("le", (Index() as at, Apply("min", (a, b)))):
            return _both(Apply("le", (at, a)), Apply("le", (at, b)))
        case Apply("le", (Apply("max", (a, b)), Index() as at)):
            return _both(Apply("le", (a, at)), Apply("le", (b, at)))
        case Apply("le", (Index(a), Apply("sub", (Size(b), one)))) if a == b and one == ONE:
            return TRUE
        case Apply("lt", (Index(a), Size(b))) if a == b:
            return TRUE
        case Apply("le", (Const(0), Index())):
            return TRUE
        case Apply("and", (a, b)):
            return b if a == TRUE else a if b == TRUE else expr
        case Apply("where", (c, a, _)) if c == TRUE:
            return a
    return expr


def _both(a: Expr, b: Expr) -> Expr:
    return _settled(Apply("and", (_settled(a), _settled(b))))


def reads(stmt: Stmt | Rescaled) -> set[str]:
    """Names of the tile values that a statement itself reads, accumulators it adds to included."""
    match stmt:
        case Load(_, _, index, _, _, fill):
            return _names(*index, *(() if fill is None else (fill,)))
        case Init(_, _, start):
            return _names(start)
        case Map(_, expr):
            return _names(expr)
        case Set(_, expr):
            return _names(expr)
        case Dot(a, b, into=into, start=start):
            return {a, b, into, start} - {""}
        case Rescaled(dot, by):
            return {dot.a, dot.b, dot.into, by}
        case Reduce(tile=tile):
            return {tile}
        case Store(_, index, tile):
            return {tile} | _names(*index)
        case Bisect(_, _, low, high, cond):
            return _names(low, high, cond)
        case TileLoop(count=count, starts=starts):
            return _names(count, *starts)
        case If(cond):
            return _names(cond)
    return set()


def changes(stmt: Stmt | Rescaled) -> str:
    """The accumulator that a statement changes, "" for none."""
    match stmt:
        case Set(acc) | Dot(into=acc) | Rescaled(Dot(into=acc)):
            return acc
    return ""


def deep_reads(stmt: Stmt) -> set[str]:
    """What a statement and all inside it read."""
    return reads(stmt).union(*(deep_reads(s) for s in inner(stmt)))


def _names(*exprs: Expr) -> set[str]:
    return {e.source for x in exprs for e in walk(x) if isinstance(e, Read) and not e.index}
