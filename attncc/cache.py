"""The disk cache: folders named by a hash of everything that determines their content.

An entry is built in a private folder and renamed into place, so several processes may build it at once and none sees half of
it. A seal file inside lists the size and hash of every file; an entry that does not match its seal is removed and built again.
A small entry is one file that begins with the hash of the rest, replaced as a whole.
What was used least recently goes where there is more than ATTNCC_CACHE_MB megabytes (eviction.py).
The place is ATTNCC_CACHE_DIR, else XDG_CACHE_HOME/attncc, else ~/.cache/attncc; a folder for this process alone where that
cannot be written.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

from .eviction import remove, touched, wrote

SEAL = "seal.json"
_DIGEST = 32
"""Bytes of the hash in front of a small entry."""


def key(parts: Iterable[object]) -> str:
    """The name of an entry: a hash of the text of every part, each kept apart from the next."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()[:40]


def root() -> Path:
    """The folder that holds all entries, made when missing."""
    named = os.environ.get("ATTNCC_CACHE_DIR")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "attncc"
    try:
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    return _private(base)


@cache
def _private(base: Path) -> Path:
    """A folder of this process in place of one that cannot be written, with one warning."""
    text = f"attncc cannot write to {base}: every process compiles its kernels anew; ATTNCC_CACHE_DIR names another folder"
    warnings.warn(text, stacklevel=2)
    return Path(tempfile.mkdtemp(prefix="attncc-"))


def fetch(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """The folder of an entry, built by `build(folder)` when it is missing or damaged.

    kind: a short word that groups entries ("cpu", "triton"). name: from `key`. What `build` raises is passed on.
    """
    home = root() / kind
    entry = home / name
    if _whole(entry):
        touched(entry / SEAL)
        return entry
    home.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{name[:8]}-", dir=home))
    try:
        build(work)
        _seal(work)
        size = sum(p.stat().st_size for p in _files(work))  # once it is published, another process may sweep it away
        made = _publish(work, entry)
        wrote(home.parent, size)
        return made
    finally:
        shutil.rmtree(work, ignore_errors=True)


def read(kind: str, name: str) -> bytes | None:
    """The content of a small entry, None where there is none or it is damaged."""
    path = root() / kind / name
    try:
        data = path.read_bytes()
    except OSError:
        return None
    touched(path)
    return data[_DIGEST:] if hashlib.sha256(data[_DIGEST:]).digest() == data[:_DIGEST] else None


def write(kind: str, name: str, data: bytes) -> None:
    """Make or replace a small entry. Where the disk takes none, there is none."""
    home = root() / kind
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        number, fresh = tempfile.mkstemp(prefix=f".{name[:8]}-", dir=home)
        try:
            with open(number, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(fresh, home / name)
        except OSError:
            os.unlink(fresh)
            return
        wrote(home.parent, len(data))


def drop(kind: str, name: str) -> None:
    """Remove an entry that turned out to be useless, e.g. a library that does not load."""
    remove(root() / kind / name)


def _publish(work: Path, entry: Path) -> Path:
    for _ in range(3):
        try:
            os.rename(work, entry)
            return entry
        except OSError:
            if _whole(entry):  # another process was first
                return entry
            remove(entry)
    os.rename(work, entry)
    return entry


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SEAL)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _seal(folder: Path) -> None:
    listing = {str(p.relative_to(folder)): [p.stat().st_size, _hash(p)] for p in _files(folder)}
    (folder / SEAL).write_text(json.dumps(listing))


def _whole(entry: Path) -> bool:
    try:
        listing = json.loads((entry / SEAL).read_text())
        return all((entry / f).stat().st_size == size and _hash(entry / f) == digest for f, (size, digest) in listing.items())
    except (OSError, ValueError, TypeError, AttributeError):
        return False
