"""Matrix products in a score: `sum[d](...)` over a product of row and key factors becomes `Product`s, row and key statistics.

The body of each such sum is multiplied out where a factor mixes rows and keys. A term with row and key factors along d is a product
of two operands; a term with one side only is a statistic of that side, `|q|^2` or `|k|^2` in a squared distance. Factors without d
leave the sum. An operand that is not a plain read, and every statistic, is a definition of its own that runs before the attend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...errors import AttnUnsupportedError, Span
from ...ir.expr import ZERO, Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, kind_of, rebuild, walk
from ...ir.nodes import Assign
from ...ir.pairs import Product, value
from ..wide import steep
from .algebra import add, factors, product, terms


@dataclass
class Sides:
    """Row and key axes of the pairs; `grid`, the row axes that key operands have too, grows while operands are found.

    arrays: the axes of outer values, as far as known. small: axes with a small constant size.
    """

    rows: tuple[str, ...]
    keys: tuple[str, ...]
    grid: set[str] = field(default_factory=set)
    arrays: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    small: frozenset[str] = frozenset()

    def has_key(self, expr: Expr) -> bool:
        return any(a in self.keys for a in axes_of(expr))

    def has_row(self, expr: Expr) -> bool:
        return any(a in self.rows for a in axes_of(expr))


@dataclass
class Before:
    """Definitions that run before the attend, each once. acc: names of those stored in the accumulation type.

    `name(hint)` gives a fresh name. Statistics are kept in the accumulation type: a squared norm in bf16 would lose the distance.
    """

    name: Callable[[str], str]
    assigns: list[Assign] = field(default_factory=list)
    acc: set[str] = field(default_factory=set)

    def define(self, hint: str, expr: Expr, acc: bool, order: tuple[str, ...] = ()) -> Read:
        """A read of the expression's value, stored once. order: axes to come first, the rest as they appear."""
        for known in self.assigns:
            if known.expr == expr and (known.name in self.acc) == acc:
                return Read(known.name, tuple(Index(a) for a in known.axes), known.kind)
        free = axes_of(expr)
        axes = (*(a for a in order if a in free), *(a for a in free if a not in order))
        made = Assign(self.name(hint), axes, kind_of(expr), expr)
        self.assigns.append(made)
        if acc:
            self.acc.add(made.name)
        return Read(made.name, tuple(Index(a) for a in axes), made.kind)


def plain(expr: Expr) -> bool:
    """A float read with one plain position per axis."""
    if not isinstance(expr, Read) or expr.fill is not None or expr.kind != "float":
        return False
    return all(isinstance(x, Index) for x in expr.index) and len(set(expr.index)) == len(expr.index)


def extract(
    score: Expr, sides: Sides, before: Before, name: Callable[[str], str], span: Span | None
) -> tuple[Expr, list[Product]]:
    """The score with its sums over feature axes replaced, and the products it needs.

    Raises AttnUnsupportedError for a sum that pairs rows and keys otherwise than by products.
    """
    found: list[Product] = []

    def visit(expr: Expr) -> Expr:
        if isinstance(expr, Reduce) and sides.has_key(expr) and _row_only(expr, sides):
            return _split(expr, sides, before, name, found, span, visit)
        if isinstance(expr, Reduce | Along):
            return _statistic(expr, before)
        return rebuild(expr, visit)

    return visit(score), found


def _row_only(expr: Expr, sides: Sides) -> bool:
    """Whether some row axis of the expression is no axis of its key reads: then it differs between rows for one key."""
    shared = {a for e in walk(expr) if isinstance(e, Read) and sides.has_key(e) for a in axes_of(e)}
    return any(a in sides.rows and a not in shared for a in axes_of(expr))


def _statistic(expr: Expr, before: Before) -> Expr:
    first = next((e.source for e in walk(expr) if isinstance(e, Read)), "value")
    op = expr.op if isinstance(expr, Reduce | Along) else "value"
    return before.define(f"{first}_{op}", expr, acc=True, order=_order(expr))


def _order(expr: Expr) -> tuple[str, ...]:
    """Axes in the order in which the reads of an expression have them, longest read first."""
    reads = sorted((e for e in walk(expr) if isinstance(e, Read)), key=lambda r: -len(r.index))
    return tuple(dict.fromkeys(x.axis for r in reads for x in r.index if isinstance(x, Index)))


