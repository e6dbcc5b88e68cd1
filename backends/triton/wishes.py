"""What a caller may ask for that no search may choose, because results change from run to run."""

from __future__ import annotations

import os

import torch


def atomic() -> bool:
    """Whether sums by key (gradients of tables, histograms) are added atomically to one array: ATTNCC_ATOMIC asks for it, and
    `torch.use_deterministic_algorithms` does not forbid it."""
    asked = os.environ.get("ATTNCC_ATOMIC", "").lower() not in ("", "0", "false", "no")
    return asked and not torch.are_deterministic_algorithms_enabled()
