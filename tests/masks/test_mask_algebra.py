"""The integer algebra under the masks, against plain evaluation at every position."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mask_brute import Array, grid_of, truth, value
from mask_strategies import whole

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, apply
from attncc.passes.masks.algebra import Algebra
from attncc.passes.masks.halflines import direction, isolate
from attncc.passes.masks.interval import Box, extreme, may, must
from attncc.passes.masks.linear import Linear, NotWhole, term, to_expr
from attncc.passes.masks.normal import formula_expr, normal
from attncc.passes.masks.plan import first, last

QUICK = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))
SIZES = st.fixed_dictionaries({"i": st.integers(1, 9), "j": st.integers(1, 9)})
EXPRS = whole(("i", "j"))
LENGTHS = st.integers(-2, 12)


class World:
    """All positions of i and j; scalars by name."""

    def __init__(self, sizes: dict[str, int], length: int) -> None:
        self.sizes = sizes
        self.grid = grid_of({a: range(sizes[a]) for a in "ij"}, {"b": 0})
        self.data = {"len": np.array([length])}

    def of(self, expr: Expr | Linear, **names: int) -> Array:
        expr = to_expr(expr) if isinstance(expr, Linear) else expr
        found = value(expr, self.grid, self.sizes, {**self.data, **{n.replace("_", "."): np.array(v) for n, v in names.items()}})
        return np.broadcast_to(found, self.grid["i"].shape)


def algebra() -> Algebra:
    return Algebra(frozenset("ij"))


@QUICK
@given(EXPRS, SIZES, LENGTHS)
def test_the_sum_has_the_value_of_the_expression(expr: Expr, sizes: dict[str, int], length: int) -> None:
    world = World(sizes, length)
    assert (world.of(algebra().linear(expr)) == world.of(expr)).all()


@QUICK
@given(EXPRS, EXPRS, SIZES, LENGTHS)
def test_what_is_proven_holds(a: Expr, b: Expr, sizes: dict[str, int], length: int) -> None:
    alg, world = algebra(), World(sizes, length)
    for x in (a, Apply("sub", (a, b))):
        lin = alg.linear(x)
        values = world.of(x)
        low, high = alg.known(lin)
        assert low is None or low <= values.min()
        assert high is None or values.max() <= high
        assert not alg.nonneg(lin) or values.min() >= 0


@QUICK
@given(EXPRS, SIZES, LENGTHS, st.data())
def test_extremes_enclose_and_half_lines_are_exact(expr: Expr, sizes: dict[str, int], length: int, data: st.DataObject) -> None:
    """Over a tile of i, at every j."""
    begin = data.draw(st.integers(0, sizes["i"] - 1))
    end = data.draw(st.integers(begin, sizes["i"] - 1))
    alg, world, tile = algebra(), World(sizes, length), {"i_first": begin, "i_last": end}
    box = Box(alg, {"i": (term(first("i")), term(last("i")))}, "j" if data.draw(st.booleans()) else "")
    lin = alg.linear(expr)
    rows = world.of(expr)[begin : end + 1]
    for greatest, values in ((True, rows.max(0)), (False, rows.min(0))):
        bound = extreme(box, lin, greatest)
        assert bound is not None
        found = world.of(bound, **tile)[0]
        assert (found >= values).all() if greatest else (found <= values).all()
        _half_line_is_exact(alg, world, bound, tile)
        way = direction(alg, bound, "j")
        if way is not None:
            steps = np.diff(found)
            assert (steps * way >= 0).all() and (way != 0 or not steps.any())


def _half_line_is_exact(alg: Algebra, world: World, bound: Linear, tile: dict[str, int]) -> None:
    half = isolate(alg, bound, "j")
    if half is None:
        return
    inside = np.broadcast_to(world.of(half.guard, **tile)[0].astype(bool), world.grid["j"][0].shape)
    for lo in half.lo:
        inside = inside & (world.of(lo, **tile)[0] <= world.grid["j"][0])
    for hi in half.hi:
        inside = inside & (world.grid["j"][0] <= world.of(hi, **tile)[0])
    assert (inside == (world.of(bound, **tile)[0] >= 0)).all()


@QUICK
@given(EXPRS, EXPRS, st.sampled_from(["le", "lt", "ge", "gt", "eq", "ne"]), st.booleans(), SIZES, LENGTHS)
def test_the_normal_form_says_the_same(a: Expr, b: Expr, op: str, holds: bool, sizes: dict[str, int], length: int) -> None:
    alg, world, cond = algebra(), World(sizes, length), Apply(op, (a, b))
    formula = normal(alg, cond, holds)
    plain = truth(cond, world.grid, sizes, world.data)
    plain = plain if holds else ~plain
    assert (truth(formula_expr(formula), world.grid, sizes, world.data) == plain).all()
    whole_box = Box(alg, {x: (Linear((), 0), alg.limit(x)) for x in "ij"})
    assert world.of(may(whole_box, formula)).all() or not plain.any()
    assert plain.all() or not world.of(must(whole_box, formula)).any()


@pytest.mark.parametrize(
    ("expr", "text"),
    [
        (apply("floordiv", apply("add", apply("mul", 6, Index("i")), 5), 3), apply("add", apply("mul", 2, Index("i")), 1)),
        (apply("mod", apply("add", apply("mul", 6, Index("i")), 5), 3), Const(2)),
        (apply("cdiv", Index("i"), 1), Index("i")),
        (apply("floordiv", apply("floordiv", Index("i"), 2), 3), apply("floordiv", Index("i"), 6)),
        (apply("max", Index("i"), apply("sub", Index("i"), 2)), Index("i")),
        (apply("min", Index("i"), Size("i")), Index("i")),
        (apply("abs", apply("add", Index("i"), 1)), apply("add", Index("i"), 1)),
        (apply("mod", apply("mod", Index("i"), 6), 3), apply("mod", Index("i"), 3)),
        (apply("sub", apply("floordiv", apply("add", Index("i"), 4), 2), 2), apply("floordiv", Index("i"), 2)),
    ],
)
def test_rewrites(expr: Expr, text: Expr) -> None:
    assert to_expr(algebra().linear(expr)) == text


@pytest.mark.parametrize(
    "expr",
    [Const(1.5), Read("x", (Index("i"),), "float"), apply("div", Index("i"), 2), apply("floordiv", Index("i"), 0)],
)
def test_what_is_no_whole_number_is_refused(expr: Expr) -> None:
    with pytest.raises(NotWhole):
        algebra().linear(expr)
