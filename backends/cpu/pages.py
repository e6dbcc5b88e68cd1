"""New arrays on large pages, where Linux gives them to those who ask: an array of tens of megabytes is then cleared in a few dozen
steps instead of thousands of page faults, which take longer than a kernel that writes it once."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch

LARGE = 1 << 21
"""Bytes of a large page."""
LEAST = 2 * LARGE
"""Bytes from which on an array asks: it holds a whole large page wherever it starts."""
_ADVICE = 14  # MADV_HUGEPAGE


@cache
def _advise() -> Any:
    """The C library's madvise, None where there is none or large pages mean something else."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        found = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return found


def empty(shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """`torch.empty` on the CPU. That the system refuses large pages changes nothing but time."""
    made = torch.empty(shape, dtype=dtype)
    bytes_ = made.numel() * made.element_size()
    if bytes_ >= LEAST and (advise := _advise()) is not None:
        start = -(-made.data_ptr() // LARGE) * LARGE
        end = (made.data_ptr() + bytes_) // LARGE * LARGE
        advise(start, end - start, _ADVICE)
    return made
