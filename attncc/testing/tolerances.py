"""How far a result may lie from the float64 oracle: one rule, used by every test, the command line and the golden runner.

    allowed = FACTOR * (eps(dtype) + eps(accumulation) * sqrt(n)) * scale

- `eps(dtype)`: inputs, stored intermediates and outputs are rounded once to `dtype`, a relative error of eps / 2 each.
- `eps(accumulation) * sqrt(n)`: a sum of n terms. Its rounding errors have no preferred sign, so they add up like a random walk
  (Higham and Mary 2019): sqrt(n) instead of the worst case n. Sums run in float32, in float64 for float64 inputs.
- `n`: the reduction length, see `reduction_length`.
- `scale`: the largest magnitude of the expected array. Errors of a sum follow its largest terms, so small entries beside large
  ones get no tolerance of their own. A gradient through a normalizer is a difference of two sums, p dp and p delta, which are rounded
  before they are subtracted: its scale is that of the sums where that is larger (`terms.py`).
- `FACTOR = 4`: an operator is a short chain (projection, score, normalizer, mixing, projection; as many steps backward), each
  with the error above. Four equal independent errors add up to twice one of them; the other factor of two is for an elementwise
  function whose relative condition number is above one.

The rule fails where terms cancel: the gradient of a key bias under softmax is exactly 0, while its terms are not, and a score of
300 turns a rounding of the score into 300 times that in its exponential. There the yardstick is the plain evaluation: a backend
may be `YARDSTICK` times as far off as the eager backend in the same dtype, as long as that stays inside the rule with the scale
of the whole group (all outputs, or all gradients, of one call); see `allowed_error`. No other tolerance is ever given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch

FACTOR = 4.0
YARDSTICK = 4.0


def accumulation(dtype: torch.dtype) -> torch.dtype:
    """The dtype of scores, statistics and sums: float64 for float64 inputs, float32 for all others."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def reduction_length(shapes: Iterable[Sequence[int]]) -> int:
    """An estimate of how many terms a result of tensors of these shapes sums: the product of the two largest extents of one.

    A result is at most a contraction of two long axes, one after the other: features in the score, then keys in the mix; for the
    gradient of a shared weight, tokens and batch.
    """
    return max((math.prod(sorted(shape)[-2:]) for shape in shapes), default=1) or 1


def tolerance(dtype: torch.dtype, n: int, scale: float) -> float:
    """The allowed absolute error of an array computed in `dtype` whose entries are up to `scale` and sum `n` terms."""
    return FACTOR * (torch.finfo(dtype).eps + torch.finfo(accumulation(dtype)).eps * math.sqrt(n)) * scale


def allowed_error(dtype: torch.dtype, n: int, scale: float, group_scale: float, eager_error: float) -> float:
    """`tolerance`, or where terms cancel the yardstick.

    `eager_error` is the error of the eager backend in `dtype` on the same array, `group_scale` the largest magnitude among all
    outputs, or all gradients, of the call.
    """
    return max(tolerance(dtype, n, scale), min(YARDSTICK * eager_error, tolerance(dtype, n, group_scale)))
