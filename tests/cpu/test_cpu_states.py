"""Linear attends from the right in generated C, both passes: states of chunks, and states carried along in a sweep."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from attends import op
from attncc.backends.cpu import boxes
from attncc.backends.cpu.run import Runner
from cpu_cases import agree, small
from cpu_cases import agree_both as both_agree
from state_cases import FEATURES, GROUPED, MASKS, NORMALIZERS, featured, grouped, linear, qkv


@pytest.fixture(params=["sweep", "chunks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How causal states are kept, whatever the machine would choose."""
    monkeypatch.setattr(boxes, "sweeps", lambda programs, sizes: request.param == "sweep")
    return str(request.param)


def kernels(runner: Runner, sizes: Mapping[str, int]) -> list[str]:
    return [p.name + p.sweep for s in runner.plan.steps for p in runner.chosen(s, runner.plan.extended(sizes))]


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_masks(way: str, mask: str) -> None:
    if way == "chunks" and mask in (MASKS["none"], MASKS["strict"], MASKS["band above"], MASKS["strictly reversed"]):
        return  # one of each direction, and each sign of an offset, is enough
    made = op(linear(mask, NORMALIZERS["row sum"]))
    for i, j in ((300, 300), (131, 300), (300, 131), (1, 200), (5, 7)):
        runner = agree(made, qkv(i, j))
    found = kernels(runner, {"b": 1, "h": 2, "i": 5, "j": 7, "d": 16, "e": 24})
    assert ("chunks" in " ".join(found)) == (way == "chunks" or not mask)


def test_empty(way: str) -> None:
    for mask in ("", "mask j <= i", "mask j + 3 >= i"):
        for i, j in ((0, 5), (5, 0), (0, 0), (1, 1)):
            agree(op(linear(mask, NORMALIZERS["row sum"])), qkv(i, j))


@pytest.mark.parametrize("mask", ["mask j <= i", "mask i < j"])
def test_gradients(way: str, mask: str) -> None:
    made = op(linear(mask, NORMALIZERS["row sum"]))
    both_agree(made, qkv(150, 150))
    both_agree(made, qkv(70, 201))


def test_gradients_without_a_mask() -> None:
    both_agree(op(linear()), qkv(150, 70))


def test_gradients_of_groups(way: str) -> None:
    inputs = grouped(140, 140)
    agree(op(GROUPED), inputs)
    keep = inputs.pop("keep")
    made = op(GROUPED.replace(", keep[b, j]: bool", "").replace(" and keep", ""))
    both_agree(made, inputs)
    assert keep.any()


def test_gradients_of_features_and_gains(way: str) -> None:
    both_agree(op(FEATURES), featured(150, 150))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_types(way: str, dtype: torch.dtype) -> None:
    inputs = {n: t.to(dtype) for n, t in qkv(150, 150).items()}
    agree(op(linear("mask j <= i", NORMALIZERS["row sum"])), inputs)


def test_strides(way: str) -> None:
    made = op(linear("mask j <= i"))
    inputs = qkv(150, 150)
    apart = {n: t.transpose(1, 3).contiguous().transpose(1, 3) for n, t in inputs.items()}
    spread = {n: torch.stack([t, t + 1], -1)[..., 0] for n, t in inputs.items()}
    for given in (apart, spread, {**inputs, "k": inputs["k"][:, :1].expand(-1, 2, -1, -1)}):
        agree(made, given)


def test_boxes_of_the_machine(way: str) -> None:
    """The tile sizes that the backend itself chooses, at a length of many tiles."""
    for mask in ("mask j <= i", "mask i < j"):
        agree(op(linear(mask)), qkv(1100, 1100, h=1), boxes=boxes.choose)


def test_results_do_not_depend_on_threads(way: str) -> None:
    runner = Runner(op(linear("mask j <= i")).ir, ("o",), small)
    inputs, before = qkv(300, 300), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(runner(inputs)["o"])
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(found[0], x) for x in found[1:])


@pytest.mark.parametrize("mask", ["", "mask j <= i"])
def test_memory(way: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the output nothing is allocated but states of chunks: no pair, and no state of a position."""
    runner = Runner(op(linear(mask)).ir, ("o",))
    made: list[int] = []
    empty = torch.empty
    inputs = qkv(4096, 4096, d=32, e=32)
    runner(inputs)
    monkeypatch.setattr(torch, "empty", lambda *a, **k: made.append(empty(*a, **k).numel()) or empty(*a, **k))
    runner(inputs)
    output, states = 2 * 4096 * 32, 2 * 2 * (4096 // 64 + 1) * 32 * 32
    assert sum(made) <= output + (0 if way == "sweep" and mask else states)
