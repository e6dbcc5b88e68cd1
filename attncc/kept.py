"""What the compiler makes of a pattern, kept on disk for the next process: programs, plans, printed kernels.

An entry is named by all that determines it: what the caller names, and the content of every source file of the compiler. So an edited
compiler finds nothing that another one made. A process that runs while its files are edited may hold a mixture: it neither reads nor
writes. Entries are pickled objects, read back with classes of this package alone, from the folder that compiled libraries are
loaded from. ATTNCC_PLANS=off keeps nothing, and reads nothing.
"""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple, TypeVar

import attncc

from . import cache as disk

T = TypeVar("T")

_APART = {"__pycache__", "bench", "cli", "patterns", "testing", "tools"}
"""Folders that have no say in what is compiled; patterns are named by whoever reads them."""


def kept(kind: type[T], parts: Iterable[object], build: Callable[[], T]) -> T:
    """What `build` gives, from the disk where it was built before. What it raises is passed on, and not kept.

    kind: the class of what it gives. parts: all that determines it, beside the compiler; their texts are compared.
    """
    own = compiler() if os.environ.get("ATTNCC_PLANS", "").lower() != "off" else ""
    if not own:
        return build()
    name = disk.key([own, kind.__qualname__, *parts])
    found = unpacked(disk.read("plans", name))
    if isinstance(found, kind):
        return found
    made = build()
    if _unchanged():
        disk.write("plans", name, pickle.dumps(made, pickle.HIGHEST_PROTOCOL))
    return made


def plain(value: object) -> bool:
    """Whether the `repr` of a value says all about it: a number, a text, or a list, tuple or dict of such."""
    if isinstance(value, dict):
        return type(value) is dict and all(plain(x) for pair in value.items() for x in pair)
    if isinstance(value, list | tuple):
        return type(value) in (list, tuple) and all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str)


class _Unpickler(pickle.Unpickler):
    """Admits classes of attncc, by their own names, and methods of their objects."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("builtins", "getattr"):
            return _method
        if module.startswith("attncc.") and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__ == module:
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no class of attncc")


def _method(of: object, name: str) -> Any:
    found = getattr(of, name)
    if isinstance(found, MethodType) and type(of).__module__.startswith("attncc."):
        return found
    raise pickle.UnpicklingError(f"{name} is no method of an object of attncc")


def unpacked(data: bytes | None) -> object:
    """A pickled object of this package, None for anything else, whatever is wrong with it."""
    if data is None:
        return None
    try:
        return _Unpickler(io.BytesIO(data)).load()
    except Exception:  # whatever the reason, it can be built again
        return None


# The compiler.


class _File(NamedTuple):
    """A source file as it lies on disk. name: below its folder, the same in every installation."""

    name: str
    path: str
    size: int
    changed: int
    number: int


@cache
def compiler() -> str:
    """A word for the content of all that determines what is compiled; "" where files were changed since attncc was imported.

    Files are read once for each set of their sizes, times and places.
    """
    files = _state()
    if not files:
        return ""
    name = disk.key([sys.version_info[:2], files])
    found = disk.read("compilers", name)
    if found is None:
        found = disk.key([sys.version_info[:2], *(part for f in files for part in (f.name, Path(f.path).read_bytes()))]).encode()
        disk.write("compilers", name, found)
    return found.decode()


@cache
def _state() -> tuple[_File, ...]:
    """The files at first use."""
    return _look()


def _unchanged() -> bool:
    """Whether the files are still those that this process read."""
    return _look() == _state()


def _look() -> tuple[_File, ...]:
    """Every source file; none where one was changed since attncc was imported."""
    package = Path(attncc.__file__).parent
    beside = [package.parent / name for name in ("backends", "grammar") if not (package / name).is_dir()]
    try:
        files = tuple(sorted((*(f for folder in (package, *beside) for f in _below(str(folder), folder.name)), *_others())))
    except OSError:
        return ()
    return files if all(f.changed < attncc._imported for f in files) else ()


def _below(folder: str, name: str) -> Iterator[_File]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in _APART or entry.name.startswith(".") or entry.name.endswith("~"):
                continue
            if entry.is_dir():
                yield from _below(entry.path, f"{name}/{entry.name}")
            else:
                yield _file(f"{name}/{entry.name}", entry.path, entry.stat())


def _others() -> Iterator[_File]:
    """The files that say the versions of what plans are computed with."""
    for package, file in (("sympy", "release.py"), ("networkx", "__init__.py")):
        found = find_spec(package)
        if found is not None and found.origin:
            path = Path(found.origin).with_name(file)
            yield _file(f"{package}/{file}", str(path), path.stat())


def _file(name: str, path: str, state: os.stat_result) -> _File:
    return _File(name, path, state.st_size, max(state.st_mtime_ns, state.st_ctime_ns), state.st_ino)
