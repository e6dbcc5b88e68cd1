"""The suites: what they compute, how they count and time, tables, plots, the README, the command."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bench_rows import results_of
from typer.testing import CliRunner

from attncc.bench import cpu, gpu, plot, readme, table
from attncc.bench.cases import Case
from attncc.bench.check import Reference, results
from attncc.bench.forms import Form, Mask, Problem
from attncc.bench.peers import PEERS, Absent, Setting
from attncc.bench.results import Met, Row, read, write
from attncc.bench.timing import Clock, ratio, times
from attncc.bench.work import BACKWARD, BOTH, FORWARD, work
from attncc.errors import AttnUnsupportedError, AttnValueError

ROOT = Path(__file__).resolve().parents[2]
MASKS = [Mask(), Mask("causal"), Mask("window", 5), Mask("neighborhood", 3, (6, 7))]


@pytest.mark.parametrize("mask", MASKS, ids=str)
def test_pairs_are_counted_as_the_mask_admits(mask: Mask) -> None:
    dense = mask.dense(42, "cpu")
    assert mask.pairs(42) == (42 * 42 if dense is None else int(dense.sum()))


def test_work() -> None:
    problem = Problem(Form("softmax", Mask("causal")), 2, 3, 10, 16)
    assert work(problem, FORWARD).flops == 2 * 3 * 55 * 4 * 16
    assert work(problem, BOTH).flops == work(problem, FORWARD).flops + work(problem, BACKWARD).flops == 2 * 3 * 55 * 14 * 16
    assert work(problem, FORWARD).bytes == 4 * (2 * 3 * 10 * 16) * 4
    linear = Problem(Form("linear", Mask("causal")), 1, 1, 10, 16)
    assert work(linear, FORWARD).flops == 10 * 4 * 16 * 16, "linear in positions"
    decoding = Problem(Form("softmax"), 2, 8, 100, 16, queries=1, group=4)
    assert work(decoding, FORWARD).flops == 2 * 8 * 100 * 4 * 16
    assert work(decoding, FORWARD).bytes == 2 * (8 + 8 + 2 * 200) * 16 * 4, "keys and values once for the heads of a group"
    assert work(problem, FORWARD).floor(1e3, 1e30) == pytest.approx(2 * 3 * 55 * 4 * 16 / 1e3)


def _forms() -> dict[str, tuple[Case, str]]:
    out = {}
    for suite in (cpu.suite().tiny(), gpu.suite().tiny()):
        for case in suite.cases:
            for name in case.contestants:
                if not name.startswith("attncc"):
                    out[f"{case.form.weights} {case.form.mask} {case.group} {name}"] = case, name
    return out


@pytest.mark.parametrize(("case", "name"), _forms().values(), ids=_forms())
def test_peers_compute_what_they_say(case: Case, name: str) -> None:
    case = dataclasses.replace(case, what=FORWARD, dtype="float32", heads=0)
    reference = Reference(case, "cpu")
    try:
        run = PEERS[name].build(reference.problem, Setting("eager", "eager"))
        found = results(run, reference.tensors, FORWARD)
    except Absent as reason:
        assert "not installed" in str(reason), "a suite names a peer that does not compute the form"
        return
    except RuntimeError as error:
        assert name in ("sdpa cudnn", "sdpa efficient") and "No viable backend" in str(error), "only GPUs have them"
        return
    verdict = reference.verdict(found, PEERS[name].computes(case.form))
    assert verdict.ok, verdict.words()


def test_peers_say_what_they_do_not_compute() -> None:
    linear = Problem(Form("linear", Mask("causal")), 1, 1, 64, 16)
    for name, reason in (("flex", "softmax"), ("eager", "chunked")):
        with pytest.raises(Absent, match=reason):
            PEERS[name].build(linear, Setting("eager", "eager"))
    with pytest.raises(Absent, match="GiB"):
        PEERS["eager"].build(Problem(Form("softmax"), 4, 16, 2**15, 64), Setting("eager"))
    with pytest.raises(Absent, match="linear"):
        PEERS["chunked"].build(Problem(Form("softmax"), 1, 1, 64, 16), Setting("eager"))


def test_every_row_of_the_issue_is_there() -> None:
    """One case for each what, mask and head dimension, with the goals that were set."""
    square, decoding = ([c for c in cpu.suite().cases if bool(c.queries) == few] for few in (False, True))
    goals = {(c.form.weights, str(c.form.mask), c.d, c.dtype, c.what, g.against): g.ratio for c in square for g in c.goals}
    assert {(c.queries, c.group, c.dtype) for c in decoding} == {(1, 4, "float32"), (1, 4, "bfloat16")}
    for d in (64, 128):
        for mask in ("full", "causal"):
            assert goals["softmax", mask, d, "float32", FORWARD, "sdpa"] == 1.1
            assert goals["softmax", mask, d, "float32", BOTH, "sdpa"] == 1.0
        for weights in ("sigmoid", "relu", "gaussian"):
            assert goals[weights, "full", d, "float32", FORWARD, "attncc softmax"] == 1.0
            assert goals[weights, "full", d, "float32", FORWARD, "eager"] == 4.0
        assert goals["sigmoid", "full", d, "float32", BOTH, "eager"] == {64: 2.2, 128: 1.6}[d]
        for mask in ("sliding window 64", "neighborhood 13x13 on 56x56"):
            assert goals["softmax", mask, d, "float32", FORWARD, "flex"] == 5.0
            assert goals["softmax", mask, d, "float32", FORWARD, "eager"] == 10.0
        assert goals["softmax", "full", d, "bfloat16", FORWARD, "sdpa"] == 1.0
    assert goals["linear", "causal", 64, "float32", BOTH, "chunked"] == 2.0
    assert {(m.peer, m.case.what) for m in cpu.suite().memory if m.limit} == {("attncc", FORWARD), ("attncc", BOTH)}
    assert [(f.cold, f.cached) for f in cpu.suite().first if f.peer == "attncc"] == [(2.0, 0.05)]
    names = [c.name for c in (*cpu.suite().cases, *gpu.suite().cases)]
    assert len(names) == len(set(names))


# ------------------------------------------------------------------------------------------------------------ timing


def test_rounds_are_interleaved_and_inputs_rotate() -> None:
    seen: list[str] = []
    made: dict[str, list[Callable[[], object]]] = {
        "a": [lambda: seen.append("a0"), lambda: seen.append("a1")], "b": [lambda: seen.append("b")],
    }  # fmt: skip
    found = Clock(least=3, most=3).rounds(made, 0.0)
    assert seen == ["a0", "b", "a1", "b", "a0", "b", "a1", "b"]
    assert {name: len(values) for name, values in found.items()} == {"a": 3, "b": 3}


def test_ratios_are_those_of_rounds() -> None:
    found = {"own": [1.0, 10.0, 2.0], "peer": [2.0, 20.0, 4.0]}
    assert ratio(found, "peer", "own").median == ratio(found, "peer", "own").low == 2.0, "a slow round slows both"
    assert times(found)["own"].median == 2.0


@pytest.mark.parametrize(("host", "fails", "how"), [(1e-4, False, "events"), (9.0, False, "CUDA graph"), (9.0, True, "bound by the host")])
def test_device_times(monkeypatch: pytest.MonkeyPatch, host: float, fails: bool, how: str) -> None:
    """What is timed by events and what as a graph, with the device's functions replaced."""
    import contextlib

    from triton import testing

    from attncc.bench import timing

    calls: list[str] = []

    def do_bench(run: Callable[[], object], **options: object) -> float:
        run()
        calls.append("events")
        return 2.0

    def do_bench_cudagraph(run: Callable[[], object], **options: object) -> float:
        if fails:
            raise RuntimeError("cannot be captured")
        run()
        calls.append("graph")
        return 1.0

    monkeypatch.setattr(testing, "do_bench", do_bench)
    monkeypatch.setattr(testing, "do_bench_cudagraph", do_bench_cudagraph)
    monkeypatch.setattr(timing, "_host", lambda run: host)
    for name, value in (("Stream", lambda: None), ("stream", lambda s: contextlib.nullcontext()), ("synchronize", lambda: None)):
        monkeypatch.setattr(torch.cuda, name, value)
    timer = timing.Events(count=3)
    seen: list[int] = []
    found = timer.rounds({"a": [lambda: seen.append(0), lambda: seen.append(1)]}, 10.0)
    assert how in timer.how["a"] and {0, 1} == set(seen)
    assert found == {"a": [1e-3 if how == "CUDA graph" else 2e-3] * 3}
    assert calls[-3:] == ["graph" if how == "CUDA graph" else "events"] * 3


