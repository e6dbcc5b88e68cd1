"""The states of chunks of keys, and their sums, as tile programs."""

from __future__ import annotations

from collections.abc import Collection

from ..ir.expr import ONE, ZERO, Apply, Const, Expr, Index, Read, Size
from ..passes.fuse.algebra import is_const, mul
from ..tile.nodes import (
    Arg,
    Dim,
    Dot,
    If,
    Init,
    Load,
    Map,
    Program,
    Reduce,
    Repeat,
    Scalar,
    Set,
    Stmt,
    Store,
    TileLoop,
    defined,
    statements,
    value,
)  # fmt: skip
from ..tile.verify import verify
from .place import Placer, Scope
from .state import SHIFT, Form, State


def chunk_programs(form: Form) -> tuple[Program, ...]:
    """For every chunk of keys, its states. One program for each axis whose tiles are owners; what has no such axis goes with the
    first."""
    owners: dict[tuple[str, tuple[str, ...]], list[State]] = {}
    for state in sorted(form.states, key=lambda s: -len(s.axes)):
        own = state.axes[-1] if state.axes else ""
        if len(state.axes) < 2 and (own, state.grid) not in owners:
            own = next((o for o, grid in owners if grid == state.grid), own or form.idle)
        owners.setdefault((own, state.grid), []).append(state)
    return tuple(_Chunks(form, own, states, number).program() for number, ((own, _), states) in enumerate(owners.items()))


class _Chunks:
    def __init__(self, form: Form, owner: str, states: list[State], number: int) -> None:
        self.form, self.states, self.number = form, states, number
        axis = form.axis
        self.owner, self.loop = Dim(owner, (owner,)), Dim(axis, (axis,))
        features = dict.fromkeys(a for s in states for a in s.axes if a != owner)
        self.dims = (self.owner, self.loop, *(Dim(a, (a,), whole=True) for a in features))
        names = {a for axes in form.arrays.values() for a in axes} | {s.name for s in form.states} | set(features) | {owner}
        self.place = Placer(form.arrays, (axis, *features, owner), names)
        self.top = Scope([], {d.name: d.name for d in self.dims if d is not self.loop}, own=frozenset({owner}))

    def program(self) -> Program:
        form, place, axis = self.form, self.place, self.form.axis
        low, high = value(f"{axis}.from", "int"), value(f"{axis}.to", "int")
        full, box = value(f"{axis}.full_tiles", "int"), value(f"{axis}.box", "int")
        length = number(place, "chunk_length", form.length)
        lets: list[Stmt] = [
            Map(low.source, Apply("mul", (Index(form.chunk), length)), (), "int"),
            Map(high.source, Apply("min", (Apply("add", (low, length)), Size(axis))), (), "int"),
        ]
        left = Apply("max", (ZERO, Apply("sub", (high, low))))
        lets.append(Map(full.source, Apply("floordiv", (left, box)), (), "int"))
        inits: list[Stmt] = [Init(s.name, s.axes, Const(0.0)) for s in self.states]
        repeats = (*form.keys.repeat, *form.keys.axes[:-1])
        outer = Scope([], self.top.dims, self.top, moving=frozenset(repeats)) if repeats else self.top
        counter = value("tile.number", "int")
        rest = Apply("sub", (Apply("floordiv", (Apply("add", (left, Apply("sub", (box, ONE)))), box)), full))
        loops: list[Stmt] = []
        for masked, count, tile in ((False, full, counter), (True, rest, Apply("add", (full, counter)))):
            start = Apply("add", (low, Apply("mul", (tile, box))))
            body = self.body(outer, Apply("lt", (Index(axis), high)) if masked else None)
            title = "the end of the chunk" if masked else "tiles inside the chunk"
            loops.append(TileLoop(axis, (axis,), counter.source, count, (), (start,), body, masked, title))
        nest: tuple[Stmt, ...] = tuple(loops)
        if repeats:
            nest = (*outer.body, *nest)
            for repeated in reversed(repeats):
                nest = (Repeat(repeated, nest),)
        stores = [stmt for s in self.states for stmt in self.store(s)]
        reads = [Arg(n, form.arrays[n], kind, "in", n in form.acc) for n, kind in place.reads.items()]
        outs = [Arg(*form.outer(s, True), "float", "out", True) for s in self.states]
        note = "the state of every chunk of keys: what the rows need to know of it"
        tag = f"_{self.number + 1}" if self.number else ""
        made = Program(
            f"{form.stage.name}_chunks{tag}",
            self.dims,
            (*reads, *outs),
            tuple(place.scalars.values()),
            (*self.states[0].grid, form.chunk),
            self.owner.name,
            (*self.top.body, *lets, *inits, *nest, *stores),
            (note,),
            kind="chunks",
        )
        return verify(made)

    def body(self, outer: Scope, cond: Expr | None) -> tuple[Stmt, ...]:
        """What a tile of keys adds to the states."""
        scope = Scope([], {**outer.dims, self.form.axis: self.loop.name}, outer, own=frozenset({self.loop.name}))
        before = set(self.place.taken)
        for state in self.states:
            add_state(self.place, state, scope, self.loop.name, cond, self.form.acc)
        made = {n for stmt in statements(tuple(scope.body)) if (n := defined(stmt))}
        self.place.taken -= made - before
        for name in made:
            self.place.values.pop(name, None)
        return tuple(scope.body)

    def store(self, state: State) -> tuple[Stmt, ...]:
        index = tuple(Index(a) for a in (*state.grid, self.form.chunk, *state.axes))
        stmt = Store(self.form.outer(state, True)[0], index, state.name, state.axes)
        if self.owner.name in state.axes:
            return (stmt,)
        return (If(Apply("eq", (value(f"{self.owner.name}.first", "int"), ZERO)), (stmt,)),)


