"""Lists of tiles made from data: every admitted pair in a listed tile, full tiles truly full, against the predicate on every pair."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from attncc.backends.lists import listed
from hypothesis import given, settings
from hypothesis import strategies as st
from mask_brute import grid_of, truth

from attncc.ir.expr import FALSE, Apply, Const, Expr, Index, Read, apply
from attncc.tile.nodes import Dim, Program, TileList

I, J, B, Y, X = (Index(a) for a in "ijbyx")


def read(name: str, *at: Expr, kind: str = "int", fill: Expr | None = None) -> Read:
    return Read(name, at, kind, fill)


DOCUMENTS = apply("eq", read("g", B, I), read("m", B, J))
CAUSAL = apply("le", J, I)
MASKS: dict[str, Expr] = {
    "documents": DOCUMENTS,
    "documents, causal": apply("and", DOCUMENTS, CAUSAL),
    "other documents": apply("not", DOCUMENTS),
    "documents or a window": apply("or", DOCUMENTS, apply("le", apply("abs", apply("sub", I, J)), 3)),
    "clusters near each other": apply("le", apply("abs", apply("sub", read("g", B, I), read("m", B, J))), 1),
    "keys kept": read("c", B, J, kind="bool"),
    "rows and keys kept": apply("and", read("c", B, J, kind="bool"), apply("not", read("c", B, I, kind="bool"))),
    "lengths": apply("lt", J, read("n", B)),
    "lengths by row": apply("and", apply("lt", J, read("g", B, I)), CAUSAL),
    "pairs given": read("w", I, J, kind="bool"),
    "pairs given, transposed": apply("and", read("v", J, I, kind="bool"), read("c", B, J, kind="bool")),
    "a table of differences": read("t", apply("sub", I, J), kind="bool", fill=FALSE),
    "documents by way of a table": apply("eq", read("p", read("g", B, I)), read("p", read("m", B, J))),
    "residues": apply("eq", apply("mod", apply("add", read("g", B, I), J), 3), Const(0)),
    "halves": apply("eq", apply("floordiv", read("g", B, I), 2), apply("floordiv", read("m", B, J), 2)),
    "a product of what is not known": apply(
        "le", apply("mul", apply("mod", I, apply("add", read("m", B, J), 1)), apply("mod", J, apply("add", read("g", B, I), 1))), 5
    ),
    "sums of one side": apply("ge", apply("add", apply("mul", 40, read("g", B, J)), apply("mul", read("m", B, J), 40)), 180),
    "differences of one side": apply("ge", apply("sub", read("g", B, J), read("m", B, J)), 0),
    "chosen": Apply("where", (read("c", B, I, kind="bool"), DOCUMENTS, CAUSAL)),
    "nothing": apply("and", DOCUMENTS, apply("lt", J, 0)),
}


def data(kind: str, n: int, m: int, seed: int) -> dict[str, np.ndarray]:
    """What the masks read. kind: `sorted` (documents one after the other), `any` (clusters), `one`."""
    rng = np.random.default_rng(seed)
    side = max(n, m, 1)
    ids = rng.integers(0, {"sorted": 6, "any": 6, "one": 1}[kind], (2, side))
    ids = np.sort(ids, -1) if kind == "sorted" else ids
    return {
        "g": ids,
        "m": ids if kind != "any" else rng.integers(0, 6, (2, side)),
        "c": rng.random((2, side)) > rng.random(),
        "n": rng.integers(0, m + 1, 2),
        "w": rng.random((n, m)) > rng.random(),
        "v": rng.random((m, n)) > rng.random(),
        "t": rng.random(side) > 0.5,
        "p": rng.integers(0, 3, 6),
    }


def check(mask: Expr, sizes: Mapping[str, int], boxes: Mapping[str, int], arrays: Mapping[str, np.ndarray], sides: tuple[str, str], whole: str = "int64") -> list[int]:
    """Fails unless the list says what it promises. Gives tiles listed, full, and in all. whole: how whole numbers are stored."""
    rows, keys = (tuple(side) for side in sides)
    dims = (Dim("rows", rows), Dim("keys", keys))
    made = TileList("tiles", "counts", "rows", "keys", ("b",), mask)
    stored = {name: array if array.dtype == bool else array.astype(whole) for name, array in arrays.items()}
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in stored.items()}
    tiles, counts = listed(made, Program("t", dims, (), (), ("b",), "rows", ()), tensors, sizes, boxes)
    seen = [0, 0, 0]
    for b in range(sizes["b"]):
        whole = {a: range(sizes[a]) for a in (*rows, *keys)}
        allowed = truth(mask, grid_of(whole, {"b": b}), sizes, arrays)
        cover = np.zeros(allowed.shape, int)
        cuts = [[-(-sizes[a] // boxes[a]) for a in side] for side in (rows, keys)]
        for n in range(math.prod(cuts[0])):
            full, others = counts[b, n].tolist()
            order = tiles[b, n].tolist()
            assert sorted(order) == list(range(math.prod(cuts[1])))
            for place, number in enumerate(order):
                at = []
                for side, cut, of in ((rows, cuts[0], n), (keys, cuts[1], number)):
                    for a, k in zip(side, np.unravel_index(of, cut), strict=True):
                        at.append(range(int(k) * boxes[a], min((int(k) + 1) * boxes[a], sizes[a])))
                part = allowed[np.ix_(*at)]
                if place < full:
                    inside = all(len(r) == boxes[a] for a, r in zip(keys, at[len(rows) :], strict=True))
                    assert inside and part.all(), (n, number)
                if place >= full + others:
                    assert not part.any(), (n, number)
                else:
                    cover[np.ix_(*at)] += 1
            seen = [seen[0] + full + others, seen[1] + full, seen[2] + len(order)]
        assert cover.max(initial=0) <= 1 and not (allowed & (cover == 0)).any()
    return seen


@pytest.mark.parametrize("name", MASKS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    i=st.integers(0, 40),
    j=st.integers(0, 40),
    tile=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    kind=st.sampled_from(["sorted", "any", "one"]),
    seed=st.integers(0, 99),
    transposed=st.booleans(),
    whole=st.sampled_from(["int64", "int32", "int8", "uint8", "uint16"]),
)
def test_lists(name: str, i: int, j: int, tile: tuple[int, int], kind: str, seed: int, transposed: bool, whole: str) -> None:
    sizes, boxes = {"b": 2, "i": i, "j": j}, {"i": tile[0], "j": tile[1]}
    check(MASKS[name], sizes, boxes, data(kind, i, j, seed), ("j", "i") if transposed else ("i", "j"), whole)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(side=st.tuples(st.integers(1, 7), st.integers(1, 9)), tile=st.tuples(st.integers(1, 4), st.integers(1, 5)), seed=st.integers(0, 99))
def test_boxes_of_two_axes(side: tuple[int, int], tile: tuple[int, int], seed: int) -> None:
    """Tiles that are boxes of a plane on either side."""
    rng = np.random.default_rng(seed)
    other = [Index("y'"), Index("x'")]
    near = apply("le", apply("abs", apply("sub", X, other[1])), 2)
    mask = apply("and", apply("eq", read("g", B, Y, X), read("g", B, *other)), near)
    sizes = {"b": 2, **dict(zip("yx", side, strict=True)), **dict(zip(("y'", "x'"), side, strict=True))}
    boxes = {"y": tile[0], "x": tile[1], "y'": tile[1], "x'": tile[0]}
    arrays = {"g": rng.integers(0, 3, (2, *side))}
    rows, keys = ("y", "x"), ("y'", "x'")
    check(mask, sizes, boxes, arrays, (rows, keys))


def test_exact_for_documents() -> None:
    """For documents one after the other the list is exact: listed tiles are those that are needed, full ones those that are full."""
    sizes, boxes = {"b": 2, "i": 200, "j": 200}, {"i": 16, "j": 8}
    ids = np.sort(np.random.default_rng(0).integers(0, 9, (2, 200)), -1)
    arrays = {"g": ids, "m": ids}
    same = ids[:, :, None] == ids[:, None, :]
    tiles = [same[:, n : n + 16, m : m + 8] for n in range(0, 200, 16) for m in range(0, 200, 8)]
    needed, truly = (sum(int(f(t, (1, 2)).sum()) for t in tiles) for f in (np.any, np.all))
    listed_tiles, full, everything = check(DOCUMENTS, sizes, boxes, arrays, ("i", "j"))
    assert (listed_tiles, full) == (needed, truly)
    assert everything == 2 * 13 * 25 and listed_tiles < everything / 4