# ------------------------------------------------------------------------------------------------------------ showing


def _spread(value: float) -> dict[str, float]:
    return {"median": value, "low": value * 0.9, "high": value * 1.1, "rounds": 5}


ROWS = (
    Row(
        "one", "time", FORWARD, 10, 10, 1e11, 0.01, 0.5,
        {"attncc": _spread(0.02), "sdpa": _spread(0.03)}, {"sdpa": _spread(1.5)}, {"flex": "too slow"}, {}, {},
        goals=[Met("sdpa", 1.1, 1.5, True), Met("flex", 5.0, None, None, "too slow")],
    ),
    Row("two", "memory", extra={"attncc": 2**20, "sdpa": 2**22}, goals=[Met("attncc", 2**24, 2**20, True)]),
    Row("three", "first call", seconds={"attncc": {"cold": 2.5, "cached": 0.01}}, goals=[
        Met("attncc", 2.0, 2.5, False, "cold"), Met("attncc", 0.05, 0.01, True, "cached"),
    ]),
)  # fmt: skip


def test_results_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "some" / "results.json"
    write(results_of(*ROWS), path)
    assert read(path) == results_of(*ROWS)
    path.write_text("{}")
    with pytest.raises(AttnValueError, match="no results"):
        read(path)
    with pytest.raises(AttnUnsupportedError, match="cannot be read"):
        read(tmp_path / "none.json")


