"""The instruction mix, the data of a report and its table, on kernels whose counts are known by construction."""

import json

import pytest
from attncc.backends.triton.machine import analyse, table
from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.mix import GROUPS, mixes, to_json
from conftest import FLOATS, Compile
from rich.console import Console

WEIGHTS = dict.fromkeys("QKVO", "*bf16") | {"N": "i32", "scale": "fp32"}


def test_every_class_is_in_one_group() -> None:
    grouped = [kind for kinds in GROUPS.values() for kind in kinds]
    assert sorted(grouped) == sorted(Kind)


@pytest.mark.parametrize("target", ["cuda:80", "cuda:90", "cuda:100", "hip:gfx942"])
def test_stream(compiled: Compile, target: str) -> None:
    """Per element 5 multiply-adds and 2 exponentials: 160 and 64 warp instructions for 1024 elements and warps of 32."""
    made = compiled("stream", FLOATS | {"a": "fp32", "b": "fp32"}, {"BLOCK": 1024, "FMAS": 5, "EXPS": 2}, target)
    plain = analyse(made)
    assert plain.steady is not None
    elements = plain.steady.load_bytes / 8
    report = analyse(made, elements=elements)
    (mix,) = mixes(report)
    assert mix.body == "other" and not mix.products
    width = report.units.warp_size
    assert mix.tile["mufu"] == 2 * elements / width and mix.element["mufu"] == 2
    if target != "cuda:100" and not target.startswith("hip"):  # elsewhere two operations may share an instruction
        assert mix.tile["fma pipe"] == 5 * elements / width and mix.element["fma pipe"] == 5
    assert sum(mix.tile.values()) == sum(plain.steady.lanes.values()) / width
    assert "spills" not in mix.tile


def test_products_and_weights(compiled: Compile) -> None:
    made = compiled("weights", WEIGHTS, {"BM": 128, "BN": 64, "D": 64, "SPECIAL": False}, "cuda:90")
    report = analyse(made, flops_per_element=4 * 64, cached_per_element=2.0)
    (mix,) = mixes(report)
    assert mix.body == "only"
    assert all(op.startswith("HGMMA.64x64x16") for op in mix.products) and sum(mix.products.values()) == 8 * 2 / made.warps * 4
    assert mix.element["mufu"] == 1
    # 2 bytes an element from the L2 cache, at the rate of the table
    assert mix.loop.clocks["cache"] == pytest.approx(2 * 128 * 64 / report.units.cache_bytes)
    data = json.loads(json.dumps(to_json(report)))
    (loop,) = data["loops"]
    assert loop["per_score_element"]["mufu"] == 1 and loop["per_tile"]["mufu"] == 128 * 64 / 32
    assert loop["products"] == mix.products and loop["binds"] in loop["clocks"]
    assert loop["clocks_per_score_element"]["tensor"] == pytest.approx(4 * 64 / 4096)
    assert 0 < loop["peak_serial"] <= loop["peak_overlapped"] <= 1
    assert data["registers"] == made.registers and data["spill_stores"] == 0 and data["occupancy"]["programs"] >= 1


def test_table(compiled: Compile) -> None:
    made = compiled("weights", WEIGHTS, {"BM": 128, "BN": 64, "D": 64, "SPECIAL": False}, "cuda:90")
    console = Console(width=140)
    with console.capture() as shown:
        console.print(table(analyse(made, flops_per_element=4 * 64), "forward", "128 x 64, 4 warps, 2 stages"))
    text = shown.get()
    for word in ("forward", "128 x 64", "HGMMA.64x64x16", "fma pipe", "integer", "barriers", "tensor", "shared", "overlapped"):
        assert word in text
