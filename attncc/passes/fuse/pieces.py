"""The parts of an attend that every stage made from it shares: products, scores, masks and mixed operands, one set for each
kind of keys; and `Pieces.stage`, which arranges them around the axes a sum runs over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ...errors import AttnUnsupportedError, Span
from ...ir.expr import ONE, Along, Const, Expr, Index, Read, Reduce, axes_of, kind_of, rebuild, walk
from ...ir.nodes import Attend, Program, Segment, pair_values, values_of
from ...ir.pairs import Final, Keys, PairStage, Product, Softmax, Sum, value, values_in
from ..wide import steep
from .algebra import factors, product, tidied
from .products import Before, Sides, extract, plain

_SMALL = 256
"""The longest table of which every element is multiplied with every row beforehand."""


@dataclass(frozen=True)
class Kind:
    """One kind of keys. mix: the operand mixed in, with its own axis; gain: what multiplies the weight when mixing."""

    over: tuple[str, ...]
    products: tuple[Product, ...]
    lets: tuple[tuple[str, Expr], ...]
    mask: Expr | None
    mix: Read | None
    gain: Expr


@dataclass
class Pieces:
    """rows: row axes of the pairs. grouped: axes stored in one dim with others, as the query heads of a key head are."""

    node: Attend
    rows: tuple[str, ...]
    kinds: tuple[Kind, ...]
    grouped: tuple[frozenset[str], ...]
    feature: str
    name: Callable[[str], str]

    @property
    def over(self) -> tuple[str, ...]:
        """The axes that the attend sums over; of several kinds of keys, the one axis they make up."""
        return self.node.over

    @property
    def pair_axes(self) -> set[str]:
        return {*self.rows, *self.over, *(a for kind in self.kinds for a in kind.over)}

    def stage(
        self,
        name: str,
        over: tuple[str, ...],
        softmax: Softmax | None,
        sums: tuple[Sum, ...],
        finals: tuple[Final, ...],
        notes: tuple[str, ...] = (),
    ) -> PairStage:
        """The stage whose sums run over the axes `over`: the attend's keys, or row axes, with the roles of operands exchanged.

        Raises AttnUnsupportedError when no product separates `over` from the other axes.
        """
        natural = set(over) == set(self.over)
        if not natural and len(self.kinds) > 1:
            raise AttnUnsupportedError("a statistic along the query axis over several kinds of keys is not fused", self.node.span)
        kinds = list(self.kinds) if natural else [replace(self.kinds[0], over=tuple(over))]
        used = _used(sums, softmax)
        grid: set[str] = set()
        keys: list[Keys] = []
        everything = (*self.rows, *(a for k in self.kinds for a in k.over))
        others = tuple(a for a in everything if a not in {x for k in kinds for x in k.over})
        for number, kind in enumerate(kinds):
            terms = [t for s in sums for t in s.terms if t.keys == number]
            lets = _needed(kind.lets, used | {n for t in terms for n in values_in(t.expr)})
            wanted = {n for _, e in lets for n in values_in(e)} | used | {n for t in terms for n in values_in(t.expr)}
            products = [self._oriented(p, kind.over) for p in kind.products if p.name in wanted]
            operands = [p.key for p in products] + [t.by for t in terms if t.by is not None]
            grid |= {a for read in operands for a in axes_of(read) if a in others}
            shared = {a for p in products for a in axes_of(p.row) if a in kind.over}
            keys.append(Keys(kind.over, tuple(a for a in kind.over if a in shared), tuple(products), tuple(lets), kind.mask))
        rows = self._tiled([a for a in others if a not in grid], grid)
        keys = [self._repeated(k, grid) for k in keys]
        if not rows:
            raise AttnUnsupportedError(
                "no row axis is free of the keys, so there is no tile of rows to share them", self.node.span
            )
        return PairStage(
            name,
            tuple(a for a in others if a not in rows),
            tuple(rows),
            tuple(keys),
            softmax,
            sums,
            finals,
            notes,
            self.node.span,
        )

    def _oriented(self, p: Product, over: tuple[str, ...]) -> Product:
        """The product with the operand that has axes of `over` as its key."""
        row, key = set(axes_of(p.row)), set(axes_of(p.key))
        inside = set(over)
        if key & inside - row:
            if not row & inside - key:
                return p
        elif row & inside - key:
            return p.turn()
        raise AttnUnsupportedError(
            f"the product of {p.row.source} and {p.key.source} does not separate the axes {', '.join(over)} from the others",
            self.node.span,
        )

    def _tiled(self, free: list[str], grid: set[str]) -> list[str]:
        """Free axes that become tiles: not those stored together with an axis of the grid (query heads of one key head), unless
        nothing else is left."""
        plain = [a for a in free if not any(a in group and group & grid for group in self.grouped)]
        return plain or free

    def _repeated(self, keys: Keys, grid: set[str]) -> Keys:
        free = [a for a in keys.axes if a not in keys.repeat]
        tiled = self._tiled(free, grid)
        if not tiled:
            raise AttnUnsupportedError("no key axis is free of the rows, so there is no tile of keys", self.node.span)
        return replace(keys, axes=tuple(tiled), repeat=tuple(a for a in keys.axes if a not in tiled))


def _used(sums: tuple[Sum, ...], softmax: Softmax | None) -> set[str]:
    return {n for s in sums for t in s.terms for n in values_in(t.expr)} | (values_in(softmax.score) if softmax else set())


def _needed(lets: tuple[tuple[str, Expr], ...], used: set[str]) -> list[tuple[str, Expr]]:
    out: list[tuple[str, Expr]] = []
    used = set(used)
    for name, expr in reversed(lets):
        if name in used:
            out.append((name, expr))
            used |= values_in(expr)
    return out[::-1]


def collect(program: Program, node: Attend, before: Before, name: Callable[[str], str]) -> Pieces:
    """Scores, masks and mixed operands of an attend. Raises AttnUnsupportedError with the reason when one cannot be fused."""
    rows = _pair_rows(node)
    features = tuple(a for a in node.axes if a not in node.rows)
    if node.name and len(features) > 1:
        raise AttnUnsupportedError(
            f"the output has {len(features)} axes of its own ({', '.join(features)}); one can be fused", node.span
        )
    if node.name and [a for a in rows if a not in node.axes]:
        raise AttnUnsupportedError("the output lacks a row axis, so rows are summed as well", node.span)
    feature = features[0] if features else ""
    stored = [x.dims for x in program.inputs] + [x.dims for x in program.outputs]
    dims = [frozenset(dim) for dims in stored for dim in dims if len(dim) > 1]
    arrays = {i.name: tuple(a for dim in i.dims for a in dim) for i in program.inputs}
    arrays |= {v.name: v.axes for n in program.nodes for v in values_of(n)}
    constant = {a.name: a.size.value for a in program.axes if isinstance(a.size, Const)}
    small = frozenset(a for a, n in constant.items() if isinstance(n, int) and n <= _SMALL)
    kinds = tuple(
        _kind(node, Sides(rows, s.over, arrays=arrays, small=small), s, feature, before, name) for s in node.segments
    )
    return Pieces(node, rows, kinds, tuple(dims), feature, name)


def _pair_rows(node: Attend) -> tuple[str, ...]:
    """Row axes that a score, a mask, a mixed value or the output has; others belong to maps alone, one map for each position."""
    exprs = [e for s in node.segments for e in (*(x for _, x in s.scores), s.mask, s.mix) if e is not None]
    used = {a for e in exprs for a in axes_of(e)} | set(node.axes)
    return tuple(a for a in node.rows if a in used)


def _kind(
    node: Attend, sides: Sides, segment: Segment, feature: str, before: Before, name: Callable[[str], str]
) -> Kind:
    lets: list[tuple[str, Expr]] = []
    products: list[Product] = []
    known: dict[str, Expr] = {}
    axes = {n: axes_of(e) for n, e in segment.scores} if node.keys else {v.name: v.axes for v in pair_values(node).values()}
    for score, expr in segment.scores:
        done, found = extract(local(tidied(expr), known, axes, node.span), sides, before, name, node.span)
        products += [p for p in found if p not in products]
        lets.append((score, done))
        known[score] = value(score)
    mask = None if segment.mask is None else _no_sums(segment.mask, before)
    mix, gain = (None, ONE) if segment.mix is None else _mixed(tidied(segment.mix), feature, sides, before, node.span)
    return Kind(segment.over, tuple(products), tuple(lets), mask, mix, gain)


def _no_sums(mask: Expr, before: Before) -> Expr:
    """The mask with its reductions (a count of keys, a length) defined beforehand."""
    if isinstance(mask, Reduce | Along):
        first = next((e.source for e in walk(mask) if isinstance(e, Read)), "mask")
        return before.define(f"{first}_{mask.op}", mask, acc=kind_of(mask) == "float")
    return rebuild(mask, lambda child: _no_sums(child, before))


def _mixed(mix: Expr, feature: str, sides: Sides, before: Before, span: Span | None) -> tuple[Read | None, Expr]:
    """The operand with the output's own axis, and the factors without it."""
    if not feature:
        return None, _no_sums(mix, before)
    inner = [f for f in factors(mix) if feature in axes_of(f)]
    outer = [f for f in factors(mix) if feature not in axes_of(f)]
    body = product(inner)
    if not inner:
        raise AttnUnsupportedError(f"the mixed value has no axis {feature}", span)
    if not sides.has_key(body):
        raise AttnUnsupportedError("the mixed value does not depend on the keys", span)
    if plain(body) and isinstance(body, Read):
        operand = body
    else:
        first = next((e.source for e in walk(body) if isinstance(e, Read)), "value")
        order = tuple(a for a in axes_of(body) if a != feature)
        operand = before.define(f"{first}_operand", body, acc=steep(body), order=(*order, feature))
    sides.grid |= {a for a in axes_of(operand) if a in sides.rows}
    return operand, _no_sums(product(outer), before)


def local(expr: Expr, known: Mapping[str, Expr], axes: Mapping[str, tuple[str, ...]], span: Span | None) -> Expr:
    """Reads of pair values replaced by their definitions. axes: those of every pair value.

    Raises AttnUnsupportedError for one at another pair than its own.
    """
    if isinstance(expr, Read) and expr.source in known:
        if expr.index != tuple(Index(a) for a in axes[expr.source]):
            raise AttnUnsupportedError(f"{expr.source} is read at another pair than its own", span)
        return known[expr.source]
    return rebuild(expr, lambda child: local(child, known, axes, span))
