"""Patterns that do not ship compile and match a plain PyTorch transcription, on every backend here, forward and backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import attncc
from attncc.runtime.backends import installed
from attncc.testing.tolerances import reduction_length, tolerance

Fn = Callable[..., tuple[torch.Tensor, ...]]

COSINE = """
# A cosine score with a learned temperature, relu^2 weights.
pattern cosine(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], tau[h]) -> o[b, h, i, e] {
  attend o over j { score dot(unit[d](q), unit[d](k)) * exp(tau)   normalize relu(s) ^ 2   mix v }
}
"""

DECAYED = """
# Sigmoid weights that decay with the distance, a learned decay for each head, in a 2-D halo window.
pattern decayed(q[b, h, y, x, d], k[b, h, y, x, d], v[b, h, y, x, e], decay[h]; block: int = 3, halo: int = 1) -> o[b, h, y, x, e] {
  attend o over (y', x') {
    score      dot(q, k') / sqrt(d) - decay * (abs(y' - y) + abs(x' - x))
    mask       halo[y, y'](; block, halo) and halo[x, x'](; block, halo)
    normalize  sigmoid
    mix        v'
  }
}
"""

REWEIGHTED = """
# Softmax, then chosen keys re-weighted, with the entropy of each row.
pattern reweighted(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], gain[b, j]) -> o[b, h, i, e], entropy[b, h, i] {
  attend o over j { score dot(q, k) / sqrt(d)   normalize a = softmax   post a * gain   mix v   emit entropy = -sum[j](a * log(a)) }
}
"""

SINK_CAP = """
# Soft-capped scores, one learned sink for each head, keys of a prefix always visible, grouped heads.
pattern capped(q[b, (g r), i, d], k[b, g, j, d], v[b, g, j, e], sink[(g r)], prefix[b]: int; cap: float = 5.0) -> o[b, (g r), i, e] {
  attend o over j {
    score      cap * tanh(dot(q, k) / sqrt(d) / cap)
    mask       j <= i or j < prefix
    normalize  softmax(s; sink = sink)
    mix        v
  }
}
"""

PAST = """
# Laplace kernel over an L2-normalized map, strictly past positions only: the first row sees nothing.
pattern past(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] {
  attend o over j { score exp(-dist2(q, k) / d.size)   mask j < i   normalize l2(eps = 1e-3)   mix v }
}
"""


def cosine(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tau: torch.Tensor) -> tuple[torch.Tensor, ...]:
    s = torch.nn.functional.normalize(q, dim=-1) @ torch.nn.functional.normalize(k, dim=-1).mT * tau.exp()[:, None, None]
    return (s.relu() ** 2 @ v,)


def decayed(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, decay: torch.Tensor) -> tuple[torch.Tensor, ...]:
    h, w = q.shape[2:4]
    y, x = (t.reshape(-1) for t in torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"))
    far = (y[:, None] - y).abs() + (x[:, None] - x).abs()

    def near(a: torch.Tensor) -> torch.Tensor:
        start = a[:, None] // 3 * 3
        return (a >= start - 1) & (a < start + 4)

    flat = [t.flatten(2, 3) for t in (q, k, v)]
    s = flat[0] @ flat[1].mT / q.shape[-1] ** 0.5 - decay[:, None, None] * far
    p = torch.where(near(y) & near(x), s.sigmoid(), 0)
    return ((p @ flat[2]).unflatten(2, (h, w)),)


def reweighted(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, ...]:
    s = q @ k.mT / q.shape[-1] ** 0.5
    a = s.softmax(-1)
    return (a * gain[:, None, None]) @ v, -(a * s.log_softmax(-1)).sum(-1)


def capped(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, sink: torch.Tensor, prefix: torch.Tensor) -> tuple[torch.Tensor, ...]:
    r = q.shape[1] // k.shape[1]
    keys, values = k.repeat_interleave(r, 1), v.repeat_interleave(r, 1)
    s = 5 * torch.tanh(q @ keys.mT / q.shape[-1] ** 0.5 / 5)
    i, j = torch.arange(q.shape[2])[:, None], torch.arange(keys.shape[2])
    s = torch.where((j <= i) | (j < prefix[:, None, None, None]), s, -torch.inf)
    s = torch.cat([s, sink[:, None, None].expand(*s.shape[:3], 1)], -1)
    return (s.softmax(-1)[..., :-1] @ values,)


def past(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    s = torch.exp(-((q[:, :, None] - k[:, None]) ** 2).sum(-1) / q.shape[-1])
    s = torch.where(torch.arange(k.shape[1]) < torch.arange(q.shape[1])[:, None], s, 0)
    return (s / (torch.linalg.vector_norm(s, dim=-1, keepdim=True) + 1e-3) @ v,)


def normal(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.randn(s, dtype=torch.float64) for s in shapes]


CASES: dict[str, tuple[str, Fn, Callable[[], list[torch.Tensor]]]] = {
    "cosine": (COSINE, cosine, lambda: normal((2, 3, 19, 16), (2, 3, 33, 16), (2, 3, 33, 24), (3,))),
    "decayed": (DECAYED, decayed, lambda: normal((1, 2, 7, 8, 16), (1, 2, 7, 8, 16), (1, 2, 7, 8, 16), (2,))),
    "reweighted": (REWEIGHTED, reweighted, lambda: normal((2, 2, 17, 16), (2, 2, 35, 16), (2, 2, 35, 16), (2, 35))),
    "capped": (
        SINK_CAP, capped,
        lambda: [*normal((2, 4, 21, 16), (2, 2, 21, 16), (2, 2, 21, 16), (4,)), torch.tensor([0, 9])],
    ),
    "past": (PAST, past, lambda: normal((2, 20, 16), (2, 20, 16), (2, 20, 16))),
}  # fmt: skip

BACKENDS = [b for b in ("eager", "cpu", "triton") if b in installed()]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_matches_a_transcription(name: str, backend: str) -> None:
    torch.manual_seed(0)
    text, want, draw = CASES[name]
    op = attncc.compile(text)
    tensors = draw()
    exact = [t.requires_grad_() if t.is_floating_point() else t for t in tensors]
    truth = want(*exact)
    heads = [torch.randn_like(t) for t in truth]
    wanted = [t for t in exact if t.requires_grad]
    grads = torch.autograd.grad(truth, wanted, heads)
    dtype = torch.float64 if backend == "eager" else torch.float32
    given = [t.detach().to(dtype).requires_grad_() if t.is_floating_point() else t for t in tensors]
    found = op(*given, backend=backend)
    found = found if isinstance(found, tuple) else (found,)
    got = torch.autograd.grad(found, [t for t in given if t.requires_grad], [h.to(dtype) for h in heads])
    n = reduction_length([tuple(t.shape) for t in tensors])
    for a, b in zip((*found, *got), (*truth, *grads), strict=True):
        a, b = a.detach(), b.detach()
        error, allowed = float((a.double() - b).abs().max()), tolerance(dtype, n, float(b.abs().max()))
        assert error <= allowed, f"{name}: error {error:.1e}, allowed {allowed:.1e}"
