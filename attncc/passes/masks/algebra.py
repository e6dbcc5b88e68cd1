"""Exact integer algebra for masks: int expressions read as canonical sums, and what is known about them.

`floordiv` and `mod` round towards minus infinity, as in the language. Every rewrite is exact over the integers, given what
`Algebra` is told: sizes are not negative, positions lie inside their axis, and each scalar of `facts` in its range.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import gcd, isqrt

from ...ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, kind_of, walk
from .linear import FAR, Linear, NotWhole, constant, order, term, to_expr

Known = tuple[int | None, int | None]
COMPARISONS = frozenset(("eq", "ne", "le", "lt", "ge", "gt"))
LOGIC = COMPARISONS | {"and", "or", "not"}


@dataclass(frozen=True)
class Algebra:
    """The rules, with what is known.

    tile: the axes of which a tile holds several positions; what is read at a position of theirs is data, any other read a
    scalar. tables: the axes of stored values by name, where known. sizes: sizes known to equal another expression. facts:
    ranges of scalars. last: the last position of each axis that is not walked in plain positions (else its size - 1). memo:
    what `linear` has read so far.
    """

    tile: frozenset[str] = frozenset()
    tables: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Mapping[str, Expr] = field(default_factory=dict)
    facts: Mapping[Expr, Known] = field(default_factory=dict)
    last: Mapping[str, Linear] = field(default_factory=dict)
    memo: dict[Expr, Linear] = field(default_factory=dict)

    # -------------------------------------------------------------------------------------------------------- reading

    def linear(self, expr: Expr) -> Linear:
        """An int expression as a sum. Raises NotWhole for anything that is not one."""
        found = self.memo.get(expr)
        if found is None:
            found = self.memo[expr] = self._linear(expr)
        return found

    def _linear(self, expr: Expr) -> Linear:
        match expr:
            case Const(bool()):
                return constant(int(expr.value))
            case Const(int() as value):
                return constant(value)
            case Size(axis) if axis in self.sizes and self.sizes[axis] != expr:
                return self.linear(self.sizes[axis])
            case Index() | Size():
                return term(expr)
            case Apply(op, args) if kind_of(expr) in ("int", "bool"):
                return self._apply(expr, op, args)
        kind = kind_of(expr)
        if kind == "bool":
            return term(Apply("where", (expr, Const(1), Const(0))))
        if kind != "int":
            raise NotWhole(expr, f"it is a {kind}, not a whole number")
        return term(expr)

    def _apply(self, expr: Expr, op: str, args: tuple[Expr, ...]) -> Linear:
        if op in ("floordiv", "exact", "cdiv", "mod") and not self.divides(args[1]):
            return term(expr)
        match op:
            case "add":
                return self.linear(args[0]) + self.linear(args[1])
            case "sub":
                return self.linear(args[0]) - self.linear(args[1])
            case "neg":
                return -self.linear(args[0])
            case "mul":
                return self.product(self.linear(args[0]), self.linear(args[1]))
            case "floordiv" | "exact":
                return self.floordiv(self.linear(args[0]), self.linear(args[1]))
            case "cdiv":
                above, below = self.linear(args[0]), self.linear(args[1])
                if self.least(below) >= 0:
                    return self.floordiv(above + below - 1, below)
                return -self.floordiv(-above, below)
            case "mod":
                return self.mod(self.linear(args[0]), self.linear(args[1]))
            case "min" | "max":
                return self.pick(op, [self.linear(a) for a in args])
            case "abs":
                return self.absolute(self.linear(args[0]))
            case "sign":
                return self.pick("max", [constant(-1), self.pick("min", [constant(1), self.linear(args[0])])])
            case "pow" if args[1] == Const(2):
                return self.square(self.linear(args[0]))
            case "pow" if args[1] in (Const(0), Const(1)):
                return self.linear(args[0]) if args[1] == Const(1) else constant(1)
            case "where":
                return self.where(args[0], self.linear(args[1]), self.linear(args[2]))
            case "floor" | "ceil" | "round" | "to_int" | "stop_grad" if kind_of(args[0]) in ("int", "bool"):
                return self.linear(args[0])
            case "isqrt":
                return self.root(self.linear(args[0]))
            case _ if op in LOGIC:
                return self.where(expr, constant(1), constant(0))
        raise NotWhole(expr, f"'{op}' is not followed")

    # -------------------------------------------------------------------------------------------------------- what is known

    def reads_data(self, expr: Expr) -> bool:
        """Whether an expression depends on more than positions, sizes and scalars."""
        return any(isinstance(e, Reduce | Along) or (isinstance(e, Read) and self.moves(e)) for e in walk(expr))

    def moves(self, expr: Expr) -> bool:
        """Whether an expression depends on a position inside a tile."""
        return not self.tile.isdisjoint(axes_of(expr))

    def known(self, lin: Linear) -> Known:
        """The range of a sum as far as numbers tell: (least or None, greatest or None)."""
        low: int | None = lin.const
        high: int | None = lin.const
        for t, c in lin.terms:
            a, b = self._known(t)
            if c < 0:
                a, b = b, a
            low = None if low is None or a is None else low + c * a
            high = None if high is None or b is None else high + c * b
        return low, high

    def _known(self, t: Expr) -> Known:
        if t in self.facts:
            return self.facts[t]
        match t:
            case Index() | Size():
                return 0, None
            case Read(source, (), "int") if source.endswith((".first", ".last")):
                return 0, None
            case Apply("mod", (_, Const(int() as d))) if d > 0:
                return 0, d - 1
            case Apply("floordiv", (x, Const(int() as d))) if d > 0:
                a, b = self.known(self.linear(x))
                return None if a is None else a // d, None if b is None else b // d
            case Apply("floordiv", (x, d)):
                return 0 if self.least(self.linear(d)) >= 0 and self.least(self.linear(x)) >= 0 else None, None
            case Apply("min" | "max" as op, args):
                lows, highs = zip(*(self.known(self.linear(a)) for a in args), strict=True)
                return _fold(op, lows, op == "max"), _fold(op, highs, op == "min")
            case Apply("abs" | "isqrt", _):
                return 0, None
            case Apply("pow", (_, Const(2))):
                return 0, None
            case Apply("mul", args):
                return 0 if all(self.least(self.linear(a)) >= 0 for a in args) else None, None
            case Apply("where", (_, a, b)):
                (la, ha), (lb, hb) = self.known(self.linear(a)), self.known(self.linear(b))
                return None if la is None or lb is None else min(la, lb), None if ha is None or hb is None else max(ha, hb)
        return None, None

    def least(self, lin: Linear) -> float:
        """The least value as far as numbers tell, minus infinity when they do not."""
        low, _ = self.known(lin)
        return float("-inf") if low is None else low

    def divides(self, by: Expr) -> bool:
        """Whether a divisor is not 0: a number, one of sizes, which calls check, one of the kernel's own, or at least 1."""
        own = (isinstance(e, Apply | Const | Size) or (isinstance(e, Read) and "." in e.source) for e in walk(by))
        return all(own) or self.least(self.linear(by)) >= 1

    def limit(self, axis: str) -> Linear:
        """The last position of an axis."""
        return self.last[axis] if axis in self.last else self.linear(Size(axis)) - 1

    def nonneg(self, lin: Linear) -> bool:
        """Whether a sum is proven to be at least 0 wherever its positions are inside their axes."""
        ranges = {t: self._known(t) for t, _ in lin.terms}
        if any(ranges[t][c < 0] is None and (c > 0 or _axis(t) is None) for t, c in lin.terms):
            return False
        sums = dict(lin.terms)
        for t in ranges:  # an axis' first position in a tile is at most its last
            match t:
                case Read(source, (), "int") if source.endswith(".first") and sums[t] < 0:
                    end = Read(source.removesuffix(".first") + ".last", (), "int")
                    if sums.get(end, 0) > 0:
                        common = min(-sums[t], sums[end])
                        sums[t] += common
                        sums[end] -= common
        low, sizes, alive = lin.const, dict[Expr, int](), set[Expr]()
        for t, c in sums.items():
            axis = _axis(t)
            if axis is None or axis in self.last or t in self.facts:
                sizes[t] = sizes.get(t, 0) + c
                continue
            limit = self.limit(axis)
            alive.update(s for s, _ in limit.terms if isinstance(s, Size))
            for s, d in limit.terms if c < 0 else ():
                sizes[s] = sizes.get(s, 0) + c * d
            low += limit.const * c if c < 0 else 0
        for t, c in sizes.items():
            bound = (1 if t in alive and c > 0 else (ranges.get(t) or self._known(t))[c < 0]) if c else 0
            if bound is None:
                return False
            low += c * bound
        return low >= 0

    # -------------------------------------------------------------------------------------------------------- building

    def product(self, a: Linear, b: Linear) -> Linear:
        """a * b; a sum times itself stays a square."""
        if not a.terms or not b.terms:
            return b * a.const if not a.terms else a * b.const
        if a in (b, -b):
            return self.square(a) * (1 if a == b else -1)
        out = a * b.const + b * a.const - a.const * b.const
        for s, c in a.terms:
            for t, d in b.terms:
                x, y = sorted((s, t), key=order)
                out = out + (self.square(term(s)) if s == t else term(Apply("mul", (x, y)))) * (c * d)
        return out

    def square(self, a: Linear) -> Linear:
        """a ^ 2."""
        if not a.terms:
            return constant(a.const**2)
        if len(a.terms) == 1 and a.const == 0:
            return term(Apply("pow", (a.terms[0][0], Const(2))), a.terms[0][1] ** 2)
        return term(Apply("pow", (to_expr(a if a.terms[0][1] > 0 else -a), Const(2))))

    def absolute(self, a: Linear) -> Linear:
        """|a|."""
        low, high = self.known(a)
        if (low is not None and low >= 0) or (high is not None and high <= 0):
            return a if low is not None and low >= 0 else -a
        return term(Apply("abs", (to_expr(a if a.terms[0][1] > 0 else -a),)))

    def root(self, a: Linear) -> Linear:
        """floor(sqrt(max(a, 0)))."""
        inner = self.pick("max", [a, constant(0)])
        return term(Apply("isqrt", (to_expr(inner),))) if inner.terms else constant(isqrt(inner.const))

    def floordiv(self, x: Linear, d: Linear) -> Linear:
        """floor(x / d)."""
        if d.terms:
            return self._floordiv_by(x, d)
        by = d.const
        if by == 0:
            raise NotWhole(to_expr(x), "it is divided by zero")
        if by < 0:
            return self.floordiv(-x, constant(-by))
        whole = Linear(tuple((t, c // by) for t, c in x.terms if c % by == 0), x.const // by)
        terms, const = tuple((t, c) for t, c in x.terms if c % by), x.const % by
        if not terms:
            return whole
        common = gcd(by, *(c for _, c in terms))
        rest, by = Linear(tuple((t, c // common) for t, c in terms), const // common), by // common
        low, high = self.known(rest)
        if low is not None and high is not None and low // by == high // by:
            return whole + low // by
        if len(rest.terms) == 1 and rest.terms[0][1] == 1:
            match rest.terms[0][0]:
                case Apply("floordiv", (y, Const(int() as e))) if e > 0:
                    return whole + self.floordiv(self.linear(y) + rest.const * e, constant(e * by))
        return whole + term(Apply("floordiv", (to_expr(rest), Const(by))))

    def _floordiv_by(self, x: Linear, d: Linear) -> Linear:
        """floor(x / d) for a divisor that is no number: whole multiples of it are taken out."""
        whole = 0
        if len(d.terms) == 1 and d.const == 0 and d.terms[0][1] == 1:
            whole = dict(x.terms).get(d.terms[0][0], 0)
            x = x - d * whole
        least = self.least(d)
        if not x.terms and least >= 1 and -least <= x.const < least:
            return constant(whole - (x.const < 0))
        return term(Apply("floordiv", (to_expr(x), to_expr(d)))) + whole

    def mod(self, x: Linear, d: Linear) -> Linear:
        """x - d floor(x / d)."""
        if d.terms:
            return term(Apply("mod", (to_expr(x), to_expr(d))))
        by = d.const
        if by == 0:
            raise NotWhole(to_expr(x), "it is divided by zero")
        if by < 0:
            return -self.mod(-x, constant(-by))
        rest = constant(x.const % by)
        for t, c in x.terms:
            match t:
                case Apply("mod", (y, Const(int() as e))) if e > 0 and (c * e) % by == 0:
                    return self.mod(x - term(t, c) + self.linear(y) * c, d)
            rest = rest + term(t, c) if c % by else rest
        low, high = self.known(rest)
        if low is not None and high is not None and low // by == high // by:
            return rest - by * (low // by)
        return term(Apply("mod", (to_expr(rest), Const(by))))

    def pick(self, op: str, args: Iterable[Linear]) -> Linear:
        """The min or max of some sums, without those that never decide. A `where` with a far branch is drawn out."""
        sign = 1 if op == "max" else -1
        flat = [x for arg in args for x in self._opened(op, arg)]
        if constant(sign * FAR) in flat:
            return constant(sign * FAR)
        flat = [x for x in flat if x != constant(-sign * FAR)] or flat
        for k, arg in enumerate(flat if len(flat) > 1 else ()):
            match arg.terms:
                case ((Apply("where", (cond, a, b)), 1),) if arg.const == 0 and {a, b} & {Const(FAR), Const(-FAR)}:
                    others = flat[:k] + flat[k + 1 :]  # they are written twice, unless a branch is the end that wins
                    if Const(sign * FAR) in (a, b) or not any(_chooses(x) for x in others):
                        return self.where(cond, *(self.pick(op, [*others, self.linear(x)]) for x in (a, b)))
        kept: list[Linear] = []
        for arg in flat:
            if any(self.nonneg((k - arg) * sign) for k in kept):
                continue
            kept = [k for k in kept if not self.nonneg((arg - k) * sign)] + [arg]
        out = to_expr(kept[0])
        for arg in kept[1:]:
            out = Apply(op, (out, to_expr(arg)))
        return kept[0] if len(kept) == 1 else term(out)

    def _opened(self, op: str, arg: Linear) -> list[Linear]:
        if len(arg.terms) == 1 and arg.terms[0][1] == 1:
            match arg.terms[0][0]:
                case Apply(inner, parts) if inner == op:
                    return [x + arg.const for p in parts for x in self._opened(op, self.linear(p))]
        return [arg]

    def where(self, cond: Expr, a: Linear, b: Linear) -> Linear:
        """a where cond holds, else b."""
        sure = self.truth(cond)
        if sure is not None or a == b:
            return b if sure is False else a
        return term(Apply("where", (cond, to_expr(a), to_expr(b))))

    def truth(self, cond: Expr) -> bool | None:
        """Whether a condition is proven to hold, or not to hold; None when neither is."""
        match cond:
            case Const(bool() as value):
                return value
            case Apply("not", (x,)):
                inner = self.truth(x)
                return None if inner is None else not inner
            case Apply("and" | "or" as op, args):
                parts = [self.truth(x) for x in args]
                stop = op == "or"
                return stop if stop in parts else None if None in parts else not stop
            case Apply("le" | "lt" | "ge" | "gt" as op, (a, b)):
                try:
                    gap = self.linear(b) - self.linear(a) if op in ("le", "lt") else self.linear(a) - self.linear(b)
                except NotWhole:
                    return None
                gap = gap - 1 if op in ("lt", "gt") else gap
                return True if self.nonneg(gap) else False if self.nonneg(-gap - 1) else None
        return None


def _axis(t: Expr) -> str | None:
    """The axis of which a term is a position."""
    match t:
        case Index(axis):
            return axis
        case Read(source, (), "int") if source.endswith((".first", ".last")):
            return source.rpartition(".")[0]
    return None


def _chooses(lin: Linear) -> bool:
    return any(isinstance(t, Apply) and t.op == "where" for t, _ in lin.terms)


def _fold(op: str, values: Iterable[int | None], skip: bool) -> int | None:
    """min or max of what is known: with `skip` one known value is a bound, without it all must be known."""
    given = list(values)
    some = [v for v in given if v is not None]
    if not some or (len(some) < len(given) and not skip):
        return None
    return max(some) if op == "max" else min(some)
