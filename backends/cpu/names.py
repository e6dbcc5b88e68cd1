"""C names for the names of a pattern: primes spelled out, reserved words and names of the headers avoided, every name once."""

from __future__ import annotations

import re
from functools import cache

from .compiler import header_text

_WORDS = """
    auto break case char const continue default do double else enum extern float for goto if inline int long
    register restrict return short signed sizeof static struct switch typedef union unsigned void volatile while asm
    typeof real lane element vreal vint call owner memory strip strips lanes from next tile row_at row_table part some
    soon here v l x n at main load store count_up splat greater smaller least most widen narrow piece product run work signal log
    exp pow sqrt floor ceil round abs div index time select free malloc y0 y1 yn j0 j1 jn gamma
"""


@cache
def reserved() -> frozenset[str]:
    """Words of C, and what the headers define or call."""
    called = re.findall(r"\b([a-z]\w+)\(", header_text())
    made = re.findall(r"\b[A-Z][A-Z_]+\(([a-z]\w+)", header_text())
    return frozenset((*_WORDS.split(), *called, *made))


class Names:
    """The names of one function. A thing is named once, by its role and key, after a hint."""

    def __init__(self) -> None:
        self._taken = set(reserved())
        self._known: dict[tuple[str, str], str] = {}

    def of(self, role: str, key: str, hint: str = "") -> str:
        """The name of a thing; made from the hint (the key without one) when it has none yet."""
        if (role, key) not in self._known:
            self._known[role, key] = self.fresh(hint or key)
        return self._known[role, key]

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        base = re.sub(r"\W", "_", hint.replace("'", "_k")) or "value"
        if base[0].isdigit():
            base = f"_{base}"
        new, number = base, 2
        while new in self._taken:
            new, number = f"{base}{number}", number + 1
        self._taken.add(new)
        return new
