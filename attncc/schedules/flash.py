"""The flash schedule: a pair stage becomes one loop nest, a tile of rows against one tile of keys after the other.

    load the rows' operands
    for each tile of keys:  products -> score -> mask -> weights -> sums (accumulators of the rows)
    finals, stores

Nothing on pairs leaves the tile. With a softmax the accumulators are relative to the running maximum of each row (Milakov and
Gimelshein 2018; Dao et al. 2022). The loop has two bodies: tiles whose pairs are all admitted and inside the arrays, then the
rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from ..errors import AttnInternalError
from ..ir.expr import Apply, Const, Expr, Index, Read, rebuild, walk
from ..ir.pairs import Keys, PairStage, Sum, Term, value_name, values_in
from ..ir.pairs import value as stage_value
from ..passes.fuse.algebra import affine, is_const, positive, replace_part
from ..passes.masks import Cursor, Let
from ..passes.masks.plan import Statement
from ..tile.nodes import (
    Arg,
    Bisect,
    Block,
    Dim,
    Dot,
    If,
    Init,
    Map,
    Program,
    Reduce,
    Repeat,
    Set,
    Stmt,
    Store,
    TileList,
    TileLoop,
    defined,
    statements,
    value,
)  # fmt: skip
from ..tile.verify import verify
from .base2 import LN2, LOG2E, base2, in_base2, spread, uniform
from .bounded import constant_shift
from .dilate import dilation, inside_rows, split_stage, split_sums
from .lists import by_data, listed_loops
from .place import Placer, Scope
from .pointwise import gates, inlined, prepared, vanishes
from .ranges import tile_ranges

MINUS_INF = Const(float("-inf"))


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
        from .keyed import KeyedFlash

        return verify(KeyedFlash(stage, arrays, acc, sizes or {}).program())
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
            inits.append(Init(s.name, dims, _identity(s.op)))
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

    def _keys(self, number: int) -> list[Stmt]:
        """The loops over one kind of keys: full tiles, then the rest, inside the repeated axes."""
        keys, loop = self.stage.keys[number], self.loops[number]
        outer = Scope([], self.top.dims, self.top, moving=frozenset(keys.repeat)) if keys.repeat else self.top
        ranges = tile_ranges(keys.mask, self.stage.rows, keys.axes, self.sizes, self.split)
        if keys.mask is not None and by_data(keys.mask, (*self.stage.rows, *keys.axes)):
            self.notes += [*ranges.notes[:1], f"a list made from the data says which tiles of {', '.join(keys.axes)} a tile visits"]
            bodies = [self._body(number, outer, mask, mask is not None) for mask in (None, ranges.residual)]
            return self._repeated(keys, outer, listed_loops(self, number, keys.mask, (bodies[0], bodies[1])))
        self.notes += ranges.notes
        heads = [[self._scalar(s, outer) for s in part] for part in ranges.heads]
        stmts: list[Stmt] = []
        for cursor, masked in ((ranges.full, False), (ranges.part, True)):
            if cursor is None:
                continue
            body = self._body(number, outer, ranges.residual if masked else None, masked)
            if masked and ranges.test is not None:
                body = (If(self.place.expr(ranges.test, outer), body),)
            title = (
                "" if ranges.full is None else "tiles of admitted pairs alone" if not masked else "the other tiles, pair by pair"
            )
            stmts.append(self._loop(loop, cursor, outer, body, masked, title))
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

    def _loop(self, dim: Dim, cursor: Cursor, outer: Scope, body: tuple[Stmt, ...], masked: bool, title: str) -> TileLoop:
        lets = tuple(self._scalar(s, outer) for s in cursor.statements)
        count = self.place.expr(cursor.count, outer)
        starts = tuple(self.place.expr(e, outer) for e in cursor.starts)
        return TileLoop(dim.name, cursor.axes, cursor.counter, count, lets, starts, body, masked, title)

    def _scalar(self, statement: Statement, scope: Scope) -> Stmt:
        if isinstance(statement, Let):
            return Map(statement.name, self.place.expr(statement.expr, scope), (), "int")
        low, high, cond = (self.place.expr(e, scope) for e in (statement.low, statement.high, statement.cond))
        return Bisect(statement.name, statement.axis, low, high, cond)

    def _body(self, number: int, outer: Scope, mask: Expr | None, masked: bool) -> tuple[Stmt, ...]:
        keys, loop = self.stage.keys[number], self.loops[number]
        scope = Scope([], {**outer.dims, **dict.fromkeys(keys.axes, loop.name)}, outer, own=frozenset({loop.name}))
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


class Body:
    """One body of the loop over the keys."""

    def __init__(self, flash: Flash, keys: Keys, number: int, scope: Scope, mask: Expr | None) -> None:
        self.flash, self.keys, self.number, self.scope, self.mask = flash, keys, number, scope, mask
        self.place, self.stage = flash.place, flash.stage
        self.owner, self.loop = flash.owner.name, flash.loops[number].name
        self.pair = (self.owner, self.loop)
        self.admitted: Expr | None = None
        self.before = set(self.place.taken)
        terms = [t.expr for x in (*self.stage.sums, *flash.more) for t in x.terms if t.keys == number]
        score = [self.stage.softmax.score] if self.stage.softmax else []
        self.gates = gates(keys, terms)
        self.reads = Counter(value_name(e) for x in (*terms, *score, *(b for _, b in keys.lets)) for e in walk(x))

    def emit(self) -> None:
        """Fill the scope. Names defined here are free again afterwards: the other body has its own."""
        self.place.ensure = self._ensure
        if self.mask is not None:
            self._admit(self.mask)
        scaled = [s for s in self.stage.sums if s.scaled]
        if self.flash.bound is not None:
            self._shifted(self.flash.bound)
        elif self.stage.softmax:
            self._online(scaled)
        self._terms()
        self.place.ensure = None
        here = {name for stmt in statements(tuple(self.scope.body)) if (name := defined(stmt))}
        self.place.taken -= here - self.before
        self.place.inside |= here
        for name in here:
            self.place.values.pop(name, None)

    def _terms(self) -> None:
        """What this kind of keys adds to the sums, those that need the fewest products first: their tiles are done with early."""
        here = [(s, term) for s in self.stage.sums for term in s.terms if term.keys == self.number]
        for s, term in sorted(here, key=lambda x: len(self._products(x[1].expr))):
            self._add(s, term)

    def _products(self, expr: Expr) -> set[str]:
        """Products that an expression needs."""
        return values_in(inlined(self.keys, expr)) & {p.name for p in self.keys.products}

    def _ensure(self, name: str, scope: Scope) -> None:
        """Compute a product or a let where it is first read."""
        for p in self.keys.products:
            if p.name == name:
                row = self.place.load(p.row, self.scope, own=True)
                key = self.place.load(p.key, self.scope, own=True)
                self.scope.body.append(Dot(row.source, key.source, p.over, self.pair, out=name))
                self.place.define(name, self.pair, self.scope)
                return
        for let, expr in self.keys.lets:
            if let == name:
                dims = self.place.dims(expr, self.scope)
                out = self.place.expr(in_base2(self._inlined(expr)), self.scope)
                if name in self.gates and self.admitted is not None:
                    out = self._kept(out, Const(0.0))
                self.scope.body.append(Map(name, out, self.place.sorted(dims)))
                self.place.define(name, self.place.sorted(dims), self.scope)
                return
        raise AttnInternalError(f"{self.stage.name} reads {name}, which nothing defines", self.stage.span)

    def _admit(self, mask: Expr) -> None:
        """`admitted`: which pairs of a tile count."""
        dims = self.place.dims(mask, self.scope)
        made = self.place.name("admitted")
        self.scope.body.append(Map(made, self.place.expr(mask, self.scope, dims), self.place.sorted(dims), "bool"))
        self.admitted = value(made, "bool")

    def _kept(self, expr: Expr, other: Expr) -> Expr:
        return expr if self.admitted is None else Apply("where", (self.admitted, expr, other))

    # The softmax.

    def _shifted(self, bound: float) -> None:
        """Weights relative to a bound of the scores, and their sum."""
        soft = self.stage.softmax
        assert soft is not None
        p, total = soft.name, soft.total
        folded = spread(Apply("sub", (base2(in_base2(self._inlined(soft.score))), Const(bound))))
        self.place.dims(folded, self.scope)
        weight = Apply("exp2", (self.place.expr(folded, self.scope, frozenset(self.pair)),))
        self.scope.body.append(Map(p, self._kept(weight, Const(0.0)), self.pair))
        self.place.define(p, self.pair, self.scope)
        added = self.place.name(f"{p}_sum")
        self.scope.body.append(Reduce(added, "sum", p, self.loop, (self.owner,)))
        self.scope.body.append(Set(total, _plus(value(total), value(added))))

    def _online(self, scaled: list[Sum]) -> None:
        """New maximum, weights relative to it, and everything summed so far moved to it."""
        soft, place, m = self.stage.softmax, self.place, self.flash.shift
        assert soft is not None
        score = self._inlined(soft.score)
        tile, factor = self._logits(score)
        steps: list[Stmt] = []
        if self.admitted is not None:
            kept = self.place.name("kept")
            steps.append(Map(kept, self._kept(tile, MINUS_INF), self.pair))
            tile = value(kept)
        elif not isinstance(tile, Read):
            raise AttnInternalError("a score must be a tile value here")
        top, new, p, r = self.place.name("top"), self.place.name("m_new"), soft.name, self.place.name("rescale")
        row = (self.owner,)
        steps.append(Reduce(top, "max", tile.source if isinstance(tile, Read) else "", self.loop, row))
        greatest = value(top) if factor is None else Apply("mul", (value(top), factor))
        steps.append(Map(new, Apply("max", (value(m), greatest)), row))
        base: Expr = value(new)
        if self.mask is not None or not _finite(inlined(self.keys, score)):
            base = value(self.place.name("base"))
            empty = Apply("eq", (value(new), MINUS_INF))
            steps.append(Map(base.source, Apply("where", (empty, Const(0.0), value(new))), row))
        scaled_tile = tile if factor is None else Apply("mul", (tile, factor))
        steps.append(Map(p, Apply("exp2", (Apply("sub", (scaled_tile, base)),)), self.pair))
        steps.append(Map(r, Apply("exp2", (Apply("sub", (value(m), base)),)), row))
        added = self.place.name(f"{p}_sum")
        steps.append(Reduce(added, "sum", p, self.loop, row))
        steps.append(Set(soft.total, _plus(Apply("mul", (value(soft.total), value(r))), value(added))))
        steps += [Set(s.name, Apply("mul", (value(s.name), value(r)))) for s in scaled]
        steps.append(Set(m, value(new)))
        self.scope.body.append(
            Block("online softmax: weights relative to the running maximum (in base 2)", tuple(steps), "online")
        )
        place.define(p, self.pair, self.scope)

    def _inlined(self, expr: Expr) -> Expr:
        """An expression with the lets that nothing else reads replaced by their own."""
        lets = dict(self.keys.lets)

        def visit(e: Expr) -> Expr:
            name = value_name(e)
            return visit(lets[name]) if name in lets and self.reads[name] == 1 else rebuild(e, visit)

        return visit(expr)

    def _logits(self, score: Expr) -> tuple[Expr, Expr | None]:
        """(tile, factor): the score in base 2 is tile * factor. A positive uniform factor is left to the exponent's
        multiply-add."""
        names = values_in(score)
        if len(names) == 1:
            name = next(iter(names))
            split = affine(score, stage_value(name))
            if split is not None and is_const(split[1], 0) and uniform(split[0]) and positive(split[0]):
                self.place.dims(score, self.scope)
                factor = Apply("mul", (split[0], Const(LOG2E)))
                return value(name), self.place.expr(factor, self.scope)
        folded = spread(base2(in_base2(score)))
        made = self.place.name("logit")
        dims = self.place.sorted(self.place.dims(folded, self.scope))
        out = self.place.expr(folded, self.scope, frozenset(self.pair))
        self.scope.body.append(Map(made, out, self.pair))
        assert dims
        return value(made), None

    # Sums.

    def _tile(self, term: Term, op: str) -> str:
        """What a term takes from each pair, the identity of `op` from one that is not admitted."""
        expr = in_base2(self._inlined(term.expr))
        masked = self.admitted is not None and not self._vanishes(term.expr)
        self.place.dims(expr, self.scope)
        out = self.place.expr(expr, self.scope, frozenset(self.pair))
        if masked:
            out = self._kept(out, _identity(op))
        return out.source if isinstance(out, Read) and self._is_pair(out) else self._stored(term, out)

    def _add(self, s: Sum, term: Term) -> None:
        tile = self._tile(term, s.op)
        if term.by is not None:
            by = self.place.load(term.by, self.scope, own=True)
            self.scope.body.append(Dot(tile, by.source, self.loop, (self.owner, s.feature), into=s.name, cast=by.source))
            return
        part = self.place.name(f"{s.name}_part")
        self.scope.body.append(Reduce(part, s.op, tile, self.loop, (self.owner,)))
        both = (value(s.name), value(part))
        self.scope.body.append(Set(s.name, _plus(*both) if s.op == "sum" else Apply(s.op, both)))

    def _is_pair(self, read: Read) -> bool:
        return self.place.values.get(read.source) == self.pair

    def _stored(self, term: Term, out: Expr) -> str:
        """A name for the weights of a term; equal terms share one."""
        key = Read("weights", (term.expr,), "float")
        known = self.scope.known.get(key)
        if known is not None:
            return known.source
        made = self.place.name("w" if self.stage.softmax else "p")
        self.scope.body.append(Map(made, out, self.pair))
        self.scope.known[key] = value(made)
        return made

    def _vanishes(self, expr: Expr) -> bool:
        """Whether the term is 0 for pairs that are not admitted without asking: the softmax's own weight, or a value masked
        before."""
        if any(vanishes(self.keys, expr, gate) for gate in self.gates):
            return True
        return self.stage.softmax is not None and value_name(expr) == self.stage.softmax.name


def _plus(a: Expr, b: Expr) -> Expr:
    return Apply("add", (a, b))


def _identity(op: str) -> Expr:
    return {"sum": Const(0.0), "max": MINUS_INF, "min": Const(float("inf"))}[op]


def _finite(score: Expr) -> bool:
    """Whether a score is finite for finite inputs: no logarithm, infinity or per-token read in it."""
    for e in walk(score):
        if isinstance(e, Const) and e.value in (float("inf"), float("-inf")):
            return False
        if isinstance(e, Apply) and e.op == "div" and not uniform(e.args[1]):
            return False
        if isinstance(e, Apply) and e.op in ("log", "log2", "exp", "pow", "log1p") and not uniform(e):
            return False
        if isinstance(e, Read) and not value_name(e) and e.kind == "float":
            return False
    return True


def _with_finals(expr: Expr, stored: Mapping[str, Expr]) -> Expr:
    """Reads of earlier finals of the same rows replaced by the values at hand."""
    if isinstance(expr, Read) and expr.source in stored:
        return stored[expr.source]
    return rebuild(expr, lambda child: _with_finals(child, stored))
