"""Work visited by 2-D windows: tiles of 8 x 8 queries, key boxes that begin where the window does."""

from __future__ import annotations

import math

import pytest
from mask_families import both, neighborhood

from attncc.ir.expr import Size
from attncc.passes.masks import analyse, visited


@pytest.mark.parametrize(
    ("length", "window", "keys", "goal"),
    [(56, 13, (4, 8), 2.45), (56, 13, (8, 8), 2.8), (256, 80, (8, 16), 1.25)],
)
def test_key_positions_visited_per_window_position(length: int, window: int, keys: tuple[int, int], goal: float) -> None:
    """Pairs visited, overhang included, over the pairs of the windows."""
    masks = [neighborhood(a, f"{a}'", window) for a in "yx"]
    plan = analyse(both(*masks), ("y", "x"), ("y'", "x'"), {f"{a}'": Size(a) for a in "yx"})
    tile = {"y": 8, "x": 8, "y'": keys[0], "x'": keys[1]}
    count = sum(1 for _ in visited(plan, dict.fromkeys(tile, length), tile))
    assert count * math.prod(tile.values()) <= goal * (length * window) ** 2
