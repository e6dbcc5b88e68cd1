"""What `explain` says of sums by key."""

from __future__ import annotations

import pytest
from attends import attend, op, rand
from keyed_cases import TABLES

from attncc.runtime.explain import explain

DENSE = attend("score dot(q, k) / 2 + r[c = i - j + j.size - 1]\nnormalize softmax\nmix v", ", r[h, c]")
LONG = {"b": 1, "h": 1, "i": 4096, "j": 4096, "d": 16, "e": 16, "c": 8191}


def told(text: str, sizes: dict[str, int] | None = None, **ranks: int) -> tuple[str, str, str]:
    """The row of the gradient of the one table."""
    program = op(text).specialise({"q": 4, "k": 4, "v": 4, **ranks})
    (section,) = [s for s in explain(program, sizes).sections if s.title == "sums by key"]
    (row,) = section.rows
    return row


def test_sizes_settle_it() -> None:
    what, decision, reason = told(DENSE, r=2)
    assert what == "d_r" and "the sizes say" in decision and "shares" in reason
    _, decision, _ = told(DENSE, LONG, r=2)
    assert decision.startswith("on a GPU owner-band: 64 bands of c; on ")
    _, decision, _ = told(DENSE, {**LONG, "b": 64}, r=2)
    assert decision.startswith("on a GPU parts: memory allows 8 shares of the rows")


def test_a_wish_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_TABLES", "atomic")
    _, decision, reason = told(DENSE, LONG, r=2)
    assert decision.startswith("on a GPU atomic; on ") and "ATTNCC_TABLES=atomic" in reason
    monkeypatch.setattr("torch.are_deterministic_algorithms_enabled", lambda: True)
    _, decision, reason = told(DENSE, LONG, r=2)
    assert decision.startswith("on a GPU owner-band: 64 bands of c; on ") and "gives way" in reason


def test_why_there_are_no_bands() -> None:
    text, inputs = TABLES["documents"]
    _, decision, reason = told(text, **{n: t.dim() for n, t in inputs.items()})
    assert decision.startswith("parts: ") and reason.startswith("no bands: the mask reads data, so a list says")


def test_sizes_from_tensors() -> None:
    q, k, v = (rand(1, 1, 45, 16) for _ in range(3))
    assert "on a GPU parts: memory allows 8 shares" in str(op(DENSE).explain(q, k, v, rand(1, 89)))
