"""What a process of its own does in a race; importing this loads no torch."""

from __future__ import annotations

from attncc.errors import Source
from attncc.kept import kept


def race(number: int) -> bool:
    """Whether entries that others make at the same time are whole."""
    text = "x" * 100_000
    return all(kept(Source, ["race", n % 3], lambda: Source("a", text)) == Source("a", text) for n in range(number, number + 30))
