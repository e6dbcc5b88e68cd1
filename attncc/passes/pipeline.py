"""The passes of the front half, in order, with the verifier after each one."""

from __future__ import annotations

from collections.abc import Callable

from ..ir.nodes import Program
from ..ir.verify import verify
from .canonicalise import canonicalise
from .divisors import divisors
from .inline import inline
from .predicates import predicates

Pass = Callable[[Program], Program]

FRONT: tuple[tuple[str, Pass], ...] = (
    ("divisors", divisors), ("canonicalise", canonicalise), ("inline", inline), ("predicates", predicates),
)  # fmt: skip
"""Names and passes after resolve."""


def front(program: Program) -> Program:
    """Run the front half on a resolved program."""
    verify(program)
    for _, step in FRONT:
        program = step(program)
        verify(program)
    return program
