"""Sizes for a GPU, or for the interpreter in a dry run, and the comparison of a form with the float64 oracle."""

from __future__ import annotations

import torch

from attncc.bench.cases import Case
from attncc.bench.check import Reference, results
from attncc.bench.forms import Attention, Form, Mask
from attncc.bench.work import BOTH

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
ODD = 509 if CUDA else 37
"""Positions that no tile divides."""

GRID = (21, 23) if CUDA else (5, 7)
WINDOW = 7 if CUDA else 3
MASKS = {
    "full": Mask(),
    "causal": Mask("causal"),
    "window": Mask("window", 45 if CUDA else 9),
    "neighborhood": Mask("neighborhood", WINDOW, GRID),
}
FORMS = {
    **{f"softmax {name}": Form("softmax", mask) for name, mask in MASKS.items()},
    **{f"{w} {name}": Form(w, MASKS[name]) for w in ("sigmoid", "relu", "gaussian") for name in ("full", "causal")},
    "linear causal": Form("linear", MASKS["causal"]),
}


def agree(form: Form, d: int, dtype: str, *, n: int = 0, b: int = 2, h: int = 3, what: str = BOTH, run: Attention | None = None) -> None:
    """Output and gradients are those of the oracle. run: how the op is called, plainly when not given."""
    if form.mask.kind == "neighborhood":
        n = GRID[0] * GRID[1]
    if not CUDA:
        b, h = 1, 2
    case = Case(form, b, h, n or ODD, d, dtype, what)
    reference = Reference(case, DEVICE)
    found = results(run or reference.problem.call("triton"), reference.tensors, what)
    verdict = reference.verdict(found, form)
    assert verdict.ok, verdict.words()
