"""attncc itself: the backend under test, its softmax as a yardstick for other weights, and the eager backend, which is the oracle."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..forms import Attention, Form, Problem
from .base import Absent, Peer, Setting


def own(problem: Problem, setting: Setting) -> Attention:
    """The backend of the suite."""
    return problem.call(setting.backend)


def softmax(form: Form) -> Form:
    """The same mask under softmax."""
    return form.with_weights("softmax")


def yardstick(problem: Problem, setting: Setting) -> Attention:
    """The backend of the suite on softmax."""
    return problem.with_form(softmax(problem.form)).call(setting.backend)


def joint(problem: Problem, setting: Setting) -> Attention:
    """The Triton backend with the joint form of the backward pass."""
    if setting.backend != "triton":
        raise Absent("forms of the backward pass are the Triton backend's")
    run = problem.call(setting.backend)
    return lambda q, k, v: _Joint.apply(run, q, k, v)


class _Joint(torch.autograd.Function):
    """A call whose own backward pass is asked for in the joint form, whenever that is."""

    @staticmethod
    def forward(ctx: Any, run: Attention, *tensors: torch.Tensor) -> torch.Tensor:
        ctx.leaves = [t.detach().requires_grad_(t.requires_grad) for t in tensors]
        with torch.enable_grad():
            ctx.out = run(*ctx.leaves)
        return ctx.out.detach()

    @staticmethod
    def backward(ctx: Any, *ups: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        leaves = [t for t in ctx.leaves if t.requires_grad]
        with _asked():
            got = iter(torch.autograd.grad(ctx.out, leaves, ups, retain_graph=True))
        return None, *(next(got) if t.requires_grad else None for t in ctx.leaves)


@contextmanager
def _asked() -> Iterator[None]:
    before = os.environ.get("ATTNCC_BACKWARD")
    os.environ["ATTNCC_BACKWARD"] = "joint"
    try:
        yield
    finally:
        if before is None:
            del os.environ["ATTNCC_BACKWARD"]
        else:
            os.environ["ATTNCC_BACKWARD"] = before


def oracle(problem: Problem, setting: Setting) -> Attention:
    """The eager backend."""
    return problem.call("eager")


PEERS = {
    "attncc": Peer(own, about="the backend of the suite"),
    "attncc softmax": Peer(yardstick, softmax, "the same backend on softmax"),
    "attncc joint": Peer(joint, about="the same backend, its backward pass joint: atomic additions, not deterministic"),
    "oracle": Peer(oracle, about="attncc's eager backend, which interprets the pattern with PyTorch"),
}
