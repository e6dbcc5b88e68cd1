"""FlexAttention, compiled. Weights other than softmax go through its known workaround: the score becomes the logarithm of the
weight, and the result is multiplied by the sum that the softmax divided by. Windows are block masks, made outside of the timing."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from ..forms import Attention, Problem
from .base import Absent, Peer, Setting

Score = Callable[..., torch.Tensor]


def flex(problem: Problem, setting: Setting, backend: str = "") -> Attention:
    """The compiled function, with a block mask where the form has a mask. backend: one of its own, else as it chooses."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    weights, mask = problem.form.weights, problem.form.mask
    if weights == "linear":
        raise Absent("always a softmax over pairs, never from the right")
    if problem.group > 1 or problem.queries:
        raise Absent("measured with as many queries, and heads, as keys")
    blocks = None
    if mask.kind != "none":
        blocks = create_block_mask(
            lambda b, h, i, j: mask.admits(i, j), None, None, problem.n, problem.n, device=problem.device
        )  # fmt: skip
    kernel = torch.compile(flex_attention, backend=setting.compiler, dynamic=False)
    undo = weights in ("sigmoid", "relu")

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        options: dict[str, Any] = {"block_mask": blocks} | ({"kernel_options": {"BACKEND": backend}} if backend else {})
        if weights == "gaussian":  # |q|^2 is the same for every key of a row and leaves the softmax
            squares = k.float().square().sum(-1) / (2 * problem.sigma**2)
            options |= {"score_mod": lambda s, b, h, i, j: s - squares[b, h, j], "scale": problem.sigma**-2}
        elif undo:
            options |= {"score_mod": _logarithm(weights, problem.bias), "return_lse": True}
        found = kernel(q, k, v, **options)
        if not undo:
            return found
        out, lse = found
        return (out * lse.exp().unsqueeze(-1)).to(q.dtype)

    return run


def _logarithm(weights: str, bias: float) -> Score:
    """The score whose exponential is the weight."""
    if weights == "relu":
        return lambda s, b, h, i, j: torch.log(torch.relu(s))
    return lambda s, b, h, i, j: torch.nn.functional.logsigmoid(s + bias)


def flash(problem: Problem, setting: Setting) -> Attention:
    """Its backend on FlashAttention-4."""
    if find_spec("flash_attn") is None or find_spec("flash_attn.cute") is None:
        raise Absent("FlashAttention-4 is not installed")
    return flex(problem, setting, "FLASH")


PEERS = {
    "flex": Peer(flex, about="FlexAttention, compiled"),
    "flex FLASH": Peer(flash, about="its backend on FlashAttention-4"),
}
