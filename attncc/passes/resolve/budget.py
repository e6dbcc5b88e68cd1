"""What a program may grow to while it is resolved: no text, however written, takes time or memory without end."""

from __future__ import annotations

from typing import Any

from ...errors import AttnTypeError, AttnValueError, Span
from ...ir.expr import Expr, children

MAX_NODES = 20_000
"""Nodes of a program."""
MAX_STEPS = 10_000
"""Statements and calls that are resolved, those of unrolled folds and inlined definitions counted each time."""
MAX_PARTS = 20_000
"""Parts of one expression, a part that is used twice counted twice."""
MAX_LIST = 100_000
"""Entries of a static list or range."""
MAX_BITS = 1024
"""Bits of a whole number that is worked out while compiling."""
MAX_DIMS = 64
"""Stored dims of a tensor: PyTorch's own limit."""


class Budget:
    """Counts of what has been resolved."""

    def __init__(self) -> None:
        self.steps = 0
        self.sizes: dict[int, tuple[Expr, int]] = {}

    def spend(self, span: Span) -> None:
        """Count a statement or a call. Raises AttnTypeError beyond MAX_STEPS."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise AttnTypeError(
                f"the pattern unrolls into more than {MAX_STEPS} steps", span, "use a fold over a range, or fewer nested calls"
            )

    def weigh(self, expr: Expr, span: Span) -> Expr:
        """The expression itself. Raises AttnTypeError when it has more than MAX_PARTS parts."""
        if self._size(expr) > MAX_PARTS:
            raise AttnTypeError(
                f"this expression grows to more than {MAX_PARTS} parts", span, "store a part of it: assign it outside the attend"
            )
        return expr

    def _size(self, expr: Expr) -> int:
        found = self.sizes.get(id(expr))
        if found is None:
            size = 1 + sum(self._size(child) for child in children(expr))
            found = self.sizes[id(expr)] = expr, size  # the expression is kept, so that its id stays its own
        return found[1]


def bounded(number: Any) -> Any:
    """A number worked out while compiling. Raises OverflowError for a whole one with too many bits."""
    if isinstance(number, int) and number.bit_length() > MAX_BITS:
        raise OverflowError("the number is too large")
    return number


def power(base: Any, exponent: Any) -> Any:
    """base ^ exponent, refused before it would take long. Raises OverflowError."""
    whole = isinstance(base, int) and isinstance(exponent, int)
    if whole and abs(base) > 1 and base.bit_length() * exponent > 2 * MAX_BITS:
        raise OverflowError("the number is too large")
    return base**exponent


def counted(start: int, stop: int, step: int, span: Span) -> list[int]:
    """start, start + step, .. up to stop, included. Raises AttnTypeError when these are too many."""
    found = range(start, stop + (1 if step > 0 else -1), step)
    if max(0, (stop - start) // step + 1) > MAX_LIST:
        raise AttnTypeError(f"a static range may hold {MAX_LIST} numbers at most", span, "end it at a size: 0 .. n - 1")
    return list(found)


def repeated(given: Any, length: int, name: str, span: Span | None) -> list[Any]:
    """A list of one value. Raises AttnValueError when it is too long."""
    if not isinstance(length, int) or length > MAX_LIST:
        raise AttnValueError(f"parameter '{name}' would be a list of {length}, more than {MAX_LIST}", span)
    return [given] * length
