"""Each command, on shipped patterns and on one's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import attncc as package

Run = Callable[..., Result]


def test_list(attncc: Run) -> None:
    result = attncc("list")
    assert result.exit_code == 0
    names = {line.split()[0] for line in result.output.splitlines() if line.strip()}
    assert names == {p.name for p in package.patterns()}
    only = attncc("list", "neighborhood")
    assert {"neighborhood1d", "neighborhood2d", "neighborhood3d"} <= {line.split()[0] for line in only.output.splitlines()}
    assert len(only.output) < len(result.output)


# ------------------------------------------------------------------------------------------------------------ check


def test_check_good(attncc: Run, mine: Path) -> None:
    result = attncc("check", mine, "neighborhood2d")
    assert result.exit_code == 0, result.output
    assert "2 files checked" in result.output


def test_check_shows_every_error(attncc: Run, tmp_path: Path) -> None:
    one, two = tmp_path / "one.attn", tmp_path / "two.attn"
    one.write_text(
        "pattern a(q[b, d]) -> o[b, d] { o = q + kk }\n"
        "pattern c(q[b, d]; flag: bool = false) -> o[b, d] {\n  o = q\n  if flag { z = nothing }\n}\n"
    )
    two.write_text("pattern b(q[b, d]) -> o[b, d] { o = q + }\n")
    result = attncc("check", one, two)
    assert result.exit_code == 1
    assert "one.attn:1:41: error: unknown name 'kk'" in result.output
    assert "one.attn:4:17: error: unknown name 'nothing'" in result.output, "a branch that the defaults do not take is checked too"
    assert "two.attn:1:41" in result.output
    assert result.output.count("^") >= 3
    assert "3 errors in 2 of 2 files" in result.output


def test_check_missing_file(attncc: Run, tmp_path: Path) -> None:
    result = attncc("check", tmp_path / "sigmiod.attn")
    assert result.exit_code == 1
    assert "no file" in result.output and "sigmoid" in result.output
    assert "Traceback" not in result.output


def test_check_folder_and_binary(attncc: Run, tmp_path: Path) -> None:
    binary = tmp_path / "x.attn"
    binary.write_bytes(b"\xff\xfe\x00")
    result = attncc("check", tmp_path, binary)
    assert result.exit_code == 1
    assert "is a folder" in result.output and "not UTF-8" in result.output


def test_shipped_patterns_check(attncc: Run) -> None:
    result = attncc("check", *(p.name for p in package.patterns()))
    assert result.exit_code == 0, result.output


# ------------------------------------------------------------------------------------------------------------ show


def test_show(attncc: Run, mine: Path, tmp_path: Path) -> None:
    picture = tmp_path / "mask.png"
    result = attncc("show", mine, "--size", "i=6", "--size", "j=6", "--param", "causal=true", "--png", picture)
    assert result.exit_code == 0, result.output
    assert "program mine" in result.output and "mask j <= i" in result.output
    assert [line for line in result.output.splitlines() if line.startswith("│")] == ["│█▄    │", "│███▄  │", "│█████▄│"]
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_show_prints_ir_that_parses(attncc: Run, mine: Path) -> None:
    from attncc.ir.parser import parse
    from attncc.ir.printer import show

    result = attncc("show", mine, "--no-mask")
    assert show(parse(result.output)) == result.output


def test_show_optional_input(attncc: Run, mine: Path) -> None:
    assert "input gain[h]" in attncc("show", mine, "--with", "gain", "--no-mask").output
    assert "gain" not in attncc("show", mine, "--no-mask").output
    wrong = attncc("show", mine, "--with", "gian", "--no-mask")
    assert wrong.exit_code == 1 and "no input 'gian'" in wrong.output


def test_show_everything_admitted(attncc: Run, mine: Path) -> None:
    assert "every pair" in attncc("show", mine).output


# ------------------------------------------------------------------------------------------------------------ run


def test_run(attncc: Run, mine: Path) -> None:
    result = attncc("run", mine, "--no-time", "--size", "i=5", "--size", "j=7")
    assert result.exit_code == 0, result.output
    for part in ("eager", "oracle in blocks", "grad q", "within tolerance", "q[2, 2, 5, 32]"):
        assert part in result.output


def test_run_times(attncc: Run, mine: Path) -> None:
    result = attncc("run", mine, "--backend", "eager", "--size", "i=8", "--size", "j=8")
    assert result.exit_code == 0, result.output
    assert "forward and backward" in result.output and "±" in result.output


def test_run_fills_in_and_says_so(attncc: Run) -> None:
    result = attncc("run", "sigmoid", "--no-time", "--backend", "eager")
    assert result.exit_code == 0, result.output
    assert "chosen here: --param heads=" in result.output


def test_run_wrong_parameter(attncc: Run, mine: Path) -> None:
    result = attncc("run", mine, "--param", "powr=3")
    assert result.exit_code == 1
    assert "no parameter 'powr'" in result.output and "did you mean 'power'?" in result.output
    refused = attncc("run", mine, "--param", "power=0")
    assert refused.exit_code == 1 and "mine.attn:3:11" in refused.output
    assert "Traceback" not in result.output + refused.output


def test_run_impossible_size(attncc: Run) -> None:
    result = attncc("run", "neighborhood", "--param", "window=9,9", "--size", "g0=4")
    assert result.exit_code == 1
    assert "no sizes were found" in result.output and "g0 = 4" in result.output


def test_run_unknown_axis_and_backend(attncc: Run, mine: Path) -> None:
    axis = attncc("run", mine, "--size", "zz=4")
    assert axis.exit_code == 1 and "no axis 'zz'" in axis.output
    backend = attncc("run", mine, "--backend", "abacus")
    assert backend.exit_code == 1 and "no backend 'abacus'" in backend.output


def test_run_fails_when_a_backend_is_wrong(attncc: Run, mine: Path, wrong_backend: str) -> None:
    result = attncc("run", mine, "--no-time", "--backend", "eager", "--backend", wrong_backend, "--size", "i=5", "--size", "j=7")
    assert result.exit_code == 1
    assert "outside" in result.output


# ------------------------------------------------------------------------------------------------------------ the others


def test_explain(attncc: Run, mine: Path) -> None:
    result = attncc("explain", mine, "--param", "causal=true")
    assert result.exit_code == 0, result.output
    for part in ("nodes", "masks", "holds where j <= i", "mixing order", "backends", "the oracle and the fallback"):
        assert part in result.output
    linear = attncc("explain", "linear", "--size", "i=4096", "--size", "j=4096", "--size", "d=8", "--size", "e=8")
    assert "the right is cheaper" in linear.output


def test_explain_says_which_form_the_backward_pass_takes(attncc: Run, mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("triton")
    assert "backward: split" in attncc("explain", mine).output
    monkeypatch.setenv("ATTNCC_BACKWARD", "joint")
    assert "backward: joint" in attncc("explain", mine).output
    result = attncc("explain", mine, "--target", "cuda:90", "--backward", "dual")
    assert result.exit_code == 2 and "none of split, joint, both" in result.output


def test_explain_wrong_target(attncc: Run, mine: Path) -> None:
    result = attncc("explain", mine, "--target", "tpu:5")
    assert result.exit_code == 1
    assert "'tpu:5' is no target" in result.output and "cuda:90" in result.output


def test_test_passes(attncc: Run, mine: Path) -> None:
    result = attncc("test", mine, "--examples", "5", "--backend", "eager")
    assert result.exit_code == 0, result.output
    assert "5 calls agree with the float64 oracle" in result.output


def test_test_finds_and_shrinks(attncc: Run, mine: Path, wrong_backend: str) -> None:
    result = attncc("test", mine, "--examples", "30", "--backend", wrong_backend)
    assert result.exit_code == 1
    assert "differs from the float64 oracle" in result.output
    assert "attncc.compile(" in result.output and "sample_inputs(op" in result.output
    assert "'b': 1" in result.output and "'d': 1" in result.output


def test_bench(attncc: Run, tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    result = attncc("bench", "neighborhood1d", "--tokens", "16", "--features", "8", "--budget", "0.05", "--json", path)
    assert result.exit_code == 0, result.output
    assert "eager" in result.output and "sdpa" in result.output
    rows = json.loads(path.read_text())["rows"]
    assert {row["what"] for row in rows} == {"forward", "forward + backward"}
    assert all(row["times"]["eager"]["median"] > 0 for row in rows)


def test_fmt(attncc: Run, tmp_path: Path) -> None:
    path = tmp_path / "a.attn"
    ugly = "pattern a( q[ b,d ] )->o[b,d]{ o=q   # the same\n}\n"
    path.write_text(ugly)
    assert attncc("fmt", "--check", path).exit_code == 1
    assert path.read_text() == ugly
    assert "+" in attncc("fmt", "--diff", path).output
    assert attncc("fmt", path).exit_code == 0
    neat = path.read_text()
    assert neat != ugly and "# the same" in neat
    assert attncc("fmt", "--check", path).exit_code == 0
    assert attncc("fmt", "-", input=ugly).output == neat
    path.write_text("pattern")
    broken = attncc("fmt", path)
    assert broken.exit_code == 1 and "a.attn:1:" in broken.output
    assert path.read_text() == "pattern", "a file that does not parse is left alone"


@pytest.mark.parametrize("command", ["run", "show", "explain", "test", "compile", "bench"])
def test_syntax_errors_have_no_traceback(attncc: Run, tmp_path: Path, command: str) -> None:
    path = tmp_path / "bad.attn"
    path.write_text("pattern a(q[b, d]) -> o[b, d] {\n  o = (q\n}\n")
    result = attncc(command, path)
    assert result.exit_code == 1
    assert "bad.attn:" in result.output and "^" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["run", "show", "explain", "test", "compile", "bench"])
def test_several_patterns_need_a_name(attncc: Run, tmp_path: Path, command: str) -> None:
    path = tmp_path / "two.attn"
    path.write_text("pattern a(q[b, d]) -> o[b, d] { o = q }\npattern c(q[b, d]) -> o[b, d] { o = q }\n")
    result = attncc(command, path)
    assert result.exit_code == 1
    assert "several patterns" in result.output and "a, c" in result.output
    wrong = attncc(command, path, "--pattern", "d")
    assert wrong.exit_code == 1 and "no pattern 'd'" in wrong.output
