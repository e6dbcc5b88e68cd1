"""The state as a recurrence: tiles of rows one after the other, the state of the keys before them carried along.

For machines with few processors: nothing of the state reaches memory. Before each tile of rows, the state takes in the whole tiles
of keys that all of its rows see; the pairs past them come from the left, with the mask.
"""

from __future__ import annotations

from dataclasses import replace

from ..ir.expr import ONE, ZERO, Apply, Const, Expr, Size
from ..tile.nodes import Init, Map, Program, Repeat, Stmt, TileLoop, defined, statements, value
from ..tile.verify import verify
from .place import Scope
from .state import Form, State
from .state_apply import Apply_, least, less, most, plus
from .state_chunks import add_state


def sweep_program(form: Form) -> Program:
    """All sums of a causal stage in one sweep."""
    assert form.sep.causal is not None
    made = _Sweep(form, form.stage).program()
    carry = tuple(Init(s.name, s.axes, Const(0.0)) for s in form.states)
    return verify(replace(made, sweep="reverse" if form.sep.causal.reverse else "forward", carry=carry))


class _Sweep(Apply_):
    shifts = False

    def _state(self, state: State, at: Expr | None, out: list[Stmt], own: bool = False) -> str:
        """The accumulator itself."""
        return state.name

    def _range(self, out: list[Stmt]) -> tuple[Expr | None, Expr, Expr]:
        """The statements that bring the state up to this tile of rows, and the keys left to it."""
        causal = self.form.sep.causal
        assert causal is not None
        axis, row = causal.key, causal.row
        first, last = value(f"{row}.first", "int"), value(f"{row}.last", "int")
        step, box, size = value(f"{row}.box", "int"), value(f"{axis}.box", "int"), Size(axis)
        low, high, seen = (value(f"{axis}.{w}", "int") for w in ("from", "to", "seen"))

        def let(name: Expr, expr: Expr) -> None:
            assert hasattr(name, "source")
            out.append(Map(name.source, expr, (), "int"))

        if causal.reverse:
            end = less(Size(row), ONE)

            def until(at: Expr) -> Expr:
                tiles = Apply("floordiv", (plus(most(ZERO, plus(at, causal.offset)), less(box, ONE)), box))
                return least(Apply("mul", (tiles, box)), size)

            let(high, until(last))
            let(seen, Apply("where", (Apply("eq", (last, end)), size, until(least(plus(last, step), end)))))
            let(low, least(most(ZERO, plus(first, causal.offset)), high))
            self._take(out, high, seen)
        else:

            def before(at: Expr) -> Expr:
                keys = least(most(ZERO, plus(at, plus(causal.offset, ONE))), size)
                return Apply("mul", (Apply("floordiv", (keys, box)), box))

            let(low, before(first))
            let(seen, Apply("where", (Apply("eq", (first, ZERO)), ZERO, before(less(first, step)))))
            let(high, most(low, least(plus(last, plus(causal.offset, ONE)), size)))
            self._take(out, seen, low)
        return None, low, high

    def _take(self, out: list[Stmt], low: Expr, high: Expr) -> None:
        """The state takes in the keys from `low` to `high`, whole tiles but for the end of the array."""
        place, keys, loop, axis = self.place, self.form.keys, self.loops[0].name, self.form.axis
        box, counter = value(f"{axis}.box", "int"), value("tile.number", "int")
        outer = Scope([], self.top.dims, self.top, moving=frozenset(keys.repeat)) if keys.repeat else self.top
        scope = Scope([], {**outer.dims, axis: loop}, outer, own=frozenset({loop}))
        before = set(place.taken)
        for state in self.form.states:
            add_state(place, state, scope, loop, None, self.form.acc)
        made = {n for stmt in statements(tuple(scope.body)) if (n := defined(stmt))}
        place.taken -= made - before
        for name in made:
            place.values.pop(name, None)
        count = Apply("floordiv", (plus(most(ZERO, less(high, low)), less(box, ONE)), box))
        start = plus(low, Apply("mul", (counter, box)))
        title = "the state takes in keys that all rows from here on see"
        nest: tuple[Stmt, ...] = (TileLoop(loop, (axis,), counter.source, count, (), (start,), tuple(scope.body), True, title),)
        if keys.repeat:
            nest = (*outer.body, *nest)
            outer.body.clear()
            for repeated in reversed(keys.repeat):
                nest = (Repeat(repeated, nest),)
        out += nest
