"""The shipped definitions against PyTorch functions or a literal reading of their source."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import attncc


def run(text: str, *tensors: torch.Tensor, **params: object) -> torch.Tensor:
    """A pattern of one output on the eager backend."""
    out: torch.Tensor = attncc.compile(text, **params)(*tensors, backend="eager")
    return out


def near(got: torch.Tensor, want: torch.Tensor) -> None:
    torch.testing.assert_close(got, want, rtol=1e-12, atol=1e-12)


def x(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def test_norms() -> None:
    t, w, b = x(3, 7), x(7), x(7)
    near(run("pattern f(x[n, d], w[d], b[d]) -> y[n, d] { y = layernorm[d](x, w, b) }", t, w, b), F.layer_norm(t, (7,), w, b))
    near(run("pattern f(x[n, d]) -> y[n, d] { y = layernorm[d](x; eps = 1e-2) }", t), F.layer_norm(t, (7,), eps=1e-2))
    near(run("pattern f(x[n, d], w[d]) -> y[n, d] { y = rmsnorm[d](x, w) }", t, w), F.rms_norm(t, (7,), w, 1e-6))
    t[1] = 0
    near(run("pattern f(x[n, d]) -> y[n, d] { y = unit[d](x) }", t), F.normalize(t, dim=-1))


def test_square_matrices() -> None:
    a, b = x(2, 4, 4), x(2, 4, 4) + 1
    text = "pattern f(a[n, m, m'], b[n, m, m']) -> y[n, m, m'] { y = matmul[m](a, transposed[m](b)) }"
    near(run(text, a, b), a @ b.mT)


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("width", [2, 6])
def test_rope_turns_pairs_of_channels(size: int, width: int) -> None:
    t = x(2, size, width)
    angle = torch.arange(size)[:, None] * 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    turned = torch.view_as_complex(t.reshape(2, size, -1, 2)) * torch.polar(torch.ones_like(angle), angle)
    near(run("pattern f(x[b, t, d]) -> y[b, t, d] { y = rope[t, d](x) }", t), torch.view_as_real(turned).flatten(-2))


def test_turn_halves() -> None:
    t = x(3, 6)
    near(run("pattern f(x[n, d]) -> y[n, d] { y = turn_halves[d](x) }", t), torch.cat([-t[:, 3:], t[:, :3]], 1))


@pytest.mark.parametrize("heads", [1, 2, 3, 8, 12])
def test_alibi_slopes(heads: int) -> None:
    def powers(n: int) -> list[float]:
        return [2.0 ** (-8 * (t + 1) / n) for t in range(n)]

    m = 2 ** int(math.log2(heads))
    want = powers(m) + powers(2 * m)[::2][: heads - m]
    near(run("pattern f(x[h]) -> y[h] { y = alibi[h]() + 0 * x }", x(heads)), torch.tensor(want, dtype=torch.float64))


@pytest.mark.parametrize("stored", [1, 4])
def test_broadcast(stored: int) -> None:
    t = x(stored, 3)
    text = "pattern f(x[s, n], y[t]) -> z[t, n] { z = broadcast[s -> t](x) + y }"
    near(run(text, t, x(4)), t + x(4)[:, None])
    with pytest.raises(attncc.AttnError):
        run(text, x(2, 3), x(4))


@pytest.mark.parametrize("size", [1, 2, 5, 7, 12])
def test_pooling(size: int) -> None:
    t = x(2, size)
    for bins in (1, 3, 5):
        text = "pattern f(x[b, t]; n: int) -> y[b, p] where p = n { y = adaptive_mean[t -> p](x) }"
        near(run(text, t, n=bins), F.adaptive_avg_pool1d(t, bins))
    for step in (1, 2, 3):
        text = "pattern f(x[b, t]; n: int) -> y[b, p] where p = cdiv(t, n) { y = cell_mean[t -> p](x; step = n) }"
        near(run(text, t, n=step), F.avg_pool1d(t, step, step, ceil_mode=True))


@pytest.mark.parametrize("size", [1, 2, 5, 7])
@pytest.mark.parametrize("to", [1, 2, 5, 12])
def test_resize(size: int, to: int) -> None:
    t = x(2, 1, size)
    for align in ("half", "corners"):
        text = f'pattern f(x[b, c, s]; n: int) -> y[b, c, t] where t = n {{ y = resize[s -> t](x; align = "{align}") }}'
        near(run(text, t, n=to), F.interpolate(t, to, mode="linear", align_corners=align == "corners"))


def neighbours(i: int, size: int, window: int, dilation: int, causal: bool, stride: int) -> set[int]:
    """The keys of one query, after the reference kernel of NATTEN."""
    group, p = i % dilation, i // dilation
    n = -(-(size - group) // dilation)
    leader = min(p // stride * stride + (stride - 1 if causal else stride // 2), n - 1)
    start = max(leader - window + 1, 0) if causal else min(max(leader - window // 2, 0), max(n - window, 0))
    stop = p + 1 if causal else min(start + window, n)
    return {r * dilation + group for r in range(start, stop)}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("window", "dilation", "stride"), [(1, 1, 1), (3, 1, 1), (4, 1, 3), (3, 2, 1), (4, 3, 2), (20, 1, 1), (9, 2, 5)]
)
def test_neighborhood(window: int, dilation: int, stride: int, causal: bool) -> None:
    text = """
        pattern f(x[i]; window: int, dilation: int, causal: bool, stride: int) -> y[i, i'] {
          y = where(neighborhood[i, i'](; window, dilation, causal, stride), 1.0, 0) + 0 * x
        }
    """
    for size in (1, 4, 11):
        got = run(text, x(size), window=window, dilation=dilation, causal=causal, stride=stride)
        want = torch.zeros(size, size, dtype=torch.float64)
        for i in range(size):
            for j in neighbours(i, size, window, dilation, causal, stride):
                want[i, j] = 1
        near(got, want)


def test_halo() -> None:
    text = "pattern f(x[i]) -> y[i, i'] { y = where(halo[i, i'](; block = 3, halo = 2), 1.0, 0) + 0 * x }"
    got = run(text, x(8))
    for i in range(8):
        first = i // 3 * 3
        assert got[i].nonzero().flatten().tolist() == [j for j in range(first - 2, first + 5) if 0 <= j < 8]
