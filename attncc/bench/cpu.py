"""The CPU suite: float32 at batch 1, 8 heads, 2048 positions unless a row says otherwise; attncc's native backend."""

from __future__ import annotations

import torch

from .cases import Case, FirstCall, Goal, MemoryCase, Suite
from .forms import Form, Mask
from .work import BOTH, FORWARD

FULL, CAUSAL = Mask(), Mask("causal")
LONG = 16384
MIB = 2**20


def _case(
    form: Form, d: int, what: str, goals: dict[str, float], *peers: str, n: int = 2048, dtype: str = "float32", reference: str = "oracle"
) -> Case:
    return Case(form, 1, 8, n, d, dtype, what, tuple(Goal(*g) for g in goals.items()), peers, reference=reference)


def suite() -> Suite:
    """The suite."""
    cases: list[Case] = []
    for d in (64, 128):
        more = ("eager", "oracle", "flex") if d == 64 else ()
        cases += [
            _case(Form("softmax", FULL), d, FORWARD, {"sdpa": 1.1}, *more),
            _case(Form("softmax", CAUSAL), d, FORWARD, {"sdpa": 1.1}),
            _case(Form("softmax", FULL), d, BOTH, {"sdpa": 1.0}),
            _case(Form("softmax", CAUSAL), d, BOTH, {"sdpa": 1.0}),
        ]
    for d in (64, 128):
        for weights in ("sigmoid", "relu", "gaussian"):
            more = ("flex", "torch.compile", "oracle") if weights == "sigmoid" and d == 64 else ()
            reference = "eager" if weights == "gaussian" else "oracle"  # the oracle takes differences, n x n x d of them
            goals = {"attncc softmax": 1.0, "eager": 4.0}
            cases.append(_case(Form(weights), d, FORWARD, goals, *more, reference=reference))
        cases.append(_case(Form("sigmoid"), d, BOTH, {"eager": 2.2 if d == 64 else 1.6}, *(("torch.compile",) if d == 64 else ())))
    for d in (64, 128):
        cases.append(_case(Form("softmax", Mask("window", 64)), d, FORWARD, {"flex": 5.0, "eager": 10.0}))
        grid = Form("softmax", Mask("neighborhood", 13, (56, 56)))
        cases.append(_case(grid, d, FORWARD, {"flex": 5.0, "eager": 10.0}, n=56 * 56))
    cases.append(_case(Form("linear", CAUSAL), 64, BOTH, {"chunked": 2.0}, n=LONG, reference="chunked"))
    cases += [_case(Form("softmax", FULL), d, FORWARD, {"sdpa": 1.0}, dtype="bfloat16") for d in (64, 128)]
    for dtype in ("float32", "bfloat16"):  # decoding: one query of 32 heads, four a key head
        decode = Case(Form("softmax", FULL), 1, 32, 4096, 128, dtype, FORWARD, (Goal("sdpa", 1.0),), ("eager",), queries=1, group=4)
        cases.append(decode)
    forward, both = (_case(Form("softmax", FULL), 64, what, {}, n=LONG) for what in (FORWARD, BOTH))
    # Statistics of 8 bytes a head-row, dq of the joint pass n d 4 bytes a thread, tiles of 1 MiB a thread.
    threads = torch.get_num_threads()
    linear = 8 * 8 * LONG + LONG * 64 * 4 * threads + MIB * threads
    short = _case(Form("softmax", FULL), 64, BOTH, {}, n=256)
    return Suite(
        "cpu", "cpu", "cpu", 1536, tuple(cases),
        (
            MemoryCase(forward, "attncc", 16 * MIB),
            MemoryCase(forward, "sdpa", None),
            MemoryCase(both, "attncc", linear, f"8 bytes a head-row, N D 4 bytes and 1 MiB a thread, {threads} threads"),
            MemoryCase(both, "sdpa", None),
        ),
        (
            FirstCall(short, "attncc", 2.0, 0.05),
            FirstCall(_case(Form("softmax", FULL), 64, FORWARD, {}, n=256), "flex", None, None),
        ),
    )  # fmt: skip
