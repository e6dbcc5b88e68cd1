"""The result of mask analysis: a `MaskPlan`, closed-form tile ranges that any backend can print as scalar code.

    MaskPlan     forward: for a tile of rows, which keys;  transposed: for a tile of keys, which rows
      Split      i = D rank + group on both axes of a dilated mask: tiles hold ranks, groups are a grid axis
      Walk       owner axes (the tile), loop axes (what is walked, outermost first)
        Level    one loop axis: scalar statements, then one Extent for each conjunction
          Extent positions lo .. hi hold every admitted pair;  full_lo .. full_hi are admitted for all positions of the tile
        test     per loop tile: false means that it holds no pair ("true": nothing is left to ask)
        residual what a pair of a partial tile must satisfy, bounds of the loop axes included; a full tile needs no test

Scalars are reads without positions: `i.first` and `i.last` are the first and last position of the current tile of axis i (the
last one inside the axis; a tile with last < first holds nothing and is skipped), `i.group` the group of a split axis. `i` itself
is the position of an axis that is not tiled (a batch, a head), `|i|` a size. Positions of a split axis are ranks, in `residual`
too. A level may read the tiles of the levels before it. An empty range has hi < lo.

Nothing here tests the owner's own positions beyond `last`: a backend that sums over them masks them itself. `div` and `mod` round
towards minus infinity, so C and Triton need the floor forms; `isqrt` is the floor of the square root of a number that is not
negative. Ends are at most 2^30 (`linear.FAR`) in magnitude, where an end is out of reach.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...ir.expr import TRUE, Expr, Read
from ...ir.printer import show_expr


def scalar(name: str) -> Read:
    """A named scalar."""
    return Read(name, (), "int")


def first(axis: str) -> Read:
    """The first position of the current tile of an axis."""
    return scalar(f"{axis}.first")


def last(axis: str) -> Read:
    """The last position of the current tile of an axis."""
    return scalar(f"{axis}.last")


def group(axis: str) -> Read:
    """The group of a split axis."""
    return scalar(f"{axis}.group")


@dataclass(frozen=True, slots=True)
class Let:
    """`name = expr`, a whole number or a condition."""

    name: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Search:
    """`name` is the greatest position v of low .. high with `cond`, low - 1 when there is none, by bisection.

    `Index(axis)` in `cond` is v; `cond` never becomes true again once it is false.
    """

    name: str
    axis: str
    low: Expr
    high: Expr
    cond: Expr


Statement = Let | Search


@dataclass(frozen=True, slots=True)
class Extent:
    """The positions of one axis under one conjunction. full None: no tile is ever full."""

    lo: Expr
    hi: Expr
    full: tuple[Expr, Expr] | None


@dataclass(frozen=True, slots=True)
class Level:
    """One loop axis. after: the outer loop axes whose tile the statements read."""

    axis: str
    statements: tuple[Statement, ...]
    extents: tuple[Extent, ...]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Walk:
    """One direction. count: the number of conjunctions (0: no pair is admitted). limits: the last position of each axis."""

    owner: tuple[str, ...]
    loop: tuple[str, ...]
    levels: tuple[Level, ...]
    count: int
    test: Expr
    residual: Expr | None
    limits: Mapping[str, Expr]

    @property
    def can_be_full(self) -> bool:
        """Whether some tile may need no test: false means that the partial loop alone is enough."""
        return any(all(level.extents[k].full is not None for level in self.levels) for k in range(self.count))

    @property
    def separable(self) -> bool:
        """Whether no axis depends on the tile of another: the ranges are a product of intervals."""
        return not any(level.after for level in self.levels)


@dataclass(frozen=True, slots=True)
class Split:
    """`row = modulus rank + group` and `key = modulus rank + key_group`, for each group 0 .. modulus - 1."""

    row: str
    key: str
    modulus: int
    key_group: Expr

    @property
    def group(self) -> Read:
        return group(self.row)


@dataclass(frozen=True, slots=True)
class MaskPlan:
    """Ranges for a mask. notes: sentences for `explain`. opaque: the conditions that ranges do not know, each with the reason."""

    mask: Expr | None
    rows: tuple[str, ...]
    keys: tuple[str, ...]
    splits: tuple[Split, ...]
    forward: Walk
    transposed: Walk
    opaque: tuple[tuple[Expr, str], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return show(self)


def words(expr: Expr) -> str:
    """An expression as a person reads it: scalars without brackets and quotes."""
    return re.sub(r"`([^`]+)`\[\]", r"\1", show_expr(expr))


def show(plan: MaskPlan) -> str:
    """The plan as text."""
    lines = [f"mask {words(plan.mask or TRUE)}"]
    for s in plan.splits:
        lines.append(f"split {s.row} = {s.modulus} rank + {words(s.group)}, {s.key} = {s.modulus} rank + {words(s.key_group)}")
    for title, walk in (("forward", plan.forward), ("transposed", plan.transposed)):
        lines.append(f"{title}: tile of ({', '.join(walk.owner)}) walks ({', '.join(walk.loop)})")
        lines += ["  " + line for line in _walk(walk)]
    lines += [f"note {note}" for note in plan.notes]
    return "\n".join(lines) + "\n"


def _walk(walk: Walk) -> list[str]:
    lines = []
    for level in walk.levels:
        lines.append(f"{level.axis}:" + (f" given the tile of {', '.join(level.after)}" if level.after else ""))
        lines += ["  " + show_statement(s) for s in level.statements]
        for extent in level.extents:
            full = "never full" if extent.full is None else f"full {words(extent.full[0])} .. {words(extent.full[1])}"
            lines.append(f"  {words(extent.lo)} .. {words(extent.hi)}, {full}")
    if walk.count == 0:
        lines.append("nothing")
    if walk.test != TRUE:
        lines.append(f"test {words(walk.test)}")
    lines.append(f"residual {words(walk.residual or TRUE)}")
    return lines


def show_statement(statement: Statement) -> str:
    """One statement as text."""
    if isinstance(statement, Let):
        return f"{statement.name} = {words(statement.expr)}"
    s = statement
    return f"{s.name} = greatest {s.axis} of {words(s.low)} .. {words(s.high)} with {words(s.cond)}"
