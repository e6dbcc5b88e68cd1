"""The work of a case: floating-point operations that it must do, bytes that it must move, and the time below which it cannot go.

A multiplication with its addition counts as two operations. Exponentials and other elementwise work are not counted, so that
fractions of the floor compare kernels with a bare matrix product.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .forms import Problem

FORWARD, BACKWARD, BOTH = "forward", "backward", "forward + backward"


@dataclass(frozen=True)
class Work:
    """Operations and bytes."""

    flops: int
    bytes: int

    def floor(self, rate: float, bandwidth: float) -> float:
        """The least seconds at a rate of matrix products (operations a second) and a bandwidth (bytes a second)."""
        return max(self.flops / rate, self.bytes / bandwidth)


def work(problem: Problem, what: str) -> Work:
    """The work of a problem in one direction."""
    passes = {FORWARD: (True, False), BACKWARD: (False, True), BOTH: (True, True)}[what]
    flops = sum(f for f, wanted in zip(_operations(problem), passes, strict=True) if wanted)
    return Work(flops, sum(b for b, wanted in zip(_bytes(problem), passes, strict=True) if wanted))


def _operations(problem: Problem) -> tuple[int, int]:
    """Forward and backward. d = e: one head dimension for keys and values."""
    heads, d = problem.b * problem.h, problem.d
    if problem.form.weights == "linear":
        # As a recurrence, a position does: state += k v (2 d e), o = q state (2 d e).
        forward = 4 * d * d
        # The state again (2 d e) and dq = do state (2 d e); its cotangent += q do (2 d e), dk = v . (2 d e), dv = k . (2 d e).
        backward = 10 * d * d
        return heads * problem.n * forward, heads * problem.n * backward
    pairs = problem.rows * problem.n if problem.queries else problem.form.mask.pairs(problem.n)
    # A pair does: q . k (2 d), p v (2 e).
    forward = 4 * d
    # q . k again (2 d), do . v (2 e), dv += p do (2 e), dq += ds k (2 d), dk += ds q (2 d).
    backward = 10 * d
    return heads * pairs * forward, heads * pairs * backward


def _bytes(problem: Problem) -> tuple[int, int]:
    """Each input read once, each output written once."""
    position = problem.b * problem.h * problem.d * torch.finfo(problem.dtype).bits // 8
    rows, keys = position * problem.rows, position * problem.n // problem.group
    forward = 2 * rows + 2 * keys  # q, o; k, v
    backward = 4 * rows + 4 * keys  # q, o, do, dq; k, v, dk, dv
    return forward, backward
