"""What a plan says: its text, its reasons, what falls back and how; and that the brute force notices a wrong plan."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mask_brute import check, check_all
from mask_families import add, apply, both, causal, dilated, distance, either, eq, le, mod, mul, neighborhood, sliding, sub

from attncc.errors import AttnInternalError
from attncc.ir.expr import FALSE, TRUE, Const, Expr, Index, Read, Size
from attncc.passes.masks import MaskPlan, Search, analyse, loops, show, visited
from attncc.passes.masks.plan import scalar, words

I, J = Index("i"), Index("j")
TWINS = {"j": Size("i")}


def one(mask: Expr | None, **more: object) -> MaskPlan:
    return analyse(mask, ("i",), ("j",), TWINS, **more)


def test_the_text_of_a_plan() -> None:
    assert show(one(le(J, I))) == (
        "mask j <= i\n"
        "forward: tile of (i) walks (j)\n"
        "  j:\n"
        "    0 .. i.last, full 0 .. i.first\n"
        "  residual j <= i\n"
        "transposed: tile of (j) walks (i)\n"
        "  i:\n"
        "    i.hi = |i| - 1\n"
        "    i.full_hi = |i| - 1\n"
        "    j.first .. i.hi, full j.last .. i.full_hi\n"
        "  residual j <= i and i < |i|\n"
        "note holds where j <= i\n"
        "note a tile of rows visits 1 range of j\n"
        "note a tile of keys visits 1 range of i\n"
    )


def test_the_text_of_loops() -> None:
    assert str(loops(one(le(J, I)).forward, {"j": 128})) == (
        "j.tiles = i.last div 128 + 1\n"
        "j.piece.tiles = (i.first + 1) div 128\n"
        "for full.tile in 0 .. j.piece.tiles - 1\n"
        "  j.first = 128 * full.tile\n"
        "  j.last = min(j.first + 128 - 1, |i| - 1)\n"
        "  full tile\n"
        "for part.tile in 0 .. j.tiles - j.piece.tiles - 1\n"
        "  part.number = j.piece.tiles + part.tile\n"
        "  j.first = 128 * part.number\n"
        "  j.last = min(j.first + 128 - 1, |i| - 1)\n"
        "  partial tile\n"
    )


def test_tile_sizes_may_be_scalars_of_the_backend() -> None:
    nest = loops(one(sliding("i", "j", 100, 0)).forward, {"j": scalar("j.box")})
    assert "j.box" in str(nest) and nest.sizes == {"j": scalar("j.box")}


def test_no_mask_means_all_pairs_and_bounds_alone() -> None:
    plan = one(None)
    assert words(plan.forward.residual or TRUE) == "j < |i|"
    tiles = list(visited(plan, {"i": 10, "j": 10}, {"i": 4, "j": 4}))
    assert [(t.keys[0], t.full) for t in tiles[:3]] == [(range(4), True), (range(4, 8), True), (range(8, 10), False)]


def test_a_mask_that_never_holds_visits_nothing() -> None:
    for mask in (FALSE, both(apply("lt", J, I), apply("lt", I, J))):
        plan = one(mask)
        assert plan.forward.count == 0 and plan.notes == ("never holds",)
        assert not list(visited(plan, {"i": 9, "j": 9}, {"i": 4, "j": 4}))


@pytest.mark.parametrize("sizes", [(0, 5), (5, 0), (0, 0), (1, 1)])
@pytest.mark.parametrize("mask", [None, causal("i", "j"), dilated("i", "j", 4, 3), neighborhood("i", "j", 3, 2)])
def test_empty_axes(sizes: tuple[int, int], mask: Expr | None) -> None:
    plan = analyse(mask, ("i",), ("j",))
    for transposed in (False, True):
        tiles = list(visited(plan, dict(zip("ij", sizes, strict=True)), {"i": 4, "j": 4}, transposed=transposed))
        assert bool(tiles) == (sizes == (1, 1))


def test_data_gives_no_bound_and_no_full_tile() -> None:
    same = eq(Read("ids", (Index("b"), I), "int"), Read("ids", (Index("b"), J), "int"))
    plan = one(both(le(J, I), same))
    assert plan.opaque == ((same, "it is read from data"),)
    assert not plan.forward.can_be_full and plan.forward.test == TRUE
    assert "a tile of rows gets no bound on j from ids[b, i] == ids[b, j]" in plan.notes
    assert "a tile of rows tests every pair, because of ids[b, i] == ids[b, j]" in plan.notes
    assert "ids[b, i] == ids[b, j] is asked of every pair: it is read from data" in plan.notes
    ids = np.array([[0, 0, 1, 1, 1, 2, 2, 0, 0]])
    for stats in check_all(plan, {"i": 9, "j": 9}, {"i": 2, "j": 4}, {"b": 0}, {"ids": ids}):
        assert stats.full == 0


def test_floats_are_not_reasoned_about() -> None:
    plan = one(le(apply("div", J, 2), I))
    assert plan.opaque[0][1] == "it is a float, not a whole number"


def test_a_scalar_condition_guards_its_ranges() -> None:
    flag = Read("causal", (Index("h"),), "bool")
    plan = one(either(apply("not", flag), le(J, I)))
    assert plan.forward.can_be_full
    for value in (False, True):
        for stats in check_all(plan, {"i": 20, "j": 20}, {"i": 4, "j": 8}, {"h": 0}, {"causal": np.array([value])}):
            assert stats.visited == stats.needed and stats.full == stats.truly_full


def test_the_extent_of_a_table_bounds_the_range() -> None:
    keep = Read("keep", (sub(I, J),), "bool", FALSE)
    mask = both(keep, le(J, I))
    table = {"keep": np.ones(5, bool)}
    wide = check_all(one(mask), {"i": 40, "j": 40, "r": 5}, {"i": 4, "j": 4}, None, table)
    known = check_all(one(mask, tables={"keep": ("r",)}), {"i": 40, "j": 40, "r": 5}, {"i": 4, "j": 4}, None, table)
    assert all(k.visited == k.needed for k in known) and wide[0].visited > known[0].visited


def test_more_than_four_ways_are_one_interval() -> None:
    steps = [both(le(5 * k, I), le(I, 5 * k + 4), le(J, 10 * k + 2), le(5 * k, J)) for k in range(6)]
    plan = analyse(either(*steps), ("i",), ("j",))
    assert plan.forward.count == 1 and not plan.forward.can_be_full
    assert plan.notes[0] == "more than 4 ways to hold: one interval around them, and no tile is known to be full"
    stats = check_all(plan, {"i": 30, "j": 60}, {"i": 5, "j": 4})
    assert stats[0].visited == stats[0].needed
    assert len(show(plan)) < 5000


def test_a_monotone_bound_without_an_inverse_is_searched() -> None:
    mask = le(J, add(apply("floordiv", I, 2), apply("floordiv", I, 3)))
    plan = one(mask)
    found = [s for s in plan.transposed.levels[0].statements if isinstance(s, Search)]
    assert [words(s.cond) for s in found] == ["i div 2 + i div 3 < j.first", "i div 2 + i div 3 < j.last"]
    assert not any(isinstance(s, Search) for s in plan.forward.levels[0].statements)
    assert "a tile of keys bounds i by bisection: j <= i div 2 + i div 3" in plan.notes


def test_a_bound_that_is_not_monotone_is_an_interval_around_it() -> None:
    """j <= i mod 7: at most 6; inside one period the tile's own remainders."""
    plan = one(le(J, mod(I, 7)))
    assert "a tile of keys gets no bound on i from j <= i mod 7" not in plan.notes
    for stats in check_all(plan, {"i": 30, "j": 30}, {"i": 3, "j": 2}):
        assert stats.visited <= 50