def _split(
    red: Reduce,
    sides: Sides,
    before: Before,
    name: Callable[[str], str],
    found: list[Product],
    span: Span | None,
    visit: Callable[[Expr], Expr],
) -> Expr:
    what = f"{red.op}[{', '.join(red.axes)}](...) over pairs"
    if red.op not in ("sum", "mean") or red.cond is not None:
        raise AttnUnsupportedError(f"{what} is not a plain sum, so it is no matrix product", span)
    if len(red.axes) != 1:
        raise AttnUnsupportedError(f"{what} sums over {len(red.axes)} axes at once; a fused score sums over one", span)
    axis = red.axes[0]
    if (pair := _distance(red, sides)) is not None:
        shared, row, key = _common(*pair, axis)
        return product([*shared, *shared, _squared_distance(row, key, axis, sides, before, name, found)])
    expanded = _one_sided(red.body, axis, sides) or terms(red.body)
    if expanded is None:
        raise AttnUnsupportedError(f"{what} has too many terms when multiplied out", span)
    total: Expr = ZERO
    for parts in _merge(expanded):
        rows, keys, outer = [], [], []
        for part in parts:
            if axis not in axes_of(part):
                outer.append(visit(part))
            elif sides.has_key(part):
                keys.append(part)
            else:
                rows.append(part)
        table = _table(rows, keys, axis, sides, before)
        if table is not None:
            total = add(total, product([*outer, table]))
            continue
        for part in keys:
            windows = {
                a for e in walk(part) if isinstance(e, Read) and not _apart(e, sides) for a in axes_of(e) if a in sides.rows
            }
            left = {a for x in rows for a in axes_of(x) if a in sides.rows and a not in axes_of(part)}
            if _row_only(part, sides) or (windows and not left):
                raise AttnUnsupportedError(
                    f"{what} is not a sum of row factors times key factors, so it is no matrix product", span
                )
        if rows and keys:
            part_sum: Expr = _product(rows, keys, axis, sides, before, name, found)
        elif rows or keys:
            body = product(rows or keys)
            part_sum = _statistic(Reduce("sum", (axis,), body), before)
        else:
            part_sum = Size(axis)
        total = add(total, product([*outer, part_sum]))
    return Apply("div", (total, Size(axis))) if red.op == "mean" else total


def _one_sided(body: Expr, axis: str, sides: Sides) -> list[list[Expr]] | None:
    """A body as one term where each of its factors is of the rows or of the keys: (a + b) c is the product of the operands a + b and c.
    None where a factor mixes both sides, so that it has to be multiplied out."""
    parts = factors(body)
    along = [p for p in parts if axis in axes_of(p)]
    keys = [p for p in along if sides.has_key(p)]
    if not keys or len(keys) == len(along) or any(not _whole(p, sides) for p in keys):
        return None
    return [parts]


def _whole(part: Expr, sides: Sides) -> bool:
    """Whether every read of a factor is of the keys, or of no row."""
    reads = [e for e in walk(part) if isinstance(e, Read)]
    return not _row_only(part, sides) and all(_apart(r, sides) and (sides.has_key(r) or not sides.has_row(r)) for r in reads)


def _table(rows: list[Expr], keys: list[Expr], axis: str, sides: Sides, before: Before) -> Read | None:
    """Row factors times an element of a short table, `q . r[i - j + c]`: the products with the whole table, read at the position.

    None unless the one key factor reads such a table, at one position that has row and key axes.
    """
    if len(keys) != 1 or not rows or not isinstance(keys[0], Read) or keys[0].source not in sides.arrays:
        return None
    read, own = keys[0], sides.arrays[keys[0].source]
    mixed = [n for n, x in enumerate(read.index) if sides.has_key(x)]
    if len(mixed) != 1 or own[mixed[0]] not in sides.small or read.fill not in (None, Const(0), Const(0.0)):
        return None
    at, place = read.index[mixed[0]], own[mixed[0]]
    inside = {a for x in (*rows, *read.index) for a in axes_of(x)}
    if not sides.has_row(at) or isinstance(at, Index) or place in inside:
        return None
    element = Read(read.source, tuple(Index(place) if x == at else x for x in read.index), read.kind)
    body = Reduce("sum", (axis,), product([*rows, element]))
    order = tuple(a for a in axes_of(body) if a != place)
    found = before.define(f"{read.source}_products", body, acc=True, order=(*order, place))
    fill = None if read.fill is None else Const(0.0)
    return Read(found.source, tuple(at if x == Index(place) else x for x in found.index), "float", fill)


