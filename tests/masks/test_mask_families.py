"""The named families against brute force: tiles visited are exactly the tiles needed, and all full tiles are found."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest
from mask_brute import Stats, check_all
from mask_families import (
    add,
    apply,
    ball,
    block,
    block_causal,
    both,
    causal,
    dilated,
    div,
    either,
    eq,
    global_window,
    halo,
    le,
    manhattan,
    mod,
    mul,
    neighborhood,
    prefix,
    prefix_window,
    sliding,
    sub,
)

from attncc.ir.expr import Apply, Expr, Index, Read, Size
from attncc.passes.masks import analyse

Draw = Callable[[random.Random, int, int], Expr]
Numbers = dict[str, int]

ONE_AXIS: dict[str, Draw] = {
    "all": lambda r, n, m: eq(0, 0),
    "causal": lambda r, n, m: causal("i", "j"),
    "sliding": lambda r, n, m: sliding("i", "j", r.randint(0, n), r.randint(0, n)),
    "outside a window": lambda r, n, m: apply("not", sliding("i", "j", r.randint(0, n), r.randint(0, n))),
    "not self": lambda r, n, m: apply("ne", Index("i"), Index("j")),
    "dilated": lambda r, n, m: dilated("i", "j", r.randint(0, n), r.randint(2, 5)),
    "dilated and shifted": lambda r, n, m: both(
        eq(mod(add(Index("i"), Size("j")), 3), mod(add(Index("j"), Size("i")), 3)), causal("i", "j")
    ),
    "prefix": lambda r, n, m: prefix("i", "j", r.randint(0, m)),
    "prefix and window": lambda r, n, m: prefix_window("i", "j", r.randint(0, m), r.randint(0, n)),
    "block": lambda r, n, m: block("i", "j", r.randint(1, n)),
    "block causal": lambda r, n, m: block_causal("i", "j", r.randint(1, n)),
    "halo": lambda r, n, m: halo("i", "j", r.randint(1, n), r.randint(0, 5)),
    "stretched bins": lambda r, n, m: both(
        le(div(mul(Index("i"), Size("j")), Size("i")), Index("j")),
        apply("lt", Index("j"), apply("cdiv", mul(add(Index("i"), 1), Size("j")), Size("i"))),
    ),
    "sum of steps": lambda r, n, m: le(Index("j"), add(div(Index("i"), 2), div(Index("i"), 3))),
    "square": lambda r, n, m: le(mul(Index("j"), Index("j")), Index("i")),
}
"""One row axis i of n positions, one key axis j of m."""

JOINTLY_FULL = ("not self", "outside a window", "global and window")
"""Tiles that two conjunctions cover together are full, and are not always known to be."""


@pytest.mark.parametrize("name", ONE_AXIS)
def test_one_axis(name: str) -> None:
    for seed in range(16):
        r = random.Random(seed)
        n = r.randint(1, 40)
        m = n if seed % 2 else r.randint(1, 40)
        plan = analyse(ONE_AXIS[name](r, n, m), ("i",), ("j",), {"j": Size("i")} if seed % 4 == 1 else None)
        _exact(check_all(plan, {"i": n, "j": m}, {a: r.choice((1, 3, 4, 8, 16)) for a in "ij"}), name not in JOINTLY_FULL)


@pytest.mark.parametrize("seed", range(12))
def test_global_and_window(seed: int) -> None:
    r = random.Random(seed)
    n = r.randint(1, 40)
    plan = analyse(global_window("i", "j", r.randint(0, 5), r.randint(0, n)), ("i",), ("j",))
    _exact(check_all(plan, {"i": n, "j": n}, {a: r.choice((1, 3, 4, 8, 16)) for a in "ij"}), False)


@pytest.mark.parametrize(("dims", "longest", "count"), [(1, 40, 24), (2, 9, 16), (3, 5, 8)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_neighborhood(dims: int, longest: int, count: int, is_causal: bool) -> None:
    axes = ("z", "y", "x")[-dims:]
    for seed in range(count):
        r = random.Random(seed)
        masks, sizes = [], {}
        for a in axes:
            sizes[a] = sizes[f"{a}'"] = r.randint(1, longest)
            dilation = r.randint(1, min(3, sizes[a]))
            window = r.randint(1, sizes[a] // dilation)
            masks.append(neighborhood(a, f"{a}'", window, dilation, r.randint(1, window), is_causal and r.random() < 0.7))
        plan = analyse(both(*masks), axes, tuple(f"{a}'" for a in axes), {f"{a}'": Size(a) for a in axes} if seed % 2 else None)
        _exact(check_all(plan, sizes, {a: r.choice((1, 2, 3, 4)) for a in sizes}))


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("shape", [manhattan, ball])
def test_balls(dims: int, shape: Callable[[list[tuple[str, str]], int], Expr]) -> None:
    """Not separable: the inner range is found for each outer tile."""
    axes = ("z", "y", "x")[-dims:]
    for seed in range((20, 20, 6)[dims - 1]):
        r = random.Random(seed)
        mask = shape([(a, f"{a}'") for a in axes], r.randint(0, 8 if shape is manhattan else 40))
        sizes = {b: size for a in axes for size in [r.randint(1, (20, 9, 5)[dims - 1])] for b in (a, f"{a}'")}
        plan = analyse(mask, axes, tuple(f"{a}'" for a in axes), {f"{a}'": Size(a) for a in axes})
        assert plan.forward.separable == (dims == 1)
        _exact(check_all(plan, sizes, {a: r.choice((1, 2, 3, 4)) for a in sizes}))


@pytest.mark.parametrize("seed", range(20))
def test_dilated_without_a_split(seed: int) -> None:
    """Positions as they are: a multiple of the dilation must lie in the interval of i - j; such a tile is never full."""
    r = random.Random(seed)
    n, m = r.randint(1, 40), r.randint(1, 40)
    plan = analyse(dilated("i", "j", r.randint(0, n), r.randint(2, 9)), ("i",), ("j",), split=False)
    assert not plan.splits and not plan.forward.can_be_full
    _exact(check_all(plan, {"i": n, "j": m}, {a: r.choice((1, 3, 4, 8)) for a in "ij"}), False)


@pytest.mark.parametrize("seed", range(15))
def test_lengths_and_scalars(seed: int) -> None:
    """Bounds read at run time are scalars of the tile, outside 0 .. size too."""
    r = random.Random(seed)
    n, m = r.randint(1, 30), r.randint(1, 30)
    data = {name: np.array([r.randint(-3, 35) for _ in range(2)]) for name in ("length", "queries", "prefix", "window")}
    read = {name: Read(name, (Index("b"),), "int") for name in data}
    mask = both(
        either(apply("lt", Index("j"), read["prefix"]), le(sub(Index("i"), Index("j")), read["window"])),
        apply("lt", Index("j"), read["length"]),
        apply("lt", Index("i"), read["queries"]),
    )
    plan = analyse(mask, ("i",), ("j",))
    for b in range(2):
        _exact(check_all(plan, {"i": n, "j": m}, {a: r.choice((1, 3, 4, 8)) for a in "ij"}, {"b": b}, data), False)


def test_a_tile_range_that_depends_on_which_axis_is_where() -> None:
    """A row of registers before a grid: rows 0 .. g - 1 see all, the others a window of the grid and the registers."""
    for seed in range(12):
        r = random.Random(seed)
        g, n, w = r.randint(0, 5), r.randint(6, 30), r.randint(0, 6)
        near = le(apply("abs", sub(Index("i"), Index("j"))), w)
        mask = Apply("where", (apply("lt", Index("i"), g), eq(0, 0), either(apply("lt", Index("j"), g), near)))
        tile = {"i": r.choice((1, 4)), "j": r.choice((1, 3, 8))}
        _exact(check_all(analyse(mask, ("i",), ("j",)), {"i": n, "j": n}, tile), False)


def _exact(found: list[Stats], full: bool = True) -> None:
    for stats in found:
        assert stats.visited == stats.needed
        assert not full or stats.full == stats.truly_full
