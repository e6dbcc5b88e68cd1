"""Peak memory of fused operators: O(N) beside inputs, counted from PyTorch's own record of allocations.

Triton kernels run under the interpreter, whose tiles are numpy arrays of a fixed size. The tiles of a C kernel are its own, O(tile)
a thread, and are counted in tests/cpu.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import attncc


def peak(call: Callable[[], Any]) -> int:
    """The most bytes of new tensors alive at once during a call that frees none of the older ones."""
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        kept = call()
    del kept
    live = most = 0
    for event in prof.profiler.kineto_results.events():
        if event.name() == "[memory]":
            live += event.nbytes()
            most = max(most, live)
    return most


Make = Callable[[int], tuple[torch.Tensor, ...]]


def tokens(n: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(n)
    return tuple(torch.randn(1, 1, n, 16, requires_grad=True) for _ in range(3))


def kernel(n: int) -> tuple[torch.Tensor, ...]:
    return (*tokens(n), torch.tensor([1.5], requires_grad=True))


def reverse(n: int) -> tuple[torch.Tensor, ...]:
    return (*tokens(n), torch.rand(1, 1, n, requires_grad=True), torch.rand(1, n, requires_grad=True))


def grid(n: int) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(n)
    return tuple(torch.randn(1, n // 16, 16, 1, 16, requires_grad=True) for _ in range(3))


CASES: dict[str, tuple[str, dict[str, Any], str, Make]] = {
    "softmax": ("softmax", {"causal": True}, "core", tokens),
    "sigmoid": ("sigmoid_core", {}, "core", tokens),
    "gaussian": ("gaussian_kernel", {}, "core", kernel),
    "reversed": ("reversed_core", {"scale": 0.25}, "core", reverse),
    "linear": ("linear", {"causal": True}, "core", tokens),
    "window": ("softmax", {"window_left": 5, "window_right": 5}, "core", tokens),
    "neighborhood2d": ("neighborhood2d", {"window": (3, 5)}, "", grid),
}


@pytest.mark.parametrize("backend", ["triton", "cpu"])
@pytest.mark.parametrize("case", CASES)
def test_linear_in_the_length(case: str, backend: str) -> None:
    name, params, output, make = CASES[case]
    op = attncc.load(name, **params)
    asked = {"outputs": output} if output else {}
    forward, backward = [], []
    for n in (64, 128) if backend == "triton" else (128, 256):
        given = make(n)
        o = op(*given, backend=backend, **asked)
        ones = torch.ones_like(o)
        forward.append(peak(lambda given=given: op(*(t.detach() for t in given), backend=backend, **asked)))
        backward.append(peak(partial(torch.autograd.grad, o, given, ones, retain_graph=True)))
        floats = sum(t.nbytes for t in given)
        assert forward[-1] <= 2 * floats, (n, forward[-1] / floats)
        assert backward[-1] <= 6 * floats, (n, backward[-1] / floats)
    for small, large in (forward, backward):
        assert large <= 2.5 * small + 4096, (forward, backward)
