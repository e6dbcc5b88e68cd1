"""Shared libraries of generated C: built through the disk cache, loaded with ctypes, built again when one does not load."""

from __future__ import annotations

import ctypes
from pathlib import Path
from threading import Lock

from attncc import cache

from .compiler import build, features, find, header_text

_LOADED: dict[str, ctypes.CDLL] = {}
_LOCK = Lock()


def key_of(text: str) -> str:
    """The name of the cache entry of a text: it names the compiler, its flags and the processor too."""
    compiler = find()
    about = (compiler.identity, *compiler.flags) if compiler is not None else ("no compiler",)
    return cache.key([text, header_text(), *about, features()])


def load(text: str, title: str) -> ctypes.CDLL:
    """The library of a text, loaded once a process."""
    key = key_of(text)
    with _LOCK:
        if key not in _LOADED:
            try:
                _LOADED[key] = ctypes.CDLL(str(_built(key, text, title)))
            except OSError:
                cache.drop("cpu", key)
                _LOADED[key] = ctypes.CDLL(str(_built(key, text, title)))
        return _LOADED[key]


def _built(key: str, text: str, title: str) -> Path:
    def make(folder: Path) -> None:
        source = folder / "kernels.c"
        source.write_text(text)
        build(source, folder / "kernels.so", title)

    return cache.fetch("cpu", key, make) / "kernels.so"
