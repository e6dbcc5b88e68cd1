"""Terms of a softmax's score that only the row has: left out of the score, and given back to the log-sum-exp, once a row.

    softmax over j of (r_i + s_ij)  =  softmax over j of s_ij          lse_i = r_i + lse of s_ij

|q|^2 in a squared distance is such a term, a bias of the query, a decay that is summed up to the query. What a pair pays for is the
rest. Derivatives stay those of the whole score: what the term adds to them sums up to 0 over the keys of a row, but by rounding only
where the rest is as small as the whole, which |k|^2 - 2 q k is not beside a distance.

A squared distance max(|q|^2 + |k|^2 - 2 q k, 0) is clamped only against rounding: where points are close, the terms, which are
rounded at |q|^2 eps, cancel to something that may be below 0, out of range for a root, and a weight exp(-d) above 1. Under a softmax
of the distance itself nothing sees that: weights are relative to the largest one anyway, and an error of |q|^2 eps of a difference
of scores is there with the clamp too, on one side of 0. So it goes, and with it what kept |q|^2 from being a term of its own. What is
given up is that a point is at distance 0 from itself to the last bit: a weight is off by |q|^2 eps / 2 s^2 of itself for every pair. The
clamp stays, and the terms with it, where the distance is seen: as a value, inside another function, as an extreme, in a log-sum-exp
that is asked for (or has a sink), which is near 0 where the points are, however large |q|^2 is.

Terms are looked for in sums and differences, also of what all pairs of a position of the grid multiply (1 / sigma^2) where a product
is among them, whose rounding is no better than theirs; other products of sums are left as they are, since a difference of tokens may
be exact. Of the rest, nothing is reordered.

A term may be infinite or not a number. Where the rest shows that as well it can be forgotten: |q|^2 is so only with a q k that is,
or where it overflows though the distance does not matter. Any other term is kept as the softmax's `guard`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...ir.expr import Apply, Const, Expr, Index, Read, axes_of, kind_of, walk
from ...ir.nodes import Assign
from ...ir.pairs import Keys, PairStage, value, values_in
from .algebra import add, contains, neg, replace_part
from .distances import clamped, norm_of
from .rewriting import with_values


def without_row_terms(stage: PairStage, before: Mapping[str, Assign]) -> PairStage:
    """The stage without terms of the rows in its softmax's score. before: definitions by name.

    The stage itself where there are none, and where something else reads the score.
    """
    soft = stage.softmax
    if soft is None or len(stage.keys) != 1:
        return stage
    keys = stage.keys[0]
    known: dict[str, Expr] = {}
    for name, let in keys.lets:
        known[name] = with_values(let, known)
    score = with_values(soft.score, known)
    sums = (*stage.sums, *(k.sum for k in stage.keyed))
    if any(contains(with_values(t.expr, known), score) for s in sums for t in s.terms):
        return stage
    seen = any(soft.lse in values_in(f.expr) for f in stage.finals)
    parts = _Terms(stage, keys, {} if seen else before).parted(score)
    if parts.row is None or parts.rest is None:
        return stage
    guard = None if _shown(parts, keys, before) else parts.row
    lse = value(soft.lse)
    whole: Expr = add(lse, Apply("stop_grad", (parts.row,)))
    if guard is not None:
        whole = Apply("where", (Apply("eq", (value(soft.total), Const(0.0))), lse, whole))
    used = {n for s in sums for t in s.terms for n in values_in(t.expr)} | values_in(parts.rest)
    return replace(
        stage,
        keys=(replace(keys, lets=_needed(keys, used)),),
        softmax=replace(soft, score=parts.rest, guard=guard, whole=soft.score),
        finals=tuple(replace(f, expr=replace_part(f.expr, lse, whole)) for f in stage.finals),
    )


def _needed(keys: Keys, used: set[str]) -> tuple[tuple[str, Expr], ...]:
    """Lets that are read, by sums or by one another."""
    out: list[tuple[str, Expr]] = []
    for name, let in reversed(keys.lets):
        if name in used:
            out.insert(0, (name, let))
            used = used | values_in(let)
    return tuple(out)


@dataclass(frozen=True)
class _Parts:
    """An expression as row + rest; None for what it has not."""

    row: Expr | None
    rest: Expr | None


@dataclass(frozen=True)
class _Terms:
    """before: definitions by name, without which distances stay as they are."""

    stage: PairStage
    keys: Keys
    before: Mapping[str, Assign]

    def parted(self, expr: Expr) -> _Parts:
        """What the row alone has of an expression, and what is left."""
        if kind_of(expr) == "float" and self._of_row(expr):
            return _Parts(expr, None)
        if (distance := clamped(expr, self.keys.products, self.before)) is not None:
            return self.parted(distance)
        match expr:
            case Apply("add" | "sub" as op, (a, b)) if kind_of(expr) == "float":
                x, y = self.parted(a), self.parted(b)
                return _Parts(_both(op, x.row, y.row), _both(op, x.rest, y.rest))
            case Apply("neg", (a,)) if kind_of(expr) == "float":
                x = self.parted(a)
                return _Parts(*(None if part is None else neg(part) for part in (x.row, x.rest)))
            case Apply("mul" | "div" as op, (a, b)) if kind_of(expr) == "float":
                if op == "mul" and self._of_grid(a):
                    a, b = b, a
                if not self._of_grid(b):
                    return _Parts(None, expr)
                x = self.parted(a)
                factor = b if op == "mul" else Apply("div", (Const(1.0), b))
                made = [None if x.row is None else Apply(op, (x.row, b)), None if x.rest is None else _times(factor, x.rest)]
                if x.rest is not None and values_in(x.rest) & {p.name for p in self.keys.products}:
                    return _Parts(*made)
        return _Parts(None, expr)

    def _of_row(self, expr: Expr) -> bool:
        """Whether an expression is of numbers that no key changes, each at the row's own position."""
        there = {*self.keys.axes, *self.keys.repeat}
        if kind_of(expr) not in ("float", "int") or values_in(expr) or there & set(axes_of(expr)):
            return False
        reads = [e for e in walk(expr) if isinstance(e, Read)]
        positions = sum(isinstance(e, Index) for e in walk(expr))
        plain = all(r.fill is None and all(isinstance(x, Index) for x in r.index) for r in reads)
        return plain and positions == sum(len(r.index) for r in reads)

    def _of_grid(self, expr: Expr) -> bool:
        """The same of values that all rows of a tile share."""
        return self._of_row(expr) and not set(self.stage.rows) & set(axes_of(expr))


