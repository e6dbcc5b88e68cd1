"""Running commands: in this process through typer's runner, and as processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

MINE = """# Attention with weights relu(s) ^ 2.
pattern mine(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], gain[h]?; causal: bool = false, power: int = 2) -> o[b, h, i, e] {
  require power >= 1
  attend o over j {
    score      dot(q, k) / sqrt(d) * (gain ?? 1)
    mask       not causal or j <= i
    normalize  relu(s) ^ power
    mix        v
  }
}
"""


@pytest.fixture
def attncc(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command in this process; the output is wide and plain, as in a pipe."""
    from attncc.cli import app

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*args: str, **options: object) -> Result:
        return CliRunner().invoke(app, [str(a) for a in args], **options)

    return run


@pytest.fixture
def process() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as a process of its own, without a GPU."""

    def run(*args: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", "CUDA_VISIBLE_DEVICES": ""}
        command = [sys.executable, "-c", "from attncc.cli import main; main()", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, timeout=300, check=False)

    return run


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A pattern of one's own."""
    path = tmp_path / "mine.attn"
    path.write_text(MINE, encoding="utf-8")
    return path
