"""The flash schedule: a pair stage becomes one loop nest, a tile of rows against one tile of keys after the other.

    load the rows' operands
    for each tile of keys:  products -> score -> mask -> weights -> sums (accumulators of the rows)
    finals, stores

Nothing on pairs leaves the tile. With a softmax the accumulators are relative to the running maximum of each row (Milakov and
Gimelshein 2018; Dao et al. 2022). The loop has two bodies: tiles whose pairs are all admitted and inside the arrays, then the
rest; `body` has what one of them computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import AttnInternalError
from ..ir.expr import Apply, Const, Expr, Index, Read, rebuild
from ..ir.pairs import Keys, PairStage, Sum, value_name, values_in
from ..ir.pairs import value as stage_value
from ..passes.fuse.algebra import replace_part
from ..passes.masks import Cursor, Let
from ..passes.masks.plan import Statement
from ..tile.nodes import (
    Arg,
    Bisect,
    Dim,
    If,
    Init,
    Map,
    Program,
    Repeat,
    Set,
    Stmt,
    Store,
    TileList,
    TileLoop,
    value,
)  # fmt: skip
from ..tile.verify import verify
from .base2 import LN2, LOG2E
from .body import MINUS_INF, Body, identity
from .bounded import constant_shift
from .dilate import dilation, inside_rows, split_stage, split_sums
from .lists import by_data, listed_loops
from .place import Placer, Scope
from .pointwise import prepared
from .ranges import Ranges, tile_ranges


def lower(
    stage: PairStage,
    arrays: Mapping[str, tuple[str, ...]],
    acc: frozenset[str] = frozenset(),
    sizes: Mapping[str, Expr] | None = None,
) -> Program:
    """The tile program of a stage.

    arrays: the axes of every outer value read. acc: those kept in the accumulation type. sizes: sizes that equal expressions in
    other sizes, as of twin axes.
    """
    if stage.keyed:
        from .keyed import lower_keyed

        return lower_keyed(stage, arrays, acc, sizes or {})
    return verify(Flash(stage, arrays, acc, sizes or {}).program())


class Flash:
    """Lowers one stage."""

    def __init__(
        self,
        stage: PairStage,
        arrays: Mapping[str, tuple[str, ...]],
        acc: frozenset[str],
        sizes: Mapping[str, Expr],
        more: tuple[Sum, ...] = (),
    ) -> None:
        self.arrays, self.acc, self.sizes = arrays, acc, sizes
        taken = _names(stage, arrays, more)
        self.split = dilation(stage, sizes, taken)
        if self.split is not None:
            more = split_sums(inside_rows(more, stage.rows), self.split)
            stage = split_stage(stage, self.split)
            taken |= {axis for axis, _ in self.split.sizes}
        self.stage, self.more = stage, more = prepared(stage, lambda hint: _fresh(taken, hint), more)
        self.notes = list(stage.notes)
        self.owner = Dim("_".join(stage.rows), stage.rows)
        self.loops = [Dim("_".join(keys.axes), keys.axes) for keys in stage.keys]
        features = dict.fromkeys([p.over for k in stage.keys for p in k.products] + [s.feature for s in stage.sums if s.feature])
        self.features = [Dim(axis, (axis,), whole=True) for axis in features]
        self.dims = (self.owner, *self.loops, *self.features)
        order = tuple(d.name for d in self.dims)
        if len(set(order)) != len(order):
            raise AttnInternalError(f"tile dims of {stage.name} clash: {', '.join(order)}", stage.span)
        self.place = Placer(arrays, order, taken)
        owner_dims = dict.fromkeys(stage.rows, self.owner.name) | {d.name: d.name for d in self.features}
        self.top = Scope([], owner_dims, own=frozenset({self.owner.name}))
        self.bound = constant_shift(stage)
        self.shift = self.place.name("m") if stage.softmax and self.bound is None else ""
        if self.bound is not None:
            self.notes.append("the scores are bounded, so weights are relative to their bound instead of a running maximum")
        self.lists: list[TileList] = []
        self.admits = ""

    # The whole program.

    def program(self) -> Program:
        stage, place, top = self.stage, self.place, self.top
        inits: list[Stmt] = []
        if stage.softmax:
            if self.shift:
                inits.append(Init(self.shift, (self.owner.name,), MINUS_INF))
            inits.append(Init(stage.softmax.total, (self.owner.name,), Const(0.0)))
        for s in stage.sums:
            dims = (self.owner.name, s.feature) if s.feature else (self.owner.name,)
            inits.append(Init(s.name, dims, identity(s.op)))
        loops = [stmt for number in range(len(stage.keys)) for stmt in self._keys(number)]
        end = Scope([], top.dims, top)
        self._finish(end)
        body = (*top.body, *inits, *loops, *end.body)
        reads = [Arg(name, self.arrays[name], kind, "in", name in self.acc) for name, kind in place.reads.items()]
        outs = [Arg(f.name, f.axes, f.kind, "out", f.acc) for f in stage.finals]
        return Program(
            stage.name,
            self.dims,
            (*reads, *outs),
            tuple(place.scalars.values()),
            stage.grid,
            self.owner.name,
            body,
            tuple(dict.fromkeys(self.notes)),
            lists=tuple(self.lists),
            made=() if self.split is None else self.split.sizes,
        )

    def position(self, axis: str) -> Expr:
        """The position along an axis of an array."""
        return self.split.positions.get(axis, Index(axis)) if self.split is not None else Index(axis)

    def residual(self, number: int, ranges: Ranges) -> Expr:
        """What is asked of the pairs of a tile that is not full."""
        return ranges.residual

    def whole(self) -> Expr | None:
        """What else a tile of rows must satisfy for its loop over full tiles."""
        return None

    def _keys(self, number: int) -> list[Stmt]:
        """The loops over one kind of keys: full tiles, then the rest, inside the repeated axes."""
        keys, loop = self.stage.keys[number], self.loops[number]
        outer = Scope([], self.top.dims, self.top, moving=frozenset(keys.repeat)) if keys.repeat else self.top
        ranges = tile_ranges(keys.mask, self.stage.rows, keys.axes, self.sizes, self.split, self.whole())
        if keys.mask is not None and by_data(keys.mask, (*self.stage.rows, *keys.axes)):
            self.notes += [
                *ranges.notes[:1],
                f"a list made from the data says which tiles of {', '.join(keys.axes)} a tile visits",
            ]
            bodies = [self._body(number, outer, mask, mask is not None) for mask in (None, ranges.residual)]
            return self._repeated(keys, outer, listed_loops(self, number, keys.mask, (bodies[0], bodies[1])))
        self.notes += ranges.notes
        heads = [[self._scalar(s, outer) for s in part] for part in ranges.heads]
        stmts: list[Stmt] = []
        for cursor, masked in ((ranges.full, False), (ranges.part, True)):
            if cursor is None:
                continue
            body = self._body(number, outer, self.residual(number, ranges) if masked else None, masked)
            if masked and ranges.test is not None:
                body = (If(self.place.expr(ranges.test, outer), body),)
            title = (
                "" if ranges.full is None else "tiles of admitted pairs alone" if not masked else "the other tiles, pair by pair"
            )
            stmts.append(self._loop(loop, cursor, outer, body, masked, title, self.admits if masked else ""))
        nest: list[Stmt] = [*heads[-1], *stmts]
        for cursor, head in zip(reversed(ranges.outer), reversed(heads[:-1]), strict=True):
            nest = [*head, self._loop(loop, cursor, outer, tuple(nest), True, "")]
        return self._repeated(keys, outer, nest)

    def _repeated(self, keys: Keys, outer: Scope, nest: list[Stmt]) -> list[Stmt]:
        """The loops inside those over the repeated axes."""
        if not keys.repeat:
            return nest
        inner: tuple[Stmt, ...] = (*outer.body, *nest)
        for axis in reversed(keys.repeat):
            inner = (Repeat(axis, inner),)
        return list(inner)

    def _loop(
        self, dim: Dim, cursor: Cursor, outer: Scope, body: tuple[Stmt, ...], masked: bool, title: str, admits: str = ""
    ) -> TileLoop:
        lets = tuple(self._scalar(s, outer) for s in cursor.statements)
        count = self.place.expr(cursor.count, outer)
        starts = tuple(self.place.expr(e, outer) for e in cursor.starts)
        return TileLoop(dim.name, cursor.axes, cursor.counter, count, lets, starts, body, masked, title, admits)

    def _scalar(self, statement: Statement, scope: Scope) -> Stmt:
        if isinstance(statement, Let):
            return Map(statement.name, self.place.expr(statement.expr, scope), (), "int")
        low, high, cond = (self.place.expr(e, scope) for e in (statement.low, statement.high, statement.cond))
        return Bisect(statement.name, statement.axis, low, high, cond)

    def _body(self, number: int, outer: Scope, mask: Expr | None, masked: bool) -> tuple[Stmt, ...]:
        keys, loop = self.stage.keys[number], self.loops[number]
        scope = Scope([], {**outer.dims, **dict.fromkeys(keys.axes, loop.name)}, outer, own=frozenset({loop.name}))
        self.admits = ""
        self.fill(number, scope, mask if masked else None)
        return tuple(scope.body)

    def fill(self, number: int, scope: Scope, mask: Expr | None) -> None:
        """The statements of one body."""
        Body(self, self.stage.keys[number], number, scope, mask).emit()

    def _finish(self, end: Scope) -> None:
        """Statistics and finals, after the last tile."""
        stage, place, owner = self.stage, self.place, self.owner.name
        finals = stage.finals
        for s in stage.sums:
            place.define(s.name, (owner, s.feature) if s.feature else (owner,), end)
        if stage.softmax:
            total, lse = stage.softmax.total, stage.softmax.lse
            place.define(total, (owner,), end)
            if stage.softmax.guard is not None:
                end.body.append(Set(total, _guarded(value(total), place.expr(stage.softmax.guard, end))))
            shift: Expr = value(self.shift) if self.bound is None else Const(self.bound)
            log = Apply("add", (shift, Apply("log2", (value(total),))))
            base = place.name(f"{lse}_base2")
            in_base2 = Apply("mul", (stage_value(lse), Const(LOG2E)))
            finals = tuple(replace(f, expr=replace_part(f.expr, in_base2, stage_value(base))) for f in finals)
            for known, statistic in ((base, log), (lse, Apply("mul", (log, Const(LN2))))):
                if any(known in values_in(f.expr) for f in finals):
                    end.body.append(Map(known, statistic, (owner,)))
                    place.define(known, (owner,), end)
        stored: dict[str, Expr] = {}
        stores: list[Stmt] = []
        for final in finals:
            expr = _with_finals(final.expr, stored)
            dims = place.sorted(place.dims(expr, end))
            out = place.expr(expr, end)
            name = value_name(expr)
            free = not any(final.name in values_in(f.expr) for f in finals if f is not final)
            if not name and free and final.name in self.place.values and dims == self.place.values[final.name]:
                name = final.name
                end.body.append(Set(name, out))
            elif not name:
                name = place.name(final.name)
                end.body.append(Map(name, out, dims, final.kind))
                place.define(name, dims, end, final.kind)
            stores.append(Store(final.name, tuple(self.position(a) for a in final.axes), name, dims))
            stored[final.name] = stage_value(name)
        end.body += stores  # a value lives until it is stored, and strips of rows are stored last


def _guarded(total: Expr, guard: Expr) -> Expr:
    """The total of a row whose scores lack a term: 0 stays 0, a term of -inf makes it 0, inf and what is not a number show."""
    shown = Apply("add", (total, Apply("sub", (guard, guard))))
    kept = Apply("where", (Apply("eq", (guard, MINUS_INF)), Apply("mul", (total, Const(0.0))), shown))
    return Apply("where", (Apply("eq", (total, Const(0.0))), total, kept))


def _names(stage: PairStage, arrays: Mapping[str, tuple[str, ...]], more: tuple[Sum, ...]) -> set[str]:
    """Names that tile values must leave alone."""
    names = {a for axes in arrays.values() for a in axes} | {s.name for s in (*stage.sums, *more)}
    names |= {n for k in stage.keys for n, _ in k.lets} | {p.name for k in stage.keys for p in k.products}
    return names | ({stage.softmax.name, stage.softmax.total, stage.softmax.lse} if stage.softmax else set())


def _fresh(taken: set[str], hint: str) -> str:
    new, number = hint, 2
    while new in taken:
        new, number = f"{hint}{number}", number + 1
    taken.add(new)
    return new


def _with_finals(expr: Expr, stored: Mapping[str, Expr]) -> Expr:
    """Reads of earlier finals of the same rows replaced by the values at hand."""
    if isinstance(expr, Read) and expr.source in stored:
        return stored[expr.source]
    return rebuild(expr, lambda child: _with_finals(child, stored))
