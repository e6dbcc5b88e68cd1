"""The last stages of a backward pass: cotangents of pairs summed over the keys for what rows bring, over the rows for what keys
bring, each value's over all the stages of the attend at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ...errors import AttnUnsupportedError
from ...ir.expr import Const, Expr, Read, axes_of
from ...ir.pairs import Final, Sum, Term, value, value_name
from .monomials import total
from .shifts import NO_AXES
from .statistics import pieces_of
from .tables import tables

if TYPE_CHECKING:
    from .build import Reverse

NOTES = {
    "rows": "gradients of what the rows bring: cotangents of pairs summed over the keys",
    "keys": "gradients of what the keys bring: cotangents of pairs summed over the rows, the roles exchanged",
}


@dataclass
class _Group:
    """Sums of one stage: of all kinds of keys over the keys, or of one kind over some row axes."""

    side: str
    kinds: tuple[int, ...]
    over: tuple[str, ...]
    sums: dict[tuple[Read, str], list[Term]] = field(default_factory=dict)

    def add(self, read: Read, feature: str, term: Term) -> None:
        self.sums.setdefault((read, feature), []).append(term)


def operands(rev: Reverse) -> None:
    """The stages for operands of products, mixed operands and values read at a pair."""
    rows = _Group("rows", (), rev.of.pieces.over)
    groups = [rows]
    for n, side in enumerate(rev.sides):
        _back_through_scores(rev, n)
        keys = _Group("keys", (n,), rev.of.free(n))
        groups.append(keys)
        for p in side.kind.products:
            expr = _named(rev, n, p.name, cotangent(rev, n, value(p.name)))
            if expr is None:
                continue
            if p.row.source in rev.live:
                rows.add(p.row, p.over, Term(n, expr, p.key))
            if p.key.source in rev.live:
                keys.add(p.key, p.over, Term(0, expr, p.row))
        for operand in side.operands:
            if operand.by.source in rev.live:
                for weight, d in operand.parts:
                    keys.add(operand.by, operand.feature, Term(0, weight, d))
        at_keys: list[tuple[Read, Expr]] = []
        for read in [r for r in side.cots if not value_name(r)]:
            expr = cotangent(rev, n, read)
            where = rev.of.side(n, read)
            if expr is None:
                continue
            if where == "rows":
                rows.add(read, "", Term(n, expr))
            elif where == "keys":
                keys.add(read, "", Term(0, expr))
            elif where == "own":
                over = tuple(a for a in rev.of.free(n) if a not in axes_of(read))
                own = next((g for g in groups if g.kinds == (n,) and g.over == over), None)
                if own is None:
                    own = _Group("keys", (n,), over)
                    groups.append(own)
                own.add(read, "", Term(0, expr))
            elif where == "table":
                at_keys.append((read, expr))
            else:
                raise AttnUnsupportedError(rev.of.opaque.get(read.source, read.source), rev.of.node.span)
        if at_keys:
            tables(rev, n, at_keys)
    count = [read.source for g in groups for read, _ in g.sums]
    several = {s for s in count if count.count(s) > 1}
    for group in groups:
        if group.sums:
            _stage(rev, group, several)


def cotangent(rev: Reverse, n: int, leaf: Read) -> Expr | None:
    """The cotangent of what a pair of kind n of keys reads: a product, a score, or a value at any position; None if there is none.

    An expression in products, values of the pair and outer values, as terms of pair stages are.
    """
    entries = rev.sides[n].cots.get(leaf)
    return total([e.expr for e in entries]) if entries else None


def _back_through_scores(rev: Reverse, n: int) -> None:
    side = rev.sides[n]
    for name, expr in reversed(side.kind.lets):
        cot = _named(rev, n, name, cotangent(rev, n, value(name)))
        if cot is None:
            continue
        rev.pull(n, expr, cot, still=rev.still.get(name, NO_AXES))


def _named(rev: Reverse, n: int, name: str, expr: Expr | None) -> Expr | None:
    """A cotangent as a value of the pair."""
    if expr is None or value_name(expr) or isinstance(expr, Const):
        return expr
    return rev.let(n, f"d_{name}", expr)


def _stage(rev: Reverse, group: _Group, several: set[str]) -> None:
    of = rev.of
    everything = (*of.pieces.rows, *(a for n in group.kinds for a in of.pieces.kinds[n].over))
    left = of.pieces.rows if group.side == "rows" else tuple(a for a in everything if a not in group.over)
    sums: list[Sum] = []
    finals: list[Final] = []
    for (read, feature), terms in group.sums.items():
        axes = axes_of(read)
        whole = (*left, feature) if feature else left
        direct = set(axes) == set(whole)
        stored = axes if direct else whole
        acc = not direct or not feature or read.source in several or read.source in of.inner  # 16 bits may not have the range
        name = rev.name(f"d_{read.source}")
        sums.append(Sum(name, tuple(terms), "sum", feature))
        finals.append(Final(name, stored, "float", value(name), acc))
        rev.give(read, name, stored)
    title = rev.name(f"{rev.title}_backward_{group.side}")
    stage = pieces_of(rev, *group.kinds).stage(title, group.over, None, tuple(sums), tuple(finals), (NOTES[group.side],))
    rev.script.stage(stage)
