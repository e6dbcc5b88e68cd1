"""The mask families that operators use, as IR expressions, over one row axis and one key axis each."""

from __future__ import annotations

from attncc.ir.expr import Apply, Expr, Index, Size, apply, conjoin

Whole = Expr | int


def both(*conds: Expr) -> Expr:
    out = conjoin(list(conds))
    assert out is not None
    return out


def either(first: Expr, *conds: Expr) -> Expr:
    for cond in conds:
        first = apply("or", first, cond)
    return first


def add(a: Whole, b: Whole) -> Expr:
    return apply("add", a, b)


def sub(a: Whole, b: Whole) -> Expr:
    return apply("sub", a, b)


def mul(a: Whole, b: Whole) -> Expr:
    return apply("mul", a, b)


def div(a: Whole, b: Whole) -> Expr:
    return apply("floordiv", a, b)


def mod(a: Whole, b: Whole) -> Expr:
    return apply("mod", a, b)


def le(a: Whole, b: Whole) -> Expr:
    return apply("le", a, b)


def eq(a: Whole, b: Whole) -> Expr:
    return apply("eq", a, b)


def distance(i: str, j: str) -> Expr:
    return apply("abs", sub(Index(i), Index(j)))


def causal(i: str, j: str) -> Expr:
    """Aligned at the end: j <= i + |j| - |i|."""
    return le(Index(j), sub(add(Index(i), Size(j)), Size(i)))


def sliding(i: str, j: str, left: Whole, right: Whole) -> Expr:
    return both(le(sub(Index(i), left), Index(j)), le(Index(j), add(Index(i), right)))


def dilated(i: str, j: str, width: Whole, step: Whole) -> Expr:
    return both(le(distance(i, j), width), eq(mod(sub(Index(i), Index(j)), step), 0))


def block(i: str, j: str, size: Whole) -> Expr:
    return eq(div(Index(j), size), div(Index(i), size))


def block_causal(i: str, j: str, size: Whole) -> Expr:
    return le(div(Index(j), size), div(Index(i), size))


def halo(i: str, j: str, size: Whole, around: Whole) -> Expr:
    begin = mul(div(Index(i), size), size)
    return both(le(sub(begin, around), Index(j)), apply("lt", Index(j), add(add(begin, size), around)))


def prefix(i: str, j: str, length: Whole) -> Expr:
    return either(apply("lt", Index(j), length), causal(i, j))


def prefix_window(i: str, j: str, length: Whole, width: Whole) -> Expr:
    return both(prefix(i, j, length), le(sub(Index(i), Index(j)), width))


def global_window(i: str, j: str, length: Whole, width: Whole) -> Expr:
    return either(apply("lt", Index(j), length), apply("lt", Index(i), length), le(distance(i, j), width))


def clamp(x: Whole, low: Whole, high: Whole) -> Expr:
    return apply("min", apply("max", x, low), high)


def neighborhood(i: str, j: str, window: int, dilation: int = 1, stride: int = 1, causal: bool = False) -> Expr:
    """The definition of the prelude, inlined with its parameters."""
    p, r = div(Index(i), dilation), div(Index(j), dilation)
    n = apply("cdiv", sub(Size(i), mod(Index(i), dilation)), dilation)
    lead = apply("where", causal, stride - 1, stride // 2)
    leader = apply("min", add(mul(div(p, stride), stride), lead), sub(n, 1))
    early = apply("max", add(sub(leader, window), 1), 0)
    start = apply("where", causal, early, clamp(sub(leader, window // 2), 0, sub(n, window)))
    end = apply("where", causal, le(r, p), apply("lt", r, add(start, window)))
    return both(eq(mod(Index(i), dilation), mod(Index(j), dilation)), le(start, r), end)


def manhattan(pairs: list[tuple[str, str]], radius: int) -> Expr:
    return le(_sum([distance(i, j) for i, j in pairs]), radius)


def ball(pairs: list[tuple[str, str]], square_radius: int) -> Expr:
    return le(_sum([apply("pow", sub(Index(i), Index(j)), 2) for i, j in pairs]), square_radius)


def _sum(parts: list[Expr]) -> Expr:
    out = parts[0]
    for part in parts[1:]:
        out = Apply("add", (out, part))
    return out
