"""Nothing of n x n is stored, large tensors are addressed right."""

from __future__ import annotations

import pytest
import torch

from attncc.bench.check import results
from attncc.bench.forms import Form, Mask, Problem
from attncc.bench.work import BOTH, FORWARD

pytestmark = pytest.mark.cuda
MIB = 2**20


def _extra(problem: Problem, what: str) -> int:
    """Bytes at the peak beyond inputs and results."""
    run, tensors = problem.call("triton"), problem.tensors()
    del_me = results(run, tensors, what)  # kernels are built and loaded
    del del_me
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    found = results(run, tensors, what)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before - sum(t.numel() * t.element_size() for t in found)


@pytest.mark.parametrize("what", [FORWARD, BOTH])
@pytest.mark.parametrize(
    "form", [Form("softmax"), Form("softmax", Mask("causal")), Form("sigmoid"), Form("softmax", Mask("neighborhood", 13, (128, 128)))], ids=str
)
def test_memory_is_linear(form: Form, what: str) -> None:
    """At most 8 bytes a head-row are kept, and 2 MiB of anything else."""
    n = 128 * 128
    assert _extra(Problem(form, 1, 4, n, 64, torch.bfloat16, "cuda"), what) <= 8 * 4 * n + 2 * MIB


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_offsets_beyond_31_bits(weights: str) -> None:
    """More than 2^31 elements in each tensor: the last head is right."""
    problem = Problem(Form(weights, Mask("window", 64)) if weights == "softmax" else Form(weights), 1, 260, 65536, 128, torch.bfloat16, "cuda")
    shape = (problem.b, problem.h, problem.n, problem.d)
    if weights == "sigmoid":
        shape = (1, 16640, 1024, 128)
    if torch.cuda.mem_get_info()[0] < 5 * 2 * torch.Size(shape).numel():
        pytest.skip("not enough memory")
    q = torch.randn(shape, device="cuda", dtype=torch.bfloat16)
    chosen = Problem(problem.form, 1, shape[1], shape[2], 128, torch.bfloat16, "cuda")
    with torch.no_grad():
        out = chosen.call("triton")(q, q, q)
        last = Problem(problem.form, 1, 1, shape[2], 128, torch.bfloat16, "cuda").call("triton")(*3 * (q[:, -1:].clone(),))
    assert torch.equal(out[:, -1:], last)
    assert torch.isfinite(out).all()
