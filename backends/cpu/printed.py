"""What the printers leave: texts of kernels and of libraries, with what a caller has to know of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.tile.nodes import Arg, Program


@dataclass(frozen=True)
class Kernel:
    """The text of a kernel and what its caller passes in order: arrays with a stride for each axis, sizes and boxes of axes,
    numbers. few: whether it has a form for owners of few rows."""

    name: str
    text: str
    program: Program
    arrays: tuple[Arg, ...]
    sizes: tuple[str, ...]
    boxes: tuple[str, ...]
    few: bool


@dataclass(frozen=True)
class Module:
    """The text and its kernels, by the name of their programs."""

    text: str
    kernels: Mapping[str, Kernel]
