"""One body of the flash schedule's loop: what is computed for a tile of rows against a tile of keys."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ..errors import AttnInternalError
from ..ir.expr import Apply, Const, Expr, Read, rebuild, walk
from ..ir.pairs import Keys, Sum, Term, value_name, values_in
from ..ir.pairs import value as stage_value
from ..passes.fuse.algebra import affine, is_const, positive
from ..tile.nodes import Block, Dot, Map, Reduce, Set, Stmt, defined, statements, value
from .base2 import LOG2E, base2, in_base2, spread, uniform
from .place import Scope
from .pointwise import gates, inlined, vanishes

if TYPE_CHECKING:
    from .flash import Flash

MINUS_INF = Const(float("-inf"))


class Body:
    """One body of the loop over the keys."""

    def __init__(self, flash: Flash, keys: Keys, number: int, scope: Scope, mask: Expr | None) -> None:
        self.flash, self.keys, self.number, self.scope, self.mask = flash, keys, number, scope, mask
        self.place, self.stage = flash.place, flash.stage
        self.owner, self.loop = flash.owner.name, flash.loops[number].name
        self.pair = (self.owner, self.loop)
        self.admitted: Expr | None = None
        self.before = set(self.place.taken)
        terms = [t.expr for x in (*self.stage.sums, *flash.more) for t in x.terms if t.keys == number]
        score = [self.stage.softmax.score] if self.stage.softmax else []
        self.gates = gates(keys, terms)
        self.reads = Counter(value_name(e) for x in (*terms, *score, *(b for _, b in keys.lets)) for e in walk(x))

    def emit(self) -> None:
        """Fill the scope. Names defined here are free again afterwards: the other body has its own."""
        self.place.ensure = self._ensure
        if self.mask is not None:
            self._admit(self.mask)
        scaled = [s for s in self.stage.sums if s.scaled]
        if self.flash.bound is not None:
            self._shifted(self.flash.bound)
        elif self.stage.softmax:
            self._online(scaled)
        self._terms()
        self.place.ensure = None
        here = {name for stmt in statements(tuple(self.scope.body)) if (name := defined(stmt))}
        self.place.taken -= here - self.before
        self.place.inside |= here
        for name in here:
            self.place.values.pop(name, None)

    def _terms(self) -> None:
        """What this kind of keys adds to the sums, those that need the fewest products first: their tiles are done with early."""
        here = [(s, term) for s in self.stage.sums for term in s.terms if term.keys == self.number]
        for s, term in sorted(here, key=lambda x: len(self._products(x[1].expr))):
            self._add(s, term)

    def _products(self, expr: Expr) -> set[str]:
        """Products that an expression needs."""
        return values_in(inlined(self.keys, expr)) & {p.name for p in self.keys.products}

    def _ensure(self, name: str, scope: Scope) -> None:
        """Compute a product or a let where it is first read."""
        for p in self.keys.products:
            if p.name == name:
                row, key = self.place.operands(p.row, p.key, self.scope, self.flash.acc)
                self.scope.body.append(Dot(row.source, key.source, p.over, self.pair, out=name, turned=p.turned))
                self.place.define(name, self.pair, self.scope)
                return
        for let, expr in self.keys.lets:
            if let == name:
                dims = self.place.dims(expr, self.scope)
                out = self.place.expr(in_base2(self._inlined(expr)), self.scope)
                if name in self.gates and self.admitted is not None:
                    out = self._kept(out, Const(0.0))
                self.scope.body.append(Map(name, out, self.place.sorted(dims)))
                self.place.define(name, self.place.sorted(dims), self.scope)
                return
        raise AttnInternalError(f"{self.stage.name} reads {name}, which nothing defines", self.stage.span)

    def _admit(self, mask: Expr) -> None:
        """`admitted`: which pairs of a tile count."""
        dims = self.place.dims(mask, self.scope)
        made = self.place.name("admitted")
        self.scope.body.append(Map(made, self.place.expr(mask, self.scope, dims), self.place.sorted(dims), "bool"))
        self.admitted = value(made, "bool")
        self.flash.admits = made

    def _kept(self, expr: Expr, other: Expr) -> Expr:
        return expr if self.admitted is None else Apply("where", (self.admitted, expr, other))

    # The softmax.

    def _shifted(self, bound: float) -> None:
        """Weights relative to a bound of the scores, and their sum."""
        soft = self.stage.softmax
        assert soft is not None
        p, total = soft.name, soft.total
        folded = spread(Apply("sub", (base2(in_base2(self._inlined(soft.score))), Const(bound))))
        self.place.dims(folded, self.scope)
        weight = Apply("exp2", (self.place.expr(folded, self.scope, frozenset(self.pair)),))
        self.scope.body.append(Map(p, self._kept(weight, Const(0.0)), self.pair))
        self.place.define(p, self.pair, self.scope)
        added = self.place.name(f"{p}_sum")
        self.scope.body.append(Reduce(added, "sum", p, self.loop, (self.owner,)))
        self.scope.body.append(Set(total, _plus(value(total), value(added))))

    def _online(self, scaled: list[Sum]) -> None:
        """New maximum, weights relative to it, and everything summed so far moved to it."""
        soft, place, m = self.stage.softmax, self.place, self.flash.shift
        assert soft is not None
        score = self._inlined(soft.score)
        tile, factor = self._logits(score)
        steps: list[Stmt] = []
        if self.admitted is not None:
            kept = self.place.name("kept")
            steps.append(Map(kept, self._kept(tile, MINUS_INF), self.pair))
            tile = value(kept)
        elif not isinstance(tile, Read):
            raise AttnInternalError("a score must be a tile value here")
        top, new, p, r = self.place.name("top"), self.place.name("m_new"), soft.name, self.place.name("rescale")
        row = (self.owner,)
        steps.append(Reduce(top, "max", tile.source if isinstance(tile, Read) else "", self.loop, row))
        greatest = value(top) if factor is None else Apply("mul", (value(top), factor))
        steps.append(Map(new, Apply("max", (value(m), greatest)), row))
        base: Expr = value(new)
        if self.mask is not None or not _finite(inlined(self.keys, score)):
            base = value(self.place.name("base"))
            empty = Apply("eq", (value(new), MINUS_INF))
            steps.append(Map(base.source, Apply("where", (empty, Const(0.0), value(new))), row))
        scaled_tile = tile if factor is None else Apply("mul", (tile, factor))
        steps.append(Map(p, Apply("exp2", (Apply("sub", (scaled_tile, base)),)), self.pair))
        steps.append(Map(r, Apply("exp2", (Apply("sub", (value(m), base)),)), row))
        added = self.place.name(f"{p}_sum")
        steps.append(Reduce(added, "sum", p, self.loop, row))
        steps.append(Set(soft.total, _plus(Apply("mul", (value(soft.total), value(r))), value(added))))
        steps += [Set(s.name, Apply("mul", (value(s.name), value(r)))) for s in scaled]
        steps.append(Set(m, value(new)))
        self.scope.body.append(
            Block("online softmax: weights relative to the running maximum (in base 2)", tuple(steps), "online")
        )
        place.define(p, self.pair, self.scope)

    def _inlined(self, expr: Expr) -> Expr:
        """An expression with the lets that nothing else reads replaced by their own."""
        lets = dict(self.keys.lets)

        def visit(e: Expr) -> Expr:
            name = value_name(e)
            return visit(lets[name]) if name in lets and self.reads[name] == 1 else rebuild(e, visit)

        return visit(expr)

    def _logits(self, score: Expr) -> tuple[Expr, Expr | None]:
        """(tile, factor): the score in base 2 is tile * factor. A positive uniform factor is left to the exponent's
        multiply-add."""
        names = values_in(score)
        if len(names) == 1:
            name = next(iter(names))
            split = affine(score, stage_value(name))
            if split is not None and is_const(split[1], 0) and uniform(split[0]) and positive(split[0]):
                self.place.dims(score, self.scope)
                factor = Apply("mul", (split[0], Const(LOG2E)))
                return value(name), self.place.expr(factor, self.scope)
        folded = spread(base2(in_base2(score)))
        made = self.place.name("logit")
        dims = self.place.sorted(self.place.dims(folded, self.scope))
        out = self.place.expr(folded, self.scope, frozenset(self.pair))
        self.scope.body.append(Map(made, out, self.pair))
        assert dims
        return value(made), None

    # Sums.

    def _tile(self, term: Term, op: str) -> str:
        """What a term takes from each pair, the identity of `op` from one that is not admitted."""
        expr = in_base2(self._inlined(term.expr))
        masked = self.admitted is not None and not (op == "sum" and self._vanishes(term.expr))
        self.place.dims(expr, self.scope)
        out = self.place.expr(expr, self.scope, frozenset(self.pair))
        if masked:
            out = self._kept(out, identity(op))
        return out.source if isinstance(out, Read) and self._is_pair(out) else self._stored(out)

    def _add(self, s: Sum, term: Term) -> None:
        tile = self._tile(term, s.op)
        if term.by is not None:
            by = self.place.load(term.by, self.scope, own=True)
            self.scope.body.append(Dot(tile, by.source, self.loop, (self.owner, s.feature), into=s.name, cast=by.source))
            return
        part = self.place.name(f"{s.name}_part")
        self.scope.body.append(Reduce(part, s.op, tile, self.loop, (self.owner,)))
        both = (value(s.name), value(part))
        self.scope.body.append(Set(s.name, _plus(*both) if s.op == "sum" else Apply(s.op, both)))

    def _is_pair(self, read: Read) -> bool:
        return self.place.values.get(read.source) == self.pair

    def _stored(self, out: Expr) -> str:
        """A name for what a term takes from each pair; equal ones share it."""
        key = Read("weights", (out,), "float")
        known = self.scope.known.get(key)
        if known is not None:
            return known.source
        made = self.place.name("w" if self.stage.softmax else "p")
        self.scope.body.append(Map(made, out, self.pair))
        self.scope.known[key] = value(made)
        return made

    def _vanishes(self, expr: Expr) -> bool:
        """Whether the term is 0 for pairs that are not admitted without asking: the softmax's own weight, or a value masked
        before."""
        if any(vanishes(self.keys, expr, gate) for gate in self.gates):
            return True
        return self.stage.softmax is not None and value_name(expr) == self.stage.softmax.name


def _plus(a: Expr, b: Expr) -> Expr:
    return Apply("add", (a, b))


def identity(op: str) -> Expr:
    return {"sum": Const(0.0), "max": MINUS_INF, "min": Const(float("inf"))}[op]


def _finite(score: Expr) -> bool:
    """Whether a score is finite for finite inputs: no logarithm, infinity or per-token read in it."""
    for e in walk(score):
        if isinstance(e, Const) and e.value in (float("inf"), float("-inf")):
            return False
        if isinstance(e, Apply) and e.op == "div" and not uniform(e.args[1]):
            return False
        if isinstance(e, Apply) and e.op in ("log", "log2", "exp", "pow", "log1p") and not uniform(e):
            return False
        if isinstance(e, Read) and not value_name(e) and e.kind == "float":
            return False
    return True
