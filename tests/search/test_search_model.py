"""The model of whole patterns without a GPU: default configurations do not spill; `explain --target`, its JSON and the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attncc.backends.triton import chosen, pins, table
from attncc.backends.triton.bounds import Bound, reports
from attncc.backends.triton.configs import Config
from attncc.backends.triton.machine import Kept, available
from attncc.backends.triton.machine.mix import mixes
from attncc.backends.triton.settle import settle
from attncc.backends.triton.space import Setting
from typer.testing import CliRunner

import attncc
from attncc.cli.opening import open_sample
from attncc.errors import AttnError
from attncc.schedules.plan import plan

pytestmark = pytest.mark.skipif(not available(), reason="the installed Triton has no binary tools")

FORMS: dict[str, dict[str, Any]] = {
    "softmax": {}, "sigmoid_core": {}, "gaussian_kernel": {}, "reversed_core": {}, "linear": {}, "neighborhood2d": {},
}  # fmt: skip


@pytest.fixture(scope="module")
def worker() -> Iterator[Kept]:
    with Kept() as one:
        yield one


def bounds(name: str, worker: Kept, target: str = "cuda:90", width: int = 64, dtype: str = "bf16", **params: Any) -> list[Bound]:
    """The kernels of a pattern, both passes."""
    _, sample = open_sample(name, None, params)
    outputs = [o.name for o in sample.program.outputs if not o.on_request]
    sizes = {a.name: width for a in sample.program.axes if a.name in ("d", "e")}
    return reports(sample.program, outputs, target, dtype, sizes, compiler=worker)


def clean(found: list[Bound]) -> None:
    spilled = {b.report.compiled.name: (str(b.config), b.report.compiled.spills) for b in found if b.report.compiled.spills}
    assert not spilled
    assert all(b.report.occupancy.programs for b in found)


def test_softmax_on_hopper(worker: Kept) -> None:
    """Both passes: no spills, every product a warp group's, one exponential a score element."""
    found = bounds("softmax", worker)
    clean(found)
    assert {b.phase for b in found} == {"forward", "backward"}
    paired = [b for b in found if b.paired]
    assert len(paired) == 4  # dk and dv in two forms: loops once, or repeated for the query heads of a key head
    for bound in paired:
        data = bound.to_json()
        full = data["loops"][0]
        assert full["body"] == "full" and [x["body"] for x in data["loops"]] == ["full", "partial"]
        assert full["products"] and all(op.startswith("HGMMA") for op in full["products"])
        assert 1 <= full["per_score_element"]["mufu"] < 1.1
        assert full["per_element"]["others"] < data["loops"][1]["per_element"]["others"]  # masks are in partial tiles alone
        assert 0 < full["peak_serial"] <= full["peak_overlapped"] <= 1
        assert json.loads(json.dumps(data)) == data


@pytest.mark.parametrize("target", ["cuda:80", "cuda:100", "hip:gfx942"])
def test_other_targets(target: str, worker: Kept) -> None:
    _, sample = open_sample("sigmoid_core", None, {})
    made = plan(sample.program, ["core"])
    done = settle(made, dict.fromkeys(made.features, 64), target, "bf16", worker)
    (kernel,) = done.module.kernels
    report = done.report(kernel)
    assert report.compiled.spills == 0 and report.occupancy.programs
    (first, *_) = mixes(report)
    word = {"cuda:80": "HMMA", "cuda:100": "UTCHMMA"}.get(target, "v_mfma")
    assert first.products and all(op.startswith(word) for op in first.products)


def test_default_configurations_do_not_spill(worker: Kept) -> None:
    """A sample of the slow tests below, at the wider of the usual head dimensions."""
    clean(bounds("neighborhood2d", worker, width=128))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bf16", "fp32"])
@pytest.mark.parametrize("width", [64, 128])
@pytest.mark.parametrize("name", FORMS)
def test_no_form_spills(name: str, width: int, dtype: str, worker: Kept) -> None:
    clean(bounds(name, worker, width=width, dtype=dtype, **FORMS[name]))


