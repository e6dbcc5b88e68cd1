"""The joint backward pass on a GPU: forms, lengths that fill no tile, heads in groups, and what deterministic algorithms do."""

from __future__ import annotations

import warnings

import pytest
import torch
from gpu_cases import CUDA, DEVICE, FORMS, MASKS, ODD, agree

import attncc
from attncc.bench.forms import Form, Problem
from attncc.bench.peers import PEERS, Setting
from attncc.bench.work import BACKWARD
from attncc.testing import assert_matches_oracle

DTYPE = "bfloat16" if CUDA else "float32"
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def _agree(form: Form, d: int, dtype: str, n: int) -> None:
    problem = Problem(form, 2 if CUDA else 1, 3 if CUDA else 2, n, d, getattr(torch, dtype), DEVICE)
    agree(form, d, dtype, n=n, what=BACKWARD, run=PEERS["attncc joint"].build(problem, Setting("triton")))


@pytest.mark.parametrize("form", [f for f in FORMS.values() if f.weights != "linear" and f.mask.kind != "neighborhood"], ids=str)
def test_forms(form: Form) -> None:
    _agree(form, 64 if CUDA else 16, DTYPE, ODD)


@pytest.mark.parametrize("d", [32, 64, 80, 96, 128] if CUDA else [48])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"] if CUDA else ["float32"])
def test_head_dimensions(d: int, dtype: str) -> None:
    _agree(Form("softmax", MASKS["causal"]), d, dtype, ODD)


@pytest.mark.parametrize("n", [1, 64, 129, 1000] if CUDA else [1, 33])
def test_sizes(n: int) -> None:
    _agree(Form("sigmoid", MASKS["full"]), 64 if CUDA else 16, DTYPE, n)


GROUPED = """pattern t(q[b, (g r), i, d], k[b, g, j, d], v[b, g, j, e]) -> o[b, (g r), i, e] {
  attend o over j { score dot(q, k) / sqrt(d)   mask j <= i   normalize softmax   mix v }
}
"""


def _grouped() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    i, d = (ODD, 64) if CUDA else (37, 16)
    shapes = {"q": (2, 6, i, d), "k": (2, 2, i, d), "v": (2, 2, i, d)}
    return {n: torch.randn(s, generator=generator).to(DEVICE, getattr(torch, DTYPE)) for n, s in shapes.items()}


def test_heads_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_BACKWARD", "joint")
    assert_matches_oracle(attncc.compile(GROUPED), _grouped(), backends=("triton",))


def test_deterministic_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same gradients on every run, bit by bit, whatever is asked for."""
    monkeypatch.setenv("ATTNCC_BACKWARD", "joint")
    op, leaves = attncc.compile(GROUPED), {n: t.requires_grad_() for n, t in _grouped().items()}
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [
                torch.autograd.grad(op(**leaves, backend="triton").sum(), list(leaves.values())) for _ in range(3 if CUDA else 2)
            ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
