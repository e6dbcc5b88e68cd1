"""The backward pass of an attend: its pair stages run in reverse, each giving cotangents of pairs, which are then summed once.

A stage stores finals, pointwise in sums over its keys. Backward, the cotangents of its finals give those of its sums (ends.py), and
at a pair

    a sum S = sum of e by, with an operand:  t = <dS, by>,  d e = t,  d by = sum of e dS over the rows
    without one:                             d e = dS
    a softmax's weight p = exp(x - lse):     d x = p (d p - D + d lse),  D = sum over its sums of <dS, S>

Cotangents of scores, products and values of rows and keys add up over all stages, and are summed over pairs at the end, in one
stage a side: over the keys for what rows bring, over the rows for what keys bring. A statistic that an earlier stage computed
is needed before: what is its own cotangent's sum over pairs. Where the weights e of a sum depend on it as de = alpha e, that is
alpha <dS, S> on the rows' side and alpha <by, d by> on the keys' side, so it costs nothing (statistics.py); else a stage of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ...errors import AttnUnsupportedError
from ...ir.algebra import diff
from ...ir.expr import Apply, Expr, Read, axes_of, conjuncts, walk
from ...ir.nodes import Assign, Attend
from ...ir.pairs import Final, PairStage, Part, Product, Sum, value, value_name, values_in
from ..fuse import Fusion
from ..fuse.algebra import is_const, mul, neg, replace_part
from ..fuse.distances import unclamped
from ..fuse.pieces import Pieces
from ..fuse.products import plain
from .ends import Ends, Kept, outer_reads
from .extremes import keyed_sum, shared
from .monomials import monomial, monomials, total
from .script import Backward, Script, at
from .shifts import NO_AXES, Axes, constant_slope, still_scores
from .sides import Entry, Operand, Side
from .slopes import kept_where, through
from .tables import clashes, is_table
from .weights import own_weight, weighted

_CHEAP = {"add", "sub", "mul", "neg", "div", "to_float"}


class Derivative:
    """What differentiating a fused attend needs. name: gives names for what is kept and for cotangents. arrays: the axes of what
    it reads. capped: weights that are computed again are at most 1, however great the scores are. made: what the program computes
    of what the attend may read: it is differentiated in turn, as are the definitions before the attend (`inner`).

    grads: names of the cotangents of what it stores, by name. kept: what the forward pass has to leave beside that. opaque:
    values whose gradient is not summed by any stage, with the reason.
    """

    def __init__(
        self,
        node: Attend,
        fusion: Fusion,
        name: Callable[[str], str],
        arrays: Mapping[str, tuple[str, ...]] | None = None,
        capped: bool = False,
        made: Collection[str] = (),
    ) -> None:
        self.node, self.fusion, self.capped = node, fusion, capped
        self.arrays = {**(arrays or {}), **{a.name: a.axes for a in fusion.before}}
        self.inner = {*made, *(a.name for a in fusion.before)}
        self.pieces: Pieces = fusion.pieces
        self.finals = {f.name: (k, f) for k, s in enumerate(fusion.stages) for f in s.finals}
        keyed = [x.name for s in fusion.stages for x in s.keyed]
        self.grads = {n: name(f"d_{n}") for n in [*(n for n, (_, f) in self.finals.items() if f.kind == "float"), *keyed]}
        self.kept = Kept(name)
        self.opaque = self._opaque()

    def backward(self, needs: Collection[str], given: Collection[str], name: Callable[[str], str]) -> Backward:
        """The phases that give the gradients of the values in `needs` from the cotangents of the finals in `given`. name: gives
        names for what they compute.

        Raises AttnUnsupportedError, the message being the reason, where there are none.
        """
        for opaque, why in self.opaque.items():
            if opaque in needs:
                raise AttnUnsupportedError(why, self.node.span)
        return Reverse(self, set(needs), set(given), name).run()

    def rows_of(self, stage: PairStage) -> tuple[str, ...]:
        """The axes of a stage's rows, in the order in which its finals have them."""
        over = {a for k in stage.keys for a in (*k.axes, *k.repeat)}
        if over & set(self.pieces.rows):
            return tuple(a for a in (*self.pieces.rows, *self.node.over) if a not in over)
        return self.pieces.rows

    def over_of(self, stage: PairStage) -> tuple[str, ...]:
        """The axes that a stage sums over."""
        rows = self.rows_of(stage)
        natural = rows == self.pieces.rows
        return self.pieces.over if natural else tuple(a for a in (*self.pieces.rows, *self.node.over) if a not in rows)

    def reads(self) -> list[Read]:
        """Float values that are read at a pair, operands of products aside."""
        exprs = [e for kind in self.pieces.kinds for _, e in kind.lets]
        for stage in self.fusion.stages:
            exprs += [t.expr for s in (*stage.sums, *(x.sum for x in stage.keyed)) for t in s.terms]
            exprs += [stage.softmax.score] if stage.softmax else []
        return [r for r in dict.fromkeys(r for e in exprs for r in outer_reads(e)) if not value_name(r)]

    def side(self, n: int, read: Read) -> str:
        """Where the gradient of a value read at a pair is summed: `rows`, `keys`, `own` (the keys, over fewer row axes), `table` (its
        element that the pair chooses), or ""."""
        axes, rows = set(axes_of(read)), set(self.pieces.rows)
        if any(value_name(e) for x in read.index for e in walk(x)):
            return ""
        if axes <= rows:
            return "rows"
        if not axes & set(self.free(n)):
            return "keys"
        if is_table(read) and read.source in self.arrays:
            return "" if clashes(read, self.arrays[read.source], {*self.pieces.rows, *self.pieces.kinds[n].over}) else "table"
        return "own" if axes >= set(self.pieces.kinds[n].over) and set(self.free(n)) - axes else ""

    def free(self, n: int) -> tuple[str, ...]:
        """Row axes that no operand of the keys has: those summed for the keys' gradients."""
        kind = self.pieces.kinds[n]
        shared = {a for p in kind.products for a in axes_of(p.key)} | set(() if kind.mix is None else axes_of(kind.mix))
        return tuple(a for a in self.pieces.rows if a not in shared)

    def _opaque(self) -> dict[str, str]:
        out: dict[str, str] = {}
        for read in self.reads():
            kinds = [n for n, k in enumerate(self.pieces.kinds) if set(axes_of(read)) <= {*self.pieces.rows, *k.over}]
            if read.source not in self.finals and not all(self.side(n, read) for n in kinds):
                what = "has a value for each pair" if plain(read) else "is read at a position that depends on both row and key"
                for source in _floats(read):
                    out[source] = f"{source} {what}, and no stage sums its gradient"
        return out


