"""Dilated masks in tile programs: what the loops visit, run in plain integers, against the predicate on every pair."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest
from attends import GRIDS, attend, op
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.ir.expr import Expr
from attncc.ir.pairs import PairStage
from attncc.passes.masks import analyse, visited
from attncc.passes.masks.interpret import compiled
from attncc.schedules.flash import Flash
from attncc.schedules.plan import Fused, equal_sizes, plan
from attncc.tile.nodes import If, Map, Program, Stmt, TileLoop

MASKS = {
    "dilated": "(i - j) mod 3 == 0",
    "shifted": "(i - j + 1) mod 4 == 0",
    "window": "(i - j) mod 3 == 0 and abs(i - j) <= 12",
    "causal window": "(j - i) mod 2 == 0 and j <= i and i - j < 9",
    "prefix": "(i - j) mod 3 == 0 and (j <= i or j < 6)",
    "blocks": "(i - j) mod 2 == 0 and i div 8 == j div 8",
}


def stage_of(text: str, dims: int = 4) -> tuple[PairStage, dict[str, tuple[str, ...]], dict[str, Expr]]:
    program = op(text).specialise(dict.fromkeys("qkv", dims))
    made = plan(program, ("o",))
    step = made.steps[0]
    assert isinstance(step, Fused)
    return step.stages[0], dict(made.arrays), equal_sizes(program)


def visits(flash: Flash, program: Program, sizes: dict[str, int], boxes: dict[str, int]) -> Iterator[tuple[dict[str, range], bool]]:
    """The positions of ranks and groups that each innermost tile holds, and whether it is tested."""
    axes = {a for d in program.dims if not d.whole for a in d.axes}
    for axis, size in program.made:
        sizes[axis] = compiled(size, {})({f"|{a}|": n for a, n in sizes.items()})
    names = {f"|{a}|": n for a, n in sizes.items()} | {f"{a}.box": boxes[a] for a in axes}

    def tile(axis: str, start: int) -> None:
        names[f"{axis}.first"], names[f"{axis}.last"] = start, min(start + boxes[axis], sizes[axis]) - 1

    def run(body: tuple[Stmt, ...]) -> Iterator[bool]:
        for stmt in body:
            match stmt:
                case Map(name, expr, (), "int" | "bool"):
                    names[name] = compiled(expr, {})(names)
                case If(cond, inner):
                    if compiled(cond, {})(names):
                        yield from run(inner)
                case TileLoop():
                    for number in range(compiled(stmt.count, {})(names)):
                        names[stmt.counter] = number
                        list(run(stmt.lets))
                        for axis, start in zip(stmt.axes, stmt.starts, strict=True):
                            tile(axis, compiled(start, {})(names))
                        if any(isinstance(s, TileLoop) for s in stmt.body):
                            yield from run(stmt.body)
                        elif not isinstance(stmt.body[0], If) or compiled(stmt.body[0].cond, {})(names):
                            yield stmt.masked

    owner = program.dim(program.owner).axes
    groups = [a for a in program.grid if a in dict(program.made)]
    for at in product(*(range(sizes[a]) for a in groups)):
        names |= {f"@{a}": p for a, p in zip(groups, at, strict=True)}
        for starts in product(*(range(0, sizes[a], boxes[a]) for a in owner)):
            for axis, start in zip(owner, starts, strict=True):
                tile(axis, start)
            for masked in run(program.body):
                found = {a: range(names[f"{a}.first"], names[f"{a}.last"] + 1) for a in axes}
                yield {**found, **{a: range(p, p + 1) for a, p in zip(groups, at, strict=True)}}, masked


def check(text: str, sizes: dict[str, int], boxes: dict[str, int], dims: int = 4) -> int:
    """Fails unless every admitted pair is in one tile, a tile without a test holds nothing else, and no tile is in vain."""
    stage, arrays, equal = stage_of(text, dims)
    flash = Flash(stage, arrays, frozenset(), equal)
    assert flash.split is not None
    program = flash.program()
    rows, keys = stage.rows, stage.keys[0].axes
    real = {a: compiled(flash.split.positions[a], {}) for a in (*rows, *keys)}
    admits = compiled(stage.keys[0].mask, {})
    wanted = {
        at
        for at in product(*(range(sizes[a]) for a in (*rows, *keys)))
        if admits({f"@{a}": p for a, p in zip((*rows, *keys), at, strict=True)} | {f"|{a}|": n for a, n in sizes.items()})
    }
    seen: set[tuple[int, ...]] = set()
    count = 0
    for tile, masked in visits(flash, program, dict(sizes), boxes):
        here = set()
        for at in product(*tile.values()):
            names = {f"@{a}": p for a, p in zip(tile, at, strict=True)}
            place = tuple(real[a](names) for a in (*rows, *keys))
            if all(p < sizes[a] for p, a in zip(place, (*rows, *keys), strict=True)):
                here.add(place)
            elif not masked:
                assert any(p >= sizes[a] for p, a in zip(place, rows, strict=False)), "a full tile leaves the keys"
        count += 1
        assert not here & seen
        assert here & wanted or not here, "a tile is visited in vain"  # the last rank of some groups is outside
        assert masked or here <= wanted
        seen |= here
    assert wanted <= seen
    return count


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(i=st.integers(1, 50), j=st.integers(1, 50), box=st.tuples(st.integers(1, 7), st.integers(1, 7)))
def test_visits(mask: str, i: int, j: int, box: tuple[int, int]) -> None:
    text = attend(f"score dot(q, k)\nmask {mask}\nnormalize softmax\nmix v")
    check(text, {"i": i, "j": j}, {"i_rank": box[0], "j_rank": box[1]})


@settings(max_examples=8, deadline=None, derandomize=True)
@given(y=st.integers(1, 9), x=st.integers(1, 9), box=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_planes(y: int, x: int, box: tuple[int, int]) -> None:
    clauses = "score dot(q, k')\nmask (y - y') mod 2 == 0 and (x - x') mod 3 == 0 and abs(y - y') <= 4 and abs(x - x') <= 3"
    text = GRIDS[2] + clauses + "\nnormalize softmax\nmix v' } }"
    boxes = {f"{a}{prime}_rank": n for a, n in zip("yx", box, strict=True) for prime in ("", "'")}
    check(text, {"y": y, "x": x, "y'": y, "x'": x}, boxes, 5)


def test_fewer_tiles() -> None:
    """A window of 129 keys, 4 apart, over 1024 positions."""
    text = attend("score dot(q, k)\nmask (i - j) mod 4 == 0 and abs(i - j) <= 256\nnormalize softmax\nmix v")
    stage, _, equal = stage_of(text)
    sizes, boxes = {"i": 1024, "j": 1024}, {"i": 32, "j": 32}
    found = {}
    for split in (False, True):
        made = analyse(stage.keys[0].mask, stage.rows, stage.keys[0].axes, equal, split=split)
        tiles = list(visited(made, sizes, boxes))
        found[split] = len(tiles), sum(t.full for t in tiles)
    assert found == {False: (472, 0), True: (136, 88)}
