"""Few queries: products whose vectors run along the features of keys and values instead of the queries."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, rand
from attncc.backends.cpu import boxes
from cpu_cases import agree

TEXT = attend("score dot(q, k) / sqrt(d)  mask j <= i + 70  normalize softmax  mix v  emit l = lse(s)", outputs=", l[b, h, i]")
PLAIN = attend("score dot(q, k)  normalize sigmoid  mix v")


def inputs(i: int, j: int, d: int, e: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"q": rand(1, 2, i, d).to(dtype), "k": rand(1, 2, j, d).to(dtype), "v": rand(1, 2, j, e).to(dtype)}


@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 80), (24, 48)])
def test_every_number_of_queries(d: int, e: int) -> None:
    for i in (1, 2, 3, 5, 7, 8, 9):
        for text, j in ((TEXT, 150), (PLAIN, 64), (TEXT, 3), (PLAIN, 17)):
            agree(op(text), inputs(i, j, d, e), boxes=boxes.choose)


@pytest.mark.parametrize("flags", ["-march=haswell", "-march=x86-64", ""])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_width_of_vectors(flags: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if flags and not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("for x86 processors")
    monkeypatch.setenv("ATTNCC_CFLAGS", flags)
    for i in (1, 2, 3):
        agree(op(TEXT), inputs(i, 150, 64, 32, dtype), boxes=boxes.choose)


@pytest.mark.parametrize("heads", ["h", "(h r)"])
def test_extremes_of_scores_are_found_again(heads: str) -> None:
    """Gradients of extremes go to the pairs that reach them: their scores, of terms that cancel, are the same in every kernel."""
    text = f"pattern t(q[b, {heads}, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, {heads}, i, e], m[b, {heads}, i]"
    text += " { attend o over j { score s = dot(q, k)  normalize softmax  mix v  emit m = max[j](s) } }"
    share = 3 if "r" in heads else 1
    q, k, v = 100 * rand(200, 2 * share, 1, 64), rand(200, 2, 1, 64).flip(-1), rand(200, 2, 1, 16)
    every = k.repeat_interleave(share, 1)
    q -= (q * every).sum(-1, keepdim=True) / every.square().sum(-1, keepdim=True) * every
    q.requires_grad_()
    k.requires_grad_()
    of_q, of_k = torch.autograd.grad(op(text)(q, k, v, backend="cpu").m.sum(), (q, k))
    assert torch.equal(of_q, every) and (of_k != 0).all(), "the one key of a row is its extreme"


def test_keys_that_lie_otherwise() -> None:
    given = inputs(2, 90, 32, 32)
    given["k"] = given["k"].transpose(2, 3).contiguous().transpose(2, 3)
    given["v"] = given["v"].transpose(2, 3).contiguous().transpose(2, 3)
    agree(op(TEXT), given, boxes=boxes.choose)
    given = {n: torch.cat([t, t], -1)[..., ::2] for n, t in inputs(3, 90, 32, 32).items()}
    agree(op(TEXT), given, boxes=boxes.choose)


def test_a_row_is_its_own() -> None:
    """What one query holds, NaN or infinite, reaches no other."""
    given = inputs(3, 90, 64, 64)
    given["q"][:, :, 1] = torch.nan
    found = op(TEXT)(**given, backend="cpu")
    given["q"][:, :, 1] = 0
    want = op(TEXT)(**given, backend="cpu")
    for row in (0, 2):
        assert torch.equal(found.o[:, :, row], want.o[:, :, row]) and torch.equal(found.l[:, :, row], want.l[:, :, row])
    assert found.o[:, :, 1].isnan().all()
