"""Programs that take several tiles, orders of tiles, and results through descriptors: in forms where positions are easily wrong."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attends import GROUPED
from attncc.backends.triton.balance import heads_at_once, lengths, longest_last, makespan
from attncc.backends.triton.configs import Config
from attncc.backends.triton.load import interpret, load
from attncc.backends.triton.run import module_of
from triton_cases import SMALL, agree, attend, op, qkv, rand
from triton_cases import agree_both as agree_backward

from attncc.schedules.backward import differentiated
from attncc.schedules.plan import Fused, plan
from attncc.tile.nodes import Program

SCORE = "score dot(q, k) / 4"
CAUSAL = attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")
GRID = """pattern t(q[b, y, x, d], k[b, y, x, d], v[b, y, x, e]) -> o[b, y, x, e] {
  attend o over (y', x') { score dot(q, k') / 4 mask abs(y - y') <= 2 and x' <= x normalize softmax mix v' }
}"""
SEVERAL = {"in turn": replace(SMALL, persistent=2), "heads first": replace(SMALL, persistent=1, order=2),
           "groups of heads": replace(SMALL, persistent=3, order=3)}  # fmt: skip


@pytest.mark.parametrize("config", SEVERAL.values(), ids=SEVERAL)
def test_grouped_heads(config: Config) -> None:
    inputs = {"q": rand(2, 37, 6, 16), "k": rand(2, 45, 3, 16), "v": rand(2, 45, 3, 8), "slope": rand(6)}
    runner = agree(op(GROUPED), inputs, config=config)
    (made, _), *_ = runner._modules.values()
    assert "tl.num_programs(0)" in made.text and "processors(" in made.text


def test_boxes_of_two_axes() -> None:
    inputs = {"q": rand(2, 9, 13, 16), "k": rand(2, 9, 13, 16), "v": rand(2, 9, 13, 24)}
    agree(op(GRID), inputs, config=replace(SMALL, persistent=1, order=3))


def test_more_heads_than_a_group() -> None:
    agree(op(CAUSAL), qkv(b=3, h=4, i=37, j=37), config=replace(SMALL, order=3))


@pytest.mark.parametrize("config", [SEVERAL["in turn"], replace(SMALL, persistent=1, order=2)], ids=["in turn", "heads first"])
@pytest.mark.parametrize("text", [CAUSAL, attend(f"{SCORE}\nnormalize sigmoid\nmix v")], ids=["causal", "sigmoid"])
def test_gradients(text: str, config: Config) -> None:
    agree_backward(op(text), qkv(i=37, j=37), config=config)


def test_no_positions() -> None:
    agree(op(CAUSAL), qkv(i=0, j=5), config=SEVERAL["in turn"])
    agree(op(CAUSAL), qkv(i=5, j=0), config=SEVERAL["heads first"])


@pytest.mark.parametrize(("e", "written"), [(24, True), (44, False), (8, True)])
def test_stores_where_rows_are_multiples_of_16_bytes(e: int, written: bool) -> None:
    """44 elements of 2 bytes are no multiple of 16. A chunk may reach past the row's end."""
    interpret()
    text = attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")
    made = plan(op(text).ir, ["o", "l"])
    out = module_of(made, {"d": 16, "e": e}, "cuda:90", 16, replace(SMALL, stored=True), True)
    assert (".store([" in out.text) is written
    loaded, inputs = load(out.text), qkv(e=e)
    found = getattr(loaded, out.launches[-1].name)(inputs["q"], inputs["k"], inputs["v"])
    plain = module_of(made, {"d": 16, "e": e}, "cuda:90", 16, SMALL, True)
    want = getattr(load(plain.text), out.launches[-1].name)(inputs["q"], inputs["k"], inputs["v"])
    assert all(torch.equal(a, b) for a, b in zip(found, want, strict=True))


@pytest.mark.parametrize("r", [2, 1])
def test_gradients_through_descriptors(r: int) -> None:
    """dk and dv of grouped heads, written as boxes with an axis of heads between tokens and features."""
    interpret()
    made = differentiated(op(GROUPED).ir, ["o"])
    assert made is not None
    back = made.backward(["q", "k", "v"], ["o"]).plan
    texts = [
        module_of(back, dict.fromkeys(back.features, 16), "cuda:90", 16, c, True) for c in (SMALL, replace(SMALL, stored=True))
    ]
    assert ".store([" not in texts[0].text and texts[1].text.count(".store([") == 5
    shapes = {"b": 2, "i": 37, "j": 45, "g": 3, "r": r, "d": 16, "e": 16}
    results = []
    for text in texts:
        loaded = load(text.text)
        for launch in text.launches:
            inputs = [rand(*(shapes[a] for a in arg.axes)) / 4 for arg in launch.inputs]
            results.append(getattr(loaded, launch.name)(*inputs, *(shapes[a] for a in launch.sizes)))
    for a, b in zip(results[: len(texts[0].launches)], results[len(texts[0].launches) :], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


# The model of an order.


def kernels(text: str) -> list[Program]:
    program = op(text).ir
    made = differentiated(program, ["o"])
    assert made is not None
    plans = [plan(program, ["o"]), made.backward(["q", "k", "v"], ["o"]).plan]
    return [k for p in plans for s in p.steps if isinstance(s, Fused) for k in s.kernels]


WIDE = {"d": 64, "e": 64}


def test_lengths_follow_the_mask() -> None:
    forward, rows, keys = (k for k in kernels(CAUSAL) if k.owner in ("i", "j"))
    config = Config(128, 128, 8, 2)
    assert lengths(forward, config, WIDE) == lengths(rows, config, WIDE) == tuple(range(1, 33))
    assert lengths(keys, config, WIDE) == tuple(range(32, 0, -1))
    assert longest_last(forward, WIDE) and not longest_last(keys, WIDE)
    (plain, *_) = kernels(attend(f"{SCORE}\nnormalize softmax\nmix v"))
    assert set(lengths(plain, config, WIDE)) == {32} and not longest_last(plain, WIDE)


def test_lengths_that_data_decide_are_not_known() -> None:
    (kernel, *_) = kernels(attend(f"{SCORE}\nmask j < n\nnormalize softmax\nmix v", ", n[b]: int"))
    assert lengths(kernel, Config(128, 128, 8, 2), WIDE) == ()


def test_balance() -> None:
    """Long tiles first end together; all heads at one time leave no room in the cache, groups do."""
    found = tuple(range(1, 33))
    first, heads, groups = (makespan(found, 132, order, False) for order in (0, 2, 3))
    assert groups <= heads < 1.02 < first
    assert makespan(found, 132, 2, True) < 1.05 < makespan(found, 132, 0, True)
    assert heads_at_once(found, 132, 0) < heads_at_once(found, 132, 3) < heads_at_once(found, 132, 2) == 32
    assert makespan((), 132, 0, False) == 1.0
