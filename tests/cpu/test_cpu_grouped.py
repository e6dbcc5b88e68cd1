"""Tiles with rows of several heads on the CPU: their extents, one library for all lengths, threads."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from attncc.backends.cpu import boxes
from attncc.backends.cpu.run import Runner

import attncc
from attncc.ir.nodes import Program as Pattern
from attncc.schedules.plan import Fused, plan
from attncc.tile.nodes import Program

STRIP = 48


def tensors(r: int, i: int, j: int, g: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(r * 100 + i)
    return {"q": torch.randn(1, g * r, i, 32), "k": torch.randn(1, g, j, 32), "v": torch.randn(1, g, j, 32)}


def softmax(**params: object) -> Pattern:
    return attncc.load("softmax", **params).specialise({"q": 4, "k": 4, "v": 4})


def shared() -> Program:
    (step,) = [s for s in plan(softmax(), ("core",)).steps if isinstance(s, Fused)]
    assert step.grouped is not None
    return step.grouped.kernels[0]


@pytest.mark.parametrize(
    ("g", "r", "i", "want"),
    [(8, 8, 1, (8, 1)), (8, 4, 16, (4, 16)), (8, 8, 64, (3, 64)), (8, 7, 50, (3, 50)), (8, 1000, 1, (167, 1)), (8, 4, 0, (4, 1))],
)
def test_a_tile_has_all_rows_of_as_many_heads_as_fit(g: int, r: int, i: int, want: tuple[int, int]) -> None:
    sizes = {"b": 1, "g": g, "r": r, "i": i, "j": 4096, "d": 64, "e": 64}
    box = boxes.choose(shared(), sizes, STRIP)
    assert (box["r"], box["i"]) == want and box["j"] >= 16


def test_few_owners_share_out_heads_that_fill_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "processors", lambda: 4)
    sizes = {"b": 1, "g": 1, "r": 8, "i": 16, "j": 4096, "d": 64, "e": 64}
    assert boxes.choose(shared(), sizes, STRIP)["r"] == 2, "four tiles for four processors"
    assert boxes.choose(shared(), {**sizes, "i": 1}, STRIP)["r"] == 8, "a vector is not divided"


def test_other_lengths_compile_nothing() -> None:
    runner = Runner(softmax(), ("core",))
    for i in (1, 5, 64, 65, 200):
        runner(tensors(3, i, 70))
    assert len(runner._loaded) == 1
    names = {launch.name for fit in runner.fits.values() for made in fit.ready.values() for launch in made}
    assert names == {"core", "core_grouped"}


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    made = attncc.load("softmax", causal=True, causal_align="bottom_right")
    given, before, found = tensors(5, 30, 300, g=1), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(made(**given, backend="cpu"))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert torch.equal(found[0].core, other.core) and torch.equal(found[0].lse, other.lse)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_bias_of_one_head_or_of_each(dtype: torch.dtype) -> None:
    from cpu_cases import agree

    made = attncc.load("softmax", mask_kind="additive")
    given = {n: t.to(dtype) for n, t in tensors(3, 7, 77).items()}
    for heads in (1, 6):
        agree(made, {**given, "bias": torch.randn(1, heads, 7, 77).to(dtype)}, boxes=boxes.choose)


def test_steps_of_decoding_choose_tiles_once() -> None:
    """Keys grow by one at every step; tiles are for lengths nearly alike, and never longer than the keys."""
    asked: list[int] = []

    def choose(program: Program, sizes: Mapping[str, int], strip: int) -> dict[str, int]:
        asked.append(sizes["j"])
        return boxes.choose(program, sizes, strip)

    runner = Runner(softmax(), ("core",), choose)
    for j in (3, 4, 4001, 4002, 4050, 4096):
        given = tensors(3, 1, j)
        want = torch.nn.functional.scaled_dot_product_attention(**_named(given), enable_gqa=True)
        assert torch.allclose(runner(given)["core"], want, atol=1e-4)
    assert asked == [3, 4, 4096]
    asked.clear()
    for j in range(65, 257):
        runner(tensors(3, 1, j))
    assert len(asked) == 16 + 16, "sixteen tiles for twice the length"


def test_tiles_do_not_depend_on_calls_before() -> None:
    """Few heads are shared out to processors; more heads later, or fewer, get tiles of their own."""
    runner = Runner(softmax(), ("core",))
    runner(tensors(1, 96, 40, g=1))
    runner(tensors(1, 96, 40, g=64))
    (loaded,) = runner._loaded.values()
    assert len(loaded._chosen) == 2


def _named(given: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(zip(("query", "key", "value"), given.values(), strict=True))
