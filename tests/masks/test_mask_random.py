"""Random predicates against brute force: every pair visited once, full tiles truly full, the residual is the mask."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mask_brute import check_all
from mask_strategies import predicates

from attncc.passes.masks import analyse

SLOW = settings(deadline=None, suppress_health_check=list(HealthCheck), print_blob=False)
TABLES = {"ids": ("k",), "keep": ("k",), "mask": ("k", "l"), "row": ("k",), "len": ("b",), "flag": ("b",)}


def _check(data: st.DataObject, rows: tuple[str, ...], keys: tuple[str, ...], longest: int) -> None:
    axes = (*rows, *keys)
    sizes = {a: data.draw(st.integers(1, longest), label=f"|{a}|") for a in axes} | {"b": 1, "k": 6}
    tile = {a: data.draw(st.sampled_from((1, 2, 3, 5)), label=f"tile {a}") for a in axes}
    mask = data.draw(predicates(rows, keys), label="mask")
    random = np.random.default_rng(data.draw(st.integers(0, 3)))
    reads = {
        "len": np.array([data.draw(st.integers(-2, 12), label="len")]),
        "flag": random.random(1) < 0.5,
        "ids": random.integers(0, 3, longest),
        "row": random.random(longest) < 0.6,
        "mask": random.random((longest, longest)) < 0.7,
        "keep": random.random(6) < 0.6,
    }
    plan = analyse(mask, rows, keys, tables=TABLES, split=data.draw(st.booleans(), label="split"))
    start = data.draw(st.sampled_from(("range", "range", "grid")), label="start")
    check_all(plan, sizes, tile, {"b": 0}, reads, (start,))


@settings(SLOW, max_examples=100)
@given(st.data())
def test_one_axis(data: st.DataObject) -> None:
    _check(data, ("i",), ("j",), 14)


@settings(SLOW, max_examples=60)
@given(st.data())
def test_two_axes(data: st.DataObject) -> None:
    _check(data, ("y", "x"), ("y'", "x'"), 5)
