"""Python names for the names of a pattern: primes and reserved words replaced, every name once."""

from __future__ import annotations

import keyword
import re

_RESERVED = {
    "tl", "triton", "torch", "math", "pid", "grid", "INTERPRETED", "PRECISION", "WIDE", "WHOLE", "OFFSET", "range", "float", "int", "min",
    "max", "sum", "abs", "round", "len", "tuple", "list", "set", "cdiv",
}  # fmt: skip


def identifier(hint: str) -> str:
    """A Python name close to a hint."""
    base = re.sub(r"\W", "_", hint.replace("'", "_k")) or "x"
    return f"_{base}" if base[0].isdigit() or keyword.iskeyword(base) else base


class Names:
    """The name space of one function. A thing is named once, by its role and key, after a hint."""

    def __init__(self, reserved: set[str] | None = None) -> None:
        self._taken = {*_RESERVED, *(reserved or ())}
        self._known: dict[tuple[str, str], str] = {}

    def of(self, role: str, key: str, hint: str = "") -> str:
        """The name of a thing; made from the hint (the key without one) when it has none yet."""
        if (role, key) not in self._known:
            self._known[role, key] = self.fresh(hint or key)
        return self._known[role, key]

    def has(self, role: str, key: str) -> bool:
        return (role, key) in self._known

    def keys(self, role: str) -> tuple[str, ...]:
        """Keys of a role in the order in which they were named."""
        return tuple(key for r, key in self._known if r == role)

    def fresh(self, hint: str) -> str:
        """A name that nothing has."""
        base = identifier(hint)
        new, number = base, 2
        while new in self._taken:
            new, number = f"{base}{number}", number + 1
        self._taken.add(new)
        return new
