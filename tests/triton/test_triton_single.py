"""Kernels whose loops are repeated for query heads that share keys, and their form for one query head of each key head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from attends import attend, op, rand
from attncc.backends.triton import choice, run
from attncc.backends.triton.backward import gradient
from attncc.backends.triton.configs import Config
from attncc.backends.triton.load import load
from attncc.backends.triton.run import module_of
from ways import agree_by

from attncc.ir.nodes import Program as Pattern
from attncc.runtime.backends import named
from attncc.schedules.backward import differentiated
from attncc.schedules.plan import Fused, Plan, plan
from attncc.tile.nodes import Program, TileLoop, statements
from attncc.tile.single import idle, repeated, with_single

HEADS = """pattern t(q[b, i, (g r), d], k[b, j, g, d], v[b, j, g, e]) -> o[b, i, (g r), e] {{
  attend o over j {{ score dot(q, k) / 2   {}   normalize softmax   mix v }} }}"""
GROUPED = HEADS.format("mask j <= i")


def inputs(b: int = 2, g: int = 2, r: int = 1) -> dict[str, torch.Tensor]:
    return {"q": rand(b, 37, g * r, 8), "k": rand(b, 41, g, 8), "v": rand(b, 41, g, 4)}


def back(program: Pattern, outputs: tuple[str, ...] = ("o",)) -> Plan:
    made = differentiated(program, list(outputs))
    assert made is not None
    return made.backward([i.name for i in program.inputs if i.kind == "float"], outputs).plan


def keys_of(program: Pattern) -> Program:
    return next(k for s in back(program).steps if isinstance(s, Fused) for k in s.kernels if k.name == "o_backward_keys")


@pytest.mark.parametrize(("r", "ran"), [(1, "o_backward_keys_single_kernel"), (2, "o_backward_keys_kernel")])
def test_gradients_by_the_form_that_fits(r: int, ran: str, monkeypatch: pytest.MonkeyPatch) -> None:
    modules: list[Any] = []

    def fresh(text: str, name: str) -> Any:
        modules.append(load(text, name))
        modules[-1].COMPILED.clear()
        return modules[-1]

    monkeypatch.setattr(run, "load", fresh)
    program, given = op(GROUPED).ir, inputs(r=r)
    way = gradient(program, ("o",), Config(32, 32, 4, 1))
    assert way is not None
    agree_by(way, program, ("o",), given)
    launched = {name for module in modules for name in module.COMPILED}
    assert {n for n in launched if "keys" in n} == {ran}


@pytest.mark.parametrize("text", ["mask abs(i - j) <= 9 or j < 3", "mask j <= i + g * r.size + r - 3"])
def test_tiles_of_all_query_heads_in_one_loop(text: str) -> None:
    """Where the positions of a head are in the mask, its tiles are its own, and there is a loop for each head."""
    program = op(HEADS.format(text)).ir
    way = gradient(program, ("o",), Config(32, 16, 4, 1, flat=True))
    assert way is not None
    agree_by(way, program, ("o",), inputs(r=3))
    module = module_of(back(program), {"d": 8, "e": 4}, "interpreter", 32, Config(32, 16, 4, 1, flat=True))
    printed = module.text.split("def o_backward_keys_kernel(")[1].split("@triton.jit")[0]
    assert ("for r in tl.range(" in printed) is ("r.size" in text) and ("r_size * each" in printed) is ("r.size" not in text)


def test_no_batch_and_no_query_heads() -> None:
    for shape in ({"r": 0}, {"b": 0}, {"b": 0, "r": 2}):
        program = op(GROUPED).ir
        way = gradient(program, ("o",), Config(32, 32, 4, 1))
        assert way is not None
        agree_by(way, program, ("o",), inputs(**shape))


def test_the_form_is_that_of_plain_heads() -> None:
    """One program for each position, and no loop around those over tiles."""
    program = with_single(keys_of(op(GROUPED).ir))
    one = program.single
    assert one is not None and repeated(program) == ("r",) and not repeated(one)
    assert one.grid == (*program.grid, "r")
    loops = [[s for s in statements(p.body) if isinstance(s, TileLoop)] for p in (program, one)]
    assert loops[0] == loops[1]
    assert idle(program, {"r": 1}) == (program.name,) and idle(program, {"r": 3}) == (one.name,)


@pytest.mark.parametrize("mask", ["mask n[b] >= j", "mask m[i] == c[j]"], ids=["lengths", "a list from data"])
def test_lists_from_data_serve_one_kernel(mask: str) -> None:
    more = ", n[b]: int" if "n[b]" in mask else ", m[i]: int, c[j]: int"
    text = HEADS.format(mask).replace("g, e]) ->", f"g, e]{more}) ->")
    program = keys_of(op(text).ir)
    assert (with_single(program).single is None) == bool(program.lists)


def test_plain_heads_have_one_form() -> None:
    program = keys_of(op(attend("score dot(q, k)\nnormalize softmax\nmix v")).ir)
    assert with_single(program) is program


def test_each_form_has_its_own_configuration() -> None:
    """Searched for loops that are repeated, or for those that are not."""
    made = back(op(HEADS.format("")).ir)
    module = module_of(made, dict.fromkeys(made.features, 64), "cuda:90", 16, None, True)
    single, several = (next(k for k in module.kernels if k.name == f"o_backward_keys{x}_kernel") for x in ("_single", ""))
    sizes = {"d": 64, "e": 64}
    assert module.configs[single.name]["TILE_I"] == choice.candidates(single.program, sizes, "cuda:90", 16, True)[0].loop
    assert module.configs[several.name]["TILE_I"] == choice.candidates(several.program, sizes, "cuda:90", 16, True)[0].loop
    assert [k.name for k in module.kernels].index(single.name) < [k.name for k in module.kernels].index(several.name)


# What a launch finds out: registers that spill.


def spilling(monkeypatch: pytest.MonkeyPatch, spills: dict[int, int]) -> tuple[run.Runner, list[int]]:
    """A runner whose kernel spills as said by the length of its tiles, and the tiles of each call."""
    likely = tuple(Config(16, n, 4, 1) for n in (64, 32, 16))
    monkeypatch.setattr(run, "candidates", lambda *_: likely)
    monkeypatch.setattr("attncc.backends.triton.module.candidates", lambda *_: likely)
    seen: list[int] = []
    original = run.Run.call

    def call(self: run.Run, step: Any) -> Any:
        loaded, name, given, rest = original(self, step)
        tile = int(loaded.CONFIG["o_kernel"]["TILE_J"])

        def launch(*args: Any, **more: Any) -> Any:
            seen.append(tile)
            found = getattr(loaded, name)(*args, **more)
            loaded.COMPILED["o_kernel"] = SimpleNamespace(n_spills=spills.get(tile, 0))
            return found

        setattr(loaded, f"{name}_heard", launch)
        return loaded, f"{name}_heard", given, rest

    monkeypatch.setattr(run.Run, "call", call)
    program = op(attend("score dot(q, k) / 3\nnormalize softmax\nmix v")).ir
    return run.Runner(program, ["o"]), seen


@pytest.mark.parametrize(
    ("spills", "tiles"),
    [({}, [64] * 5), ({64: 8}, [64, 32, 32, 32, 32]), ({64: 8, 32: 2}, [64, 32, 16, 16, 16]),
     ({64: 8, 32: 2, 16: 4}, [64, 32, 16, 32, 32])],
    ids=["none", "the first", "the first two", "all: the least"],
)  # fmt: skip
def test_a_kernel_that_spills_gets_a_lighter_configuration(
    spills: dict[int, int], tiles: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, seen = spilling(monkeypatch, spills)
    given = {n: rand(1, 1, 20, 8) for n in "qkv"}
    want = named("eager").prepare(op(attend("score dot(q, k) / 3\nnormalize softmax\nmix v")).ir, ["o"])(given)["o"]
    for _ in tiles:
        torch.testing.assert_close(runner(given)["o"], want, rtol=1e-4, atol=1e-5)
    assert seen == tiles
    plain = {n: rand(1, 1, 20, 16) for n in "qkv"}  # other head dimensions are another kernel
    runner(plain)
    assert seen[-1] == 64


def test_tiles_that_a_caller_gave_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    runner, seen = spilling(monkeypatch, {64: 8})
    runner.override = Config(16, 64, 4, 1)
    for _ in range(2):
        runner({n: rand(1, 1, 20, 8) for n in "qkv"})
    assert seen == [64, 64]


def test_plans_are_made_once() -> None:
    """The forms are made where kernels are printed: plans, which other targets share, have none."""
    made = plan(op(GROUPED).ir, ["o"])
    assert all(k.single is None for s in made.steps if isinstance(s, Fused) for k in s.kernels)
