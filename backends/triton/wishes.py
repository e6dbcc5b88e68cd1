"""Sums by key (gradients of tables, histograms) by atomic additions, where a caller asks for them: ATTNCC_TABLES=atomic.

All programs add to one array at once: less memory than shares of it, and no tile of pairs visited twice as with bands, but sums in no
fixed order, so no rule chooses them. The wish gives way to `torch.use_deterministic_algorithms(True)`, and a warning says so.
"""

from __future__ import annotations

import os
import warnings

import torch

from attncc.errors import AttnValueError

VARIABLE = "ATTNCC_TABLES"
WHY = f"{VARIABLE}=atomic: one array, every tile of rows at once, sums in no fixed order"
FORBIDDEN = f"{VARIABLE}=atomic gives way to torch.use_deterministic_algorithms(True)"


def asked() -> bool:
    """Whether the environment asks for it. Raises AttnValueError for another word."""
    word = os.environ.get(VARIABLE, "")
    if word not in ("", "atomic"):
        help = "unset, sizes say whether rows are dealt out or tables"
        raise AttnValueError(f"{VARIABLE} must be 'atomic' or unset, found '{word}'", None, help)
    return bool(word)


def forbidden() -> bool:
    """Whether results must be the same on every run."""
    return torch.are_deterministic_algorithms_enabled()


def atomic() -> bool:
    """Whether kernels of a GPU add atomically."""
    if asked() and forbidden():
        warnings.warn(FORBIDDEN, stacklevel=2)
        return False
    return asked()
