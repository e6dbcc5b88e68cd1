"""Tile sizes: a window's keys in one tile of few rows, long rows of keys in large tiles; whatever they are, results stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from attncc.backends.cpu import boxes
from attncc.backends.cpu.caches import Caches, _linux
from attncc.backends.cpu.printing import print_kernel
from cpu_cases import agree

import attncc
from attncc.schedules.plan import Fused, plan
from attncc.tile.nodes import Program

STRIP = 48
"""Positions of a strip with vectors of 16 numbers."""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tile sizes are those of the machine: here of one with two processors, caches of 48 KB and 2 MB."""
    monkeypatch.setattr(boxes, "processors", lambda: 2)
    monkeypatch.setattr(boxes, "caches", lambda: Caches(48 << 10, 2 << 20))


def program(features: int = 64, **params: object) -> tuple[Program, Mapping[str, int]]:
    """The forward kernel of softmax attention, and sizes for 8 heads and 2048 positions."""
    made = plan(attncc.load("softmax", **params).ir, ("core",))
    step = next(s for s in made.steps if isinstance(s, Fused))
    return step.kernels[0], {"b": 1, "g": 8, "r": 1, "i": 2048, "j": 2048, "d": features, "e": features}


@pytest.mark.parametrize(("window", "tiles"), [(16, 1), (64, 1), (100, 2)])
def test_few_tiles_hold_what_a_window_sees(window: int, tiles: int) -> None:
    kernel, sizes = program(causal=True, window_left=window - 1)
    chosen = boxes.choose(kernel, sizes, STRIP)
    assert chosen["i"] <= STRIP
    assert chosen["j"] == -(-(chosen["i"] + window - 1) // tiles)


def test_tiles_of_a_full_row_are_large() -> None:
    kernel, sizes = program()
    assert boxes.choose(kernel, sizes, STRIP) == {"i": 8 * STRIP, "j": 64}
    assert boxes.choose(kernel, {**sizes, "g": 4}, STRIP)["i"] == 4 * STRIP, "few owners end at different times"
    short = {**sizes, "g": 1, "i": 96}
    assert boxes.choose(kernel, short, STRIP)["i"] <= STRIP, "few rows are shared out"


@pytest.mark.parametrize(
    ("first", "second", "number", "want"),
    [(32, 2048, 4, (8, 48)), (128, 2048, 4, (8, 64)), (48, 512, 4, (4, 64)), (48, 256, 8, (1, 48)), (16, 16, 4, (1, 48))],
)
def test_tiles_fit_the_caches(
    monkeypatch: pytest.MonkeyPatch, first: int, second: int, number: int, want: tuple[int, int]
) -> None:
    """An owner of one strip has an operand and sums of 48 x 128 numbers."""
    monkeypatch.setattr(boxes, "caches", lambda: Caches(first << 10, second << 10))
    kernel, sizes = program()
    chosen = boxes.choose(kernel, sizes, STRIP, number=number)
    assert (chosen["i"] // STRIP, chosen["j"]) == want


def test_the_system_tells_the_sizes_of_caches(tmp_path: Path) -> None:
    """Two threads a core have their caches together; four cores have a second level together."""
    said = {
        "index0": ("1", "Data", "48K", "0,8"),
        "index1": ("1", "Instruction", "64K", "0,8"),
        "index2": ("2", "Unified", "4M", "0-3,8-11"),
    }
    (tmp_path / "topology").mkdir()
    (tmp_path / "topology" / "thread_siblings_list").write_text("0,8\n")
    for name, texts in said.items():
        (tmp_path / "cache" / name).mkdir(parents=True)
        for file, text in zip(("level", "type", "size", "shared_cpu_list"), texts, strict=True):
            (tmp_path / "cache" / name / file).write_text(text + "\n")
    assert _linux(tmp_path / "cache") == {1: 48 << 10, 2: 1 << 20}
    (tmp_path / "cache" / "index2" / "size").write_text("many\n")
    (tmp_path / "cache" / "index0" / "type").unlink()
    assert _linux(tmp_path / "cache") == {} == _linux(tmp_path / "nowhere")


def test_a_cut_tile_costs_what_it_computes() -> None:
    kernel, sizes = program()
    whole, cut = ({**sizes, "i": n} for n in (2112, 2064))
    box = {"i": 192, "j": 64}
    less, more = (boxes.Costs(kernel, some, STRIP, boxes.VECTORS)(box) for some in (cut, whole))
    assert less < more


def test_products_of_one_body_are_counted() -> None:
    for params in ({}, {"causal": True}):
        assert len(boxes._products(program(**params)[0])) == 2


def test_which_pairs_count_is_not_stored() -> None:
    kernel = program(causal=True)[0]
    text = print_kernel(kernel, {"d": 64, "e": 64}, 32, 32).text
    assert "const vint admitted" in text
    assert "istore" not in text


@pytest.mark.parametrize("i", [16, 32, 48])
@pytest.mark.parametrize("j", [1, 15, 17, 33, 79])
def test_parts_of_a_product(i: int, j: int) -> None:
    generator = torch.Generator().manual_seed(j)
    q, k, v = (torch.randn(1, 2, 100, 24, generator=generator, dtype=torch.float64) for _ in range(3))
    for params in ({}, {"causal": True, "window_left": 40}):
        agree(attncc.load("softmax", **params), {"q": q, "k": k, "v": v}, boxes=lambda *_: {"i": i, "j": j})


def test_tiles_of_masks_that_data_decides() -> None:
    """Nothing is known of the pairs that they visit: the largest owners of which there are enough."""
    made = plan(attncc.load("softmax", mask_kind="bool").specialise({"q": 4, "k": 4, "v": 4, "mask": 4}), ("core",))
    kernel = next(s for s in made.steps if isinstance(s, Fused)).kernels[0]
    sizes = {"b": 1, "g": 8, "r": 1, "i": 2048, "j": 2048, "d": 64, "e": 64, "mb": 1, "mh": 1}
    assert [boxes.choose(kernel, {**sizes, "g": g}, STRIP)["i"] // STRIP for g in (8, 2)] == [8, 4]


def test_owners_along_the_diagonal() -> None:
    """Half of the keys along an edge are computed: a large owner does no more for it than a small one."""
    kernel, sizes = program(causal=True)
    assert boxes.choose(kernel, sizes, STRIP) == {"i": 4 * STRIP, "j": 64}
