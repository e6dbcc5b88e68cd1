"""Tests that need a CUDA GPU. Without one they are deselected, and the summary says so; ATTNCC_GPU_DRY=1 runs those that can under
Triton's interpreter, at tiny sizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
CUDA = torch.cuda.is_available()
DRY = bool(os.environ.get("ATTNCC_GPU_DRY")) and not CUDA
_left: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark everything here; take out what cannot run."""
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.gpu)
    out = [] if CUDA else [item for item in own if not DRY or item.get_closest_marker("cuda") is not None]
    if out:
        chosen = {id(item) for item in out}
        items[:] = [item for item in items if id(item) not in chosen]
        _left.extend(item.nodeid for item in out)
        config.hook.pytest_deselected(items=out)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Why tests are missing."""
    if _left:
        why = "need a real GPU, this is a dry run" if DRY else "need a CUDA GPU, and there is none"
        terminalreporter.write_line(f"tests/gpu: {len(_left)} tests deselected: they {why}")
