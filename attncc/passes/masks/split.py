"""Dilation: i = j (mod D) in every conjunction splits both axes into (rank, group), where ranks are half-lines again.

With i = D rank + g and j = D rank + (g + c) mod D the congruence holds by itself, `div` and `mod` by D fold, and a group has
ceil((|i| - g) / D) ranks. The group becomes a grid axis of D positions.
"""

from __future__ import annotations

from dataclasses import replace

from ...ir.expr import Apply, Const, Expr, Index, axes_of, substitute
from .algebra import Algebra
from .linear import Linear, constant, term, to_expr
from .normal import Congruent, Formula
from .plan import Split, group


def find_splits(alg: Algebra, found: list[tuple[Formula, ...]], rows: tuple[str, ...], keys: tuple[str, ...]) -> tuple[Split, ...]:
    """The splits that every conjunction allows: congruences of one row axis and one key axis, each axis in one of them."""
    common = [a for a in found[0] if isinstance(a, Congruent) and all(a in other for other in found)] if found else []
    splits: list[Split] = []
    for atom in common:
        split = _split(alg, atom, rows, keys)
        if split is not None and all(split.row != s.row and split.key != s.key for s in splits):
            splits.append(split)
    return tuple(splits)


def _split(alg: Algebra, atom: Congruent, rows: tuple[str, ...], keys: tuple[str, ...]) -> Split | None:
    moving = [(t, c % atom.modulus) for t, c in atom.linear.terms if alg.moves(t)]
    if len(moving) != 2 or alg.reads_data(to_expr(atom.linear)):
        return None
    (s, a), (t, b) = moving
    if isinstance(s, Index) and isinstance(t, Index) and s.axis in keys:
        (s, a), (t, b) = (t, b), (s, a)
    if not (isinstance(s, Index) and isinstance(t, Index) and s.axis in rows and t.axis in keys):
        return None
    if {a, b} != {1, atom.modulus - 1}:
        return None
    shift = Linear(tuple(p for p in atom.linear.terms if not alg.moves(p[0])), atom.linear.const)
    if a != 1:
        shift = -shift  # row + shift = key
    own = group(s.axis)
    inside = replace(alg, facts={**alg.facts, own: (0, atom.modulus - 1)}, memo={})
    key_group = inside.mod(term(own) + shift, constant(atom.modulus))
    return Split(s.axis, t.axis, atom.modulus, to_expr(key_group))


def split_algebra(alg: Algebra, splits: tuple[Split, ...]) -> Algebra:
    """What is known once positions of the split axes are ranks."""
    facts, last = dict(alg.facts), dict(alg.last)
    for s in splits:
        facts[s.group] = (0, s.modulus - 1)
    out = replace(alg, facts=facts, memo={})
    for s in splits:
        for axis, own in ((s.row, s.group), (s.key, s.key_group)):
            last[axis] = out.floordiv(alg.limit(axis) - out.linear(own), constant(s.modulus))
    return replace(out, last=last, memo={})


def split_mask(mask: Expr, splits: tuple[Split, ...]) -> Expr:
    """The mask in terms of ranks and groups."""
    at: dict[str, Expr] = {}
    for s in splits:
        for axis, own in ((s.row, s.group), (s.key, s.key_group)):
            at[axis] = Apply("add", (Apply("mul", (Const(s.modulus), Index(axis))), own))
    return substitute(mask, {axis: at[axis] for axis in at if axis in axes_of(mask)})
