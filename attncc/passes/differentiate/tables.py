"""Gradients of tables that pairs read at a position of their own, as `b[i - j + c]` or `b[bucket[i - j]]`: each pair's cotangent is
added to the element that it read. What lies outside a table, and reads a fill, adds nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ...ir.expr import Expr, Index, Read, axes_of, walk
from ...ir.pairs import Keyed, Part, Sum, Term, value_name
from .statistics import pieces_of

if TYPE_CHECKING:
    from .build import Reverse

NOTE = "gradients of tables: the cotangent of a pair is added to the element that the pair reads"


def is_table(read: Read) -> bool:
    """Whether a read takes the element that whole numbers of a pair choose."""
    positions = [x for x in read.index if not isinstance(x, Index)]
    return bool(positions) and not any(
        isinstance(e, Read) and (e.kind == "float" or value_name(e)) for x in positions for e in walk(x)
    )


def tables(rev: Reverse, n: int, found: list[tuple[Read, Expr]]) -> None:
    """The stage for some reads by pairs of one kind of keys, with their cotangents."""
    pieces = pieces_of(rev, n)
    names = [rev.name(f"d_{read.source}") for read, _ in found]
    sums = tuple(Sum(name, (Term(0, expr),)) for name, (_, expr) in zip(names, found, strict=True))
    stage = pieces.stage(rev.name(f"{rev.title}_backward_tables"), rev.of.pieces.kinds[n].over, None, sums, (), (NOTE,))
    keyed: list[Keyed] = []
    for s, (read, _) in zip(sums, found, strict=True):
        axes = list(stage.grid)
        index: list[Expr] = [Index(a) for a in axes]
        own: list[str] = []
        for axis, at in zip(rev.of.arrays[read.source], read.index, strict=True):
            if isinstance(at, Index) and at.axis in stage.grid:
                own.append(at.axis)
                continue
            axes.append(axis)
            index.append(at)
            own.append(axis)
        keyed.append(Keyed(s, tuple(axes), tuple(index)))
        rev.script.parts.append(Part(read.source, s.name, tuple(axes), tuple(own)))
    rev.script.stage(replace(stage, sums=(), keyed=tuple(keyed)))


def clashes(read: Read, own: tuple[str, ...], pair_axes: set[str]) -> bool:
    """Whether an axis of a table that is read at a computed position is an axis of the pairs as well."""
    used = {axis for axis, at in zip(own, read.index, strict=True) if not isinstance(at, Index)}
    twice = len({a.axis for a in read.index if isinstance(a, Index)} | used) < len(read.index)
    return bool(used & pair_axes) or twice or bool(set(axes_of(read)) - pair_axes)
