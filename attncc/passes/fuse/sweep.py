"""One sweep over the keys: which sums it needs, and what its results are in terms of them.

At most one softmax runs inside a sweep. Its weights are w = exp(score - m) with m the greatest score so far, so a sum that is
linear in w is kept relative to m, and the normalized weight is w / total, or w / total * sigmoid(lse - sink) with a sink. With
log p = score - lse, sums of p log p and the like are linear in w as well.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import AttnUnsupportedError
from ...ir.expr import (
    FALSE,
    ONE,
    TRUE,
    ZERO,
    Along,
    Apply,
    Const,
    Expr,
    Index,
    Read,
    Reduce,
    axes_of,
    children,
    kind_of,
    rebuild,
    walk,
)
from ...ir.nodes import Assign, Attend
from ...ir.pairs import Final, Softmax, Sum, Term, value, value_name, values_in
from .algebra import add, affine, contains, factors, is_const, linear, mul, product, replace_part
from .pieces import Pieces


class Frozen(Exception):
    """A statistic that this sweep cannot compute on the way, so it must be known before."""

    def __init__(self, stat: Expr) -> None:
        super().__init__(stat)
        self.stat = stat


def statistics(expr: Expr, over: set[str]) -> list[Expr]:
    """Softmaxes and reductions of pair values, innermost first. over: the axes of the pairs."""
    out: list[Expr] = [e for e in walk(expr) if isinstance(e, Along | Reduce) and set(e.axes) & over]
    return out[::-1]


def on_pairs(expr: Expr, over: set[str]) -> bool:
    """Whether an expression differs between the keys of a row: it reads a pair value, or a key, outside any sum over the keys."""
    if isinstance(expr, Reduce) and set(expr.axes) & over:
        return False
    if isinstance(expr, Along) or value_name(expr) or (isinstance(expr, Index) and expr.axis in over):
        return True
    return any(on_pairs(child, over) for child in children(expr))


class Sweep:
    """Collects sums. Raises Frozen with the statistic to compute first, AttnUnsupportedError when there is no way.

    over: the axes summed. exprs: everything to be computed, to find the softmax.
    """

    def __init__(self, pieces: Pieces, over: tuple[str, ...], exprs: list[Expr], name: Callable[[str], str]) -> None:
        self.pieces, self.over, self.name = pieces, set(over), name
        self.order = tuple(over)
        self.sums: list[Sum] = []
        self.notes: list[str] = []
        self.source, self.softmax = self._choose(exprs)
        self.weight = None if self.softmax is None else value(self.softmax.name)

    def _choose(self, exprs: list[Expr]) -> tuple[Along | None, Softmax | None]:
        """The one softmax of the sweep: over exactly its axes, of a named score."""
        found: list[Along] = []
        for expr in exprs:
            for stat in statistics(expr, self.pieces.pair_axes):
                if isinstance(stat, Reduce) and stat.op == "lse":
                    stat = Along("softmax", stat.axes, stat.body, stat.cond)
                if isinstance(stat, Along):
                    if stat.op != "softmax":
                        raise AttnUnsupportedError(f"{stat.op} along pairs is not fused", self.pieces.node.span)
                    found.append(stat)
        kinds = list(dict.fromkeys((s.axes, s.body, s.cond) for s in found))
        if not kinds:
            return None, None
        sinks = [s for s in found if s.sink is not None]
        fits = [k for k in kinds if set(k[0]) == self.over and k[2] is None and not statistics(k[1], self.pieces.pair_axes)]
        if len(kinds) > 1 or not fits or len(set(sinks)) > 1:
            inner = [s for s in found if not statistics(s.body, self.pieces.pair_axes)]
            raise Frozen(self._real(inner[0], exprs))
        source = sinks[0] if sinks else found[0]
        weight = next((n for n, e in self.pieces.node.maps if isinstance(e, Along)), "p")
        return source, Softmax(weight, source.body, self.name("total"), self.name("row_lse"))

    def _real(self, stat: Along, exprs: list[Expr]) -> Expr:
        """The statistic as it stands in the expressions: a softmax, or the log-sum-exp it was made from."""
        for expr in exprs:
            if contains(expr, stat):
                return stat
        return Reduce("lse", stat.axes, stat.body, stat.cond)

    # What the softmax's statistics are.

    def _total(self) -> Read:
        assert self.softmax is not None
        return value(self.softmax.total)

    def _lse(self) -> Expr:
        """log of the sum of exponentials, sink included."""
        assert self.softmax is not None and self.source is not None
        lse: Expr = value(self.softmax.lse)
        if self.source.sink is None:
            return lse
        return Apply("add", (lse, Apply("softplus", (Apply("sub", (self.source.sink, lse)),))))

    def _inverse(self) -> Expr:
        """What a sum relative to the running maximum is multiplied with; 0 for a row without a key."""
        assert self.softmax is not None and self.source is not None
        total = self._total()
        top: Expr = ONE
        if self.source.sink is not None:
            top = Apply("sigmoid", (Apply("sub", (value(self.softmax.lse), self.source.sink)),))
        return Apply("where", (Apply("eq", (total, Const(0.0))), Const(0.0), Apply("div", (top, total))))

    def frozen_lse(self) -> Expr:
        """The log-sum-exp as later stages read it: +inf for a row without a key, so that its weights are 0."""
        return Apply("where", (Apply("eq", (self._total(), Const(0.0))), Const(float("inf")), self._lse()))

    # The mixed output.

    def mixed(self, node: Attend, weight: Expr) -> tuple[Sum, Final]:
        """The sum of weight times value, and the output it gives."""
        after: Expr = ONE
        scaled = self.source is not None and contains(weight, self.source)
        if scaled:
            assert self.source is not None and self.weight is not None
            gain = linear(weight, self.source)
            if gain is None:
                raise Frozen(self.source)
            pair, row = self._parted(gain)
            term, after = mul(self.weight, pair), mul(self._inverse(), row)
        else:
            term, after = self._parted(weight)
        terms = tuple(Term(n, mul(term, kind.gain), kind.mix) for n, kind in enumerate(self.pieces.kinds))
        summed = Sum(node.name, terms, "sum", self.pieces.feature, scaled)
        out: Expr = value(node.name)
        divides = [s for s in statistics(after, self.pieces.pair_axes) if isinstance(s, Reduce)]
        final = mul(out, self._values(after))
        if divides:
            final = self._unless_empty(final)
            self.notes.append("the division by a sum over the keys is made once a row, after the last tile")
        return summed, Final(node.name, node.axes, node.kind, final)

    def nothing(self) -> Expr:
        """Whether a row has no admitted key."""
        return Apply("eq", (self._total() if self.softmax is not None else self._sum(ONE), Const(0.0)))

    def _parted(self, expr: Expr) -> tuple[Expr, Expr]:
        """(pair factor, row factor): their product is the expression, and statistics stand in the row factor alone."""
        pair, row = [], []
        for part in factors(expr):
            inside = statistics(part, self.pieces.pair_axes)
            if not inside:
                pair.append(part)
            elif on_pairs(part, self.over):
                raise Frozen(inside[0])
            else:
                row.append(part)
        return product(pair), product(row)

    def _unless_empty(self, expr: Expr) -> Expr:
        count = self._sum(ONE)
        return Apply("where", (Apply("eq", (count, Const(0.0))), Const(0.0), expr))

    # Reductions over the keys.

    def _values(self, expr: Expr) -> Expr:
        """The expression with its reductions over the keys replaced by what the sweep has for them."""
        if isinstance(expr, Reduce) and statistics(expr, self.pieces.pair_axes):
            return self.reduced(expr)
        if isinstance(expr, Along):
            raise Frozen(expr)
        return rebuild(expr, self._values)

    def reduced(self, red: Reduce) -> Expr:
        """A reduction over exactly the sweep's axes."""
        if set(red.axes) != self.over:
            raise AttnUnsupportedError(
                f"a reduction over {', '.join(red.axes)} inside another is not fused", self.pieces.node.span
            )
        body, cond = red.body, red.cond
        match red.op:
            case "sum" | "count":
                return self._sum_value(_kept(body if red.op == "sum" else ONE, cond))
            case "mean":
                total, count = self._sum_value(_kept(body, cond)), self._sum(_kept(ONE, cond))
                return Apply("div", (total, Apply("max", (count, Const(1.0)))))
            case "norm":
                return Apply("sqrt", (self._sum_value(_kept(Apply("mul", (body, body)), cond)),))
            case "max" | "min":
                self._no_weight(body)
                return self._extreme(red.op, _kept(body, cond, Const(float("-inf") if red.op == "max" else float("inf"))))
            case "any" | "all":
                test = Apply("where", (body if cond is None else Apply("and", (cond, body)), Const(1.0), Const(0.0)))
                if red.op == "all":
                    test = Apply(
                        "where", (body if cond is None else Apply("or", (Apply("not", (cond,)), body)), Const(0.0), Const(1.0))
                    )
                return Apply("gt" if red.op == "any" else "eq", (self._sum(test), Const(0.0)))
            case "lse" if self.softmax is not None and self.source is not None and body == self.source.body and cond is None:
                return value(self.softmax.lse)
        raise AttnUnsupportedError(f"{red.op} over the keys is not fused here", self.pieces.node.span)

    def _sum_value(self, body: Expr) -> Expr:
        if self.source is None or not contains(body, self.source):
            inner = statistics(body, self.pieces.pair_axes)
            if inner:
                raise Frozen(inner[0])
            return self._sum(body)
        assert self.softmax is not None and self.weight is not None
        gain = linear(body, self.source)
        mark = value("log of the sum")
        if gain is not None:
            gain = replace_part(gain, Apply("log", (self.source,)), Apply("sub", (self.source.body, mark)))
        parts = None if gain is None or statistics(gain, self.pieces.pair_axes) else affine(gain, mark)
        if parts is None:
            raise Frozen(self.source)
        slope, rest = parts
        out = ZERO if is_const(rest, 0) else self._weighted(rest)
        if not is_const(slope, 0):
            out = add(out, mul(self._weighted(slope), self._lse()))
        return Apply("where", (Apply("eq", (self._total(), Const(0.0))), Const(0.0), mul(out, self._inverse())))

    def _weighted(self, gain: Expr) -> Expr:
        """Sum of w times gain, 0 where w is 0 (0 log 0 is 0)."""
        assert self.weight is not None
        if axes_of(gain) == () and not values_in(gain):
            return mul(gain, self._total())
        positive = Apply("gt", (self.weight, Const(0.0)))
        return self._sum(Apply("where", (positive, mul(self.weight, gain), Const(0.0))), scaled=True)

    def _no_weight(self, body: Expr) -> None:
        inner = statistics(body, self.pieces.pair_axes)
        if inner:
            raise Frozen(inner[0])

    def _sum(self, expr: Expr, scaled: bool = False) -> Read:
        return self._extreme("sum", expr, scaled)

    def _extreme(self, op: str, expr: Expr, scaled: bool = False) -> Read:
        if len(self.pieces.kinds) > 1 and set(axes_of(expr)) & set(self.pieces.over):
            raise AttnUnsupportedError(
                "a value that depends on the position among several kinds of keys is not fused", self.pieces.node.span
            )
        bins = set(axes_of(expr)) - self.pieces.pair_axes
        if bins:
            raise AttnUnsupportedError(f"a sum of pairs for each {', '.join(sorted(bins))} is not fused", self.pieces.node.span)
        terms = tuple(Term(n, expr) for n in range(len(self.pieces.kinds)))
        for known in self.sums:
            if known.terms == terms and known.op == op:
                return value(known.name)
        made = Sum(self.name("sum_w" if op == "sum" else f"{op}_w"), terms, op, "", scaled)
        self.sums.append(made)
        return value(made.name)

    # Emits.

    def emit(self, emit: Assign, expr: Expr, after: list[Assign]) -> list[Final]:
        """What an emit stores. A reduction over keys and rows is stored a row at a time, and summed over the rows after."""
        finals: list[Final] = []
        rows = tuple(a for a in self.pieces.rows if a not in self.over)

        def partial(e: Expr) -> Expr:
            if isinstance(e, Reduce) and statistics(e, self.pieces.pair_axes):
                rest = tuple(a for a in e.axes if a not in self.over)
                if not rest:
                    return e
                if e.op not in ("sum", "count") or not set(e.axes) >= self.over:
                    raise AttnUnsupportedError(
                        f"{e.op} over {', '.join(e.axes)} of pair values is not fused", self.pieces.node.span
                    )
                value = self.reduced(Reduce(e.op, self.order, e.body, e.cond))
                token = self.name(f"{emit.name}_rows")
                finals.append(Final(token, rows, "float", value, acc=True))
                return Reduce("sum", rest, Read(token, tuple(Index(a) for a in rows), "float"))
            return rebuild(e, partial)

        out = partial(expr)
        inside = statistics(out, self.pieces.pair_axes)
        if not finals and set(emit.axes) <= set(rows):
            if on_pairs(out, self.over):
                raise AttnUnsupportedError(f"{emit.name} stores values of pairs", self.pieces.node.span)
            if inside and set(emit.axes) != set(rows):
                raise AttnUnsupportedError(f"{emit.name} has fewer axes than the rows it sums for", self.pieces.node.span)
            return [Final(emit.name, emit.axes, emit.kind, self._values(out))]
        for stat in [s for s in inside if isinstance(s, Reduce) and set(s.axes) == self.over]:
            token = self.name(f"{emit.name}_row")
            finals.append(Final(token, rows, "float", self.reduced(stat), acc=True))
            out = replace_part(out, stat, Read(token, tuple(Index(a) for a in rows), "float"))
        if set(axes_of(out)) - set(emit.axes) or values_in(out):
            raise AttnUnsupportedError(f"{emit.name} stores values of pairs", self.pieces.node.span)
        after.append(Assign(emit.name, emit.axes, emit.kind, out, emit.span))
        return finals


def _kept(body: Expr, cond: Expr | None, other: Expr | None = None) -> Expr:
    """The body where the condition holds, else 0 (or `other`)."""
    if cond is None or cond == TRUE:
        return body
    if cond == FALSE:
        return other or ZERO
    return Apply("where", (cond, body, other or (Const(0.0) if kind_of(body) == "float" else ZERO)))
