"""Division of whole numbers: by 0 it gives what the language says, the same in every kernel; by a size that is 0 it is an error."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.errors import AttnTypeError, AttnValueError
from attncc.runtime.backends import named
from attncc.testing.tolerances import tolerance

BACKENDS = ("cpu", "triton")
SCORES = (
    "i mod n", "i div n", "cdiv(i, n)", "cdiv(-i, n)", "n div 2 + n mod 2", "i mod j", "(i * j) div j", "where(n > 0, i mod n, 3)",
    "table[t = clamp(n div m, -2, 3) + 3]",
)  # fmt: skip
MASKS = (
    "i div m == j div m", "j div max(m, 0) <= 0", "i div max(m, 0) <= 0 and j < 4", "cdiv(j, m) <= 1", "j mod m == 0",
    "(m * j + 1) div m <= 2",
)  # fmt: skip


def pattern(*attends: tuple[str, str]) -> attncc.Op:
    """A score and a mask for each attend."""
    body = [
        f"attend o{a} over j {{ score dot(q, k) + {score}  mask {mask} or i == j  normalize softmax  mix v }}"
        for a, (score, mask) in enumerate(attends)
    ]
    inputs = "q[b, i, d], k[b, j, d], v[b, j, e], n[b, j]: int, m[b]: int, x[b, j], table[t]"
    outputs = ", ".join(f"o{a}[b, i, e]" for a in range(len(attends)))
    return attncc.compile(f"pattern p({inputs}) -> {outputs} {{\n" + "\n".join(body) + "\n}\n")


def tensors() -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, size, 4, generator=made) for size in (5, 6, 6))
    n = torch.tensor([[0, 1, 2, 3, 0, -2], [5, 0, -1, 0, 4, -3]])
    x, table = torch.randn(2, 6, generator=made) * 3, torch.randn(7, generator=made)
    return {"q": q, "k": k, "v": v, "n": n, "m": torch.tensor([0, 2]), "x": x, "table": table}


@pytest.mark.parametrize("backend", BACKENDS)
def test_divisors_of_data_and_positions(backend: str) -> None:
    score = " + ".join(f"{0.1 + 0.05 * number} * ({score})" for number, score in enumerate(SCORES))
    attends = [(score, "true"), *(("0", mask) for mask in MASKS)]
    op, given = pattern(*attends), tensors()
    assert {decision for _, decision, _ in named(backend).notes(op.program(**given))} == {"fused"}
    want = op(**{n: t.double() if t.is_floating_point() else t for n, t in given.items()}, backend="eager")
    for what, got, right in zip(attends, op(**given, backend=backend), want, strict=True):
        assert (got - right).abs().max() < tolerance(torch.float32, 10, float(given["v"].abs().max())), what


@pytest.mark.parametrize("backend", BACKENDS)
def test_numbers_that_are_not_whole_are_left_to_pytorch(backend: str) -> None:
    op, given = pattern(("x mod 2.5", "true"), ("x div 0.7", "true"), ("x mod n", "true")), tensors()
    assert str(named(backend).notes(op.program(**given))).count("not whole") == 3
    for got, right in zip(op(**given, backend=backend), op(**given, backend="eager"), strict=True):
        torch.testing.assert_close(got, right, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("backend", ("eager", *BACKENDS))
def test_a_size_of_0_is_an_error_of_the_call(backend: str) -> None:
    for attend in (("i mod (j.size - 6)", "true"), ("7 mod (j.size - 6)", "true"), ("0", "i div (j.size div 7) <= 1")):
        with pytest.raises(AttnValueError, match="by zero"):
            pattern(attend)(**tensors(), backend=backend)


@pytest.mark.parametrize("backend", ("eager", *BACKENDS))
def test_sizes_that_divide_nothing(backend: str) -> None:
    """A branch that is not taken, and a value without elements."""
    op = pattern(("where(j.size > 6, i mod (j.size - 6), 1) + j mod i.size", "true"))
    given = tensors()
    op(**given, backend=backend)
    assert op(**{**given, "q": torch.randn(2, 0, 4)}, backend=backend).shape == (2, 0, 4)
    assert not pattern(("i mod i.size", "true")).ir.checks, "i is not empty where it is divided by"


def test_what_is_of_whole_numbers_alone() -> None:
    for call in ("cdiv(x, 2)", "isqrt(x)"):
        with pytest.raises(AttnTypeError, match="whole numbers"):
            assert pattern((call, "true")).ir


def test_the_rule() -> None:
    """(x div n) * n + x mod n is x, for n = 0 too."""
    op = attncc.compile("pattern p(x[i]: int, n[j]: int) -> q[i, j]: int, r[i, j]: int { q = x div n  r = x mod n }")
    x, n = torch.arange(-3, 4), torch.arange(-2, 3)
    found = op(x, n)
    assert torch.equal(found.q * n + found.r, x[:, None].expand(7, 5))
    assert torch.equal(found.q[:, 2], torch.zeros(7, dtype=torch.int64))
