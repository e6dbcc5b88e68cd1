"""The finals of a stage, differentiated: from cotangents of what it stores to those of its sums, of its log-sum-exp and of values
of the rows.

A sum S of a softmax's weights is taken normalized: S / total is the mean under the weights p = exp(score - lse), and a final
depends on S and the total through it and the log-sum-exp alone. Where total is 0 (a row without a key), lse is kept as +inf and
p is 0. Where a final is linear in a sum, <cotangent of S, S> is <cotangent of the final, the final> (the D of Dao et al. 2022).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from ...ir.algebra import diff
from ...ir.expr import FALSE, ONE, Apply, Const, Expr, Read, Reduce, axes_of, children, rebuild
from ...ir.pairs import Final, PairStage, Sum, value, value_name, values_in
from ..fuse.algebra import is_const, linear, mul, tidied
from .monomials import Monomial, monomial, monomials, total
from .script import Script, at

INF = Const(float("inf"))
LOG2E, LN2 = Const(math.log2(math.e)), Const(math.log(2.0))


def outer_reads(expr: Expr) -> list[Read]:
    """The float reads of an expression, each once, but not those inside another's position or fill."""
    if isinstance(expr, Read):
        return [expr] if expr.kind == "float" and "." not in expr.source else []
    return list(dict.fromkeys(r for child in children(expr) for r in outer_reads(child)))


@dataclass
class Kept:
    """What the forward pass leaves for the backward pass: finals added to stages, by name. at: the stage of each."""

    name: Callable[[str], str]
    at: dict[str, int] = field(default_factory=dict)
    finals: dict[str, Final] = field(default_factory=dict)

    def keep(self, k: int, stage: PairStage, axes: tuple[str, ...], hint: str, expr: Expr) -> Read:
        """A read of a final of stage k, one that is there already or a new one."""
        for final in (*stage.finals, *(f for n, f in self.finals.items() if self.at[n] == k)):
            if final.expr == expr and final.axes == axes and final.acc:
                return at(final.name, axes)
        made = Final(self.name(hint), axes, "float", expr, acc=True)
        self.at[made.name], self.finals[made.name] = k, made
        return at(made.name, axes)