def _times(factor: Expr, expr: Expr) -> Expr:
    """factor * expr, term by term: what pairs have in it is then a multiply-add."""
    match expr:
        case Apply("add" | "sub" | "neg" as op, parts) if kind_of(expr) == "float":
            return Apply(op, tuple(_times(factor, part) for part in parts))
        case Apply("mul", (Const() as number, x)) | Apply("mul", (x, Const() as number)) if not isinstance(x, Const):
            return Apply("mul", (Apply("mul", (factor, number)), x))
    return Apply("mul", (factor, expr))


def _both(op: str, a: Expr | None, b: Expr | None) -> Expr | None:
    if a is None or b is None:
        return a if b is None else b if op == "add" else neg(b)
    return Apply(op, (a, b))


def _shown(parts: _Parts, keys: Keys, before: Mapping[str, Assign]) -> bool:
    """Whether a term of the row is finite unless the rest is not: it is made of finite numbers, of what the rest reads too, and of
    squared norms of rows whose products are in the rest."""
    assert parts.row is not None and parts.rest is not None
    inside = set(walk(parts.rest))
    norms = [norm_of(p.row, p.over) for p in keys.products if value(p.name) in inside]
    for e in walk(parts.row):
        if isinstance(e, Read) and e not in inside and not (e.source in before and before[e.source].expr in norms):
            return False
        if isinstance(e, Const) and isinstance(e.value, float) and not math.isfinite(e.value):
            return False
        if isinstance(e, Apply) and e.op not in ("add", "sub", "mul", "div", "neg", "to_float", "sqrt", "rsqrt"):
            return False
    return True
