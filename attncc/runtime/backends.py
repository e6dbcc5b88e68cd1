"""Backends by name, found through the `attncc.backends` entry points, and the table that says which one a device gets.

A backend is an object with

    name       "triton"
    devices    device types it computes on, ("cuda",)
    refuses(program)                      -> reasons in words why it does not take a program as a whole, [] when it does
    prepare(program, outputs)             -> a callable: {input name: tensor} -> {output name: tensor}
    notes(program)                        -> (node, decision, reason) rows for `explain`
    gradient(program, outputs)            -> a `gradient.Gradient`, None to have the eager backend differentiate (optional)
    forms(program)                        -> (what, decision, reason) rows about the backward pass (optional)
    missing()                             -> what it lacks on this machine, in words, "" when nothing (optional)

Another package adds one by declaring an entry point in that group.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol

import torch

from ..errors import AttnUnsupportedError
from ..ir.nodes import Program

Tensors = Mapping[str, torch.Tensor]
Compiled = Callable[[Tensors], dict[str, torch.Tensor]]


class Backend(Protocol):
    """What a backend offers."""

    name: str
    devices: tuple[str, ...]

    def refuses(self, program: Program) -> list[str]: ...

    def prepare(self, program: Program, outputs: Sequence[str]) -> Compiled: ...

    def notes(self, program: Program) -> list[tuple[str, str, str]]: ...


BY_DEVICE: dict[str, tuple[str, ...]] = {"cuda": ("triton", "eager"), "cpu": ("cpu", "eager")}
"""Device type -> backends in order of preference; the first one that is there and takes the program runs it."""


@cache
def installed() -> dict[str, EntryPoint]:
    """Entry points of every backend here, not loaded yet."""
    return {point.name: point for point in entry_points(group="attncc.backends")}


@cache
def named(name: str) -> Backend:
    """The backend of a name. Raises AttnUnsupportedError."""
    if name not in installed():
        known = ", ".join(sorted(installed()))
        help = f"backends here: {known}" if known else "attncc is imported but not installed: pip install -e . registers its backends"
        raise AttnUnsupportedError(f"no backend '{name}'", None, help)
    found: Backend = installed()[name].load()
    return found


def missing(name: str) -> str:
    """Why an installed backend can not run on this machine; "" when it can."""
    try:
        backend = named(name)
    except (ImportError, AttributeError) as error:
        return f"it does not load: {error}"
    ask = getattr(backend, "missing", None)
    return str(ask()) if ask is not None else ""


def present() -> tuple[str, ...]:
    """The backends that can run on this machine, eager first, the others in order of preference."""
    order = [name for row in BY_DEVICE.values() for name in row]
    names = sorted(installed(), key=lambda n: (n != "eager", order.index(n) if n in order else len(order), n))
    return tuple(name for name in names if not missing(name))


def choose(program: Program, device: str) -> Backend:
    """The default backend for a program on a device type."""
    for name in BY_DEVICE.get(device, ("eager",)):
        if name not in installed():
            continue
        if lack := missing(name):
            _tell(name, lack)
        elif not named(name).refuses(program):
            return named(name)
    return named("eager")


@cache
def _tell(name: str, lack: str) -> None:
    """Say once why the eager backend computes instead."""
    warnings.warn(f"attncc computes with the eager backend, not with '{name}': {lack}", stacklevel=2)
