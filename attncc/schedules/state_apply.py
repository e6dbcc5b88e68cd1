"""What rows get from states: the tile program of a separable stage, from the right."""

from __future__ import annotations

from dataclasses import replace

from ..ir.expr import ONE, ZERO, Apply, Const, Expr, Index, Size
from ..ir.pairs import PairStage, Sum
from ..passes.fuse.algebra import is_const, mul
from ..passes.separate import Piece
from ..tile.nodes import Dot, Load, Map, Program, Reduce, Repeat, Set, Stmt, TileLoop, value
from ..tile.verify import verify
from .flash import Flash
from .place import Scope
from .state import SHIFT, Form, State
from .state_chunks import number


def apply_program(form: Form, stage: PairStage) -> Program:
    """The program of some sums of the form's stage. stage: with these sums alone."""
    made = Apply_(form, stage).program()
    return verify(made if form.sep.causal is None else replace(made, kind="apply"))


class Apply_(Flash):
    """Lowers one stage. shifts: states of two axes are stored times a power of two."""

    shifts = True

    def __init__(self, form: Form, stage: PairStage) -> None:
        self.form = form
        super().__init__(replace(stage, notes=(*stage.notes, *_notes(form))), form.arrays, form.acc, form.sizes)

    def _keys(self, number: int) -> list[Stmt]:
        out: list[Stmt] = []
        at, low, high = self._range(out)
        for s in self.stage.sums:
            for first, piece in enumerate(self.form.sep.pieces[s.name]):
                self._give(s, piece, self.form.of[piece], at, out, not first)
        if self.form.sep.causal is None:
            return out
        return [*out, *self._near(low, high)]

    # What comes from states.

    def _give(self, s: Sum, piece: Piece, state: State, at: Expr | None, out: list[Stmt], first: bool) -> None:
        """A sum gets its piece of a state."""
        place, owner = self.place, self.owner.name
        shifted = self.shifts and len(state.axes) == 2 and at is not None
        factor = mul(Const(1 / SHIFT), piece.row) if shifted else piece.row
        if self.form.sep.rows is not None:
            factor = Apply("where", (self.form.sep.rows, factor, Const(0.0)))
        scale = place.expr(factor, self.top)
        product = piece.product
        if product is not None and piece.by is not None:
            own = not self.acc & {product.row.source, *(x.source for x in state.operands)}  # else nothing may be rounded
            operand = self._state(state, at, out, own)
            row = place.load(product.row, self.top, own)
            cast = row.source if own else ""
            if first and self.form.sep.rows is None:
                out.append(Dot(row.source, operand, product.over, (owner, s.feature), into=s.name, cast=cast))
                if not is_const(scale, 1):
                    out.append(Set(s.name, mul(value(s.name), scale)))
                return
            part = place.name(f"{s.name}_far")
            out.append(Dot(row.source, operand, product.over, (owner, s.feature), out=part, cast=cast))
        elif product is not None:
            row = place.load(product.row, self.top)
            each, part = place.name(f"{s.name}_each"), place.name(f"{s.name}_far")
            operand = self._state(state, at, out)
            out.append(Map(each, mul(row, value(operand)), place.sorted(frozenset({owner, product.over}))))
            out.append(Reduce(part, "sum", each, product.over, (owner,)))
        else:
            part = self._state(state, at, out)
        out.append(Set(s.name, Apply("add", (value(s.name), mul(value(part), scale)))))

    def _state(self, state: State, at: Expr | None, out: list[Stmt], own: bool = False) -> str:
        """A load of a state, once for each use of it."""
        name, axes = self.form.outer(state, False)
        made = self.place.name(state.name)
        index = tuple(at if a == self.form.chunk and at is not None else Index(a) for a in axes)
        dims = self.place.sorted(frozenset(state.axes))
        if dims != state.axes and len(dims) == 2:
            dims = state.axes
        out.append(Load(made, name, index, dims, own))
        self.place.values[made] = dims
        self.place.reads.setdefault(name, "float")
        return made

    # Pairs that no state covers.

    def _range(self, out: list[Stmt]) -> tuple[Expr | None, Expr, Expr]:
        """(chunk, low, high): the running state to take, and the keys left to the tile of rows."""
        causal, place = self.form.sep.causal, self.place
        if causal is None:
            return None, ZERO, ZERO
        axis, row = causal.key, causal.row
        length = number(place, "chunk_length", self.form.length)
        first, last = value(f"{row}.first", "int"), value(f"{row}.last", "int")
        at, low, high = (value(f"{axis}.{w}", "int") for w in ("chunk", "from", "to"))
        end = less(Size(self.form.chunk), ONE)
        if causal.reverse:
            whole = Apply("floordiv", (plus(most(ZERO, plus(last, causal.offset)), less(length, ONE)), length))
            out.append(Map(at.source, least(whole, end), (), "int"))
            out.append(Map(low.source, most(ZERO, plus(first, causal.offset)), (), "int"))
            out.append(Map(high.source, least(mul(at, length), Size(axis)), (), "int"))
        else:
            whole = Apply("floordiv", (most(ZERO, plus(first, plus(causal.offset, ONE))), length))
            out.append(Map(at.source, least(whole, end), (), "int"))
            out.append(Map(low.source, mul(at, length), (), "int"))
            out.append(Map(high.source, least(plus(last, plus(causal.offset, ONE)), Size(axis)), (), "int"))
        return at, low, high

    def _near(self, low: Expr, high: Expr) -> list[Stmt]:
        """The loops over the keys from `low` to `high`: full tiles, then the others with the mask."""
        causal, axis = self.form.sep.causal, self.form.axis
        assert causal is not None
        dim, keys = self.loops[0], self.stage.keys[0]
        box, counter = value(f"{axis}.box", "int"), value("tile.number", "int")
        first, last = value(f"{causal.row}.first", "int"), value(f"{causal.row}.last", "int")
        tiles, full = value(f"{axis}.tiles", "int"), value(f"{axis}.full_tiles", "int")
        heads: list[Stmt] = []

        def let(name: str, expr: Expr) -> Expr:
            heads.append(Map(name, expr, (), "int"))
            return value(name, "int")

        skip: Expr = ZERO
        let(tiles.source, Apply("floordiv", (most(ZERO, plus(less(high, low), less(box, ONE))), box)))
        if causal.reverse:
            ahead = most(ZERO, less(plus(last, causal.offset), low))
            skip = let(f"{axis}.first_full", Apply("floordiv", (plus(ahead, less(box, ONE)), box)))
            let(full.source, most(ZERO, less(Apply("floordiv", (most(ZERO, less(high, low)), box)), skip)))
            tile: Expr = Apply("where", (Apply("lt", (counter, skip)), counter, plus(counter, full)))
        else:
            inside = least(high, plus(first, plus(causal.offset, ONE)))
            let(full.source, Apply("floordiv", (most(ZERO, less(inside, low)), box)))
            tile = plus(full, counter)
        outer = Scope([], self.top.dims, self.top, moving=frozenset(keys.repeat)) if keys.repeat else self.top
        sides = [m for m in (self.form.sep.rows, self.form.sep.keys) if m is not None]
        side = None if not sides else sides[0] if len(sides) == 1 else Apply("and", (sides[0], sides[1]))
        within = Apply("lt", (Index(axis), high if causal.reverse else Size(axis)))
        assert keys.mask is not None
        loops: list[Stmt] = []
        for masked, count, number_ in ((False, full, plus(skip, counter)), (True, less(tiles, full), tile)):
            start = plus(low, mul(number_, box))
            scope = Scope([], {**outer.dims, axis: dim.name}, outer, own=frozenset({dim.name}))
            self.fill(0, scope, Apply("and", (keys.mask, within)) if masked else side)
            title = "the other tiles, pair by pair" if masked else "tiles of admitted pairs alone that no state covers"
            loops.append(TileLoop(dim.name, (axis,), counter.source, count, (), (start,), tuple(scope.body), masked, title))
        nest: tuple[Stmt, ...] = tuple(loops)
        if keys.repeat:
            nest = (*outer.body, *nest)
            for repeated in reversed(keys.repeat):
                nest = (Repeat(repeated, nest),)
        return [*heads, *nest]


def _notes(form: Form) -> tuple[str, ...]:
    if form.sep.causal is None:
        return ("from the right, (Q)(K^T V): rows meet the keys' state alone",)
    way = "from the tile's last row on" if form.sep.causal.reverse else "up to the tile's first row"
    return (f"from the right, (Q)(K^T V): the state of the keys {way}, in whole chunks, then the pairs past it from the left",)


def plus(*parts: Expr) -> Expr:
    out: Expr = ZERO
    for p in parts:
        if isinstance(out, Const) and isinstance(p, Const):
            out = Const(int(out.value) + int(p.value))
        elif is_const(out, 0):
            out = p
        elif not is_const(p, 0):
            out = Apply("add", (out, p))
    return out


def less(a: Expr, b: Expr) -> Expr:
    return a if is_const(b, 0) else Apply("sub", (a, b))


def least(a: Expr, b: Expr) -> Expr:
    return Apply("min", (a, b))


def most(a: Expr, b: Expr) -> Expr:
    return Apply("max", (a, b))
