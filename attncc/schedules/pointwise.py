"""Pointwise work of a pair stage, before it is placed in a tile program: what every pair pays is paid once.

    factors    a factor that no key changes leaves its sum:   sum of u x  is  u sum of x
    shared     a value with a transcendental in it that several sums read gets a name; every other one is put in its place
    p (1 - p)  becomes p - p p, one multiply-add and exact in it
    gates      a value whose 0 makes a term 0 is masked once, not every term

The stage's meaning stays, the order of its products and sums aside.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from ..ir.expr import Apply, Const, Expr, Read, Size, axes_of, kind_of, rebuild, walk
from ..ir.pairs import Keys, PairStage, Sum, Term, value, value_name, values_in
from ..passes.fuse.algebra import factors, is_const, mul, product, replace_part

_COSTLY = frozenset({
    "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tanh", "erf", "sigmoid", "silu", "gelu", "gelu_tanh", "softplus",
    "logsigmoid", "elu", "sqrt", "rsqrt",
})  # fmt: skip

_FINITE = frozenset({"add", "sub", "mul", "neg", "tanh", "sigmoid", "min", "max", "to_float"})

Fresh = Callable[[str], str]


def prepared(stage: PairStage, fresh: Fresh, more: Iterable[Sum] = ()) -> tuple[PairStage, tuple[Sum, ...]]:
    """The stage with its pointwise work arranged. fresh: a name near a hint that nothing has. more: sums of the same pairs that
    another stage takes (of one term each, of the first kind of keys); they are given back, their factors kept."""
    stage = without_factors(stage)
    others = list(more)
    if stage.softmax is not None and len(stage.keys) > 1:  # one score in terms of the lets of each kind
        return stage, tuple(others)
    for number, keys in enumerate(stage.keys):
        terms = [t for s in (*stage.sums, *(others if number == 0 else ())) for t in s.terms if t.keys == number]
        score = [stage.softmax.score] if stage.softmax is not None else []
        lets, found = _shared(keys, [*score, *(t.expr for t in terms)], fresh)
        new = dict(zip([*score, *(t.expr for t in terms)], found, strict=True))
        mask = None if keys.mask is None else inlined(keys, keys.mask)
        kinds = (*stage.keys[:number], replace(keys, lets=lets, mask=mask), *stage.keys[number + 1 :])
        sums = tuple(replace(s, terms=tuple(_changed(t, number, new) for t in s.terms)) for s in stage.sums)
        stage = replace(stage, keys=kinds, sums=sums)
        if score and stage.softmax is not None:
            stage = replace(stage, softmax=replace(stage.softmax, score=new[score[0]]))
        if number == 0:
            others = [replace(s, terms=tuple(_changed(t, number, new) for t in s.terms)) for s in others]
    return stage, tuple(others)


def _changed(term: Term, number: int, new: dict[Expr, Expr]) -> Term:
    return replace(term, expr=new[term.expr]) if term.keys == number else term


def inlined(keys: Keys, expr: Expr) -> Expr:
    """An expression of a pair in terms of products and outer values alone."""
    lets = dict(keys.lets)

    def visit(e: Expr) -> Expr:
        name = value_name(e)
        return visit(lets[name]) if name in lets else rebuild(e, visit)

    return visit(expr)


# Values that are 0 for pairs that are not admitted.


def gates(keys: Keys, terms: Iterable[Expr]) -> frozenset[str]:
    """Lets that end a term where they are 0, so that masking them masks the term; of lets that end one another, the first."""
    terms, products = list(terms), {p.name for p in keys.products}
    of_pairs = [name for name, body in keys.lets if values_in(inlined(keys, body)) & products]
    found = [name for name in of_pairs if any(vanishes(keys, t, name) for t in terms)]
    bodies = dict(keys.lets)
    return frozenset(name for name in found if not any(vanishes(keys, bodies[name], o) for o in found if o != name))


def vanishes(keys: Keys, expr: Expr, gate: str) -> bool:
    """Whether an expression is 0 where the let `gate` is, without infinity times 0: what stands beside the gate is made of
    products and of values that the gate does not read (it may subtract an infinite one)."""
    inside = set(walk(inlined(keys, value(gate))))
    lets = dict(keys.lets)

    def finite(e: Expr) -> bool:
        if isinstance(e, Read):
            return e not in inside or value_name(e) in {p.name for p in keys.products}
        return isinstance(e, Const | Size) or (isinstance(e, Apply) and e.op in _FINITE and all(map(finite, e.args)))

    def zero(e: Expr) -> bool:
        match e:
            case Read():
                return value_name(e) == gate or (value_name(e) in lets and zero(lets[value_name(e)]))
            case Apply("mul", (a, b)):
                return (zero(a) and (zero(b) or finite(b))) or (zero(b) and finite(a))
            case Apply("add" | "sub", (a, b)):
                return zero(a) and zero(b)
            case Apply("neg", (a,)):
                return zero(a)
        return False

    return zero(expr)


# Factors that no key changes.


def without_factors(stage: PairStage) -> PairStage:
    """The stage with factors of the rows in its finals instead of its sums, where that is possible."""
    out = stage
    for s in stage.sums:
        readers = [f for f in stage.finals if s.name in values_in(f.expr)]
        if s.op != "sum" or len(readers) != 1 or (stage.softmax is not None and not s.scaled):
            continue
        split = [_split(stage.keys[t.keys], t.expr) for t in s.terms]
        outer = [sorted(map(repr, owned)) for owned, _ in split]
        if not split or not split[0][0] or any(o != outer[0] for o in outer):
            continue
        whole = mul(product(split[0][0]), value(s.name))
        terms = tuple(replace(t, expr=rest) for t, (_, rest) in zip(s.terms, split, strict=True))
        sums = tuple(replace(x, terms=terms) if x.name == s.name else x for x in out.sums)
        finals = tuple(replace(f, expr=replace_part(f.expr, value(s.name), whole)) if f.name == readers[0].name else f for f in out.finals)
        out = replace(out, sums=sums, finals=finals)
    return out


def _split(keys: Keys, expr: Expr) -> tuple[list[Expr], Expr]:
    """(factors of the rows alone, the rest); no factors where the rest would be nothing of a pair."""
    inner = {*keys.axes, *keys.repeat}
    parts = factors(inlined(keys, expr))
    owned = [p for p in parts if not values_in(p) and not inner & set(axes_of(p))]
    rest = [p for p in parts if p not in owned]
    if not any(values_in(p) for p in rest):
        return [], expr
    return owned, product(rest)


# Values read more than once.


def _shared(keys: Keys, roots: list[Expr], fresh: Fresh) -> tuple[tuple[tuple[str, Expr], ...], list[Expr]]:
    """The lets that are worth a name, in an order in which each reads earlier ones alone, and the roots in terms of them."""
    names = {inlined(keys, body): name for name, body in keys.lets}
    pool = [_rewritten(inlined(keys, root)) for root in roots]
    kept: list[tuple[str, Expr]] = []
    names = {_rewritten(body): name for body, name in names.items()}
    while True:
        counts = Counter(e for root in pool for e in walk(root) if _costly(e))
        repeated = [e for e, n in counts.items() if n > 1]
        if not repeated:
            break
        largest = max(repeated, key=_size)
        name = names.get(largest) or fresh(_hint(largest))
        pool = [replace_part(root, largest, value(name)) for root in pool]
        kept.append((name, largest))
        pool.append(largest)
    bodies = pool[len(roots) :]
    return tuple((name, body) for (name, _), body in zip(reversed(kept), reversed(bodies), strict=True)), pool[: len(roots)]


def _costly(expr: Expr) -> bool:
    """Whether a float has a transcendental or a division by more than a number in it."""
    if not isinstance(expr, Apply) or kind_of(expr) != "float" or not values_in(expr):
        return False
    return any(isinstance(e, Apply) and (e.op in _COSTLY or (e.op == "div" and values_in(e.args[1]))) for e in walk(expr))


def _size(expr: Expr) -> int:
    return sum(1 for _ in walk(expr))


def _hint(expr: Expr) -> str:
    return f"{expr.op}_value" if isinstance(expr, Apply) and expr.op in _COSTLY else "shared"


def _rewritten(expr: Expr) -> Expr:
    """With x (1 - x) as x - x x, wherever it is part of a product."""
    expr = rebuild(expr, _rewritten)
    if not isinstance(expr, Apply) or expr.op not in ("mul", "neg"):
        return expr
    parts = factors(expr)
    for part in parts:
        if isinstance(part, Apply) and part.op == "sub" and is_const(part.args[0], 1) and part.args[1] in parts:
            x = part.args[1]
            rest = list(parts)
            rest.remove(part)
            rest.remove(x)
            return product([*rest, Apply("sub", (x, Apply("mul", (x, x))))]) if rest else Apply("sub", (x, mul(x, x)))
    return expr


