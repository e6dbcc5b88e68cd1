"""Rows of several heads in one tile, where heads share their keys: which stages allow it, when it runs, and that it stays right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
import ways
from attends import op, rand
from attncc.backends.cpu.boxes import choose

import attncc
from attncc.ir.expr import Const
from attncc.schedules.grouped import FEW, shared_axes
from attncc.schedules.plan import Fused, plan

HEAD = "pattern t(q[b, (g r), i, d], k[b, g, j, d], v[b, g, j, e]{more}) -> o[b, (g r), i, e]"
BODY = " {{ attend o over j {{ score {score}  mask {mask}  normalize {weights}  mix {mix} }} }}"


def pattern(
    more: str = "", score: str = "dot(q, k) / sqrt(d)", mask: str = "j <= i + 40", weights: str = "softmax", mix: str = "v"
) -> attncc.Op:
    return op((HEAD + BODY).format(more=more, score=score, mask=mask, weights=weights, mix=mix))


def inputs(
    r: int, i: int, j: int, b: int = 2, g: int = 2, d: int = 16, e: int = 8, **more: torch.Tensor
) -> dict[str, torch.Tensor]:
    return {"q": rand(b, g * r, i, d), "k": rand(b, g, j, d), "v": rand(b, g, j, e), **more}


def step_of(made: attncc.Op, given: Mapping[str, torch.Tensor]) -> Fused:
    program = made.specialise({n: t.dim() for n, t in given.items()})
    (step,) = [s for s in plan(program, [o.name for o in program.outputs]).steps if isinstance(s, Fused)]
    return step


def together(runner: Any) -> Any:
    """The runner with the rows of all heads in one tile, whatever the sizes."""
    steps = runner.plan.steps
    assert all(s.grouped is not None for s in steps)
    if hasattr(runner, "choose"):
        steps = tuple(replace(s, grouped=replace(s.grouped, pays=Const(True))) for s in steps)
    else:
        steps = tuple(replace(s, kernels=s.grouped.kernels) for s in steps)
    runner.plan = replace(runner.plan, steps=steps)
    return runner


# What depends on the head is read for its rows: slopes, biases, masks, lengths, a mask from data.
CASES: dict[str, tuple[attncc.Op, dict[str, torch.Tensor]]] = {
    "one query": (pattern(mask="j < j.size"), inputs(5, 1, 33)),
    "causal with an offset": (pattern(mask="j <= i + j.size - i.size"), inputs(3, 7, 40)),
    "window": (pattern(mask="j <= i + 20 and j > i + 9"), inputs(2, 11, 45)),
    "no key for some rows": (pattern(mask="j < i"), inputs(3, 4, 9)),
    "no key": (pattern(), inputs(3, 4, 0)),
    "sigmoid": (pattern(weights="sigmoid"), inputs(3, 9, 30)),
    "slopes": (pattern(", s[(g r)]", "dot(q, k) - s * abs(i - j)"), inputs(3, 9, 30, s=rand(6))),
    "bias per head": (pattern(", a[(g r), i, j]", "dot(q, k) + a"), inputs(3, 9, 30, a=rand(6, 9, 30))),
    "mask per head": (pattern(", m[(g r), j]: bool", mask="m"), inputs(3, 9, 30, m=rand(6, 30) > 0)),
    "reach per head": (pattern(", n[(g r)]: int", mask="j <= i + n"), inputs(3, 9, 30, n=torch.tensor([3, 30, 0, 7, -5, 12]))),
    "factor per head": (pattern(", f[b, (g r)]", mix="v * f"), inputs(3, 9, 30, f=rand(2, 6))),
}


@ways.on("case", cpu=CASES, triton=["one query", "causal with an offset", "slopes", "bias per head", "reach per head"])
def test_results_stay(way: str, case: str) -> None:
    made, given = CASES[case]
    program = made.specialise({n: t.dim() for n, t in given.items()})
    runner = together(ways.WAYS[way].runner(program, ("o",), ways.WAYS[way].tiles()))
    found = runner(given)["o"]
    want = made(**{n: t.double() if t.is_floating_point() else t for n, t in given.items()}, backend="eager")
    ways.same({"o": found}, {"o": want}, lambda: {"o": made(**given, backend="eager")}, given)


def test_keys_of_a_head_of_its_own_are_not_shared() -> None:
    given = inputs(3, 4, 20)
    assert shared_axes(step_of(pattern(), given).stages[0]) == ("r",)
    text = "pattern t(q[b, (g r), i, d], k[b, {k}, j, d], v[b, {v}, j, e]) -> o[b, (g r), i, e] {{ attend o over j {{ score dot(q, k) mix v }} }}"
    for k, v in (("(g r)", "g"), ("g", "(g r)"), ("(g r)", "(g r)")):
        made = op(text.format(k=k, v=v))
        own = {"q": rand(1, 6, 4, 16), "k": rand(1, 6 if "r" in k else 2, 20, 16), "v": rand(1, 6 if "r" in v else 2, 20, 8)}
        try:
            assert step_of(made, own).grouped is None
        except attncc.AttnError:
            continue
        assert torch.allclose(made(**own, backend="cpu"), made(**own, backend="eager"), atol=1e-4)


def test_the_sizes_choose() -> None:
    step = step_of(pattern(), inputs(3, 4, 20))
    assert step.grouped is not None
    sizes = {"b": 1, "g": 2, "r": 4, "i": 1, "j": 100, "d": 16, "e": 8}
    (grid,), (shared,) = step.kernels, step.grouped.kernels
    assert (grid.grid, shared.grid) == (("b", "g", "r"), ("b", "g")) and shared.dim(shared.owner).axes == ("r", "i")
    for r, i, want in ((4, 1, shared), (4, FEW, shared), (4, FEW + 1, grid), (1, 1, grid), (0, 1, grid)):
        assert step.chosen({**sizes, "r": r, "i": i}) == (want,)
    assert step.held({**sizes, "i": 1000}) == step.held(sizes) == (grid, shared), "another length compiles nothing"
    assert step.held({**sizes, "r": 1}) == (grid,)


def test_what_is_decided_is_told() -> None:
    made = pattern()
    assert "says which" not in str(made.explain(**inputs(3, 4, 20)))
    assert "one tile for rows of every r, for these sizes" in str(made.explain(**inputs(3, 4, 20)))
    assert "a tile for each r, for these sizes" in str(made.explain(**inputs(3, 100, 20)))
    assert "the sizes say which" in str(made.explain())


@pytest.mark.parametrize("i", [1, 40])
def test_gradients_after_a_tile_of_several_heads(i: int) -> None:
    made = pattern(", s[(g r)]", "dot(q, k) - s * abs(i - j)")
    ways.agree_both("cpu", made, {n: t.double() for n, t in inputs(3, i, 50, s=rand(6).abs() / 8).items()}, tiles=choose)
