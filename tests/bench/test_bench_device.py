"""The command for a bare machine: nothing but a checkout and wheels, in a dry run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from attncc.bench import device

ROOT = Path(__file__).resolve().parents[2]


def test_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "notthere-1.0-py3-none-any.whl", "w") as file:
        file.writestr("notthere/__init__.py", "")
    monkeypatch.setattr(device, "NEEDED", ("torch", "notthere", "norhere"))
    assert device.site(wheels, tmp_path / "site") == ["norhere"]
    assert (tmp_path / "site" / "notthere" / "__init__.py").exists()
    (about,) = (tmp_path / "site").glob("attncc-*.dist-info")
    from importlib.metadata import Distribution

    points = Distribution.at(about).entry_points
    assert {(p.group, p.name) for p in points} >= {("attncc.backends", name) for name in ("cpu", "eager", "triton")}


def test_missing_wheels_are_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device, "NEEDED", ("norhere",))
    assert device.main(["--out", str(tmp_path), "--wheels", str(tmp_path), "--dry"]) == 2
    assert "missing packages: norhere" in capsys.readouterr().err


def test_dry_run(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("Triton runs on Linux")
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"OUT": str(tmp_path)}
    only = "softmax, causal, N 64, D 16, bf16, forward"
    command = [sys.executable, "-m", "attncc.bench.device", "--dry", "--only-tests", "test_sizes and 33 or autocast", "--only", only]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout and "DRY RUN of the gpu suite" in done.stdout
    assert done.stdout.rindex("goals met") > done.stdout.index("4 passed"), "the table comes last"
    assert json.loads((tmp_path / "gpu.json").read_text())["kind"] == "dry"
    assert "passed" in (tmp_path / "tests.txt").read_text()
