"""Functions of the language that hardware has no instruction for, in kernels: powers of any base, rounding, tangents."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, rand
from ways import WAYS, agree_both, both

from attncc.testing.tolerances import tolerance

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

FORMS = {
    "powers": "rate ^ (i - j) * s + s ^ 5 / 40 + (s + 9) ^ -3 + abs(s) ^ c",
    "rounded": "round(s) * s + round(s / 2) * u",
    "angles": "tan(s / 8) + atan(s) + atan(s / 3)",
}


@both
@pytest.mark.parametrize("name", FORMS)
def test_functions(way: str, name: str) -> None:
    """Scores are multiples of 1/4, exact in every precision, halves among them: what rounds goes the same way."""
    text = attend(f"score s = dot(q, k)\nnormalize {FORMS[name]}\nmix v", ", rate[h], c[h], u[b, j]")
    halves = {n: torch.randint(-3, 4, shape).float() / 2 for n, shape in {"q": (1, 2, 19, 4), "k": (1, 2, 23, 4)}.items()}
    inputs = {**halves, "v": rand(1, 2, 23, 5), "rate": torch.tensor([-0.9, 0.8]), "c": torch.tensor([2.5, 0]), "u": rand(1, 23)}
    needs = ("q", "k", "v") if name != "rounded" else ("v", "u")
    agree_both(way, op(text), inputs, needs=needs, tiles=WAYS[way].tiles())


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_differences_of_great_whole_numbers(backend: str) -> None:
    """They are exact, though float32 has not the digits for their terms: no factor and no logarithm of e is taken into them."""
    text = """pattern t(v[b, j, e], s[b, i]: int, u[b, j]: int) -> o[b, i, e] {
      attend o over j { score (s - u) / 4   normalize exp(s - u) + exp(min(s - u, 0) / 2) + exp(min(s - u, 3))   mix v }
    }"""
    s, u = (torch.arange(n).flip(0)[None] % 5 + 2**25 + 1 for n in (19, 23))
    v = rand(1, 23, 5)
    found, want = (op(text)(x, s, u, backend=b) for x, b in ((v, backend), (v.double(), "eager")))
    assert (found - want).abs().max() <= tolerance(torch.float32, 23, float(want.abs().max()))
