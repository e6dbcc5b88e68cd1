"""Forward and backward on a GPU against the oracle: forms, head dimensions, dtypes, sizes, strides, empty rows, streams, graphs."""

from __future__ import annotations

import functools

import pytest
import torch
from gpu_cases import CUDA, DEVICE, FORMS, ODD, agree

import attncc
from attncc.bench.forms import Form, Mask, Problem
from attncc.testing import assert_matches_oracle

FULL = (torch.float32, torch.bfloat16, torch.float16)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_forms(form: Form) -> None:
    agree(form, 64 if CUDA else 16, "bfloat16" if CUDA else "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("d", [16, 32, 48, 64, 80, 96, 128, 256] if CUDA else [16, 48])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_head_dimensions(weights: str, d: int, dtype: str) -> None:
    agree(Form(weights, Mask("causal")), d, dtype)


@pytest.mark.parametrize("n", [1, 2, 17, 64, 127, 128, 129, 1000] if CUDA else [1, 33])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_sizes(weights: str, n: int) -> None:
    agree(Form(weights, Mask("causal")), 64 if CUDA else 16, "bfloat16" if CUDA else "float32", n=n)


@functools.cache
def _attend(clauses: str) -> attncc.Op:
    return attncc.compile(
        "pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {\n"
        f"  attend o over j {{\n    score dot(q, k) / sqrt(d)\n    {clauses}\n    mix v\n  }}\n}}\n"
    )


def _qkv(i: int, j: int, d: int, e: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(i + 1000 * j)
    shapes = {"q": (2, 2, i, d), "k": (2, 2, j, d), "v": (2, 2, j, e)}
    return {n: torch.randn(s, generator=generator).to(DEVICE, dtype) for n, s in shapes.items()}


@pytest.mark.parametrize("dtype", FULL if CUDA else FULL[:1], ids=str)
@pytest.mark.parametrize("weights", ["softmax", "sigmoid", "relu(s) ^ 2", "exp(s / 4)"])
@pytest.mark.parametrize("mask", ["j < i - 5", "j >= 10 and j < 30", "j < 0", "abs(i - j) <= 6 and (i - j) mod 3 == 0"])
def test_masks_with_empty_rows(mask: str, weights: str, dtype: torch.dtype) -> None:
    sizes = (301, 263, 64, 64) if CUDA else (37, 29, 16, 16)
    assert_matches_oracle(_attend(f"mask {mask}\n    normalize {weights}"), _qkv(*sizes, dtype), backends=("triton",))


@pytest.mark.parametrize("sizes", [(300, 77, 64, 32), (64, 500, 32, 128), (1, 333, 64, 64), (333, 1, 64, 64)] if CUDA else [(20, 33, 16, 32)])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_cross_attention(weights: str, sizes: tuple[int, int, int, int]) -> None:
    dtype = torch.bfloat16 if CUDA else torch.float32
    assert_matches_oracle(_attend(f"normalize {weights}"), _qkv(*sizes, dtype), backends=("triton",))


LAYOUTS = {
    "tokens first": lambda t: t.transpose(1, 2).contiguous().transpose(1, 2),
    "dims reversed": lambda t: t.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    "every second element": lambda t: torch.stack([t, -t], -1).flatten(-2)[..., ::2],
    "offset by one element": lambda t: torch.cat([t.new_zeros(1), t.flatten()])[1:].view(t.shape),
    "one part of three": lambda t: torch.cat([t, t + 1, t + 2], -1)[..., : t.shape[-1]],
    "expanded heads": lambda t: t[:, :1].expand_as(t),
    "flipped": lambda t: t.flip(2),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_strides(weights: str, layout: object) -> None:
    inputs = _qkv(ODD, ODD, 64 if CUDA else 16, 64 if CUDA else 16, torch.bfloat16 if CUDA else torch.float32)
    strided = {n: layout(t) for n, t in inputs.items()}
    assert_matches_oracle(_attend(f"mask j <= i\n    normalize {weights}"), strided, backends=("triton",))


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_a_cotangent_with_other_strides(weights: str) -> None:
    problem = Problem(Form(weights), 1, 2, ODD, 64 if CUDA else 16, torch.float32, DEVICE)
    q, k, v, up = problem.tensors()
    leaves = [t.requires_grad_() for t in (q, k, v)]
    out = problem.call("triton")(*leaves)
    plain = torch.autograd.grad(out, leaves, up, retain_graph=True)
    other = torch.autograd.grad(out, leaves, up.transpose(1, 2).contiguous().transpose(1, 2))
    for a, b in zip(plain, other, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_equal_calls_give_equal_bits(weights: str) -> None:
    problem = Problem(Form(weights, Mask("causal")), 2, 2, ODD, 64 if CUDA else 16, torch.float32, DEVICE)
    q, k, v, up = problem.tensors()
    leaves = [t.requires_grad_() for t in (q, k, v)]
    run = problem.call("triton")
    first, second = ([out, *torch.autograd.grad(out, leaves, up)] for out in (run(*leaves), run(*leaves)))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_torch_compile_without_graph_breaks(weights: str) -> None:
    backend = "inductor" if CUDA else "aot_eager"
    problem = Problem(Form(weights, Mask("causal")), 2, 2, ODD, 64 if CUDA else 16, torch.float32, DEVICE)
    op = problem.form.op()
    options = {"outputs": "core"} if weights == "softmax" else {}

    def block(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return op(q * 2, k, v, backend="triton", **options).relu() + v

    torch._dynamo.reset()
    compiled = torch.compile(block, fullgraph=True, backend=backend)
    q, k, v, up = problem.tensors()
    for n in (ODD, ODD - 8):  # the second length makes sizes symbolic
        leaves = [t[:, :, :n].detach().requires_grad_() for t in (q, k, v)]
        results = []
        for run in (block, compiled):
            out = run(*leaves)
            results.append([out, *torch.autograd.grad(out, leaves, up[:, :, :n])])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_autocast() -> None:
    problem = Problem(Form("softmax"), 1, 2, ODD, 64 if CUDA else 16, torch.float32, DEVICE)
    q, k, v, _ = problem.tensors()
    with torch.autocast(DEVICE, torch.bfloat16):
        out = problem.call("triton")(q, k, v)
    assert out.dtype == torch.bfloat16
    want = problem.call("eager")(*(t.bfloat16() for t in (q, k, v)))
    torch.testing.assert_close(out, want, rtol=2e-2, atol=2e-2)


@pytest.mark.cuda
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_another_stream(weights: str) -> None:
    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            out = Problem(Form(weights), 2, 3, ODD, 64, torch.bfloat16, DEVICE).call("triton")(q, k, v)
        torch.cuda.current_stream().wait_stream(stream)
        return out

    agree(Form(weights), 64, "bfloat16", run=run)


@pytest.mark.cuda
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_cuda_graph(weights: str) -> None:
    problem = Problem(Form(weights), 2, 3, ODD, 64, torch.bfloat16, DEVICE)
    run = problem.call("triton")
    q, k, v, _ = problem.tensors()
    with torch.no_grad():
        run(q, k, v)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run(q, k, v)
        fresh = problem.tensors(1)
        for old, new in zip((q, k, v), fresh, strict=False):
            old.copy_(new)
        graph.replay()
        torch.cuda.synchronize()
        torch.testing.assert_close(out, run(*fresh[:3]), rtol=0, atol=0)
