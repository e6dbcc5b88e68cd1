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