class Ends:
    """The cotangents of one stage. rows: the axes of its rows, in order.

    bars: for each sum with an operand, (factor of the row, cotangent with the operand's axis). scalars: for other sums, their
    cotangents. lse: of the log-sum-exp. tokens: of values of the rows that finals read.
    """

    def __init__(self, k: int, stage: PairStage, rows: tuple[str, ...], kept: Kept, script: Script) -> None:
        self.k, self.stage, self.rows, self.kept, self.script = k, stage, rows, kept, script
        self.sums = {s.name: s for s in stage.sums}
        self.bars: dict[str, list[tuple[Expr, Read]]] = {}
        self.scalars: dict[str, list[Expr]] = {}
        self.inner: dict[str, list[Expr]] = {}
        self.lse: list[Expr] = []
        self.tokens: list[tuple[Read, Expr]] = []

    def statistic(self) -> Read:
        """The log-sum-exp of the scores as it is stored, +inf for a row without a key; in base 2 where nothing else asks for it."""
        soft = self.stage.softmax
        assert soft is not None
        empty = Apply("eq", (value(soft.total), Const(0.0)))
        plainly = Apply("where", (empty, INF, value(soft.lse)))
        for final in self.stage.finals:
            if final.expr == plainly and final.acc:
                return at(final.name, final.axes)
        in_base2 = Apply("where", (empty, INF, Apply("mul", (value(soft.lse), LOG2E))))
        return self.kept.keep(self.k, self.stage, self.rows, "lse_kept", in_base2)

    def lse_kept(self) -> Expr:
        """The log-sum-exp of the scores, +inf for a row without a key."""
        read = self.statistic()
        return mul(read, LN2) if read.source in self.kept.finals else read

    def sum_kept(self, s: Sum) -> Read:
        """A sum; one of a softmax's weights is normalized."""
        expr: Expr = value(s.name)
        if s.scaled:
            assert self.stage.softmax is not None
            whole = value(self.stage.softmax.total)
            expr = Apply("where", (Apply("eq", (whole, Const(0.0))), Const(0.0), Apply("div", (expr, whole))))
        axes = (*self.rows, s.feature) if s.feature else self.rows
        return self.kept.keep(self.k, self.stage, axes, f"{s.name}_kept", expr)

    def add(self, final: Final, cotangent: Read, live: Callable[[Read], bool]) -> None:
        """Account for the cotangent of a final. live: whether a value of the stage, or one outside it, has a cotangent."""
        soft = self.stage.softmax
        for y in outer_reads(final.expr):
            name = value_name(y)
            if (soft is not None and name == soft.total) or not live(y):
                continue
            slope = diff(final.expr, y)
            if is_const(slope, 0):
                continue
            if name and name in self.sums:
                self._sum(self.sums[name], final, cotangent, slope)
            elif name:
                self.lse.append(mul(cotangent, self._row(final, slope)))
            else:
                self.tokens.append((y, mul(cotangent, self._row(final, slope))))

    def _sum(self, s: Sum, final: Final, cotangent: Read, slope: Expr) -> None:
        body, stored = self._body(final)
        if linear(body, value(s.name)) is not None:
            inner: Expr = mul(cotangent, stored)
        else:
            inner = mul(mul(cotangent, self._row(final, slope)), self.sum_kept(s))
        self.inner.setdefault(s.name, []).append(inner)
        if not s.feature:
            self.scalars.setdefault(s.name, []).append(mul(cotangent, self._row(final, slope)))
            return
        gain = self._row(final, slope, pair=True)
        if s.feature in axes_of(gain):
            whole = mul(cotangent, self._row(final, slope))
            cotangent, gain = self.script.define(f"d_{s.name}", (*self.rows, s.feature), whole), ONE
        self.bars.setdefault(s.name, []).append((gain, cotangent))

    def scalar(self, s: Sum) -> Read | None:
        """The cotangent of a sum without an operand."""
        parts = self.scalars.get(s.name)
        return None if not parts else self.row(f"d_{s.name}", parts)

    def row(self, hint: str, parts: list[Expr]) -> Read:
        """A value of the rows: the sum of some expressions, each summed over axes that rows lack."""
        return self.script.define(hint, self.rows, total([summed(p, self.rows) for p in parts]))

    def _row(self, final: Final, slope: Expr, pair: bool = False) -> Expr:
        """A derivative of a final in terms of stored values. pair: for use at a pair, so the row has a key."""
        base = monomial(self._body(final)[0])
        factor = next((f for f in base.factors if value_name(f) in self.sums), None)
        gain = None
        if factor is not None:
            gain = Monomial(base.guards, tuple(f for f in base.factors if f is not factor))
            inside = {n for f in gain.factors for n in values_in(f) & set(self.sums)}
            if not inside or any(self.sums[n].feature for n in inside) or set(axes_of(gain.expr())) - set(self.rows):
                gain = None
        out: list[Expr] = []
        for m in monomials(slope):
            if factor is not None and factor in m.factors:
                left = m.over(base)
                m = m if left is None else Monomial(m.guards, (*left.factors, at(final.name, final.axes)))
            part = gain
            while part is not None and (left := m.over(part)) is not None:
                rows = tuple(a for a in final.axes if a in self.rows)
                m = left.times(self.kept.keep(self.k, self.stage, rows, f"{final.name}_gain", gain.expr() if gain else ONE))
                part = Monomial((), part.factors)
            divided = any(isinstance(f, Apply) and f.op == "div" for f in m.factors)
            if pair and not divided:  # by nothing that is 0 for an empty row
                m = Monomial(tuple(g for g in m.guards if not self._empty(g)), m.factors)
            out.append(self._settled(m.expr(), pair))
        return total(out)

    def _empty(self, guard: Expr) -> bool:
        """Whether a guard says that a row has no key: that the count of its keys is 0."""
        match guard:
            case Apply("eq", (count, Const(0.0))) if value_name(count) in self.sums:
                return all(is_const(t.expr, 1) and t.by is None for t in self.sums[value_name(count)].terms)
        return False

    def _body(self, final: Final) -> tuple[Expr, Expr]:
        """(expression, stored value) of a final; 0 where a row takes something else than its sums, as one without a key may."""
        stored = at(final.name, final.axes)
        match final.expr:
            case Apply("where", (c, a, b)) if not is_const(a, 0) and not is_const(b, 0) and not values_in(a) & set(self.sums):
                return Apply("where", (c, Const(0.0), b)), Apply("where", (self._settled(c, False), Const(0.0), stored))
        return final.expr, stored

    def _settled(self, expr: Expr, pair: bool) -> Expr:
        """The stage's values replaced by stored ones. pair: the row has a key."""
        soft = self.stage.softmax

        def visit(e: Expr) -> Expr:
            if soft is not None and e == Apply("eq", (value(soft.total), Const(0.0))):
                return FALSE if pair else Apply("eq", (self.statistic(), INF))
            name = value_name(e)
            if soft is not None and name == soft.total:
                return Const(1.0)
            if soft is not None and name == soft.lse:
                return self.lse_kept()
            if name in self.sums:
                return self.sum_kept(self.sums[name])
            return rebuild(e, visit)

        return tidied(visit(expr))


def summed(expr: Expr, axes: tuple[str, ...]) -> Expr:
    """The sum over the axes that are not in `axes`."""
    more = tuple(a for a in axes_of(expr) if a not in axes)
    return Reduce("sum", more, expr) if more else expr
