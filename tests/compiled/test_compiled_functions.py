"""Functions of the language that hardware has no instruction for, in kernels: powers of any base, rounding, tangents."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, rand
from ways import WAYS, agree_both, both

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
