"""Large pages for new arrays: what is asked for lies inside the array, and refusing changes nothing."""

from __future__ import annotations

import pytest
import torch
from attncc.backends.cpu import pages


@pytest.mark.parametrize("answer", [0, -1])
def test_only_whole_pages_of_the_array(answer: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def advise(start: int, length: int, advice: int) -> int:
        asked.append((start, length))
        return answer

    monkeypatch.setattr(pages, "_advise", lambda: advise)
    small, large = pages.empty([3, 5], torch.float64), pages.empty([3, pages.LARGE], torch.bfloat16)
    assert small.shape == (3, 5) and small.dtype == torch.float64
    ((start, length),) = asked
    assert start % pages.LARGE == length % pages.LARGE == 0 and length >= pages.LARGE
    assert large.data_ptr() <= start and start + length <= large.data_ptr() + large.numel() * 2
    assert torch.equal(large.fill_(2.0).float().sum(), torch.tensor(6.0 * pages.LARGE))


def test_without_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_advise", lambda: None)
    assert pages.empty([pages.LEAST], torch.int64).shape == (pages.LEAST,)
