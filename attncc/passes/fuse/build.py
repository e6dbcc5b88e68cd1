"""From the parts of an attend to its stages: which statistics run in the same sweep and which are frozen first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from ...errors import AttnUnsupportedError
from ...ir.expr import (
    ONE,
    TRUE,
    Along,
    Apply,
    Const,
    Expr,
    Index,
    Read,
    Reduce,
    Size,
    axes_of,
    kind_of,
    rebuild,
    substitute,
    walk,
)
from ...ir.nodes import Assign, Attend, Program, exprs_of, pair_values, values_of
from ...ir.ops import OPS
from ...ir.pairs import Final, Keyed, PairStage, Sum, Term, value, values_in
from .algebra import add, mul, replace_part, tidied
from .keyed import bins, has_bins, solved
from .pieces import Pieces, collect, local
from .products import Before
from .rewriting import at_position, plain_logs, replaced, weights_of, with_values
from .row_terms import without_row_terms
from .sweep import Frozen, Sweep, statistics

_UNROLL = 16
ADMITTED = Read("%admitted", (), "bool")
"""Whether a pair is admitted, where it matters that an expression asks."""


@dataclass(frozen=True)
class Fusion:
    """before and after: definitions around the stages. acc: names of values kept in the accumulation type. pieces: what all the
    stages are made of."""

    before: tuple[Assign, ...]
    stages: tuple[PairStage, ...]
    after: tuple[Assign, ...]
    acc: frozenset[str]
    pieces: Pieces


def fuse(program: Program, node: Attend, wanted: Collection[str] | None = None, taken: Collection[str] = ()) -> Fusion:
    """The stages of an attend. wanted: names of the emits that are needed (None: all). taken: names that new values leave alone.

    Raises AttnUnsupportedError, the message being the reason, when the attend cannot be fused.
    """
    if node.empty == "error":
        raise AttnUnsupportedError("rows without a key that are an error are not fused: kernels raise nothing", node.span)
    if node.empty == "uniform" and (node.posts or len(node.maps) != 1 or node.emits):
        text = "rows without a key that give equal weights are not fused where more than one map of weights depends on that"
        raise AttnUnsupportedError(text, node.span)
    for expr in (e for whole in exprs_of(node) for e in walk(whole)):
        if isinstance(expr, Apply) and expr.op in ("floordiv", "mod") and kind_of(expr) != "int":
            raise AttnUnsupportedError(f"'{OPS[expr.op].infix}' of numbers that are not whole is not fused", node.span)
    return _Builder(program, node, wanted, taken).run()


class _Builder:
    def __init__(self, program: Program, node: Attend, wanted: Collection[str] | None, taken: Collection[str]) -> None:
        self.program, self.node = program, node
        self.taken = {i.name for i in program.inputs} | {v.name for n in program.nodes for v in values_of(n)}
        self.taken |= {a.name for a in program.axes} | {n for n, _ in (*node.maps, *node.posts)}
        self.taken |= {n for s in node.segments for n, _ in s.scores} | set(taken)
        self.before = Before(self.name)
        self.pieces = collect(program, node, self.before, self.name)
        self.axes = {v.name: v.axes for v in pair_values(node).values()}
        self.stages: list[PairStage] = []
        self.after: list[Assign] = []
        self.emits = {e.name: e for e in node.emits if wanted is None or e.name in wanted}
        self.title = node.name or (node.emits[0].name if node.emits else "attend")

    def name(self, hint: str) -> str:
        """A fresh name."""
        new, number = hint, 2
        while new in self.taken:
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new

    def run(self) -> Fusion:
        known: dict[str, Expr] = {n: value(n) for s in self.node.segments for n, _ in s.scores}
        known["admitted"] = TRUE  # a reduction takes admitted pairs alone
        weight: Expr = ONE
        for name, expr in (*self.node.maps, *self.node.posts):
            weight = known[name] = self._definition(expr, known)
        emits: dict[str, Expr] = {}
        elsewhere = {n: e for n, e in self.emits.items() if self._moved(e.expr)}
        for emit in (e for n, e in self.emits.items() if n not in elsewhere):
            keyed_too = has_bins(emit.expr, self.pieces.pair_axes)
            expr = emit.expr if keyed_too else self._asked(emit.expr)
            emits[emit.name] = self._definition(expr, {**known, "admitted": ADMITTED} if keyed_too else known)
        mixed = weight if self.node.name else None
        self._keep_outer_emits(emits)
        keyed = {n: e for n, e in emits.items() if has_bins(e, self.pieces.pair_axes)}
        rows_too = {n: e for n, e in emits.items() if n not in keyed and self._row_sums(e)}
        here = {n: e for n, e in emits.items() if n not in rows_too and n not in keyed}
        lse = ""
        while True:
            try:
                lse = self._main(mixed, here, bool(rows_too or keyed or elsewhere))
                break
            except Frozen as frozen:
                parts = self._freeze(frozen.stat)
                mixed = None if mixed is None else replaced(mixed, parts)
                here = {n: replaced(e, parts) for n, e in here.items()}
                rows_too = {n: replaced(e, parts) for n, e in rows_too.items()}
                keyed = {n: replaced(e, parts) for n, e in keyed.items()}
        for name, expr in rows_too.items():
            self._column(name, self._frozen(expr, lse))
        for name, expr in keyed.items():
            self._binned(name, self._frozen(expr, lse))
        for emit in elsewhere.values():
            self.after.append(replace(emit, expr=self._picked(emit.expr, known, lse)))
        place = {e.name: n for n, e in enumerate(self.node.emits)}
        self.after.sort(key=lambda assign: place[assign.name])
        if len(self.stages) == 1:  # several share its log-sum-exp
            self.stages = [without_row_terms(self.stages[0], {a.name: a for a in self.before.assigns})]
        return Fusion(tuple(self.before.assigns), tuple(self.stages), tuple(self.after), frozenset(self.before.acc), self.pieces)

    def _moved(self, expr: Expr) -> bool:
        """Whether an expression is made of weights at chosen pairs alone: reads of maps, each at another position than its own."""
        maps = {n for n, _ in (*self.node.maps, *self.node.posts)}
        reads = [e for e in walk(expr) if isinstance(e, Read) and e.source in {*self.axes, *maps}]
        own = any(e.source not in maps or e.index == tuple(map(Index, self.axes[e.source])) for e in reads)
        return bool(reads) and not own and not any(isinstance(e, Reduce | Along) for e in walk(expr)) and not self.node.keys

    def _picked(self, expr: Expr, known: dict[str, Expr], lse: str) -> Expr:
        """Weights at chosen pairs, computed again from what the pair reads and the statistics of its row."""
        if not isinstance(expr, Read) or expr.source not in self.axes:
            return rebuild(expr, lambda e: self._picked(e, known, lse))
        weight = self._frozen(known[expr.source], lse)
        while inner := statistics(weight, self.pieces.pair_axes):
            weight = replaced(weight, self._freeze(inner[0]))
        kind = self.pieces.kinds[0]
        values: dict[str, Expr] = {p.name: Reduce("sum", (p.over,), Apply("mul", (p.row, p.key))) for p in kind.products}
        for name, let in kind.lets:
            values[name] = with_values(let, values)
        weight = with_values(weight, values)
        if kind.mask is not None:
            weight = Apply("where", (kind.mask, weight, Const(0.0)))
        return substitute(weight, dict(zip(self.axes[expr.source], expr.index, strict=True)))

    def _asked(self, expr: Expr) -> Expr:
        """The mask where an expression asks whether a pair is admitted, outside reductions, which take admitted pairs alone."""
        if isinstance(expr, Reduce | Along) and set(expr.axes) & self.pieces.pair_axes:
            return expr
        if isinstance(expr, Read) and expr.source == "admitted" and all(isinstance(x, Index) for x in expr.index):
            if self.node.keys:
                raise AttnUnsupportedError("which pairs of several kinds of keys are admitted is not stored", self.node.span)
            return self.node.segments[0].mask or TRUE
        return rebuild(expr, self._asked)

    def _definition(self, expr: Expr, known: dict[str, Expr]) -> Expr:
        """The expression in terms of scores, statistics and tokens; reductions over other axes than the pairs' unrolled."""
        out = plain_logs(tidied(local(expr, known, self.axes, self.node.span)))
        return self._unrolled(out)

    def _unrolled(self, expr: Expr) -> Expr:
        """Reductions of pair values over axes that are none of the pairs', written out."""
        expr = rebuild(expr, self._unrolled)
        if not isinstance(expr, Reduce) or not (values_in(expr.body) or statistics(expr.body, self.pieces.pair_axes)):
            return expr
        extra = [a for a in expr.axes if a not in self.pieces.pair_axes]
        if not extra:
            return expr
        if expr.op != "sum" or len(expr.axes) != 1 or expr.cond is not None:
            raise AttnUnsupportedError(f"{expr.op} of pair values over {', '.join(extra)} is not fused", self.node.span)
        size = self.program.axis(extra[0]).size
        if not isinstance(size, Const) or not isinstance(size.value, int) or not 0 < size.value <= _UNROLL:
            raise AttnUnsupportedError(
                f"a sum of pair values over {extra[0]}, whose size is not a small constant", self.node.span
            )
        out: Expr = Const(0)
        for at in range(size.value):
            out = add(out, at_position(expr.body, extra[0], at))
        return out

    def _keep_outer_emits(self, emits: dict[str, Expr]) -> None:
        """Emits made from values outside the pairs alone, or from other emits at other positions, run after."""
        for name in list(emits):
            expr = emits[name]
            if bool(values_in(expr)) or any(isinstance(e, Reduce) and set(e.axes) & self.pieces.pair_axes for e in walk(expr)):
                continue
            if set(axes_of(expr)) & (self.pieces.pair_axes - set(self.emits[name].axes)):
                raise AttnUnsupportedError(f"{name} stores values of pairs", self.node.span)
            self.after.append(replace(self.emits[name], expr=expr))
            del emits[name]

    def _row_sums(self, expr: Expr) -> bool:
        """Whether some reduction of pair values runs over row axes and not over all the keys."""
        over = set(self.pieces.over)
        return any(isinstance(e, Reduce) and set(e.axes) & set(self.pieces.rows) and not set(e.axes) >= over for e in walk(expr))

    def _pairwise(self, expr: Expr) -> bool:
        return bool(values_in(expr))

    def _main(self, mixed: Expr | None, emits: dict[str, Expr], need_lse: bool) -> str:
        """The stage with the mixed output and the emits along the keys. Gives the name of the log-sum-exp it stores, if any."""
        exprs = [*([] if mixed is None else [mixed]), *emits.values()]
        if not exprs:
            return ""
        sweep = Sweep(self.pieces, self.pieces.over, exprs, self.name)
        finals: list[Final] = []
        sums: list[Sum] = []
        if mixed is not None:
            summed, final = sweep.mixed(self.node, mixed)
            if self.node.empty == "uniform":
                final = replace(final, expr=Apply("where", (sweep.nothing(), self._mean(), final.expr)))
            sums.append(summed)
            finals.append(final)
        after: list[Assign] = []
        for name, expr in emits.items():
            finals += sweep.emit(self.emits[name], expr, after)
        lse = ""
        if need_lse and sweep.softmax is not None:
            lse = self.name("lse")
            finals.append(Final(lse, self.pieces.rows, "float", sweep.frozen_lse(), acc=True))
        stage = self.pieces.stage(
            self.title, self.pieces.over, sweep.softmax, (*sums, *sweep.sums), tuple(finals), tuple(sweep.notes)
        )
        self.stages.append(stage)
        self.after += after
        self._alias = (sweep.source, lse) if lse else None
        return lse

    def _mean(self) -> Expr:
        """The mixed value under equal weights over every key, admitted or not."""
        total: Expr = Const(0)
        count: Expr = Const(0)
        for kind in self.pieces.kinds:
            if kind.gain != ONE or kind.mix is None:
                raise AttnUnsupportedError(
                    "rows without a key that give equal weights of a computed value are not fused", self.node.span
                )
            total = add(total, Reduce("sum", kind.over, kind.mix))
            keys: Expr = ONE
            for axis in kind.over:
                keys = mul(keys, Size(axis))
            count = add(count, keys)
        mean = Apply("div", (total, Apply("to_float", (Apply("max", (count, Const(1))),))))
        order = tuple(a for a in axes_of(total) if a != self.pieces.feature)
        return self.before.define(f"{self.title}_mean", mean, acc=True, order=order)

    def _freeze(self, stat: Expr) -> list[tuple[Expr, Expr]]:
        """A stage that computes a statistic beforehand; gives (old, new) for what it replaces, in order."""
        if not isinstance(stat, Along | Reduce):
            raise TypeError(stat)
        over = stat.axes
        rows = tuple(a for a in (*self.pieces.rows, *self.node.over) if a not in over)
        body = Along("softmax", over, stat.body, None, stat.sink) if isinstance(stat, Along) else stat
        masked = self._with_cond(stat.cond) if isinstance(stat, Along) and stat.cond is not None else self.pieces
        sweep = Sweep(masked, over, [body], self.name)
        if isinstance(stat, Along):
            token = self.name("lse")
            final = Final(token, rows, "float", sweep.frozen_lse(), acc=True)
        else:
            token = self.name(f"{stat.op}_w")
            final = Final(token, rows, kind_of(stat), sweep.reduced(stat), acc=True)
        note = f"{token} is computed first, in a sweep of its own: what follows is not linear in the weights it normalises"
        self.stages.append(
            masked.stage(self.name(f"{self.title}_{token}"), over, sweep.softmax, tuple(sweep.sums), (final,), (note,))
        )
        read = Read(token, tuple(Index(a) for a in rows), final.kind)
        return [(stat, read)] if not isinstance(stat, Along) else weights_of(stat, read)

    def _with_cond(self, cond: Expr) -> Pieces:
        kinds = tuple(replace(k, mask=cond if k.mask is None else Apply("and", (k.mask, cond))) for k in self.pieces.kinds)
        return replace(self.pieces, kinds=kinds)

    def _frozen(self, expr: Expr, lse: str) -> Expr:
        """The expression with the softmaxes it reads replaced by what is stored of them."""
        if lse and self._alias is not None and isinstance(self._alias[0], Along):
            read = Read(lse, tuple(Index(a) for a in self.pieces.rows), "float")
            expr = replaced(expr, weights_of(self._alias[0], read))
        while True:
            inner = [s for s in statistics(expr, self.pieces.pair_axes) if isinstance(s, Along)]
            if not inner:
                return expr
            expr = replaced(expr, self._freeze(inner[0]))

    def _column(self, name: str, expr: Expr) -> None:
        """An emit with reductions over row axes: a stage with rows and keys exchanged, then the rest of the expression."""
        emit = self.emits[name]

        def visit(e: Expr) -> Expr:
            if isinstance(e, Reduce) and self._pairwise(e):
                if any(isinstance(x, Along) or (isinstance(x, Reduce) and x is not e) for x in walk(e.body)):
                    raise AttnUnsupportedError(f"{name} reduces a reduction of pair values", self.node.span)
                return self._column_sum(e)
            return rebuild(e, visit)

        out = visit(expr)
        if set(axes_of(out)) - set(emit.axes):
            raise AttnUnsupportedError(f"{name} stores values of pairs", self.node.span)
        self.after.append(replace(emit, expr=out))

    def _column_sum(self, red: Reduce) -> Expr:
        rows = tuple(a for a in (*self.pieces.rows, *self.node.over) if a not in red.axes)
        sweep = Sweep(self.pieces, red.axes, [red], self.name)
        token = self.name(f"{self.title}_{red.op}")
        final = Final(token, rows, kind_of(red), sweep.reduced(red), acc=True)
        note = f"{token} sums over the rows, so the roles of rows and keys are exchanged"
        self.stages.append(self.pieces.stage(token, red.axes, sweep.softmax, tuple(sweep.sums), (final,), (note,)))
        return Read(token, tuple(Index(a) for a in rows), final.kind)

    def _binned(self, name: str, expr: Expr) -> None:
        """An emit with sums of pairs for each key: a stage that adds every pair to its element, then the rest of the expression."""
        emit = self.emits[name]

        def visit(e: Expr) -> Expr:
            if isinstance(e, Reduce) and set(e.axes) & self.pieces.pair_axes:
                wanted = bins(e, self.pieces.pair_axes)
                if wanted:
                    return self._keyed_sum(e, wanted)
                plainly = replace_part(e, ADMITTED, TRUE)
                assert isinstance(plainly, Reduce)
                return self._column_sum(plainly)
            return rebuild(e, visit)

        out = visit(expr)
        if set(axes_of(out)) - set(emit.axes):
            raise AttnUnsupportedError(f"{name} stores values of pairs", self.node.span)
        self.after.append(replace(emit, expr=out))

    def _keyed_sum(self, red: Reduce, wanted: tuple[str, ...]) -> Expr:
        asked = bool(values_in(red))  # a reduction that reads no value of the pairs runs over all of them
        keys, term = solved(replace_part(red, ADMITTED, TRUE), wanted, self.node.span)
        pieces = self.pieces
        if len(pieces.kinds) > 1:
            raise AttnUnsupportedError("a sum of pairs for each key over several kinds of keys is not fused", self.node.span)
        if any(values_in(k) for k in keys.values()):
            raise AttnUnsupportedError("a sum of pairs for each value of a score is not fused", self.node.span)
        while inner := statistics(term, self.pieces.pair_axes):
            term = replaced(term, self._freeze(inner[0]))
        token = self.name(f"{self.title}_{'_'.join(wanted)}")
        sums = (Sum(token, (Term(0, term),)),)
        note = f"{token} adds every pair to the element that its key says; each share of the rows has an array of its own"
        if not asked:
            pieces = replace(pieces, kinds=(replace(pieces.kinds[0], mask=None),))
        if not values_in(term):  # positions and tokens alone: nothing differs along other axes
            read = {a for e in (term, *keys.values(), pieces.kinds[0].mask) if e is not None for a in axes_of(e)}
            pieces = replace(pieces, rows=tuple(a for a in pieces.rows if a in read or a in red.axes))
        stage = pieces.stage(token, pieces.over, None, sums, (), (note,))
        rows = tuple(a for a in stage.rows if a in red.axes) or stage.rows
        grid = (*stage.grid, *(a for a in stage.rows if a not in rows))
        kept = tuple(a for a in (*rows, *self.pieces.over) if a not in red.axes and a not in grid)
        axes = (*grid, *kept, *wanted)
        made = Keyed(sums[0], axes, tuple(keys.get(a, Index(a)) for a in axes))
        self.stages.append(replace(stage, grid=grid, rows=rows, sums=(), keyed=(made,)))
        out: Expr = Read(token, tuple(Index(a) for a in axes), "float")
        summed = tuple(a for a in grid if a in red.axes)
        out = Reduce("sum", summed, out) if summed else out
        return Apply("round", (out,)) if kind_of(red) == "int" else out

    _alias: tuple[Expr | None, str] | None = None