def _floats(read: Read) -> list[str]:
    return [e.source for e in walk(read) if isinstance(e, Read) and e.kind == "float" and not value_name(e)]


class Reverse:
    """One backward pass."""

    def __init__(self, of: Derivative, needs: set[str], given: set[str], name: Callable[[str], str]) -> None:
        self.of, self.given, self.live = of, given, set(needs)
        self.stages = of.fusion.stages
        self.still = still_scores(of.node, given)
        self.name = name
        self.script = Script(self.name)
        self.sides = [Side(k, list(k.products), list(k.lets)) for k in of.pieces.kinds]
        self.moving = [self._moves(k) for k in range(len(self.stages))]
        self.tokens: list[Assign] = []
        self.shares: dict[str, Read] = {}
        self.row_cots: dict[str, list[Expr]] = {}
        self.title = of.node.name or (of.node.emits[0].name if of.node.emits else "attend")

    def run(self) -> Backward:
        from .sums import operands

        for k in reversed(range(len(self.stages))):
            self._stage(k)
        operands(self)
        return self.script.done(tuple(self.tokens))

    # What depends on what is needed.

    def _moves(self, k: int) -> set[str]:
        """Names of a stage's values that depend on what is needed; its finals become live."""
        stage = self.stages[k]
        out: set[str] = set()
        if stage.softmax and any(self._alive(n, stage.softmax.score) for n in range(len(stage.keys))):
            out |= {stage.softmax.name, stage.softmax.lse}
        for s in (*stage.sums, *(x.sum for x in stage.keyed)):
            for t in s.terms:
                by = t.by is not None and t.by.source in self.live
                if by or values_in(t.expr) & out or self._alive(t.keys, t.expr):
                    out.add(s.name)
        for f in stage.finals:
            if f.kind == "float" and any(value_name(r) in out or r.source in self.live for r in outer_reads(f.expr)):
                self.live.add(f.name)
        return out

    def _alive(self, n: int, expr: Expr) -> bool:
        """Whether an expression at a pair depends on what is needed."""
        return any(self.leaf_lives(n, r) for r in outer_reads(expr))

    def leaf_lives(self, n: int, read: Read) -> bool:
        name, side = value_name(read), self.sides[n]
        if not name:
            return any(s in self.live for s in _floats(read))
        if read in side.weights:
            score, lse = side.weights[read]
            return self._alive(n, score) or lse.source in self.live
        for p in side.kind.products:
            if p.name == name:
                return p.row.source in self.live or p.key.source in self.live
        return any(let == name and self._alive(n, expr) for let, expr in side.kind.lets)

    # One stage.

    def _stage(self, k: int) -> None:
        stage, moving = self.stages[k], self.moving[k]
        ends = Ends(k, stage, self.of.rows_of(stage), self.of.kept, self.script)
        extra: dict[str, list[Expr]] = {}
        for final in reversed(stage.finals):
            if final.kind != "float" or final.name not in self.live:
                continue
            cotangent = self._cotangent(final, extra.pop(final.name, []))
            if cotangent is None:
                continue
            first = len(ends.tokens)
            ends.add(final, cotangent, lambda r: value_name(r) in moving or r.source in self.live)
            for read, expr in ends.tokens[first:]:
                if any(f.name == read.source for f in stage.finals):
                    extra.setdefault(read.source, []).append(expr)
        for read, expr in ends.tokens:
            if not any(f.name == read.source for f in stage.finals):
                self._row_token(ends, read, expr)
        if ends.bars or ends.scalars or ends.lse:
            for n in range(len(stage.keys)):
                for s in stage.sums:
                    if s.name in moving:
                        self._sum(ends, n, s)
        for keyed in stage.keyed:
            if keyed.name in self.given and keyed.name in moving:
                keyed_sum(self, ends, keyed)
        self._scores(ends)

    def _cotangent(self, final: Final, extra: list[Expr]) -> Read | None:
        """The cotangent of a final: what is given, what later stages' finals and pairs add."""
        from .statistics import statistic

        parts: list[Expr] = [at(self.of.grads[final.name], final.axes)] if final.name in self.given else []
        parts += extra + self.row_cots.pop(final.name, [])
        parts += statistic(self, final)
        return self.script.define(f"d_{final.name}", final.axes, total(parts)) if parts else None

    def _row_token(self, ends: Ends, read: Read, expr: Expr) -> None:
        """The cotangent of a value that finals read."""
        if read.source in self.of.finals:
            self.row_cots.setdefault(read.source, []).append(expr)
            return
        axes = tuple(a for a in axes_of(expr) if a in ends.rows or a in axes_of(read))
        made = self.script.define(f"d_{read.source}", axes, expr)
        self.give(read, made.source, axes)

    def give(self, read: Read, name: str, stored: tuple[str, ...]) -> None:
        """A stored value is a share of the gradient of what is read; a read at another position is a definition to differentiate."""
        axes = axes_of(read)
        if plain(read) and len(read.index) == len(axes):
            self.script.parts.append(Part(read.source, name, stored, axes))
            return
        token = next((t for t in self.tokens if t.expr == read), None)
        if token is None:
            token = Assign(self.name(f"{read.source}_read"), axes, "float", read)
            self.tokens.append(token)
        self.script.parts.append(Part(token.name, name, stored, axes))

    def _sum(self, ends: Ends, n: int, s: Sum) -> None:
        """What a sum's cotangent gives the values at a pair of one kind of keys."""
        side, bars, scalar = self.sides[n], ends.bars.get(s.name, []), ends.scalar(s)
        if not bars and scalar is None:
            return
        mask = self.mask(ends.stage, n)
        for term in s.terms:
            if term.keys != n:
                continue
            expr = weighted(self, ends, n, term.expr)
            if s.op != "sum":
                assert scalar is not None
                self.pull(n, expr, kept_where(mask, shared(self, ends, n, s, expr, scalar)))
                continue
            short = self._short(n, s.name, expr)
            kept = kept_where(mask, short)
            flow: Operand | None = None
            cot: Expr
            if term.by is None:
                assert scalar is not None
                cot = scalar
            else:
                cot = total([mul(gain, self._product(n, d, term.by, s.feature)) for gain, d in bars])
                flow = Operand(term.by, [(mul(gain, kept), d) for gain, d in bars], s.feature, ends, s)
                side.operands.append(flow)
            self.pull(n, expr, kept_where(mask, cot), short, flow if mask is None and not s.scaled else None)

    def mask(self, stage: PairStage, n: int) -> Expr | None:
        """What a stage asks of its pairs beyond what all of them are asked."""
        mask, whole = stage.keys[n].mask, self.sides[n].kind.mask
        if whole is not None and not set(conjuncts(whole)) <= set(conjuncts(mask)):
            raise AttnUnsupportedError("no backward stage for a sum of pairs that are not admitted", self.of.node.span)
        return None if mask == whole else mask

    def let(self, n: int, hint: str, expr: Expr) -> Read:
        """A value of a pair by name."""
        side = self.sides[n]
        for name, known in side.lets:
            if known == expr:
                return value(name)
        made = self.name(hint)
        side.lets.append((made, expr))
        return value(made)

    def _short(self, n: int, hint: str, expr: Expr) -> Expr:
        """Weights that take more than multiplications by name, so that they are computed once."""
        ops = {e.op for e in walk(expr) if isinstance(e, Apply)}
        return expr if ops <= _CHEAP else self.let(n, f"w_{hint}", expr)

    def _product(self, n: int, d: Read, by: Read, feature: str) -> Read:
        """<d, by>."""
        side = self.sides[n]
        for p in side.products:
            if (p.row, p.key, p.over) == (d, by, feature):
                return value(p.name)
        made = Product(self.name("t"), d, by, feature)
        side.products.append(made)
        return value(made.name)

    def pull(
        self, n: int, expr: Expr, cot: Expr, short: Expr | None = None, flow: Operand | None = None, still: Axes = NO_AXES
    ) -> None:
        """Add cot times the derivative of an expression at a pair to the cotangents of what it reads. short: its value by name.
        still: axes over which the cotangents of the expression add up to 0."""
        before = {a.name: a for a in self.of.fusion.before}
        smooth = unclamped(expr, self.sides[n].kind.products, before)
        for leaf in outer_reads(expr):
            if not self.leaf_lives(n, leaf):
                continue
            slope = diff(smooth, leaf)
            if is_const(slope, 0) or constant_slope(leaf, slope, still):
                continue
            entry = Entry(through(slope if short is None or short == expr else replace_part(slope, expr, short), cot))
            if flow is not None:
                alpha = self._alpha(n, expr, leaf, slope)
                if alpha is not None:
                    entry.flow, entry.alpha = flow, alpha
            self.sides[n].cots.setdefault(leaf, []).append(entry)

    def _alpha(self, n: int, expr: Expr, leaf: Read, slope: Expr) -> Expr | None:
        """alpha with d expr / d T = alpha expr, for an earlier stage's statistic T that is read as the leaf or inside it."""
        base = monomial(expr)
        if leaf in self.sides[n].weights:
            slope = neg(mul(slope, leaf))
        elif leaf.source not in self.of.finals:
            return None
        out: list[Expr] = []
        for m in monomials(slope):
            left = m.over(base)
            if left is None or values_in(left.expr()) or set(axes_of(left.expr())) - set(self._axes(n, leaf)):
                return None
            out.append(left.expr())
        return total(out)

    def _axes(self, n: int, leaf: Read) -> tuple[str, ...]:
        return axes_of(self.sides[n].weights[leaf][1] if leaf in self.sides[n].weights else leaf)

    def _scores(self, ends: Ends) -> None:
        """From the cotangents of weights under this stage's log-sum-exp to those of the score."""
        soft = ends.stage.softmax
        if soft is None or soft.name not in self.moving[ends.k]:
            return
        own = ends.statistic()
        ours = {own.source, *(f.name for f in ends.stage.finals)}
        scaled = [i for x in ends.stage.sums if x.scaled for i in ends.inner.get(x.name, [])]
        mean = ends.row("delta", scaled + [neg(x) for x in ends.lse]) if scaled else None
        more = ends.row("d_lse", ends.lse) if ends.lse and not scaled else None
        for n, side in enumerate(self.sides[: len(ends.stage.keys)]):
            mine = own_weight(self, ends, n) if mean or more else None
            for p, (score, lse) in list(side.weights.items()):
                if lse.source not in ours:
                    continue
                parts = [e.expr for e in side.cots.pop(p, [])]
                if p == mine and more is not None:
                    parts.append(more)
                if not parts:
                    continue
                inner = total(parts)
                if p == mine and mean is not None:
                    inner = Apply("sub", (inner, mean))
                self._drawn(n, score, mul(p, inner), self.mask(ends.stage, n) if lse == own else None)

    def _drawn(self, n: int, score: Expr, expr: Expr, mask: Expr | None) -> None:
        self.pull(n, score, self.let(n, "d_score", kept_where(mask, expr)))
