"""Separable stages: pair stages whose sums can be taken from the right, (Q)(K^T V), with a state instead of pairs.

A term of a sum is separable when it is a sum of pieces `row * key * x`: a factor of the row, a factor of the key, and one product
x or none. Then the sum over keys of row * key * <r, k> * v is row * <r, S> with the state S = sum of key * k v, which no row takes
part in (linear attention: Katharopoulos et al. 2020, arXiv 2006.16236). A mask may test rows alone and keys alone, which are
factors, and one order of a key axis and a row axis, which makes S a running sum over the keys.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ..errors import AttnUnsupportedError
from ..ir.expr import ONE, ZERO, Apply, Const, Expr, Index, Read, axes_of, kind_of, rebuild, substitute, walk
from ..ir.pairs import Keys, PairStage, Product, Sum, value_name, values_in
from .fuse.algebra import product, terms


@dataclass(frozen=True, slots=True)
class Piece:
    """`row * key * product`, times the operand `by` of the term. product: None for 1."""

    row: Expr
    key: Expr
    product: Product | None
    by: Read | None


@dataclass(frozen=True, slots=True)
class Causal:
    """Admitted are keys <= row + offset, or, reverse, keys >= row + offset. row, key: the two axes. offset: of sizes alone."""

    row: str
    key: str
    offset: Expr
    reverse: bool


@dataclass(frozen=True)
class Separated:
    """A stage whose sums are separable. pieces: of each sum. rows, keys: conditions of the mask on one side alone (None: none).

    twins: axes of products that are also a feature of a sum, under a name of their own, to the axis they equal.
    """

    stage: PairStage
    pieces: Mapping[str, tuple[Piece, ...]]
    causal: Causal | None
    rows: Expr | None
    keys: Expr | None
    twins: Mapping[str, str]


def separate(stage: PairStage) -> Separated:
    """The stage in pieces. Raises AttnUnsupportedError, the message being the reason, for one that is not separable."""
    if stage.softmax is not None:
        raise _refused(stage, "the weights of a row share a softmax")
    if len(stage.keys) != 1:
        raise _refused(stage, "there are several kinds of keys")
    if stage.keyed:
        raise _refused(stage, "pairs add to elements of an array")
    stage, twins = _with_twins(stage)
    keys = stage.keys[0]
    causal, rows, own = _mask(stage, keys)
    pieces = {s.name: _pieces(stage, keys, s) for s in stage.sums}
    if not any(p.product is not None or p.by is not None for found in pieces.values() for p in found):
        raise _refused(stage, "nothing but numbers of rows and keys is summed")
    return Separated(stage, pieces, causal, rows, own, twins)


def groups(stage: PairStage) -> tuple[PairStage, ...]:
    """The stage as several, each with the sums that share products or are stored together."""
    keys = stage.keys[0]
    uses = [_uses(keys, s) for s in stage.sums]
    links = [{s.name for s in stage.sums if s.name in values_in(f.expr)} for f in stage.finals]
    parts: list[set[int]] = []
    for n, s in enumerate(stage.sums):
        mine = {n}
        for m, other in enumerate(stage.sums):
            if uses[n] & uses[m] or any({s.name, other.name} <= link for link in links):
                mine.add(m)
        for part in [p for p in parts if p & mine]:
            mine |= part
            parts.remove(part)
        parts.append(mine)
    if len(parts) == 1:
        return (stage,)
    out = []
    for part in sorted(parts, key=min):
        sums = tuple(s for n, s in enumerate(stage.sums) if n in part)
        names = {s.name for s in sums}
        finals = tuple(f for f, link in zip(stage.finals, links, strict=True) if link & names or (not link and 0 in part))
        own = _only(keys, sums)
        out.append(replace(stage, name=f"{stage.name}_{finals[0].name}", keys=(own,), sums=sums, finals=finals))
    return tuple(out)


def _only(keys: Keys, sums: Collection[Sum]) -> Keys:
    """The keys with the products and lets that some sums need."""
    lets, products = dict(keys.lets), {p.name for p in keys.products}
    used: set[str] = set()
    left = {n for s in sums for t in s.terms for n in values_in(t.expr)}
    while left:
        name = left.pop()
        if name not in used:
            used.add(name)
            left |= values_in(lets[name]) if name in lets else set()
    return replace(
        keys,
        products=tuple(p for p in keys.products if p.name in used & products),
        lets=tuple((n, e) for n, e in keys.lets if n in used),
    )


def _uses(keys: Keys, s: Sum) -> set[str]:
    return {p.name for p in _only(keys, (s,)).products}


def _refused(stage: PairStage, why: str) -> AttnUnsupportedError:
    return AttnUnsupportedError(why, stage.span)


def _with_twins(stage: PairStage) -> tuple[PairStage, dict[str, str]]:
    """The stage with a name of its own for the axis of a product that is the feature of a sum of it too."""
    keys = stage.keys[0]
    both = {p.name for s in stage.sums for p in _only(keys, (s,)).products if p.over == s.feature}
    taken = {s.feature for s in stage.sums} | {p.over for p in keys.products}
    taken |= {a for p in keys.products for a in (*axes_of(p.row), *axes_of(p.key))}
    twins: dict[str, str] = {}
    products = []
    for p in keys.products:
        if p.name in both:
            name = next((n for n, axis in twins.items() if axis == p.over), "")
            if not name:
                name = f"{p.over}_in"
                while name in taken:
                    name += "_"
                twins[name] = p.over
            at = {p.over: Index(name)}
            p = replace(p, row=_moved(p.row, at), key=_moved(p.key, at), over=name)
        products.append(p)
    return replace(stage, keys=(replace(keys, products=tuple(products)),)), twins


def _moved(read: Read, at: Mapping[str, Expr]) -> Read:
    made = substitute(read, at)
    assert isinstance(made, Read)
    return made


# The mask.


def _mask(stage: PairStage, keys: Keys) -> tuple[Causal | None, Expr | None, Expr | None]:
    causal: Causal | None = None
    rows: list[Expr] = []
    own: list[Expr] = []
    there = {*keys.axes, *keys.repeat}
    for part in _conjuncts(keys.mask):
        axes = set(axes_of(part))
        if not axes & there:
            rows.append(part)
        elif not axes & set(stage.rows):
            own.append(part)
        else:
            found = _order(stage, keys, part)
            if found is None or causal is not None:
                raise _refused(stage, "the mask is neither absent nor one order of a key axis and a row axis")
            causal = found
    return causal, _all(rows), _all(own)


def _conjuncts(mask: Expr | None) -> list[Expr]:
    if mask is None or (isinstance(mask, Const) and mask.value is True):
        return []
    if isinstance(mask, Apply) and mask.op == "and":
        return [p for a in mask.args for p in _conjuncts(a)]
    return [mask]


def _all(parts: list[Expr]) -> Expr | None:
    out: Expr | None = None
    for part in parts:
        out = part if out is None else Apply("and", (out, part))
    return out


def _order(stage: PairStage, keys: Keys, part: Expr) -> Causal | None:
    """A comparison of a row's and a key's position, up to an offset."""
    if not isinstance(part, Apply) or part.op not in ("le", "lt", "ge", "gt") or len(stage.rows) != 1 or len(keys.axes) != 1:
        return None
    i, j = stage.rows[0], keys.axes[0]
    a, b = part.args if part.op in ("le", "lt") else part.args[::-1]
    left, right = _line(a), _line(b)
    if left is None or right is None:
        return None
    slack = ONE if part.op in ("lt", "gt") else ZERO
    if left[0] == {j: 1} and right[0] == {i: 1}:  # j + a <= i + b
        return Causal(i, j, _sum(right[1], _less(left[1]), _less(slack)), False)
    if left[0] == {i: 1} and right[0] == {j: 1}:  # i + a <= j + b
        return Causal(i, j, _sum(left[1], _less(right[1]), slack), True)
    return None


def _line(expr: Expr) -> tuple[dict[str, int], Expr] | None:
    """({axis: coefficient}, rest) of a sum of positions and sizes, None for anything else."""
    match expr:
        case Index(axis):
            return {axis: 1}, ZERO
        case Apply("add" | "sub" as op, (a, b)):
            x, y = _line(a), _line(b)
            if x is None or y is None:
                return None
            sign = 1 if op == "add" else -1
            out = dict(x[0])
            for axis, n in y[0].items():
                out[axis] = out.get(axis, 0) + sign * n
            return {a: n for a, n in out.items() if n}, _sum(x[1], y[1] if sign > 0 else _less(y[1]))
    if kind_of(expr) == "int" and not axes_of(expr) and not any(isinstance(e, Read | Index) for e in walk(expr)):
        return {}, expr
    return None


def _sum(*parts: Expr) -> Expr:
    out: Expr = ZERO
    for p in parts:
        if isinstance(out, Const) and isinstance(p, Const):
            out = Const(int(out.value) + int(p.value))
        elif out == ZERO:
            out = p
        elif p != ZERO:
            out = Apply("add", (out, p))
    return out


def _less(expr: Expr) -> Expr:
    return Const(-int(expr.value)) if isinstance(expr, Const) else Apply("neg", (expr,))


# The terms.


def _pieces(stage: PairStage, keys: Keys, s: Sum) -> tuple[Piece, ...]:
    if s.op != "sum" or s.scaled:
        raise _refused(stage, f"{s.name} is no plain sum")
    there = {*keys.axes, *keys.repeat}
    known = {p.name: p for p in keys.products}
    for p in known.values():
        if set(axes_of(p.row)) & there or set(axes_of(p.key)) & set(stage.rows):
            raise _refused(stage, f"an operand of {p.name} has axes of rows and keys")
    out: list[Piece] = []
    for term in s.terms:
        if term.by is not None and set(axes_of(term.by)) & set(stage.rows):
            raise _refused(stage, f"the operand of {s.name} has axes of rows and keys")
        for parts in terms(_inlined(term.expr, dict(keys.lets))) or _large(stage):
            row: list[Expr] = []
            key: list[Expr] = []
            found: list[Product] = []
            for part in parts:
                if value_name(part) in known:
                    found.append(known[value_name(part)])
                elif values_in(part):
                    raise _refused(stage, "the weights are not linear in dot products")
                elif not set(axes_of(part)) & there:
                    row.append(part)
                elif not set(axes_of(part)) & set(stage.rows):
                    key.append(part)
                else:
                    raise _refused(stage, "a factor of the weights depends on both row and key")
            if len(found) > 1:
                raise _refused(stage, "the weights are not linear in one dot product")
            out.append(Piece(product(row), product(key), found[0] if found else None, term.by))
    return tuple(out)


def _large(stage: PairStage) -> list[list[Expr]]:
    raise _refused(stage, "the weights multiply out to too many terms")


def _inlined(expr: Expr, lets: Mapping[str, Expr]) -> Expr:
    name = value_name(expr)
    return _inlined(lets[name], lets) if name in lets else rebuild(expr, lambda child: _inlined(child, lets))