def _distance(red: Reduce, sides: Sides) -> tuple[Expr, Expr] | None:
    """(row, key) of `sum[d]((row - key)^2)`, one side each."""
    match red:
        case Reduce("sum", (axis,), Apply("pow", (Apply("sub", (a, b)), Const(2)))) if axis in axes_of(a) and axis in axes_of(b):
            if sides.has_key(a):
                a, b = b, a
            return None if sides.has_key(a) or not sides.has_key(b) or _row_only(b, sides) else (a, b)
    return None


def _common(row: Expr, key: Expr, axis: str) -> tuple[list[Expr], Expr, Expr]:
    """Factors without the feature axis that both sides have, and the sides without them: |a / s - b / s|^2 is |a - b|^2 / s^2."""
    left, right = factors(row), factors(key)
    shared = [f for f in left if axis not in axes_of(f) and f in right]
    for f in shared:
        left.remove(f)
        right.remove(f)
    return shared, product(left), product(right)


def _squared_distance(
    row: Expr, key: Expr, axis: str, sides: Sides, before: Before, name: Callable[[str], str], found: list[Product]
) -> Expr:
    """|a|^2 + |b|^2 - 2 a b, not below 0. The norms are those of the operands as stored, so that close points stay close."""
    a, b = _operand(row, axis, before), _operand(key, axis, before)
    norms = [_statistic(Reduce("sum", (axis,), Apply("mul", (x, x))), before) for x in (a, b)]
    both = Apply("mul", (Const(2.0), _product([a], [b], axis, sides, before, name, found)))
    return Apply("max", (Apply("sub", (Apply("add", (norms[0], norms[1])), both)), Const(0.0)))


def _apart(read: Read, sides: Sides) -> bool:
    """Whether no single position of the read mixes row and key axes."""
    return not any(sides.has_key(x) and sides.has_row(x) for x in read.index)


def _product(
    rows: list[Expr], keys: list[Expr], axis: str, sides: Sides, before: Before, name: Callable[[str], str], found: list[Product]
) -> Read:
    row = _operand(product(rows), axis, before)
    key = _operand(product(keys), axis, before)
    for known in found:
        if known.row == row and known.key == key:
            return value(known.name)
    sides.grid |= {a for a in axes_of(key) if a in sides.rows}
    made = Product(name(f"{row.source}{key.source}" if len(row.source + key.source) < 4 else "x"), row, key, axis)
    found.append(made)
    return value(made.name)


def _operand(expr: Expr, axis: str, before: Before) -> Read:
    if isinstance(expr, Read) and plain(expr):
        return expr
    first = next((e.source for e in walk(expr) if isinstance(e, Read) and axis in axes_of(e)), "operand")
    order = tuple(a for a in _order(expr) if a != axis)
    return before.define(f"{first}_operand", expr, acc=steep(expr), order=(*order, axis))


def _merge(expanded: list[list[Expr]]) -> list[list[Expr]]:
    """Terms with equal non-constant factors added up: a b + b a is 2 a b."""
    out: dict[frozenset[tuple[Expr, int]], tuple[float, list[Expr]]] = {}
    for parts in expanded:
        scale, rest = 1.0, []
        for part in parts:
            if isinstance(part, Const) and not isinstance(part.value, bool) and abs(part.value) == 1:
                scale *= part.value
            else:
                rest.append(part)
        key = frozenset((p, rest.count(p)) for p in rest)
        known = out.get(key)
        out[key] = (scale, rest) if known is None else (known[0] + scale, known[1])
    return [([] if c == 1 else [Const(c)]) + rest for c, rest in out.values() if c != 0] or [[ZERO]]
