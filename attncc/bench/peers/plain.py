"""The equation in PyTorch operators, n x n values and all: eager, and through torch.compile."""

from __future__ import annotations

import torch

from ..forms import Attention, Problem
from .base import Absent, Peer, Setting

LARGEST = 2**33
"""Bytes of one array of pair values above which the form is not run."""


def eager(problem: Problem, setting: Setting) -> Attention:
    """Scores, weights, a dense mask, the product with the values."""
    weights = problem.form.weights
    if weights == "linear":
        raise Absent("its quadratic form is no peer of a linear one; see chunked")
    size = problem.b * problem.h * problem.rows * problem.n * torch.finfo(problem.dtype).bits // 8
    if size > LARGEST:
        raise Absent(f"one array of pair values has {size / 2**30:.0f} GiB")
    group = problem.group
    if problem.form.mask.kind != "none" and (group > 1 or problem.queries):
        raise Absent("a dense mask of as many queries as keys")
    mask = problem.form.mask.dense(problem.n, problem.device)
    hidden = None if mask is None else ~mask

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        shape = q.shape
        if group > 1:  # query heads of a key head one below the other
            q = q.reshape(shape[0], -1, group * shape[2], shape[3])
        s = torch.matmul(q, k.transpose(-1, -2))
        if weights == "gaussian":  # -|q - k|^2 / (2 sigma^2), by dot products
            s = s / problem.sigma**2 - (q.square().sum(-1)[..., :, None] + k.square().sum(-1)[..., None, :]) / (2 * problem.sigma**2)
        else:
            s = s * problem.scale
        if weights in ("softmax", "gaussian"):
            p = torch.softmax(s if hidden is None else s.masked_fill(hidden, float("-inf")), -1)
        else:
            p = torch.sigmoid(s + problem.bias) if weights == "sigmoid" else torch.relu(s)
            p = p if hidden is None else p.masked_fill(hidden, 0.0)
        return torch.matmul(p, v).reshape(shape)

    return run


def compiled(problem: Problem, setting: Setting) -> Attention:
    """The same through torch.compile."""
    made: Attention = torch.compile(eager(problem, setting), backend=setting.compiler, dynamic=False)
    return made


PEERS = {
    "eager": Peer(eager, about="the equation in PyTorch operators, with a dense mask"),
    "torch.compile": Peer(compiled, about="the same through torch.compile"),
}
