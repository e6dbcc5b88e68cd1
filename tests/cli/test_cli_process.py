"""Commands as a user starts them: processes of their own, exit codes, where output goes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Process = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


def test_main_job(process: Process) -> None:
    """The first command of the README, without the times: every backend present against the oracle, Triton's kernel interpreted."""
    done = process("run", "patterns/neighborhood2d.attn", "--no-time", "--size", "y=9", "--size", "x=10", folder=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "all within tolerance" in done.stdout
    assert "triton (interpreted)" in done.stdout


def test_errors_go_to_stderr(process: Process, tmp_path: Path) -> None:
    (tmp_path / "bad.attn").write_text("pattern a(q[b, d]) -> o[b, d] {\n  o = dot(q, kk)\n}\n")
    done = process("run", "bad.attn", folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[:3] == [
        "bad.attn:2:14: error: unknown name 'kk'",
        "      o = dot(q, kk)",
        "                 ^^",
    ]


def test_pipe_that_closes(tmp_path: Path) -> None:
    """`attncc list | head -1` ends quietly."""
    import sys

    command = f"{sys.executable} -c 'from attncc.cli import main; main()' list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("target", ["cuda:90"])
def test_compile(process: Process, tmp_path: Path, target: str) -> None:
    """The module imports with torch and triton alone, and the manifest says what was made."""
    out = tmp_path / "made"
    done = process("compile", "neighborhood1d", "--target", target, "--dtype", "bf16", "--param", "window=5", "--out", out)
    assert done.returncode == 0, done.stderr
    names = {p.name for p in out.iterdir()}
    assert {"neighborhood1d.py", "neighborhood1d.ptx", "neighborhood1d.cubin", "manifest.json"} <= names
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["target"] == target and manifest["kernels"][0]["spills"] == 0
    text = (out / "neighborhood1d.py").read_text()
    assert "import attncc" not in text and "from attncc" not in text


@pytest.mark.parametrize(
    ("args", "part"),
    [
        (["--target", "vax:11"], "'vax:11' is no target"),
        (["--out", __file__], "is a file, not a folder"),
        (["--output", "p"], "no output 'p'"),
    ],
)
def test_compile_errors(process: Process, args: list[str], part: str) -> None:
    done = process("compile", "neighborhood1d", *args)
    assert done.returncode == 1
    assert part in done.stderr
    assert "Traceback" not in done.stderr
