"""Cotangents of a pair, and the stages that sum them over the keys (rows' operands) and over the rows (keys' operands).

Per pair, with products x, score S(x, tokens), weight p = exp(S - lse) of an online softmax and mixed weight W(p, x, tokens):

    t = <dO, v>        D = sum over keys of p t dW/dp        ds = p (t dW/dp - D) + exp(S - row lse) dlse
    dz = t dW/dz + ds dS/dz          for each product and token z, p held fixed
    dv = sum of W dO                 over the rows
    dsink = -exp(sink - lse) D       over the rows

Plain weights have no p: dz = t dW/dz. Where W is linear in p, D is <dO, o> (Dao et al. 2022), else a sweep of its own. A row
without a key has lse +inf, so its p is 0 and it adds nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from ...errors import AttnUnsupportedError
from ...ir.algebra import diff
from ...ir.expr import ONE, TRUE, Along, Apply, Const, Expr, Index, Read, Reduce, axes_of, rebuild, walk
from ...ir.nodes import Assign, Attend, Program, Value, pair_values, values_of
from ...ir.pairs import Final, PairStage, Product, Sum, Term, value, value_name
from ..fuse.algebra import add, is_const, linear, mul, neg, replace_part, tidied
from ..fuse.pieces import Pieces, collect, local
from ..fuse.products import Before, plain
from ..fuse.sweep import statistics

Pairs = tuple[tuple[str, Expr], ...]


@dataclass(frozen=True)
class Part:
    """A share of the gradient of input `source`: the value `name`, summed over its axes beyond `axes`, in their order."""

    source: str
    name: str
    stored: tuple[str, ...]
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Backward:
    """definitions run before the stages. acc: names of values in the accumulation type."""

    definitions: tuple[Assign, ...]
    stages: tuple[PairStage, ...]
    parts: tuple[Part, ...]
    acc: frozenset[str]


class Derivative:
    """What differentiating an attend needs. Raises AttnUnsupportedError for one without rules here.

    given: what the backward pass reads beside the inputs: the output's cotangent `grad`, that of the log-sum-exp `grad_lse`, the
    saved log-sum-exp `lse` (of the scores alone, +inf for a row without a key) and the output; "" where not read. opaque:
    inputs that depend on both sides of a pair, or are read elsewhere than at its position: no stage here sums their gradients.
    """

    def __init__(self, program: Program, node: Attend) -> None:
        self.program, self.node = program, node
        self.taken = {i.name for i in program.inputs} | {v.name for n in program.nodes for v in values_of(n)}
        self.taken |= {a.name for a in program.axes} | {n for n, _ in (*node.maps, *node.posts)}
        self.taken |= {n for s in node.segments for n, _ in s.scores}
        if not node.name or len(node.segments) > 1 or len(node.segments[0].scores) > 1 or node.empty != "zero":
            raise AttnUnsupportedError("no backward stage for an attend of this form", node.span)
        before = Before(self.name)
        self.pieces: Pieces = collect(program, node, before, self.name)
        if before.assigns:
            raise AttnUnsupportedError(f"no backward stage through {before.assigns[0].name}", node.span)
        self.kind = self.pieces.kinds[0]
        self.lets = self._inlined(self.kind.lets)
        self.source, self.emitted, weight = self._weights()
        self.rows = self.pieces.rows
        self.grad, self.o = self.name(f"d_{node.name}"), node.name
        self.grad_lse = self.name(f"d_{self.emitted}") if self.emitted else ""
        self.lse = self.name("lse_kept") if self.source is not None or self.emitted else ""
        self.delta = self.name("delta") if self.source is not None else ""
        self._formulas(weight)
        self.opaque = self._opaque()
        self.backward([i.name for i in program.inputs if i.kind == "float" and i.name not in self.opaque])

    def name(self, hint: str) -> str:
        """A fresh name."""
        new, number = hint, 2
        while new in self.taken:
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new

    # What is differentiated.

    def _inlined(self, lets: Pairs) -> dict[str, Expr]:
        """Scores in terms of products and tokens."""
        out: dict[str, Expr] = {}
        for name, expr in lets:
            out[name] = _filled(expr, out)
        return out

    def _weights(self) -> tuple[Along | None, str, Expr]:
        """(the softmax, the emit that is its log-sum-exp, the mixed weight), each in terms of scores and tokens."""
        node = self.node
        axes = {v.name: v.axes for v in pair_values(node).values()}
        known: dict[str, Expr] = {n: value(n) for n, _ in node.segments[0].scores}
        known["admitted"] = TRUE
        weight: Expr = ONE
        for name, expr in (*node.maps, *node.posts):
            weight = known[name] = tidied(local(expr, known, axes, node.span))
        found = list(dict.fromkeys(statistics(weight, self.pieces.pair_axes)))
        source = found[0] if found else None
        if len(found) > 1 or not (source is None or isinstance(source, Along)):
            raise AttnUnsupportedError("no backward stage for this normalizer", node.span)
        if source is not None:
            plainly = source.op == "softmax" and source.cond is None and set(source.axes) == set(node.over)
            if not plainly or any(isinstance(e, Reduce | Along) for x in (source.body, source.sink) if x for e in walk(x)):
                raise AttnUnsupportedError("no backward stage for this softmax", node.span)
        score = source.body if source is not None else value(node.segments[0].scores[0][0])
        emitted = ""
        for emit in node.emits:
            expr = tidied(local(emit.expr, known, axes, node.span))
            lse = isinstance(expr, Reduce) and expr.op == "lse" and expr.cond is None and set(expr.axes) == set(node.over)
            if not lse or expr.body != score or emitted or set(emit.axes) != set(self.pieces.rows):  # type: ignore[union-attr]
                raise AttnUnsupportedError(f"no backward stage for {emit.name}", node.span)
            emitted = emit.name
        return source, emitted, weight

    def row(self, name: str) -> Read:
        """A value of the rows."""
        return Read(name, tuple(Index(a) for a in self.rows), "float")

    def _formulas(self, weight: Expr) -> None:
        node, kind = self.node, self.kind
        score = self.source.body if self.source is not None else value(node.segments[0].scores[0][0])
        self.score = _filled(score, self.lets)
        cotangent = Read(self.grad, tuple(Index(a) for a in node.axes), "float")
        self.products = kind.products
        self.t: Expr = cotangent
        if kind.mix is not None:
            made = Product(self.name("t"), cotangent, kind.mix, self.pieces.feature)
            self.products, self.t = (*kind.products, made), value(made.name)
        self.cotangent = cotangent
        p = value(self.name("weight"))
        self.linear = self.source is not None and linear(weight, self.source) is not None
        mixed = mul(weight if self.source is None else replace_part(weight, self.source, p), kind.gain)
        self.mixed = _filled(mixed, self.lets)
        self.made: list[tuple[str, Expr]] = []
        self.ds: Expr | None = None
        raw: Expr = self.row(self.lse) if self.lse else ONE
        self.full = raw
        parts: list[Expr] = []
        if self.source is not None:
            if self.source.sink is not None:
                self.full = Apply("add", (raw, Apply("softplus", (Apply("sub", (self.source.sink, raw)),))))
            self.made.append((value_name(p), self._exp(self.full)))
            self.pull = mul(self.t, diff(self.mixed, p))
            parts.append(mul(p, Apply("sub", (self.pull, self.row(self.delta)))))
            self.p = p
        if self.emitted:
            same = self.source is not None and self.source.sink is None
            parts.append(mul(p if same else self._exp(raw), self.row(self.grad_lse)))
        if parts:
            self.ds = value(self.name("d_score"))
            self.made.append((value_name(self.ds), parts[0] if len(parts) == 1 else add(*parts)))

    def _exp(self, lse: Expr) -> Expr:
        """exp(score - lse), at most 1 whatever was rounded."""
        return Apply("exp", (Apply("min", (Apply("sub", (self.score, lse)), Const(0.0))),))

    def cotangent_of(self, leaf: Read) -> Expr | None:
        """The cotangent of a product or token at a pair; None where nothing depends on it."""
        direct, inner = diff(self.mixed, leaf), diff(self.score, leaf)
        out: Expr = Const(0.0)
        if not is_const(direct, 0):
            out = mul(self.t, direct)
        if self.ds is not None and not is_const(inner, 0):
            out = _plus(out, mul(self.ds, inner))
        return None if is_const(out, 0) else out

    # Which inputs.

    def tokens(self) -> tuple[Read, ...]:
        """Float values that scores, posts or gains read at a pair."""
        return _reads(self.mixed, self.score)

    def _operands(self) -> list[Read]:
        mix = [self.kind.mix] if self.kind.mix is not None else []
        return [r for p in self.kind.products for r in (p.row, p.key)] + mix

    def _side(self, read: Read) -> str:
        """`rows` or `keys`, where the gradient of a token is summed; "" when a pair has one of its own."""
        if not plain(read) or len(read.index) != len(axes_of(read)):
            return ""
        axes = set(axes_of(read))
        return "rows" if axes <= set(self.rows) else "keys" if not axes & set(self._free()) else ""

    def _free(self) -> tuple[str, ...]:
        """Row axes that no operand of the keys has: the ones summed for the keys' gradients."""
        shared = {a for p in self.kind.products for a in axes_of(p.key)}
        shared |= set() if self.kind.mix is None else set(axes_of(self.kind.mix))
        return tuple(a for a in self.rows if a not in shared)

    def _opaque(self) -> frozenset[str]:
        over = set(self.node.over)
        for p in self.kind.products:
            if set(axes_of(p.row)) & over or not plain(p.row) or not plain(p.key):
                raise AttnUnsupportedError(f"no backward stage for the product of {p.row.source} and {p.key.source}")
        bad = {r.source for r in self.tokens() if not self._side(r)}
        if self.source is not None and self.source.sink is not None:
            bad |= {r.source for r in _reads(self.source.sink) if not plain(r) or not set(axes_of(r)) <= set(self.rows)}
        return frozenset(bad)

    # The stages.

    def given(self) -> tuple[Value, ...]:
        """What the backward pass reads beside the inputs."""
        out = [Value(self.grad, self.node.axes, "float")]
        out += [Value(n, self.rows, "float") for n in (self.lse, self.grad_lse) if n]
        return (*out, Value(self.o, self.node.axes, "float")) if self.linear else tuple(out)

    def backward(self, needs: Collection[str]) -> Backward:
        """The stages for some inputs."""
        return _Stages(self, needs).run()