def test_dilation_is_split_into_ranks_and_groups() -> None:
    plan = one(dilated("i", "j", 9, 4))
    (split,) = plan.splits
    assert (split.row, split.key, split.modulus) == ("i", "j", 4) and split.key_group == split.group
    tiles = list(visited(plan, {"i": 10, "j": 10}, {"i": 2, "j": 2}))
    assert tiles[0].rows == (range(0, 8, 4),) and {t.rows[0].start % 4 for t in tiles} == {0, 1, 2, 3}
    assert plan.forward.can_be_full and plan.forward.test == TRUE


def test_dilation_in_one_of_two_ways_is_asked_per_tile() -> None:
    strided = either(eq(mod(sub(I, J), 8), 0), apply("lt", sub(I, J), 3))
    plan = one(both(le(J, I), strided))
    assert not plan.splits and plan.forward.test != TRUE
    for stats in check_all(plan, {"i": 50, "j": 50}, {"i": 2, "j": 3}):
        assert stats.visited == stats.needed


def test_a_stride_over_keys_alone_is_asked_per_tile() -> None:
    for stats in check_all(one(both(eq(mod(J, 8), 3), le(J, I))), {"i": 50, "j": 50}, {"i": 4, "j": 2}):
        assert stats.visited == stats.needed


def test_ends_that_touch_are_one_comparison_a_side() -> None:
    length = Read("length", (Index("b"),), "int")
    plan = one(both(le(J, I), apply("lt", J, length), le(sub(I, 5), J)))
    assert words(plan.forward.residual or TRUE) == "j <= min(i, length[b] - 1) and i <= j + 5"