def add_state(place: Placer, state: State, scope: Scope, loop: str, cond: Expr | None, acc: Collection[str]) -> None:
    """What a tile of keys adds to a state. cond: which keys count (None: all). acc: values in the accumulation type."""
    if len(state.axes) == 2:
        if is_const(state.key, 1) and cond is None:
            a, b = place.operands(state.operands[0], state.operands[1], scope, acc)
            left, cast = a.source, ""
        else:
            own = state.operands[0].source not in acc  # else it is not rounded
            b = place.load(state.operands[1], scope, own)
            expr = _kept(mul(state.operands[0], state.key), cond)
            left, cast = _tile(place, expr, scope, (loop, state.axes[0])), b.source if own else ""
        scope.body.append(Dot(left, b.source, loop, (state.axes[0], state.axes[1]), into=state.name, cast=cast))
        return
    expr = mul(state.operands[0], state.key) if state.operands else state.key
    tile = _tile(place, _kept(expr, cond), scope, (loop, *state.axes))
    part = place.name(f"{state.name}_sum")
    scope.body.append(Reduce(part, "sum", tile, loop, state.axes))
    scope.body.append(Set(state.name, Apply("add", (value(state.name), value(part)))))


def _tile(place: Placer, expr: Expr, scope: Scope, dims: tuple[str, ...]) -> str:
    """A value over some dims, from an expression of the stage."""
    known = scope.known.get(Read("tile", (expr,), "float"))
    if known is None:
        place.dims(expr, scope)
        out = place.expr(expr, scope, frozenset(dims))
        made = place.name("operand")
        scope.body.append(Map(made, out, dims))
        known = scope.known[Read("tile", (expr,), "float")] = value(made)
    return known.source


def _kept(expr: Expr, cond: Expr | None) -> Expr:
    return expr if cond is None else Apply("where", (cond, expr, Const(0.0)))


def number(place: Placer, hint: str, expr: Expr) -> Expr:
    """A whole number that the caller computes from sizes."""
    if isinstance(expr, Const):
        return expr
    if expr not in place.scalars:
        place.scalars[expr] = Scalar(place.name(hint), expr, "int")
    return value(place.scalars[expr].name, "int")


def total_programs(form: Form) -> tuple[Program, ...]:
    """Sums of the states of chunks: of all, or running ones under a causal mask. One program for all states of a shape."""
    shapes: dict[tuple[tuple[str, ...], tuple[str, ...]], list[State]] = {}
    for state in form.states:
        shapes.setdefault((state.grid, state.axes), []).append(state)
    return tuple(_totals(form, states, number) for number, states in enumerate(shapes.values()))


def _totals(form: Form, states: list[State], number: int) -> Program:
    """States of one shape. Owners are tiles of their last axis, at every position of the one before."""
    grid, axes = states[0].grid, states[0].axes
    owner = axes[-1] if axes else form.idle
    dims = axes[-1:]
    causal, chunk = form.sep.causal, form.chunk
    at: Expr = Index(chunk)
    if causal is not None and causal.reverse:
        at = Apply("sub", (Apply("sub", (Size(chunk), ONE)), Index(chunk)))

    def index(chunked: bool) -> tuple[Expr, ...]:
        return (*map(Index, grid), *((at,) if chunked else ()), *map(Index, axes))

    inits: list[Stmt] = []
    add: list[Stmt] = []
    kept: list[Stmt] = []
    args: list[Arg] = []
    for at_, state in enumerate(states):
        tag = str(at_ + 1) if at_ else ""
        total, one, moved = f"total{tag}", f"state{tag}", f"kept{tag}"
        part, whole = form.outer(state, True), form.outer(state, False)
        args += [Arg(*part, "float", "in", True), Arg(*whole, "float", "out", True)]
        inits.append(Init(total, dims, Const(0.0)))
        add += [Load(one, part[0], index(True), dims), Set(total, Apply("add", (value(total), value(one))))]
        if causal is not None and len(axes) == 2:
            kept.append(Map(moved, Apply("mul", (value(total), Const(SHIFT))), dims))
            total = moved
        store: Stmt = Store(whole[0], index(causal is not None), total, dims)
        kept.append(store if axes else If(Apply("eq", (value(f"{owner}.first", "int"), ZERO)), (store,)))
    if causal is None:
        body: tuple[Stmt, ...] = (*inits, Repeat(chunk, tuple(add)), *kept)
        note, word = "the sum of all chunks", "totals"
    else:
        body = (*inits, Repeat(chunk, (*add, *kept) if causal.reverse else (*kept, *add)))
        note, word = f"the sum of all chunks {'from' if causal.reverse else 'before'} each", "running"
    name = f"{form.stage.name}_{word}{f'_{number + 1}' if number else ''}"
    made = Program(name, (Dim(owner, (owner,)),), tuple(args), (), (*grid, *axes[:-1]), owner, body, (note,), kind="totals")
    return verify(made)


__all__ = ["add_state", "chunk_programs", "number", "total_programs"]
