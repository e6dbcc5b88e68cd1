"""The disk cache: whole entries only, whoever builds them and whatever happens to them."""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from attncc import cache


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def writes(text: str, calls: list[str]) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        calls.append(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "a.txt").write_text(text)

    return build


def test_keys_keep_parts_apart() -> None:
    assert cache.key(["ab", "c"]) != cache.key(["a", "bc"])
    assert cache.key(["a", 1, b"x"]) == cache.key(["a", "1", "x"])


def test_built_once_and_found_again() -> None:
    calls: list[str] = []
    first = cache.fetch("t", "k", writes("one", calls))
    second = cache.fetch("t", "k", writes("two", calls))
    assert first == second and (second / "sub" / "a.txt").read_text() == "one" and calls == ["one"]


@pytest.mark.parametrize("damage", ["content", "missing", "seal", "seal-json"])
def test_damaged_entries_are_rebuilt(damage: str) -> None:
    calls: list[str] = []
    entry = cache.fetch("t", "k", writes("one", calls))
    if damage == "content":
        (entry / "sub" / "a.txt").write_text("xyz")
    elif damage == "missing":
        (entry / "sub" / "a.txt").unlink()
    elif damage == "seal":
        (entry / cache.SEAL).unlink()
    else:
        (entry / cache.SEAL).write_text("{[")
    again = cache.fetch("t", "k", writes("two", calls))
    assert (again / "sub" / "a.txt").read_text() == "two" and calls == ["one", "two"]


def test_a_failed_build_leaves_nothing(place: Path) -> None:
    def fails(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("no compiler")

    with pytest.raises(RuntimeError, match="no compiler"):
        cache.fetch("t", "k", fails)
    assert list((place / "t").iterdir()) == []


def test_drop(place: Path) -> None:
    calls: list[str] = []
    cache.fetch("t", "k", writes("one", calls))
    cache.drop("t", "k")
    cache.drop("t", "k")
    assert list((place / "t").iterdir()) == []
    cache.fetch("t", "k", writes("two", calls))
    assert calls == ["one", "two"]


def _race(n: int) -> str:
    def build(folder: Path) -> None:
        for i in range(50):
            (folder / f"{i}.txt").write_text(f"{i}" * 1000)

    entry = cache.fetch("t", "race", build)
    return "".join((entry / f"{i}.txt").read_text()[:2] for i in range(50))


def test_several_processes_at_once() -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(_race, range(8)))) == 1


def test_an_unwritable_place_falls_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(file / "below"))
    calls: list[str] = []
    with pytest.warns(UserWarning, match="cannot write to .*file/below.*ATTNCC_CACHE_DIR"):
        made = cache.fetch("t", "k", writes("one", calls))
    assert (made / "sub" / "a.txt").read_text() == "one"
    with warnings.catch_warnings(action="error"):
        assert cache.fetch("t", "k", writes("two", calls)) == made and calls == ["one"], "one folder, one warning"
