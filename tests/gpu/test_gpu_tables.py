"""Gradients of tables on a GPU, in each way that sums by key are dealt out, against the oracle; the same bits on every run."""

from __future__ import annotations

import pytest
import torch
from gpu_cases import CUDA, DEVICE, GRID, ODD
from keyed_cases import cut

import attncc
from attncc.testing import assert_matches_oracle

DTYPE = torch.bfloat16 if CUDA else torch.float32
FEATURES = 64 if CUDA else 16
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

LINE = """pattern t(q[b, h, i, d], k[b, h, i, d], v[b, h, i, d], r[h, c]) -> o[b, h, i, d] where c = 2 * i - 1 {
  attend o over i' { score dot(q, k') / sqrt(d) + r[c = i - i' + i.size - 1]   normalize softmax   mix v' }
}
"""
PLANE = """pattern t(q[b, y, x, d], k[b, y, x, d], v[b, y, x, d], r[f, g]) -> o[b, y, x, d] where f = 2 * y - 1, g = 2 * x - 1 {
  attend o over (y', x') {
    score dot(q, k') / sqrt(d) + r[f = y - y' + y.size - 1, g = x - x' + x.size - 1]   normalize softmax   mix v'
  }
}
"""
BUCKETS = """pattern t(q[b, h, i, d], k[b, h, i, d], v[b, h, i, d], r[h, c: 9], z[y]: int) -> o[b, h, i, d] where y = 2 * i - 1 {
  attend o over i' { score dot(q, k') / sqrt(d) + r[c = z[y = i - i' + i.size - 1]]   mask i' <= i   normalize softmax   mix v' }
}
"""
B, H = (2, 3) if CUDA else (1, 2)
SHAPES = {
    LINE: {**dict.fromkeys("qkv", (B, H, ODD, FEATURES)), "r": (H, 2 * ODD - 1)},
    PLANE: {**dict.fromkeys("qkv", (B, *GRID, FEATURES)), "r": (2 * GRID[0] - 1, 2 * GRID[1] - 1)},
    BUCKETS: {**dict.fromkeys("qkv", (B, H, ODD, FEATURES)), "r": (H, 9)},
}


def tensors(text: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(text))
    out = {n: torch.randn(s, generator=generator).to(DEVICE, DTYPE) for n, s in SHAPES[text].items()}
    if text == BUCKETS:
        out["z"] = torch.randint(0, 9, (2 * ODD - 1,), generator=generator).to(DEVICE)
    return out


@pytest.mark.parametrize("way", ["parts", "owner-band", "atomic"])
@pytest.mark.parametrize("text", SHAPES, ids=["line", "plane", "buckets"])
def test_ways(text: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "owner-band":
        cut(monkeypatch, 7)
    if way == "atomic":
        monkeypatch.setenv("ATTNCC_TABLES", "atomic")
    named = text.replace(
        "pattern t(", f"pattern {way.replace('-', '_')}("
    )  # kernels of another way are kept ready under their names
    assert_matches_oracle(attncc.compile(named), tensors(text), backends=("triton",))


@pytest.mark.parametrize("way", ["parts", "owner-band"])
def test_the_same_bits_on_every_run(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if way == "owner-band":
        cut(monkeypatch, 7)
    op = attncc.compile(LINE.replace("pattern t(", f"pattern again_{way.replace('-', '_')}("))
    given = {n: t.requires_grad_() for n, t in tensors(LINE).items()}
    found = [torch.autograd.grad(op(**given, backend="triton").sum(), given["r"])[0] for _ in range(4 if CUDA else 2)]
    assert all(torch.equal(found[0], other) for other in found[1:])
