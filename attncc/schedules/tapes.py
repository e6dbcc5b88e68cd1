"""What a backward pass is made of. Making one is `backward.py`; whoever runs one from disk imports no more than this."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from ..ir.nodes import Node, Program, Value
from ..ir.pairs import Part
from .steps import Fused, Plan


@dataclass(frozen=True)
class Launch:
    """Kernels that give shares of gradients. grads: what they read the cotangent of a value as, by value."""

    phases: tuple[Fused, ...]
    grads: Mapping[str, str]
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Pull:
    """Autograd of one node: from the cotangents of `outs` to those of `wrt`. reason: why not by kernels, "" for no attend."""

    node: Node
    outs: tuple[str, ...]
    wrt: tuple[str, ...]
    reason: str = ""


Move = Launch | Pull


@dataclass(frozen=True)
class Tape:
    """One backward pass: moves in order. plan: all the kernels in it; its program's inputs are the program's and what is saved.
    axes: of every value that may have a cotangent."""

    plan: Plan
    moves: tuple[Move, ...]
    axes: Mapping[str, tuple[str, ...]]


class Passes(Protocol):
    """Both passes of a program. forward: the plan that also leaves what is saved. saved: those values. acc: values in the accumulation
    type."""

    @property
    def program(self) -> Program: ...

    @property
    def forward(self) -> Plan: ...

    @property
    def saved(self) -> tuple[Value, ...]: ...

    @property
    def acc(self) -> frozenset[str]: ...

    def backward(self, needs: Collection[str], outputs: Collection[str]) -> Tape:
        """The moves for the gradients of some inputs from the cotangents of some outputs."""
        ...
