"""The machine: what it is, and what its matrix product and its memory reach here and now."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

GEMM = "matrix product"
"""The name under which a matrix product takes part in the rounds of a case."""


def product(n: int, dtype: torch.dtype, device: str) -> list[Callable[[], object]]:
    """Runs of an n x n x n product of random matrices."""
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(n, n, generator=generator, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return [lambda: torch.matmul(a, b, out=out)]


def rate(n: int, seconds: float) -> float:
    """Operations a second of such a product."""
    return 2 * n**3 / seconds


def bandwidth(device: str, size: int = 2**28, count: int = 7) -> float:
    """Bytes read and written a second by a copy of `size` bytes, the median of a few, read from another array each time."""
    sources = [torch.ones(size // 4, dtype=torch.float32, device=device) for _ in range(2)]
    target = torch.empty_like(sources[0])
    target.copy_(sources[0])
    found = []
    for n in range(count):
        if device == "cuda":
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            target.copy_(sources[n % 2])
            end.record()
            torch.cuda.synchronize()
            found.append(start.elapsed_time(end) / 1e3)
        else:
            begin = time.perf_counter()
            target.copy_(sources[n % 2])
            found.append(time.perf_counter() - begin)
    return 2 * size / sorted(found)[count // 2]


def device(name: str) -> dict[str, Any]:
    """What the machine is."""
    out: dict[str, Any] = {"processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    if name == "cuda":
        found = torch.cuda.get_device_properties(0)
        out |= {
            "gpu": found.name,
            "capability": f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "memory": found.total_memory,
        }
    return out


def versions() -> dict[str, str]:
    """Versions of what takes part."""
    import attncc

    out = {"attncc": attncc.__version__, "python": platform.python_version(), "torch": torch.__version__}
    try:
        import triton

        out["triton"] = triton.__version__
    except ImportError:
        pass
    if torch.version.cuda:
        out |= {"cuda": torch.version.cuda, "cudnn": str(torch.backends.cudnn.version())}
    return out


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
