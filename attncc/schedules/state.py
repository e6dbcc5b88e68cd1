"""The state schedule: sums from the right, (Q)(K^T V), for stages that are separable.

    chunks   of every chunk of keys:  state = sum of key factor * k v          [d, e]
    totals   the sum of all chunks; under a causal mask, the running sum before (or from) every chunk
    apply    of every tile of rows:   o = row factor * q state; under a causal mask, the pairs past the state's last chunk
             from the left, with the mask

Memory is N d e / C numbers for chunks of C keys, which give a machine with few heads something to do. Chunks follow from sizes alone.
Sources: Katharopoulos et al. 2020 (arXiv 2006.16236); in chunks: Hua et al. 2022 (arXiv 2202.10447), Yang et al. 2024 (arXiv 2312.06635).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce

from ..errors import AttnUnsupportedError
from ..ir.expr import ONE, ZERO, Apply, Const, Expr, Read, Size, axes_of
from ..ir.pairs import Keys, PairStage, Product, Sum
from ..passes.fuse.algebra import add, is_const, mul
from ..passes.separate import Piece, Separated, groups, separate
from .pointwise import prepared

SHIFT = 2.0**-8
"""Running states are stored times this power of two: a sum over 16 million keys then fits a half-precision operand."""


@dataclass(frozen=True)
class State:
    """`name[grid, axes] = sum over keys of key * a * b`. a, b: operands of the keys, each with one of the axes. grid: those axes of
    the stage's grid that these depend on."""

    name: str
    key: Expr
    grid: tuple[str, ...]
    operands: tuple[Read, ...]
    axes: tuple[str, ...]


@dataclass
class Form:
    """A separated stage, its states, and the names that its kernels share. chunk: the axis of chunks; length: keys of a chunk.

    arrays: axes of all outer values and states by name.
    """

    sep: Separated
    chunk: str
    arrays: dict[str, tuple[str, ...]]
    acc: frozenset[str]
    sizes: Mapping[str, Expr]
    states: list[State] = field(default_factory=list)
    of: dict[Piece, State] = field(default_factory=dict)

    @property
    def stage(self) -> PairStage:
        return self.sep.stage

    @property
    def keys(self) -> Keys:
        return self.stage.keys[0]

    @property
    def axis(self) -> str:
        """The axis of the keys that is cut into chunks."""
        return self.keys.axes[-1]

    @property
    def idle(self) -> str:
        """The axis whose tiles are owners where a state has none of its own."""
        return next(s.axes[-1] for s in self.states if s.axes)

    @property
    def length(self) -> Expr:
        """Keys of a chunk: as many as make the pairs inside cost what the states cost; without a mask, as many as leave some
        hundred chunks in all."""
        if self.sep.causal is not None:
            sides: list[Expr] = [Size(a) for a in dict.fromkeys(a for s in self.states for a in s.axes)]
            wide = reduce(lambda a, b: Apply("max", (a, b)), sides)
            return _clamped(times(Const(64), Apply("cdiv", (times(Const(2), wide), Const(64)))), 64, 256)
        rows = times(*(Size(a) for a in (*self.stage.grid, self.axis)))
        return times(Const(128), _clamped(Apply("cdiv", (rows, Const(65536))), 1, 8))

    @property
    def chunks(self) -> Expr:
        """The size of the axis of chunks; one more than there are under a causal mask, for the state of all keys, or of none."""
        count: Expr = Apply("cdiv", (Size(self.axis), self.length))
        return count if self.sep.causal is None else Apply("add", (count, ONE))

    def outer(self, state: State, part: bool) -> tuple[str, tuple[str, ...]]:
        """The array that keeps a state and its axes. part: of the chunks apart, else of their sums."""
        chunked = (self.chunk,) if part or self.sep.causal is not None else ()
        return state.name + ("_part" if part else ""), (*state.grid, *chunked, *state.axes)


def times(*parts: Expr) -> Expr:
    out: Expr = ONE
    for part in parts:
        out = mul(out, part)
    return out


def plus(*parts: Expr) -> Expr:
    out: Expr = ZERO
    for part in parts:
        out = add(out, part)
    return out


