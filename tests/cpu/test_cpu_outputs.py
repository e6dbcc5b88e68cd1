"""Every position of every array that a kernel gives is written: arrays start as NaN here instead of what memory held."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attncc.backends.cpu import launch as module

import attncc

CASES: dict[str, tuple[dict[str, Any], str]] = {
    "softmax": ({"causal": True}, "core lse"),
    "softmax window": ({"window_left": 3, "window_right": 2}, "core lse"),
    "linear": ({"causal": True}, "core"),
    "reversed_core": ({"scale": 0.3}, "core recv"),
}


class Poisoned:
    """torch, whose empty arrays are full of NaN."""

    count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def empty(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.count += 1
        made = torch.empty(*args, **kwargs)
        return made.fill_(float("nan")) if made.is_floating_point() else made


@pytest.mark.parametrize("n", [1, 33, 70])
@pytest.mark.parametrize("case", CASES)
def test_every_position_is_written(case: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    params, asked = CASES[case]
    op = attncc.load(case.split()[0], **params)
    torch.manual_seed(n)
    given = [torch.randn(1, 2, n, d, requires_grad=True) for d in (5, 5, 7)]
    if case == "reversed_core":
        given += [torch.rand(1, 2, n, requires_grad=True), torch.rand(1, n, requires_grad=True)]
    outputs = tuple(asked.split())

    def results() -> list[torch.Tensor]:
        made = op(*given, backend="cpu", outputs=outputs)
        found = [made] if isinstance(made, torch.Tensor) else list(made)
        return [*found, *torch.autograd.grad(sum(t.sum() for t in found), given)]

    want = results()
    poisoned = Poisoned()
    monkeypatch.setattr(module, "torch", poisoned)
    for have, expected in zip(results(), want, strict=True):
        torch.testing.assert_close(have, expected, rtol=0, atol=0)
    assert poisoned.count
