"""Measuring configurations for an op on its own tensors, and pinning what was found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import AttnUnsupportedError

if TYPE_CHECKING:
    from ..ir.nodes import Program


def wanted() -> bool:
    """Whether ATTNCC_AUTOTUNE asks for measuring at the first call of every op."""
    return os.environ.get("ATTNCC_AUTOTUNE", "").lower() not in ("", "0", "false", "no")


def tune(
    program: Program,
    outputs: Sequence[str],
    inputs: Mapping[str, torch.Tensor],
    path: str | Path | None = None,
    timer: Callable[..., float] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Measure the kernels of a program, forward and backward, pin the best configurations for this process and give them as data.

    path: a file to write them to, for `pin`. timer: milliseconds of (call, kernel, configuration), instead of Triton's. A progress
    bar is shown on a terminal unless quiet. Raises AttnUnsupportedError without a CUDA device or without a fused kernel.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from attncc.backends.triton.pins import write
    from attncc.backends.triton.tune import tune as measure

    device = next((t.device for t in inputs.values()), torch.device("cpu"))
    if timer is None and not (device.type == "cuda" and torch.cuda.is_available()):
        here = "there is none here" if not torch.cuda.is_available() else f"these tensors are on '{device.type}'"
        raise AttnUnsupportedError(
            f"autotuning measures on a CUDA device, and {here}",
            None,
            "without one, configurations come from the static search: `attncc search`, `attncc explain --target cuda:90`",
        )
    console = Console(stderr=True)
    with ExitStack() as stack:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown = console.is_terminal and not quiet
        progress = stack.enter_context(Progress(*columns, console=console, disable=not shown, transient=True))
        bars: dict[str, Any] = {}

        def heard(kernel: str, number: int, count: int, config: Any, took: float | None) -> None:
            bar = bars.setdefault(kernel, None)
            if bar is None:
                bar = bars[kernel] = progress.add_task(kernel, total=count)
            result = "does not run" if took is None else f"{took:.3f} ms"
            progress.update(bar, completed=number, description=f"{kernel}: {config}, {result}")

        found = measure(program, outputs, inputs, timer=timer, heard=heard)
    if path is not None:
        write(Path(path), found.target, found.device, found.pins)
    return {
        "target": found.target,
        "device": found.device,
        "triton": found.triton,
        "kernels": [p.to_json() for p in found.pins],
    }


def pin(path: str | Path) -> None:
    """Use the configurations of a file for the rest of this process. Raises AttnValueError for a file that is none."""
    from attncc.backends.triton.pins import REGISTRY, read

    REGISTRY.add(read(Path(path)))
