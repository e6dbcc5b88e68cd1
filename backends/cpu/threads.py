"""How many threads a kernel may use, and the OpenMP runtime that starts them: the one that PyTorch already uses.

One runtime means one pool of threads, and that a kernel inside a parallel region of PyTorch knows it. A process that was forked
computes on one thread, as its pool was not copied.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

import torch

_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@cache
def _runtime() -> ctypes.CDLL | None:
    """The OpenMP runtime in this process that has GNU's entry points."""
    names: list[str | None] = []
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        paths = dict.fromkeys(line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6)
        names += [p for p in paths if Path(p).name.startswith(("libgomp", "libiomp", "libomp"))]
    except OSError:
        pass
    for name in [*names, None]:
        try:
            found = ctypes.CDLL(name)
        except OSError:
            continue
        if hasattr(found, "GOMP_parallel") and hasattr(found, "omp_in_parallel"):
            return found
    return None


@cache
def start() -> int:
    """The address of the function that starts threads; 0 without an OpenMP runtime."""
    runtime = _runtime()
    return ctypes.cast(runtime.GOMP_parallel, ctypes.c_void_p).value or 0 if runtime is not None else 0


def allowed() -> int:
    """Threads for the next kernel."""
    runtime = _runtime()
    if _forked or runtime is None or runtime.omp_in_parallel():
        return 1
    return torch.get_num_threads()
