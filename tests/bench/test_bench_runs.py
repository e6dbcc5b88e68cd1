"""Runs of a suite: what is timed, compared with the oracle, and said of peers that fail; dry runs measure nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bench_rows import TINY, results_of

from attncc.bench import cpu, plot, readme, run, table
from attncc.bench.cases import Case, Goal
from attncc.bench.check import Reference, results
from attncc.bench.forms import Form, Mask, Problem
from attncc.bench.peers import PEERS, Peer, Setting
from attncc.bench.results import Row
from attncc.bench.timing import Clock
from attncc.bench.work import BOTH, FORWARD, work
from attncc.errors import AttnUnsupportedError, AttnValueError


def _session(case: Case, kind: str = "quick") -> Row:
    suite = dataclasses.replace(cpu.suite().tiny(), backend="eager", cases=(case,))
    session = run._Session(suite, kind, Clock(least=2, most=2), 0.0, 60.0, 1e9)
    return session.timed(case)


def test_a_row() -> None:
    row = _session(TINY)
    assert set(row.times) == {"attncc", "sdpa"} and row.times["attncc"]["median"] > 0
    assert row.floor and row.reached == pytest.approx(row.floor / row.times["attncc"]["median"])
    assert row.gemm and row.flops == work(TINY.problem("cpu"), FORWARD).flops
    (goal,) = row.goals
    assert goal.against == "sdpa" and goal.found == row.ratios["sdpa"]["median"] and goal.met == (goal.found >= 1.1)
    assert "within tolerance" in row.notes["attncc"]


def _wrong(problem: Problem, setting: Setting) -> Callable[..., torch.Tensor]:
    right = problem.call("eager")

    def spoiled(*tensors: torch.Tensor) -> torch.Tensor:
        out = right(*tensors).clone()
        out[0, 1, 5, 3] += 0.01
        return out

    return spoiled


def _breaks(problem: Problem, setting: Setting) -> Callable[..., torch.Tensor]:
    right, calls = problem.call("eager"), []

    def run(*tensors: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("no more\nthan this")
        return right(*tensors)

    return run


@pytest.mark.parametrize("what", [FORWARD, BOTH])
def test_a_wrong_peer_is_no_peer_and_a_wrong_attncc_misses(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    case = dataclasses.replace(TINY, what=what)
    monkeypatch.setitem(PEERS, "sdpa", Peer(_wrong))
    row = _session(case)
    assert "sdpa" not in row.times and row.absent["sdpa"].startswith("wrong: o is off by 1.0e-02")
    assert row.goals[0].met is None and "wrong" in row.goals[0].why
    monkeypatch.undo()
    monkeypatch.setitem(PEERS, "attncc", Peer(_wrong))
    row = _session(case)
    assert "attncc" in row.absent and not row.ratios and row.reached is None
    assert row.goals[0].met is False, "a wrong result fails the case"
    assert "missed" in table.plain(results_of(row)) and results_of(row).failures() == [row]


def test_a_peer_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(problem: Problem, setting: Setting) -> Callable[..., torch.Tensor]:
        raise ValueError("not today\n  at line 3")

    case = dataclasses.replace(TINY, peers=("eager", "oracle"))
    monkeypatch.setitem(PEERS, "sdpa", Peer(refuses))
    monkeypatch.setitem(PEERS, "oracle", Peer(_breaks))
    row = _session(case)
    assert row.absent == {"sdpa": "ValueError: not today", "oracle": "RuntimeError: no more"}
    assert set(row.times) == {"attncc", "eager"}, "the others are timed without it"
    text = table.plain(results_of(row))
    assert "sdpa  ValueError: not today  goal 1.1 x  not judged" in text and "oracle  RuntimeError: no more" in text


def test_a_yardstick_is_compared_with_its_own_oracle() -> None:
    case = Case(Form("sigmoid"), 1, 2, 48, 16, goals=(Goal("attncc softmax", 1.0),))
    row = _session(case)
    assert row.computes == {"attncc softmax": "softmax"} and "attncc softmax" in row.ratios


def test_some_heads_are_enough_to_find_an_error() -> None:
    case = Case(Form("softmax"), 2, 4, 32, 16, heads=2)
    reference = Reference(case, "cpu")
    assert reference.heads == [0, 7]
    out = reference.problem.call("eager")(*reference.tensors[:3])
    assert reference.verdict([out], case.form).ok
    out[1, 3, 7, 2] += 1
    assert not reference.verdict([out], case.form).ok
    out[1, 3, 7, 2] = torch.nan
    assert "NaN" in reference.verdict([out], case.form).words()


def test_a_stand_in_for_the_oracle_is_checked_against_it(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(Form("linear", Mask("causal")), 1, 2, 128, 16, what=BOTH, reference="chunked")
    reference = Reference(case, "cpu")
    found = results(reference.problem.call("eager"), reference.tensors, BOTH)
    assert reference.verdict(found, case.form).ok
    monkeypatch.setitem(PEERS, "chunked", Peer(_wrong))
    with pytest.raises(AssertionError, match="no reference"):
        Reference(case, "cpu").verdict(found, case.form)


def test_dry_runs_measure_nothing(tmp_path: Path) -> None:
    path = tmp_path / "dry.json"
    found = run.run_suite("cpu", "dry", path=path, only="neighborhood")
    assert [row.absent for row in found.rows] == [{}, {}]
    text = path.read_text()
    data = json.loads(text)
    assert data["kind"] == "dry" and not data["gemm"] and data["bandwidth"] is None
    assert all(not row["times"] and not row["ratios"] and row["floor"] is None for row in data["rows"])
    assert all(g["found"] is None and g["met"] is None for row in data["rows"] for g in row["goals"])
    assert table.title(found).startswith("DRY RUN") and "0 of 4 goals met, 4 not judged" in table.plain(found)
    with pytest.raises(AttnValueError, match="no ratios"):
        plot.png(found, tmp_path / "dry.png")
    with pytest.raises(AttnValueError, match="no results"):
        readme.block(found, "dry.json")


def test_the_gpu_suite_runs_dry() -> None:
    found = run.run_suite("gpu", "dry", only="softmax, causal, N 64, D 16, bf16, backward")
    row = found.rows[0]
    assert set(row.times) == {"attncc", "attncc joint", "sdpa flash"}, row.absent
    assert set(row.absent) == {"sdpa cudnn", "flex"}, "on the CPU neither has it, and both say so"
    assert "attncc" in row.times and "1 s" not in table.plain(found), "a stub's numbers are not shown"
    if not torch.cuda.is_available():
        with pytest.raises(AttnUnsupportedError, match="needs a CUDA GPU"):
            run.suite_of("gpu", "full")


def test_rows_over_the_limit_are_listed() -> None:
    found = run.run_suite("cpu", "dry", limit=0.0, only="neighborhood")
    assert all("the limit of 0 s is over" in row.absent["attncc"] for row in found.rows) and not found.complete
    assert not found.failures() and all(g.met is None for row in found.rows for g in row.goals)
    with pytest.raises(AttnValueError, match="no row"):
        run.run_suite("cpu", "dry", only="nonesuch")


def test_memory_of_a_process(tmp_path: Path) -> None:
    """A process finds memory that a call takes: sdpa's math form keeps n x n values, its flash form does not."""
    from attncc.bench import child

    extra = child.measure("memory", "cpu", 1, True)["extra"]
    assert abs(extra) < 2**20
