"""Pointwise statements and reductions as loops over vectors of lanes.

Statements between two products become one loop over the vectors of a strip. What has a second dim runs in a loop over its
rows inside it; as many statements as possible share one. A value that is read inside its loop alone is a variable and never
stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from attncc.ir.expr import Apply, Expr, Index, Read, walk
from attncc.tile.nodes import Init, Map, Reduce, Set, Stmt, defined

from .expressions import VECTOR_FUNCTIONS, Text
from .frame import Home
from .memory import Memory
from .ready import Value, changes, reads, where_holds

START = {"sum": "0", "max": "-INFINITY", "min": "INFINITY"}
_SHORT = {"relu", "sqrt", "rsqrt"}


@dataclass
class Rows:
    """Statements that share a loop over the rows of a dim."""

    dim: str
    stmts: list[Stmt] = field(default_factory=list)


Item = Rows | Stmt


class Lanes(Memory):
    """Prints `Map`, `Set`, `Reduce` and `Init`. readers: the statements that read each value. stored_homes: of values that
    are stored."""

    readers: dict[str, list[Stmt]]
    stored_homes: dict[str, Home]

    def row_of(self, stmt: Stmt, lanes: str) -> str:
        """The dim a statement runs over beside the lanes, "" for none."""
        match stmt:
            case Reduce(tile=name):
                dims = self.values[name].dims
            case Set(acc=name) | Init(acc=name) | Map(out=name):
                dims = self.values[name].dims
            case _:
                dims = ()
        return next((d for d in dims if d != lanes), "")

    def items(self, stmts: Sequence[Stmt], lanes: str) -> list[Item]:
        """Statements in order, those with rows gathered in loops."""
        out: list[Item] = []
        open_rows: Rows | None = None
        for stmt in stmts:
            dim, need = self.row_of(stmt, lanes), reads(stmt)
            if open_rows is not None:
                ready = {defined(s) for s in open_rows.stmts if isinstance(s, Reduce)}
                inside = {defined(s) for s in open_rows.stmts} | {changes(s) for s in open_rows.stmts}
                if dim == open_rows.dim and not need & ready:
                    open_rows.stmts.append(stmt)
                    continue
                if not dim and isinstance(stmt, Map) and not need & inside:
                    out.insert(len(out) - 1, stmt)
                    continue
                open_rows = None
            if dim:
                open_rows = Rows(dim, [stmt])
                out.append(open_rows)
            else:
                out.append(stmt)
        return out

    def settle(self, items: Sequence[Item], lanes: str) -> dict[str, bool]:
        """Values defined in a lane loop: whether each must be stored."""
        out: dict[str, bool] = {}
        every = [s for item in items for s in (item.stmts if isinstance(item, Rows) else [item])]
        for item in items:
            own = item.stmts if isinstance(item, Rows) else [item]
            for stmt in own:
                name = defined(stmt)
                if not name:
                    continue
                scope = own if isinstance(item, Rows) and not isinstance(stmt, Reduce) else every
                inside = {id(s) for s in scope}
                value = self.values[name]
                apart = any(id(reader) not in inside for reader in self.readers.get(name, ()))
                out[name] = apart or value.wide or isinstance(stmt, Init) or lanes not in value.dims
        return out

    def lane_loop(self, items: Sequence[Item], lanes: str, stored: dict[str, bool]) -> None:
        """The loop. Values that are stored have a home by now."""
        every = [s for item in items for s in (item.stmts if isinstance(item, Rows) else [item])]
        for stmt in every:
            if title := self.ready.titles.get(defined(stmt)):
                self.line(f"/* {title} */")
        self.lane_dim, self.lane_at = lanes, "v"
        kept = dict(self.homes)
        with self.inside(), self.block(f"for (long v = 0; v < {self.count(lanes)}; v += LANES)"):
            self.show([x for s in every for x in expressions(s)], lanes, vector=True)
            for item in items:
                if isinstance(item, Rows):
                    self._rows(item, stored)
                else:
                    self._statement(item, stored)
        self.lane_dim = self.lane_at = ""
        self.homes = {**kept, **{n: self.stored_homes[n] for n, apart in stored.items() if apart}}

    def show(self, exprs: Sequence[Expr], dim: str, vector: bool) -> None:
        """Positions that are read get a name at the head of a loop."""
        used = {e.axis for x in exprs for e in walk(x) if isinstance(e, Index)}
        axes = (dim,) if dim in self.features else self.dims[dim].axes
        for axis in axes:
            if axis in used:
                name = self.names.of("position", axis)
                self.line(f"const {'vint' if vector else 'long'} {name} = {self.place(axis, dim, vector).code};")
                self.shown[axis] = Text(name, "int", vector)

    def _rows(self, rows: Rows, stored: dict[str, bool]) -> None:
        if all(self.bare(stmt) for stmt in rows.stmts):
            self._reductions(rows, stored)
            return
        self.under_way = {s.out: self.names.fresh("some") for s in rows.stmts if isinstance(s, Reduce) and self.waits(s, rows)}
        for stmt in rows.stmts:
            if isinstance(stmt, Reduce) and stmt.out in self.under_way:
                self.line(f"struct under_way {self.under_way[stmt.out]} = under_way({self.start(stmt)});")
            elif isinstance(stmt, Reduce):
                value = self.values[stmt.out]
                self.line(f"{type_of(value)} {self.names.of('value', stmt.out)} = {self.start(stmt)};")
        begin, end = self.span(rows.dim)
        if (inner := self._inner(rows, stored)) is None or self.sure is None:
            self._loop(rows.dim, rows.stmts, f"long x = {begin}; x < {end}; ++x", stored)
        else:
            sure, unsure = (f"{name}[{self.lane_at} / LANES]" for name in self.sure)
            if all(self.bare(stmt) for stmt in inner):
                for one in inner:
                    assert isinstance(one, Reduce)
                    self._join(one, self._reduction(one, sure, unsure))
            else:
                self._loop(rows.dim, inner, f"long x = {sure}; x < {unsure}; ++x", stored)
            rest = f"long x = {begin} == {sure} ? {unsure} : {begin}; x < {end}; x = x + 1 == {sure} ? {unsure} : x + 1"
            self._loop(rows.dim, rows.stmts, rest, stored)
        for stmt in rows.stmts:
            name = defined(stmt)
            if not isinstance(stmt, Reduce):
                if name and stored[name]:
                    self.homes[name] = self.stored_homes[name]
                    self._fill(name, rows.dim)
                elif name:
                    self.homes.pop(name)
            else:
                if some := self.under_way.pop(name, ""):
                    self.line(f"const vreal {self.names.of('value', name)} = {self._function(stmt)}_done({some});")
                self._reduced(stmt, stored)

    def waits(self, stmt: Reduce, rows: Rows) -> bool:
        """Whether several steps of an extreme are better under way. Each waits for the one before, for longer than a few operations beside
        it take; what a function takes hides that. Sums go in the order of products: a norm is then the product of a row with itself."""
        parts = [e for s in rows.stmts for x in expressions(s) for e in walk(x)]
        long = any(isinstance(e, Apply) and e.op in VECTOR_FUNCTIONS - _SHORT for e in parts)
        return stmt.op != "sum" and not long and self.values[stmt.out].kind == "float"

    def _loop(self, dim: str, stmts: Sequence[Stmt], head: str, stored: dict[str, bool]) -> None:
        """Statements in a loop over rows."""
        if any(isinstance(s, Reduce) and s.out in self.under_way for s in stmts):
            self.line('_Pragma("GCC unroll 4")')
        with self.inside(), self.block(f"for ({head})"):
            self.at[dim] = "x"
            self.show([x for s in stmts for x in expressions(s)], dim, vector=False)
            for stmt in stmts:
                if isinstance(stmt, Reduce):
                    self._step(stmt)
                else:
                    self._statement(stmt, stored)

    def _inner(self, rows: Rows, stored: dict[str, bool]) -> list[Stmt] | None:
        """What is left of the statements where all rows of a vector admit a key, None where that is not known: no test, and no copy of what
        lies where it should."""
        if self.sure is None or self.spans is None or self.narrow is None or rows.dim != self.narrow.dim:
            return None
        admits = self.narrow.admits
        if not any(isinstance(s, Map) and s.out == admits for s in rows.stmts) or stored[admits]:
            return None
        out: list[Stmt] = []
        for stmt in rows.stmts:
            match stmt:
                case Map(name) if name == admits:
                    continue
                case Map(name, expr):
                    expr, home = where_holds(expr, admits), self.stored_homes.get(name)
                    if stored[name] and home is not None and isinstance(expr, Read) and self.homes.get(expr.source) == home:
                        self.homes[name] = home
                        continue
                    out.append(replace(stmt, expr=expr))
                case Set(_, expr):
                    out.append(replace(stmt, expr=where_holds(expr, admits)))
                case _:
                    out.append(stmt)
        return out

    def start(self, stmt: Reduce) -> str:
        """What a reduction starts from, in all lanes."""
        if self.values[stmt.out].kind == "float":
            return f"splat({START[stmt.op]})"
        large = "(((long)1 << (8 * sizeof(lane) - 2)) - 1) * 2"
        return f"isplat({ {'sum': '0', 'max': f'-{large}', 'min': large}[stmt.op] })"

    def inside_tile(self, stmt: Reduce, code: str) -> str:
        """A vector that a reduction takes, without what lies beyond the tile: here, vectors run along the owner, where that does no
        harm."""
        return code

    def _fill(self, name: str, dim: str) -> None:
        """Zeros outside of the span, in a tile that something reads whole."""
        begin, end = self.span(dim)
        if begin == "0" or self.narrow is None or name not in self.narrow.filled:
            return
        home = self.homes[name]
        for low, high in (("0", begin), (end, self.count(dim))):
            self.line(
                f"for (long x = {low}; x < {high}; ++x) store({home.code} + x * {home.steps[dim]} + {self.lane_at}, splat(0));"
            )

    def bare(self, stmt: Stmt) -> bool:
        """Whether a statement is a reduction of numbers that lie in memory, nothing to be worked out on the way."""
        if not isinstance(stmt, Reduce):
            return False
        value = self.values[stmt.tile]
        return value.kind == "float" and len(value.dims) == 2 and self.homes[stmt.tile].form == "array"

    def _reductions(self, rows: Rows, stored: dict[str, bool]) -> None:
        """Bare reductions, by functions that keep several rows under way."""
        for stmt in rows.stmts:
            assert isinstance(stmt, Reduce)
            self.line(f"const vreal {self.names.of('value', stmt.out)} = {self._reduction(stmt, *self.span(rows.dim))};")
            self._reduced(stmt, stored)

    def _reduction(self, stmt: Reduce, begin: str, end: str) -> str:
        """A bare reduction of some rows."""
        home = self.homes[stmt.tile]
        step = home.steps[stmt.over]
        start, count = (f" + {begin} * {step}", f"{end} - {begin}") if begin != "0" else ("", end)
        return f"{self._function(stmt)}({home.code} + {self.lane_at}{start}, {step}, {count})"

    def _function(self, stmt: Reduce) -> str:
        """The function of vector.h that takes all rows of a reduction."""
        weak = stmt.op != "sum" and stmt.out in self.ready.online
        return {"max": "greatest_row", "min": "least_row"}[stmt.op] if weak else f"{stmt.op}_row"

    def _reduced(self, stmt: Reduce, stored: dict[str, bool]) -> None:
        """The result of a reduction is known by its name."""
        value = self.values[stmt.out]
        self.homes[stmt.out] = self._variable(value)
        if stored[stmt.out]:
            self._store(self.stored_homes[stmt.out], value, self.names.of("value", stmt.out))

    def _step(self, stmt: Reduce) -> None:
        """One row of a reduction."""
        tile = self._value(self.values[stmt.tile], True)
        code = self.inside_tile(stmt, self.printer.spread(tile).code)
        self._join(stmt, f"({code})" if stmt.op == "sum" and tile.level < 12 else code)

    def _join(self, stmt: Reduce, code: str) -> None:
        """More of what a reduction sums, or takes an extreme of."""
        name, value = self.names.of("value", stmt.out), self.values[stmt.out]
        if some := self.under_way.get(stmt.out):
            self.line(f"{some} = {self._function(stmt)}_next({some}, {code});")
        elif stmt.op == "sum":
            self.line(f"{name} += {code};")
        elif value.kind != "float":
            self.line(f"{name} = i{stmt.op}imum({name}, {code});")
        elif stmt.out in self.ready.online:
            self.line(f"{name} = {'greater' if stmt.op == 'max' else 'smaller'}({name}, {code});")
        else:
            self.line(f"{name} = {stmt.op}imum({name}, {code});")

    def _statement(self, stmt: Stmt, stored: dict[str, bool]) -> None:
        match stmt:
            case Map(out, expr):
                self._assign(out, expr, stored[out])
            case Set(acc, expr):
                self._write(acc, expr)
            case Init(acc, _, start):
                self._write(acc, start)

    def _assign(self, name: str, expr: Expr, stored: bool) -> None:
        value = self.values[name]
        if value.wide:
            self._one_by_one(name, expr)
            return
        if not stored and value.kind == "float" and (same := self._same(expr)) is not None:
            self.homes[name] = same
            return
        code = self.printer.lanes(expr, value.kind)
        made = self._variable(value)
        self.line(f"const {type_of(value)} {made.code} = {code};")
        self.homes[name] = made
        if stored:
            self._store(self.stored_homes[name], value, made.code)

    def _same(self, expr: Expr) -> Home | None:
        """The home of a value that an expression merely names."""
        if isinstance(expr, Read) and not expr.index and expr.source in self.homes and self.homes[expr.source].form == "lanes":
            return self.homes[expr.source]
        return None

    def _write(self, acc: str, expr: Expr) -> None:
        """An accumulator gets a value."""
        value = self.values[acc]
        if value.wide:
            self._one_by_one(acc, expr)
            return
        self._store(self.homes[acc], value, self.printer.lanes(expr, value.kind))

    def _one_by_one(self, name: str, expr: Expr) -> None:
        """64-bit integers, stored lane by lane."""
        value, home = self.values[name], self.stored_homes.get(name) or self.homes[name]
        with self.inside():
            self.at[self.lane_dim] = f"{self.lane_at} + l"
            for axis in list(self.shown):
                if self.shown[axis].lanes:
                    self.shown[axis] = Text(f"(long){self.shown[axis].code}[l]", "int", level=14)
            self.homes[name] = home
            text = self.printer.converted(self.printer.scalar(expr), value.kind)
            self.line(f"for (long l = 0; l < LANES; ++l) {home.code}[{self.offset(value, False)}] = {text.code};")

    def _variable(self, value: Value) -> Home:
        return Home(self.names.of("value", value.name), "lanes", value.kind)

    def _store(self, home: Home, value: Value, code: str) -> None:
        before = self.homes.get(value.name)
        self.homes[value.name] = home
        name = "store" if value.kind == "float" else "istore"
        self.line(f"{name}({home.code} + {self.offset(value, True)}, {code});")
        if before is not None:
            self.homes[value.name] = before


def type_of(value: Value) -> str:
    return "vreal" if value.kind == "float" else "vint"


def expressions(stmt: Stmt) -> tuple[Expr, ...]:
    match stmt:
        case Map(_, expr) | Set(_, expr):
            return (expr,)
        case Init(_, _, start):
            return (start,)
    return ()