KINDS: dict[str, list[dict[str, Any]]] = {"agent": [{"kind": kind} for kind in ("deit", "pvt", "cswin")]}
"""Parameters of patterns whose overloads need one to be told apart."""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "params"), [(p.name, one) for p in attncc.patterns() for one in KINDS.get(p.name, [{}])])
def test_no_shipped_pattern_spills(name: str, params: dict[str, Any], worker: Kept) -> None:
    """Every fused kernel of every shipped pattern, both passes, in the plainest form, bf16, at the sizes the pattern chooses."""
    try:
        found = bounds(name, worker, **params)
    except AttnError as error:
        assert "no fused kernel" in error.message, error.message
        return
    clean(found)


def test_every_entry_of_the_table_is_of_a_shipped_structure() -> None:
    kinds = {row["kind"] for row in table.read(chosen.PATH)}
    _, sample = open_sample("softmax", None, {})
    assert set(table.kernels([("softmax", sample.program, ["core"])])) <= kinds


def run(*args: str) -> Any:
    from attncc.cli import app

    return CliRunner().invoke(app, [*args], env={"COLUMNS": "200", "NO_COLOR": "1"})


def test_explain_prints_both_passes() -> None:
    result = run("explain", "sigmoid_core", "--target", "cuda:90", "--size", "d=64", "--size", "e=64")
    assert result.exit_code == 0, result.output
    for part in ("forward", "backward", "configuration", "occupancy", "HGMMA", "full tiles", "partial tiles", "overlapped", "mufu"):
        assert part in result.output
    assert "fma pipe" in result.output and "barriers" in result.output


def test_explain_as_json() -> None:
    result = run("explain", "sigmoid_core", "--target", "cuda:90", "--size", "d=64", "--size", "e=64", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["target"] == "cuda:90" and "backends" in data["decisions"]
    assert data["kernels"] and all(k["phase"] in ("forward", "backward") and "config" in k for k in data["kernels"])
    plain = json.loads(run("explain", "sigmoid_core", "--size", "d=64", "--size", "e=64", "--json").stdout)
    assert "kernels" not in plain and plain["decisions"] == data["decisions"]


def test_the_manifest_holds_the_model(tmp_path: Path) -> None:
    result = run("compile", "sigmoid_core", "--target", "cuda:90", "--out", str(tmp_path))
    assert result.exit_code == 0, result.output
    (kernel,) = json.loads((tmp_path / "manifest.json").read_text())["kernels"]
    model = kernel["model"]
    assert model["registers"] == kernel["registers"] and model["occupancy"]["programs"] >= 1
    assert model["loops"][0]["per_score_element"]["matrix"] > 0 and model["loops"][0]["binds"]
    assert sum(kernel["products"].values()) == sum(n for x in model["loops"] for n in x["products"].values())


def test_compile_takes_pinned_configurations(tmp_path: Path) -> None:
    """`--pin FILE` decides the tiles; a file of another target is refused with a reason."""
    config = Config(64, 128, 4, 2)
    _, sample = open_sample("sigmoid_core", None, {})
    (step,) = plan(sample.program, ["core"]).steps
    program = step.kernels[0]
    sizes = {d.axes[0]: 64 for d in program.dims if d.whole}
    path = tmp_path / "pins.json"
    key = pins.key_of(program, sizes, Setting("cuda:90", 16))
    pins.write(path, "cuda:90", "NVIDIA H200", [pins.Pin(program.name, key, config, 0.1)])
    try:
        result = run("compile", "sigmoid_core", "--pin", str(path), "--out", str(tmp_path / "out"))
        assert result.exit_code == 0, result.output
        (kernel,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["kernels"]
        assert sorted(kernel["tiles"].values()) == [64, 128] and kernel["warps"] == 4
        other = run("compile", "sigmoid_core", "--pin", str(path), "--target", "cuda:80", "--out", str(tmp_path / "out"))
        assert other.exit_code == 1 and "measured for cuda:90" in other.output
    finally:
        pins.REGISTRY.clear()
