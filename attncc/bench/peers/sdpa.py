"""torch.nn.functional.scaled_dot_product_attention: as PyTorch chooses, and with one of its backends forced."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from ..forms import Attention, Problem
from .base import Absent, Peer, Setting


def sdpa(problem: Problem, setting: Setting, forced: SDPBackend | None = None) -> Attention:
    """Softmax alone; windows as a dense mask, except plain causal."""
    if problem.form.weights != "softmax":
        raise Absent(f"softmax only, no {problem.form.weights}")
    causal = problem.form.mask.kind == "causal"
    mask = None if causal else problem.form.mask.dense(problem.n, problem.device)
    gqa = problem.group > 1

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if forced is None:
            return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=gqa)
        with sdpa_kernel(forced):
            return scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=gqa)

    return run


def yardstick(problem: Problem, setting: Setting, forced: SDPBackend | None = None) -> Attention:
    """Softmax under the mask of the problem, whatever its weights."""
    return sdpa(problem.with_form(problem.form.with_weights("softmax")), setting, forced)


_FORCED = {
    "sdpa flash": SDPBackend.FLASH_ATTENTION,
    "sdpa cudnn": SDPBackend.CUDNN_ATTENTION,
    "sdpa efficient": SDPBackend.EFFICIENT_ATTENTION,
    "sdpa math": SDPBackend.MATH,
}

PEERS = {
    "sdpa": Peer(yardstick, lambda form: form.with_weights("softmax"), "scaled_dot_product_attention"),
    **{
        name: Peer(partial(yardstick, forced=one), lambda form: form.with_weights("softmax"), f"its backend {one.name} forced")
        for name, one in _FORCED.items()
    },
}
