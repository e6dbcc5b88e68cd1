"""Shared libraries of generated C: built through the disk cache, loaded with ctypes, built again when one does not load."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from attncc import cache

from .compiler import build, features, find, header_text

_LOADED: dict[str, ctypes.CDLL] = {}
_LOCKS: dict[str, Lock] = {}
"""One for each entry: two libraries may be built at once, one is not built twice."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LOCKS.clear)


def key_of(text: str) -> str:
    """The name of the cache entry of a text: it names the compiler, its flags and the processor too."""
    compiler = find()
    about = (compiler.identity, *compiler.flags) if compiler is not None else ("no compiler",)
    return cache.key([text, header_text(), *about, features()])


def load(text: str, title: str, meanwhile: Callable[[], None] | None = None) -> ctypes.CDLL:
    """The library of a text, loaded once a process. meanwhile: called before it is compiled, where it has to be."""
    key = key_of(text)
    with _LOCKS.setdefault(key, Lock()):
        if key not in _LOADED:
            try:
                _LOADED[key] = ctypes.CDLL(str(_built(key, text, title, meanwhile)))
            except OSError:
                cache.drop("cpu", key)
                _LOADED[key] = ctypes.CDLL(str(_built(key, text, title)))
        return _LOADED[key]


def _built(key: str, text: str, title: str, meanwhile: Callable[[], None] | None = None) -> Path:
    def make(folder: Path) -> None:
        if meanwhile is not None:
            meanwhile()
        source = folder / "kernels.c"
        source.write_text(text)
        build(source, folder / "kernels.so", title)

    return cache.fetch("cpu", key, make) / "kernels.so"
