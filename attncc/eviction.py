"""The bound of the disk cache: what was used least recently goes when there is too much.

The use of an entry is the time of its file, or of its folder's seal, which `touched` sets on reading. An entry goes at once: a file
is unlinked, a folder is renamed first; who reads it meanwhile keeps what is open, who comes after finds none and builds it again.
Entries that were used within a minute stay, so that no process loses what it is about to load. Several processes may sweep at once.
What does not have the name of an entry is left alone: the place may be one that somebody named.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

VARIABLE = "ATTNCC_CACHE_MB"
MEGABYTE = 1 << 20
DEFAULT = 2048
"""Megabytes."""
RECENT = 60.0
"""Seconds for which an entry that was used stays, whatever the bound."""
LEFT = 86400.0
"""Seconds after which a folder that somebody builds in is taken for left behind."""
_SHARE = 0.75
"""Of the bound: what a sweep leaves."""
_PART = 0.05
"""Of the bound: what a process writes between two sweeps."""
_PAUSE = 600.0
"""Seconds after a sweep in which a process that begins does not sweep again."""
_STAMP = ".swept"
_NAME = re.compile("[0-9a-f]{40}")
_UNFINISHED = re.compile(r"\.([0-9a-f]{8}|old)-.*")
_written = 0
_begun = False


class Entry(NamedTuple):
    """A file or a folder of the cache. used: the time of its last use; size: in bytes."""

    path: Path
    used: float
    size: int


def bound() -> int:
    """The most that is kept, in bytes: ATTNCC_CACHE_MB megabytes, 2048 where that is no number; 0 for no bound."""
    try:
        return max(0, int(float(os.environ.get(VARIABLE, "")) * MEGABYTE))
    except (ValueError, OverflowError):
        return DEFAULT * MEGABYTE


def touched(path: Path | str) -> None:
    """Note that an entry is used; path: its file, or the seal of its folder."""
    with suppress(OSError):
        if time.time() - os.stat(path).st_mtime > RECENT / 2:
            os.utime(path)


def wrote(home: Path, size: int) -> None:
    """Count what this process wrote below a folder, and sweep there with its first entry and now and then."""
    global _written, _begun
    _written += size
    most = bound()
    if most and (_written > _PART * most or (not _begun and _age(home / _STAMP) > _PAUSE)):
        _written = 0
        sweep(home, most)
    _begun = True


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def entries(home: Path) -> Iterator[Entry]:
    """Every entry below a folder, kind by kind. What is being built is none."""
    for kind in _scan(home):
        if kind.is_dir():
            for item in _scan(Path(kind.path)):
                if _NAME.fullmatch(item.name):
                    with suppress(OSError):
                        yield _entry(item)


def sweep(home: Path, most: int) -> int:
    """Remove what was used least recently until three quarters of `most` bytes are left, where there is more. Gives the bytes removed."""
    with suppress(OSError):
        (home / _STAMP).touch()
    now = time.time()
    found = sorted(entries(home), key=lambda e: e.used)
    total = sum(e.size for e in found)
    gone = 0
    if total > most:
        for entry in found:
            if total - gone <= _SHARE * most or now - entry.used < RECENT:
                break
            remove(entry.path)
            gone += entry.size
    for kind in _scan(home):
        for item in _scan(Path(kind.path)) if kind.is_dir() else ():
            with suppress(OSError):
                if _UNFINISHED.fullmatch(item.name) and now - item.stat().st_mtime > LEFT:
                    remove(Path(item.path))
    return gone


def remove(entry: Path) -> None:
    """Take an entry away at once: a folder is renamed first, so nobody finds half of it."""
    with suppress(OSError):  # another process may take it away first
        if not entry.is_dir():
            entry.unlink()
            return
        away = Path(tempfile.mkdtemp(prefix=".old-", dir=entry.parent))
        with suppress(OSError):
            os.rename(entry, away / "entry")
        shutil.rmtree(away, ignore_errors=True)


def _entry(item: os.DirEntry[str]) -> Entry:
    if not item.is_dir():
        state = item.stat()
        return Entry(Path(item.path), state.st_mtime, state.st_size)
    files = [p.stat() for p in Path(item.path).rglob("*") if p.is_file()]
    return Entry(Path(item.path), max((s.st_mtime for s in files), default=0.0), sum(s.st_size for s in files))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return list(found)
    except OSError:  # it is gone
        return []