class _Stages:
    def __init__(self, of: Derivative, needs: Collection[str]) -> None:
        self.of, self.needs = of, set(needs)
        self.parts: list[Part] = []
        self.acc = {n for n in (of.lse, of.delta) if n}
        self.taken = set(of.taken)

    def name(self, hint: str) -> str:
        new, number = hint, 2
        while new in self.taken:
            new, number = f"{hint}{number}", number + 1
        self.taken.add(new)
        return new

    def run(self) -> Backward:
        of = self.of
        operands = {"rows": [p.row for p in of.kind.products], "keys": [p.key for p in of.kind.products]}
        count = [r.source for r in of._operands()]
        self.several = {s for s in count if count.count(s) > 1}
        lets = list(of.made)
        cot: dict[str, Expr] = {}
        for p in of.kind.products:
            found = of.cotangent_of(value(p.name))
            if found is not None:
                cot[p.name] = value(self.name(f"d_{p.name}"))
                lets.append((value_name(cot[p.name]), found))
        kind = replace(of.kind, products=of.products, lets=(*of.kind.lets, *((n, self._short(e)) for n, e in lets)))
        self.pieces = replace(of.pieces, kinds=(kind,))
        stages: list[PairStage] = []
        for side in ("rows", "keys"):
            sums: list[tuple[Sum, Read]] = []
            for p, read in zip(of.kind.products, operands[side], strict=True):
                if read.source in self.needs and p.name in cot:
                    by = p.key if side == "rows" else p.row
                    sums.append(self._sum(read, Term(0, cot[p.name], by), p.over))
            if side == "keys" and of.kind.mix is not None and of.kind.mix.source in self.needs:
                sums.append(self._sum(of.kind.mix, Term(0, self._short(of.mixed), of.cotangent), of.pieces.feature))
            for read in of.tokens():
                found = of.cotangent_of(read)
                if read.source in self.needs and of._side(read) == side and found is not None:
                    sums.append(self._sum(read, Term(0, self._short(found)), ""))
            if sums:
                stages.append(self._stage(side, sums))
        before, first = self._statistics(bool(stages))
        return Backward(before, (*first, *stages), tuple(self.parts), frozenset(self.acc))

    def _short(self, expr: Expr) -> Expr:
        """The expression with scores by name again."""
        for name, inlined in reversed(list(self.of.lets.items())):
            if not isinstance(inlined, Read | Const):
                expr = replace_part(expr, inlined, value(name))
        return expr

    def _sum(self, read: Read, term: Term, feature: str) -> tuple[Sum, Read]:
        return Sum(self.name(f"d_{read.source}"), (term,), "sum", feature), read

    def _stage(self, side: str, sums: list[tuple[Sum, Read]]) -> PairStage:
        of = self.of
        over = of.node.over if side == "rows" else of._free()
        everything = (*of.rows, *of.node.over)
        left = tuple(a for a in everything if a not in over)
        finals: list[Final] = []
        for s, read in sums:
            axes = axes_of(read)
            whole = (*left, s.feature) if s.feature else left
            direct = set(axes) == set(whole)
            stored = axes if direct else whole
            acc = not direct or not s.feature or read.source in self.several
            finals.append(Final(s.name, stored, "float", value(s.name), acc))
            self.acc |= {s.name} if acc else set()
            self.parts.append(Part(read.source, s.name, stored, axes))
        note = (
            "gradients of what the rows bring: cotangents of pairs summed over the keys"
            if side == "rows"
            else "gradients of what the keys bring: cotangents of pairs summed over the rows, the roles exchanged"
        )
        title = f"{of.node.name}_backward_{side}"
        return self.pieces.stage(title, over, None, tuple(s for s, _ in sums), tuple(finals), (note,))

    def _statistics(self, used: bool) -> tuple[tuple[Assign, ...], list[PairStage]]:
        """D as a definition or a stage, and the sink's cotangents."""
        of = self.of
        source = of.source
        if source is None:
            return (), []
        sinks = [r for r in _reads(source.sink) if r.source in self.needs] if source.sink is not None else []
        if not used and not sinks:
            return (), []
        before: list[Assign] = []
        stages: list[PairStage] = []
        if of.linear:
            body: Expr = mul(of.cotangent, Read(of.o, of.cotangent.index, "float"))
            feature = of.pieces.feature
            before.append(Assign(of.delta, of.rows, "float", Reduce("sum", (feature,), body) if feature else body))
        else:
            s = Sum(of.delta, (Term(0, self._short(mul(of.p, of.pull))),))
            final = Final(of.delta, of.rows, "float", value(of.delta), True)
            note = "the weights are not linear in the softmax, so the mean of their cotangents takes a sweep of its own"
            title = f"{of.node.name}_backward_mean"
            stages.append(self.pieces.stage(title, of.node.over, None, (s,), (final,), (note,)))
        for read in sinks:
            assert source.sink is not None
            share = Apply("exp", (Apply("min", (Apply("sub", (source.sink, of.full)), Const(0.0))),))
            expr = neg(mul(mul(share, of.row(of.delta)), diff(source.sink, read)))
            name = self.name(f"d_{read.source}")
            before.append(Assign(name, of.rows, "float", expr))
            self.acc.add(name)
            self.parts.append(Part(read.source, name, of.rows, axes_of(read)))
        if stages and sinks:
            raise AttnUnsupportedError("no backward stage for a sink under weights that are not linear in it", of.node.span)
        return tuple(before), stages


def _plus(a: Expr, b: Expr) -> Expr:
    return b if is_const(a, 0) else Apply("add", (a, b))


def _filled(expr: Expr, lets: Mapping[str, Expr]) -> Expr:
    """The expression with lets replaced by what they stand for."""
    name = value_name(expr)
    return lets[name] if name in lets else rebuild(expr, lambda child: _filled(child, lets))


def _reads(*exprs: Expr) -> tuple[Read, ...]:
    """Float values from outside that expressions read, each once."""
    found = (e for expr in exprs for e in walk(expr) if isinstance(e, Read) and e.kind == "float" and "." not in e.source)
    return tuple(dict.fromkeys(r for r in found if not value_name(r)))
