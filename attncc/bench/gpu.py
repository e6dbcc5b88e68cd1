"""The GPU suite: bf16 at sizes that fill a large GPU; attncc's Triton backend. The rows that matter most run first."""

from __future__ import annotations

from .cases import Case, FirstCall, Goal, Suite
from .forms import Form, Mask
from .work import BACKWARD, BOTH, FORWARD

FULL, CAUSAL = Mask(), Mask("causal")
EVERY: tuple[str, ...] = ("flex FLASH", "sdpa efficient", "sdpa math", "eager", "torch.compile")
"""Peers beside those that have goals."""

HEADS = 4
"""Heads that are compared with the oracle."""


def _case(
    form: Form, d: int, what: str, goals: dict[str, float], *peers: str, b: int = 4, h: int = 0, n: int = 4096, rank: int = 0,
    reference: str = "oracle",
) -> Case:  # fmt: skip
    h = h or 2048 // d
    made = tuple(Goal(*g) for g in goals.items())
    return Case(form, b, h, n, d, "bfloat16", what, made, peers, HEADS, reference, rank)


def suite() -> Suite:
    """The suite."""
    forward = {"sdpa flash": 1.0, "sdpa cudnn": 0.85, "flex": 1.0}
    backward = {"sdpa flash": 1.0, "sdpa cudnn": 0.6, "flex": 1.0}
    cases: list[Case] = []
    for d, rank in ((128, 9), (64, 8)):
        for mask in (FULL, CAUSAL):
            own = EVERY if d == 128 and mask == FULL else ()
            cases.append(_case(Form("softmax", mask), d, FORWARD, forward, *own, rank=rank))
            cases.append(_case(Form("softmax", mask), d, BACKWARD, backward, "attncc joint", rank=rank))
        own = ("flex", "eager", "torch.compile") if d == 64 else ()
        cases.append(_case(Form("sigmoid"), d, FORWARD, {"attncc softmax": 1.1, "sdpa flash": 1.17}, *own, rank=rank))
    for what in (FORWARD, BACKWARD):
        form = Form("softmax", Mask("neighborhood", 13, (56, 56)))
        cases.append(_case(form, 64, what, {"flex": 1.5}, b=16, h=16, n=56 * 56, rank=7))
    goals = {"chunked": 3.0, "chunked, torch.compile": 3.0}
    for what in (FORWARD, BOTH):
        cases.append(_case(Form("linear", CAUSAL), 64, what, goals, b=4, h=16, n=16384, rank=6, reference="chunked"))
    cases.append(_case(Form("sigmoid"), 128, BACKWARD, {}, "attncc softmax", "attncc joint", "flex", "torch.compile", rank=5))
    cases.append(_case(Form("sigmoid"), 64, BACKWARD, {}, "attncc softmax", "attncc joint", rank=5))
    cases.append(_case(Form("relu"), 64, FORWARD, {}, "attncc softmax", "torch.compile", rank=4))
    cases.append(_case(Form("gaussian"), 64, FORWARD, {}, "attncc softmax", "torch.compile", rank=4, reference="eager"))
    large = Form("softmax", Mask("neighborhood", 33, (128, 128)))
    cases.append(_case(large, 64, FORWARD, {"flex": 1.5}, b=1, h=16, n=128 * 128, rank=4))
    cases.append(_case(Form("softmax", Mask("window", 512)), 128, FORWARD, {}, "flex", n=16384, b=1, rank=2))
    short = Case(Form("softmax"), 1, 8, 256, 64, "bfloat16", BOTH)
    cases.sort(key=lambda c: -c.rank)
    return Suite("gpu", "cuda", "triton", 8192, tuple(cases), (), (FirstCall(short, "attncc", None, None),), 2)
