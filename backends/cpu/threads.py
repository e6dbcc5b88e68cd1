"""How many threads a kernel may use, and the OpenMP runtime that starts them: the one that PyTorch already uses.

One runtime means one pool of threads, and that a kernel inside a parallel region of PyTorch knows it. A process that was forked
computes on one thread, as its pool was not copied.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

import torch

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


GNU = ("GOMP_parallel",)
LLVM = ("__kmpc_fork_call", "__kmpc_push_num_threads", "__kmpc_global_thread_num")
"""What a runtime starts threads by. GNU's entry is in LLVM's runtime too, but not on a Mac."""


def _loaded() -> list[str]:
    """Paths of the libraries in this process."""
    if sys.platform == "darwin":
        system = ctypes.CDLL(None)
        system._dyld_get_image_name.restype = ctypes.c_char_p
        found = (system._dyld_get_image_name(n) for n in range(system._dyld_image_count()))
        return [path.decode() for path in found if path]
    try:
        lines = [line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines()]
    except OSError:
        return []
    return list(dict.fromkeys(line[5] for line in lines if len(line) == 6))


@cache
def _runtime() -> ctypes.CDLL | None:
    """The OpenMP runtime in this process."""
    for name in [*(p for p in _loaded() if Path(p).name.startswith(("libgomp", "libiomp", "libomp"))), None]:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(found, "omp_in_parallel") and any(all(hasattr(found, n) for n in way) for way in (GNU, LLVM)):
            return found
    return None


class Entries(ctypes.Structure):
    """`struct runtime` of call.h: addresses, 0 for what is not there."""

    _fields_ = [(name, ctypes.c_void_p) for name in (*GNU, *LLVM)]


@cache
def _entries() -> Entries | None:
    runtime = _runtime()
    if runtime is None:
        return None
    names = GNU if hasattr(runtime, GNU[0]) else LLVM
    return Entries(**{name: ctypes.cast(getattr(runtime, name), ctypes.c_void_p).value for name in names})


def entries() -> int:
    """The address of what starts threads, for a kernel's call; 0 without an OpenMP runtime."""
    found = _entries()
    return ctypes.addressof(found) if found is not None else 0


def allowed() -> int:
    """Threads for the next kernel."""
    runtime = _runtime()
    if _forked or runtime is None or runtime.omp_in_parallel():
        return 1
    return torch.get_num_threads()
