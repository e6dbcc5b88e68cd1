"""What needs a process of its own: memory at the peak and first calls. `python -m attncc.bench.child memory|first SUITE NUMBER SIZES`
prints one JSON object; `measure` starts such processes."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from attncc.errors import AttnUnsupportedError

if TYPE_CHECKING:
    from .cases import Suite
    from .peers import Setting

PATIENCE = 300
"""Seconds after which a process is given up."""

CACHES = ("ATTNCC_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def memory(suite: str, number: int, tiny: bool) -> dict[str, float]:
    """Bytes at the peak of one call beyond its inputs and outputs; the high-water mark of the process, so the kernels' own
    scratch counts. Libraries, pools of threads and kernels are there before: a small call is made first."""
    import torch

    from .check import results
    from .peers import PEERS

    chosen, setting = _suite(suite, tiny)
    case = chosen.memory[number]
    build = PEERS[case.peer].build
    problem = case.case.problem(chosen.device)
    small = replace(problem, n=min(problem.n, 256))
    for _ in range(2):
        results(build(small, setting), small.tensors(), case.case.what)
    run, tensors = build(problem, setting), problem.tensors()
    if chosen.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        found = results(run, tensors, case.case.what)
        torch.cuda.synchronize()
        peak = torch.cuda.max_memory_allocated()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts from here
        before = _status("VmRSS")
        found = results(run, tensors, case.case.what)
        peak = _status("VmHWM")
    return {"extra": peak - before - sum(t.numel() * t.element_size() for t in found)}


def _status(name: str) -> int:
    """Bytes, as Linux counts them."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AttnUnsupportedError(f"no {name} in /proc/self/status")


def first(suite: str, number: int, tiny: bool) -> dict[str, float]:
    """Seconds from the op by name to its results, with every module imported and PyTorch warm."""
    import torch

    from .check import results
    from .peers import PEERS

    chosen, setting = _suite(suite, tiny)
    start = time.perf_counter()
    _import_everything(chosen.backend)
    imports = time.perf_counter() - start
    case = chosen.first[number]
    problem = case.case.problem(chosen.device)
    tensors = problem.tensors()
    leaf = tensors[0].detach().requires_grad_()
    torch.autograd.grad(torch.matmul(leaf, leaf.transpose(-1, -2)).softmax(-1).sum(), leaf)
    _wait(chosen.device)
    start = time.perf_counter()
    results(PEERS[case.peer].build(problem, setting), tensors, case.case.what)
    _wait(chosen.device)
    return {"seconds": time.perf_counter() - start, "imports": imports}


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _import_everything(backend: str) -> None:
    """Modules that a call of a backend loads at first use, so that a first call does not count their imports."""
    from attncc.runtime.backends import installed

    others = tuple(f"attncc.backends.{name}" for name in installed() if name not in (backend, "eager"))
    for part in ("language", "ir", "passes", "schedules", "tile", "runtime", "grammar", "backends", "patterns"):
        package = importlib.import_module(f"attncc.{part}")
        for module in pkgutil.walk_packages(package.__path__, f"attncc.{part}."):
            if not module.name.startswith(others):
                importlib.import_module(module.name)
    for name in ("sympy", "networkx", "lark", "torch._dynamo", "torch._inductor.compile_fx", "torch.nn.attention.flex_attention"):
        importlib.import_module(name)


def _suite(name: str, tiny: bool) -> tuple[Suite, Setting]:
    from .run import setting_of, suite_of

    kind = ("dry" if name == "gpu" else "quick") if tiny else "full"
    chosen = suite_of(name, kind)
    return chosen, setting_of(chosen, kind)


def measure(what: str, suite: str, number: int, tiny: bool, caches: Path | None = None) -> dict[str, float]:
    """Run `memory` or `first` in a new process, with the caches in a folder. Raises AttnUnsupportedError when it fails."""
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    if caches is not None:
        env |= {name: str(caches / name.lower()) for name in CACHES}
    command = [sys.executable, "-m", "attncc.bench.child", what, suite, str(number), "tiny" if tiny else "full"]
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise AttnUnsupportedError(f"no result after {PATIENCE} s") from None
    if done.returncode != 0:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise AttnUnsupportedError(said[-1][:200] if said else f"exit code {done.returncode}")
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def first_calls(suite: str, number: int, tiny: bool, count: int) -> dict[str, float]:
    """Medians of the first call with nothing cached and in the next process, over `count` pairs of processes."""
    cold, cached = [], []
    for _ in range(count):
        with tempfile.TemporaryDirectory(prefix="attncc-bench-") as folder:
            cold.append(measure("first", suite, number, tiny, Path(folder))["seconds"])
            cached.append(measure("first", suite, number, tiny, Path(folder))["seconds"])
    return {"cold": sorted(cold)[count // 2], "cached": sorted(cached)[count // 2]}


if __name__ == "__main__":
    call = {"memory": memory, "first": first}[sys.argv[1]]
    print(json.dumps(call(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "tiny")))