def test_axes_that_do_not_meet_the_mask_are_walked_whole() -> None:
    plan = analyse(le(Index("y'"), Index("y")), ("y", "x"), ("y'", "x'"))
    assert plan.forward.separable
    sizes = {"y": 6, "y'": 6, "x": 3, "x'": 5}
    for stats in check_all(plan, sizes, {"y": 2, "x": 2, "y'": 3, "x'": 2}):
        assert stats.visited == stats.needed and stats.full == stats.truly_full


def test_two_row_axes_that_bound_each_other() -> None:
    """x >= y alone: for a tile of keys the range of x begins at the tile of y, with no statement of its own."""
    plan = analyse(le(Index("y"), Index("x")), ("y", "x"), ("y'", "x'"))
    assert plan.forward.separable and plan.transposed.levels[1].after == ("y",)
    for stats in check_all(plan, {"y": 5, "y'": 3, "x": 7, "x'": 2}, {"y": 2, "x": 3, "y'": 2, "x'": 2}):
        assert stats.visited == stats.needed


def test_two_ways_in_two_dimensions() -> None:
    """Registers that all see, or a window: the inner ranges are merged for each outer tile."""
    near = both(le(distance("y", "y'"), 1), le(distance("x", "x'"), 2))
    corner = both(apply("lt", Index("y'"), 2), apply("lt", Index("x'"), 2))
    plan = analyse(either(near, corner), ("y", "x"), ("y'", "x'"))
    for stats in check_all(plan, {"y": 7, "y'": 7, "x": 8, "x'": 8}, {"y": 2, "x": 2, "y'": 2, "x'": 3}):
        assert stats.visited == stats.needed


def test_products_of_positions_are_bounded() -> None:
    for stats in check_all(one(le(mul(I, J), 30)), {"i": 20, "j": 20}, {"i": 3, "j": 4}):
        assert stats.visited == stats.needed


def test_a_walk_needs_an_axis() -> None:
    plan = analyse(None, (), ("j",))
    assert [t.keys[0] for t in visited(plan, {"j": 3}, {"j": 2})] == [range(2), range(2, 3)]
    with pytest.raises(AttnInternalError, match="without an axis"):
        loops(plan.transposed, {})


def _changed(plan: MaskPlan, **ends: object) -> MaskPlan:
    (level,) = plan.forward.levels
    levels = (replace(level, extents=(replace(level.extents[0], **ends),)),)
    return replace(plan, forward=replace(plan.forward, levels=levels))


def test_the_brute_force_notices() -> None:
    plan = one(sliding("i", "j", 7, 2))
    sizes, tile = {"i": 30, "j": 30}, {"i": 4, "j": 4}
    check(plan, sizes, tile)
    (extent,) = plan.forward.levels[0].extents
    assert extent.full is not None
    with pytest.raises(AssertionError, match="missed"):
        check(_changed(plan, hi=sub(extent.hi, 1)), sizes, tile)
    with pytest.raises(AssertionError, match="missed"):
        check(_changed(plan, lo=add(extent.lo, 1)), sizes, tile)
    with pytest.raises(AssertionError, match="not full"):
        check(_changed(plan, full=(extent.lo, extent.hi)), sizes, tile)
    with pytest.raises(AssertionError):
        check_all(replace(plan, mask=Const(True)), sizes, tile)
