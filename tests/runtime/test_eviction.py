"""The bound of the disk cache: the least recently used goes first, nothing that is in use or that is no entry goes at all."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

from attncc import cache, eviction

KB = 1024


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(eviction, "_begun", False)
    monkeypatch.setattr(eviction, "_written", 0)
    return tmp_path


def aged(path: Path, seconds: float) -> Path:
    """As if it was last used some seconds ago."""
    then = time.time() - seconds
    for file in [path, *path.rglob("*")] if path.is_dir() else [path]:
        os.utime(file, (then, then))
    return path


def small(place: Path, name: str, seconds: float) -> Path:
    key = cache.key([name])
    cache.write("plans", key, b"x" * 10 * KB)
    return aged(place / "plans" / key, seconds)


def folder(place: Path, name: str, seconds: float) -> Path:
    def build(work: Path) -> None:
        (work / "library").write_bytes(b"x" * 10 * KB)

    return aged(cache.fetch("cpu", cache.key([name]), build), seconds)


def test_the_least_recently_used_goes_first(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [small(place, "a", 900), folder(place, "b", 800), small(place, "c", 700), folder(place, "d", 600), small(place, "e", 500)]
    cache.read("plans", made[0].name)  # used again
    cache.fetch("cpu", made[1].name, lambda work: pytest.fail("it is there"))
    assert eviction.sweep(place, 100 * KB) == 0
    eviction.sweep(place, 45 * KB)
    assert [p.exists() for p in made] == [True, True, False, False, True]
    monkeypatch.setattr(eviction, "RECENT", 0)
    eviction.sweep(place, 1)
    assert not any(p.exists() for p in made)


def test_what_was_used_within_a_minute_stays(place: Path) -> None:
    now, before = small(place, "a", 0), small(place, "b", 100)
    eviction.sweep(place, 1)
    assert now.exists() and not before.exists()


def test_writing_sweeps(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_MB", "0")
    old = [small(place, str(n), 1000 - n) for n in range(8)]
    assert all(p.exists() for p in old), "0 is no bound"
    monkeypatch.setenv("ATTNCC_CACHE_MB", str(42 / 1024))
    small(place, "new", 0)
    assert [p.exists() for p in old] == [False] * 6 + [True] * 2, "three quarters of the bound are left"
    again = small(place, "old again", 2000)
    monkeypatch.setattr(eviction, "_written", 0)
    cache.write("plans", cache.key(["tiny"]), b"x")
    assert again.exists(), "one sweep in ten minutes, or for what one process writes"


@pytest.mark.parametrize(
    ("text", "bytes"), [("", 2048 << 20), ("many", 2048 << 20), ("1.5", 3 << 19), ("0", 0), ("-3", 0), ("inf", 2048 << 20)]
)
def test_the_variable(text: str, bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_MB", text)
    assert eviction.bound() == bytes


def test_what_is_no_entry_stays(place: Path) -> None:
    mine = place / "thesis" / "chapter1.tex"
    mine.parent.mkdir()
    mine.write_bytes(b"x" * 100 * KB)
    aged(mine, 1e6)
    small(place, "a", 0)
    beside = place / "plans" / "notes"
    beside.write_text("x")
    aged(beside, 1e6)
    building = place / "plans" / ".0123abcd-xyz"
    building.mkdir()
    eviction.sweep(place, 1)
    assert mine.exists() and beside.exists() and building.exists()
    aged(building, 1e6)
    eviction.sweep(place, 1)
    assert mine.exists() and beside.exists() and not building.exists(), "a build that nobody finished"


def test_an_open_file_is_read_to_its_end(place: Path) -> None:
    entry = small(place, "a", 900)
    with entry.open("rb") as file:
        eviction.sweep(place, 1)
        assert not entry.exists() and len(file.read()) > 10 * KB
    assert cache.read("plans", entry.name) is None


def test_a_library_that_went_is_built_again(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its look-up and its loading: the one moment that the minute is for."""
    from attncc.backends.cpu import compiler, library

    if compiler.missing():
        pytest.skip(compiler.missing())
    text = f"int answer(void) {{ return 42; }} /* {place} */"
    key = library.key_of(text)
    real, calls = cache._whole, []

    def whole(entry: Path) -> bool:
        found = real(entry)
        if found and not calls:
            calls.append(entry)
            eviction.remove(entry)
        return found

    library.load(text, "t")
    library._LOADED.clear()
    monkeypatch.setattr(cache, "_whole", whole)
    loaded = library.load(text, "t")
    assert calls == [place / "cpu" / key] and isinstance(loaded, ctypes.CDLL)


def test_an_entry_that_goes_as_it_is_published(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may sweep it away before its size is counted."""
    real, name = cache._files, cache.key(["a"])

    def files(folder: Path) -> list[Path]:
        found = real(folder)
        if folder.name == name:
            eviction.remove(folder)
        return found

    monkeypatch.setattr(cache, "_files", files)
    assert cache.fetch("cpu", name, lambda work: (work / "library").write_bytes(b"x") and None) == place / "cpu" / name


def _work(number: int) -> int:
    """Entries written, found and swept away by several processes: each read gives the whole entry or none."""
    found = 0
    for turn in range(60):
        name = cache.key([turn % 7])
        data = cache.read("plans", name)
        assert data is None or data == b"x" * KB * (turn % 7)
        found += data is not None
        cache.write("plans", name, b"x" * KB * (turn % 7))
        path = cache.fetch("cpu", name, lambda work: (work / "library").write_bytes(b"y" * KB) and None) / "library"
        with suppress(FileNotFoundError):
            assert path.read_bytes() == b"y" * KB
        eviction.sweep(cache.root(), 4 * KB)
    return found


def test_several_processes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eviction, "RECENT", -1.0)
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert sum(pool.map(_work, range(3))) > 0
    eviction.sweep(place, 1)
    assert not list(eviction.entries(place))
    assert not [p for p in place.rglob(".*") if p.name != ".swept"], "nothing half removed is left"
