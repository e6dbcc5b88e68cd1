"""`attncc cache` shows what is kept and removes it, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from attncc import cache


def test_cache(attncc: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("ATTNCC_CACHE_MB", "64")
    cache.write("plans", cache.key(["a"]), b"x" * (1 << 20))
    cache.write("plans", cache.key(["b"]), b"x")
    cache.fetch("cpu", cache.key(["c"]), lambda folder: (folder / "kernels.so").write_bytes(b"x" * (1 << 19)) and None)
    mine = tmp_path / "plans" / "mine"
    mine.write_text("x")
    result = attncc("cache")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.output.splitlines()]
    assert ["plans", "2", "1.0"] in rows and ["cpu", "1", "0.5"] in rows and ["all", "3", "1.5"] in rows
    assert f"{tmp_path}, at most 64 MB" in result.output
    cleared = attncc("cache", "--clear")
    assert "removed" in cleared.output and cache.read("plans", cache.key(["a"])) is None
    assert [p.name for p in tmp_path.rglob("*") if p.is_file() and p.name != ".swept"] == ["mine"]
    assert ["all", "0", "0.0"] in [line.split() for line in attncc("cache").output.splitlines()]
