"""What a peer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..forms import Attention, Form, Problem


class Absent(Exception):
    """A peer does not compute a form here, with the reason in words."""


def same(form: Form) -> Form:
    """The form itself."""
    return form


@dataclass(frozen=True)
class Setting:
    """How peers are built. backend: attncc's. compiler: of torch.compile, "inductor", or "eager" in a dry run."""

    backend: str
    compiler: str = "inductor"


@dataclass(frozen=True)
class Peer:
    """A way to compute attention.

    build: the function of a problem, ready to be called; what depends on the mask alone is made here, outside of any timing. Raises
    Absent. computes: the form whose result it gives, another one where it is a yardstick.
    """

    build: Callable[[Problem, Setting], Attention]
    computes: Callable[[Form], Form] = same
    about: str = ""