def test_tables() -> None:
    text = table.plain(results_of(*ROWS))
    for part in ("one: 20 ms, 50% of the floor", "sdpa  1.50 x (1.35 to 1.65)  goal 1.1 x  met", "flex  too slow  goal 5 x  not judged",
                 "1.0 MiB", "cold 2.5 s", "goal at most 2 s  missed", "3 of 5 goals met, 1 not judged", "150 GFLOP/s"):  # fmt: skip
        assert part in text, part
    assert table.table(results_of(*ROWS)).row_count == len(list(table.lines(results_of(*ROWS))))


def test_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.png(results_of(*ROWS), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_readme_block(tmp_path: Path) -> None:
    text, results_file = tmp_path / "README.md", tmp_path / "benchmarks" / "results" / "cpu-1.json"
    write(results_of(*ROWS), results_file)
    text.write_text("before\n<!-- bench cpu: none -->\nformer\n<!-- bench end -->\nafter\n")
    for _ in range(2):
        readme.update(results_file, text)
        new = text.read_text()
        assert new.startswith("before\n<!-- bench cpu: benchmarks/results/cpu-1.json -->\n3 of 5 goals met")
        assert new.endswith("<!-- bench end -->\nafter\n") and "former" not in new and "benchmarks/results/cpu.png" in new
    text.write_text("no place")
    with pytest.raises(AttnValueError, match="no place"):
        readme.update(results_file, text)


@pytest.mark.parametrize("suite", ["cpu", "gpu"])
def test_the_readme_agrees_with_its_json(suite: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = readme.marked(text, suite)
    assert found is not None
    file = found["file"]
    if file == "none":
        assert "no measurement" in found[0].lower()
        return
    assert found[0] == readme.block(read(ROOT / file), file)
    assert (ROOT / file).parent.joinpath(f"{suite}.png").exists()


# ------------------------------------------------------------------------------------------------------------ the command


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from attncc.cli import app

    monkeypatch.setenv("COLUMNS", "100")

    def invoke(*args: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["bench", *args])
        return done.exit_code, done.output

    code, output = invoke("--suite", "cpu", "--quick", "--only", "bf16", "--json", str(tmp_path / "a.json"))
    assert code == 0, output
    assert "tiny sizes: no results" in output and "sdpa" in output and read(tmp_path / "a.json").kind == "quick"
    assert invoke("--suite", "tpu")[0] == 1
    assert invoke()[0] == 2 and invoke("softmax", "--suite", "cpu")[0] == 2 and invoke("softmax", "--dry")[0] == 2
    monkeypatch.chdir(tmp_path)
    code, output = invoke("--suite", "cpu", "--publish")
    assert code == 1 and "checkout" in output
