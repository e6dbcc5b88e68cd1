"""How large the processor's caches are, as the system tells it."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Caches(NamedTuple):
    """Bytes of the caches that a core has for itself: of the first level, for data, and of the second."""

    first: int
    second: int


USUAL = Caches(32 << 10, 512 << 10)
"""Where the system does not say."""


@cache
def caches() -> Caches:
    """Those of the first core. A cache that several cores have together counts in equal shares."""
    found = _apple() if sys.platform == "darwin" else _linux(Path("/sys/devices/system/cpu/cpu0/cache"))
    return Caches(found.get(1, USUAL.first), found.get(2, USUAL.second))


def _linux(folder: Path) -> dict[int, int]:
    """Bytes by level. folder: of the kernel's description, one folder a cache."""
    found = {}
    for one in folder.glob("index*"):
        try:
            level, kind, size, cores = ((one / name).read_text().strip() for name in ("level", "type", "size", "shared_cpu_list"))
            threads = _count(cores) // _count(Path(folder, "../topology/thread_siblings_list").read_text().strip())
        except (OSError, ValueError):
            continue
        if kind != "Instruction" and (match := re.fullmatch(r"(\d+)([KM])", size)):
            found[int(level)] = int(match[1]) << {"K": 10, "M": 20}[match[2]]
            found[int(level)] //= max(1, threads)
    return found


def _count(cores: str) -> int:
    """How many a list like 0-3,8 names."""
    ends = [part.split("-") for part in cores.split(",")]
    return sum(int(one[-1]) - int(one[0]) + 1 for one in ends)


def _apple() -> dict[int, int]:
    """Bytes by level, of the faster cores."""
    names = ("hw.perflevel0.l1dcachesize", "hw.perflevel0.l2cachesize", "hw.perflevel0.cpusperl2")
    try:
        done = subprocess.run(["sysctl", "-n", *names], capture_output=True, text=True, check=True, timeout=5)
        first, second, cores = map(int, done.stdout.split())
        return {1: first, 2: second // max(1, cores)}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}
