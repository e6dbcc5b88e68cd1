"""Causal linear attention in chunks, as one writes it in PyTorch: pairs inside a chunk, a state of d x e values between chunks."""

from __future__ import annotations

import time

import torch

from ..forms import Attention, Problem
from .base import Absent, Peer, Setting

CHUNKS = (64, 128, 256)
EPS = 1e-6


def of_chunk(problem: Problem, size: int) -> Attention:
    """The function for one chunk size, which divides n."""

    def run(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        fq, fk, x = (t.unflatten(2, (-1, size)) for t in (torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1, v))
        product = torch.matmul(fk.transpose(-1, -2), x)
        wide = torch.promote_types(torch.float32, q.dtype)
        state = product.to(wide).cumsum(2)
        keys = fk.sum(-2, dtype=wide).cumsum(2)
        state, keys = (torch.cat([torch.zeros_like(t[:, :, :1]), t[:, :, :-1]], 2).to(q.dtype) for t in (state, keys))
        inside = torch.matmul(fq, fk.transpose(-1, -2)).tril()
        top = torch.matmul(inside, x) + torch.matmul(fq, state)
        total = inside.sum(-1, keepdim=True) + torch.matmul(fq, keys.unsqueeze(-1))
        return (top / (total + EPS)).flatten(2, 3)

    return run


def chunked(problem: Problem, setting: Setting) -> Attention:
    """With the fastest of a few chunk sizes, forward."""
    if problem.form.weights != "linear" or problem.form.mask.kind != "causal":
        raise Absent("causal linear attention only")
    sizes = [c for c in CHUNKS if problem.n % c == 0]
    if not sizes:
        raise Absent(f"{problem.n} positions are no multiple of {CHUNKS[0]}")
    q, k, v, _ = problem.tensors()
    times = {}
    with torch.no_grad():
        for size in sizes if len(sizes) > 1 else ():
            run = of_chunk(problem, size)
            for _ in range(2):
                start = time.perf_counter()
                run(q, k, v)
                if problem.device == "cuda":
                    torch.cuda.synchronize()
                times[size] = time.perf_counter() - start
    return of_chunk(problem, min(times, key=lambda s: times[s]) if times else sizes[0])


def compiled(problem: Problem, setting: Setting) -> Attention:
    """The same through torch.compile."""
    made: Attention = torch.compile(chunked(problem, setting), backend=setting.compiler, dynamic=False)
    return made


PEERS = {
    "chunked": Peer(chunked, about=f"eager PyTorch in chunks, the fastest of {', '.join(map(str, CHUNKS))}"),
    "chunked, torch.compile": Peer(compiled, about="the same through torch.compile"),
}