def _clamped(expr: Expr, low: int, high: int) -> Expr:
    return Apply("min", (Const(high), Apply("max", (Const(low), expr))))


def form_of(stage: PairStage, arrays: Mapping[str, tuple[str, ...]], acc: frozenset[str], sizes: Mapping[str, Expr]) -> Form:
    """The states of a stage. Raises AttnUnsupportedError, the message being the reason, for one that is not separable."""
    taken = {*arrays, *(a for axes in arrays.values() for a in axes), *(s.name for s in stage.sums)}
    taken |= {n for k in stage.keys for n in (*(p.name for p in k.products), *(n for n, _ in k.lets))}

    def fresh(hint: str) -> str:
        name, number = hint, 2
        while name in taken:
            name, number = f"{hint}{number}", number + 1
        taken.add(name)
        return name

    sep = separate(prepared(stage, fresh)[0])
    taken |= set(sep.twins)
    form = Form(sep, fresh("chunk"), dict(arrays), acc, sizes)
    for s in sep.stage.sums:
        for piece in sep.pieces[s.name]:
            _keep(form, piece, s, fresh)
    if not any(state.axes for state in form.states):
        raise AttnUnsupportedError("nothing but numbers of rows and keys is summed", stage.span)
    for state in form.states:
        for part in (True, False):
            name, axes = form.outer(state, part)
            form.arrays[name] = axes
    form.acc = acc | {form.outer(s, part)[0] for s in form.states for part in (True, False)}
    return form


def _keep(form: Form, piece: Piece, s: Sum, fresh: Callable[[str], str]) -> None:
    """The state of a piece; two pieces whose operands are the same, in either order, share one."""
    found: list[tuple[Read, str]] = []
    if piece.product is not None:
        found.append((piece.product.key, piece.product.over))
    if piece.by is not None:
        found.append((piece.by, s.feature))
    found.sort(key=lambda x: (x[0].source, x[1]))
    operands, axes = tuple(r for r, _ in found), tuple(a for _, a in found)
    key = Const(1.0) if is_const(piece.key, 1) else piece.key
    if form.sep.keys is not None:
        key = Apply("where", (form.sep.keys, key, Const(0.0)))
    for state in form.states:
        if (state.key, state.operands, state.axes) == (key, operands, axes):
            form.of[piece] = state
            return
    read = {a for e in (*operands, key) for a in axes_of(e)}
    grid = tuple(a for a in form.stage.grid if a in read)
    form.states.append(State(fresh(f"{form.stage.name}_state"), key, grid, operands, axes))
    form.of[piece] = form.states[-1]


# What both orders cost.


def widths(sums: tuple[Sum, ...], products: tuple[Product, ...]) -> Expr:
    """Multiply-adds of a pair from the left."""
    return plus(*(Size(p.over) for p in products), *(Size(s.feature) if s.feature else ONE for s in sums))


def left_cost(stage: PairStage, causal: bool) -> Expr:
    """Multiply-adds from the left, twice as many: half the pairs are left out under a causal mask."""
    keys = stage.keys[0]
    pairs = times(*(Size(a) for a in (*stage.grid, *stage.rows, *keys.axes, *keys.repeat)))
    return times(pairs, widths(stage.sums, keys.products), ONE if causal else Const(2))


def right_cost(form: Form) -> Expr:
    """Multiply-adds from the right, twice as many; those of states count double, for what they cost in memory."""
    stage, keys = form.stage, form.keys
    grid = times(*(Size(a) for a in stage.grid))
    rows = times(*(Size(a) for a in stage.rows))
    many = times(*(Size(a) for a in (*keys.axes, *keys.repeat)))
    made = times(many, plus(*(times(*(Size(a) for a in s.axes)) for s in form.states)))
    used = [form.of[p] for s in stage.sums for p in form.sep.pieces[s.name]]
    applied = times(rows, plus(*(times(*(Size(a) for a in s.axes)) for s in used)))
    out = times(Const(4), plus(made, applied))
    if form.sep.causal is not None:
        out = plus(out, times(rows, times(*(Size(a) for a in keys.repeat)), form.length, widths(stage.sums, keys.products)))
    return times(grid, out)


__all__ = ["SHIFT", "Form", "State", "form_of", "groups", "left_cost", "plus", "right_cost"]
