"""The lists of tiles that a tile program asks for: the mask as a tree of tuples, and the call that makes the list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size, axes_of, kind_of, sources_of, walk
from attncc.tile.nodes import Program, TileList

from . import listing


def listed(
    made: TileList, program: Program, arrays: Mapping[str, torch.Tensor], sizes: Mapping[str, int], boxes: Mapping[str, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The tiles and counts of a list: int64, one dim an axis.

    arrays: what the mask reads, one dim an axis. sizes, boxes: of axes, in positions.
    """
    rows, keys = program.dim(made.owner).axes, program.dim(made.loop).axes
    return listing.listed(tree(made.cond), made.grid, rows, keys, arrays, sizes, boxes)


def tree(expr: Expr) -> Any:
    """An expression as `listing` takes it."""
    kind = kind_of(expr)
    match expr:
        case Const(value):
            return ("const", kind, value)
        case Index(axis):
            return ("index", kind, axis)
        case Size(axis):
            return ("size", kind, axis)
        case Read(source, index, _, fill):
            return ("read", kind, source, tuple(map(tree, index)), None if fill is None else tree(fill))
        case Apply(op, args):
            return ("apply", kind, op, tuple(map(tree, args)))
    return ("other", kind)


def call_text(
    made: TileList, program: Program, tensor: Callable[[str], str], size: Callable[[str], str], box: Callable[[str], str]
) -> str:
    """Python text that makes a list with the functions of `source()`. tensor, size, box: the text of an array, of the size of an
    axis, of its tile."""
    rows, keys = program.dim(made.owner).axes, program.dim(made.loop).axes
    asked = [*made.grid, *rows, *keys, *axes_of(made.cond), *(e.axis for e in walk(made.cond) if isinstance(e, Size))]
    reads = ", ".join(f'"{name}": {tensor(name)}' for name in sources_of(made.cond))
    sizes = ", ".join(f'"{a}": {size(a)}' for a in dict.fromkeys(asked))
    boxes = ", ".join(f'"{a}": {box(a)}' for a in (*rows, *keys))
    return f"listed({tree(made.cond)!r}, {made.grid!r}, {rows!r}, {keys!r}, {{{reads}}}, {{{sizes}}}, {{{boxes}}})"


def source() -> str:
    """The functions that make lists, as text for a generated module, without what stands at the head of one."""
    text = Path(listing.__file__).read_text(encoding="utf-8")
    return text[text.index("Known = ") :]
