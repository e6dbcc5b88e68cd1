"""Exact structure of pointwise expressions: factors, terms, signs. Nothing here rounds differently from the tree it was given,
but for the order of products and sums, which a fused kernel does not keep anyway."""

from __future__ import annotations

from ...ir.expr import ONE, ZERO, Along, Apply, Const, Expr, Index, Read, Reduce, Size, rebuild, walk

_GROWTH = 32


def contains(expr: Expr, part: Expr) -> bool:
    """Whether `part` occurs in `expr`."""
    return any(e == part for e in walk(expr))


def replace_part(expr: Expr, part: Expr, new: Expr) -> Expr:
    """Every occurrence of `part` replaced."""
    return new if expr == part else rebuild(expr, lambda child: replace_part(child, part, new))


def is_const(expr: Expr, value: float) -> bool:
    """Whether the expression is the number `value`."""
    return isinstance(expr, Const) and not isinstance(expr.value, bool) and expr.value == value


def mul(a: Expr, b: Expr) -> Expr:
    """a b, without factors of 1."""
    return b if is_const(a, 1) else a if is_const(b, 1) else Apply("mul", (a, b))


def div(a: Expr, b: Expr) -> Expr:
    """a / b, without a divisor of 1."""
    return a if is_const(b, 1) else Apply("div", (a, b))


def add(a: Expr, b: Expr) -> Expr:
    """a + b, without terms of 0."""
    return b if is_const(a, 0) else a if is_const(b, 0) else Apply("add", (a, b))


def neg(a: Expr) -> Expr:
    """-a."""
    if isinstance(a, Apply) and a.op == "neg":
        return a.args[0]
    return Apply("neg", (a,))


def product(parts: list[Expr]) -> Expr:
    """The product of some expressions, reciprocals written as divisions."""
    top: Expr = ONE
    bottom: Expr = ONE
    for part in parts:
        if isinstance(part, Apply) and part.op == "div" and is_const(part.args[0], 1):
            bottom = mul(bottom, part.args[1])
        else:
            top = mul(top, part)
    return div(top, bottom)


def factors(expr: Expr) -> list[Expr]:
    """Factors whose product is the expression; a divisor x appears as 1 / x."""
    match expr:
        case Apply("mul", (a, b)):
            return [*factors(a), *factors(b)]
        case Apply("div", (a, b)):
            return [*([] if is_const(a, 1) else factors(a)), *(inverse(f) for f in factors(b))]
        case Apply("neg", (a,)):
            return [Const(-1), *factors(a)]
    return [expr]


def inverse(expr: Expr) -> Expr:
    """1 / expr."""
    match expr:
        case Apply("div", (a, b)) if is_const(a, 1):
            return b
        case Const(value) if not isinstance(value, bool) and abs(value) == 1:
            return expr
    return Apply("div", (ONE, expr))


def terms(expr: Expr) -> list[list[Expr]] | None:
    """The expression multiplied out: a list of terms, each a list of factors. None when it grows too large."""
    match expr:
        case Apply("add", (a, b)):
            out = _both(terms(a), terms(b))
        case Apply("sub", (a, b)):
            out = _both(terms(a), _times([[Const(-1)]], terms(b)))
        case Apply("neg", (a,)):
            out = _times([[Const(-1)]], terms(a))
        case Apply("mul", (a, b)):
            out = _times(terms(a), terms(b))
        case Apply("div", (a, b)):
            out = _times(terms(a), [[inverse(f) for f in factors(b)]])
        case Apply("pow", (a, Const(2))):
            out = _times(terms(a), terms(a))
        case Const(value) if not isinstance(value, bool) and value == 1:
            out = [[]]
        case _:
            out = [[expr]]
    return out if out is not None and len(out) <= _GROWTH else None


def _both(a: list[list[Expr]] | None, b: list[list[Expr]] | None) -> list[list[Expr]] | None:
    return None if a is None or b is None else [*a, *b]


def _times(a: list[list[Expr]] | None, b: list[list[Expr]] | None) -> list[list[Expr]] | None:
    return None if a is None or b is None or len(a) * len(b) > _GROWTH else [[*x, *y] for x in a for y in b]


def linear(expr: Expr, part: Expr) -> Expr | None:
    """g with `expr == part * g`, g free of `part`; None when the expression is not of that form."""
    if expr == part:
        return ONE
    if is_const(expr, 0):
        return ZERO
    match expr:
        case Apply("mul", (a, b)):
            if not contains(b, part):
                a, b = b, a
            g = None if contains(a, part) else linear(b, part)
            return None if g is None else mul(a, g)
        case Apply("div", (a, b)):
            g = None if contains(b, part) else linear(a, part)
            return None if g is None else div(g, b)
        case Apply("neg", (a,)):
            g = linear(a, part)
            return None if g is None else neg(g)
        case Apply("add" | "sub" as op, (a, b)):
            g, h = linear(a, part), linear(b, part)
            return None if g is None or h is None else add(g, h if op == "add" else neg(h))
        case Apply("where", (c, a, b)):
            g, h = linear(a, part), linear(b, part)
            return None if g is None or h is None or contains(c, part) else Apply("where", (c, g, h))
    return None


def affine(expr: Expr, part: Expr) -> tuple[Expr, Expr] | None:
    """(c, b) with `expr == c * part + b`, both free of `part`; None when the expression is not of that form."""
    if not contains(expr, part):
        return ZERO, expr
    if expr == part:
        return ONE, ZERO
    match expr:
        case Apply("add" | "sub" as op, (a, b)):
            x, y = affine(a, part), affine(b, part)
            if x is None or y is None:
                return None
            if op == "sub":
                y = (ZERO if is_const(y[0], 0) else neg(y[0]), ZERO if is_const(y[1], 0) else neg(y[1]))
            return add(x[0], y[0]), add(x[1], y[1])
        case Apply("neg", (a,)):
            x = affine(a, part)
            return None if x is None else (neg(x[0]), ZERO if is_const(x[1], 0) else neg(x[1]))
        case Apply("mul", (a, b)):
            if not contains(b, part):
                a, b = b, a
            x = None if contains(a, part) else affine(b, part)
            return None if x is None else (mul(a, x[0]), ZERO if is_const(x[1], 0) else mul(a, x[1]))
        case Apply("div", (a, b)):
            x = None if contains(b, part) else affine(a, part)
            return None if x is None else (div(x[0], b), ZERO if is_const(x[1], 0) else div(x[1], b))
        case Apply("to_float", (a,)):
            return affine(a, part)
    return None


def nonnegative(expr: Expr) -> bool:
    """Whether the expression is provably >= 0 (or NaN)."""
    match expr:
        case Const(value):
            return value >= 0
        case Index() | Size():
            return True
        case Apply(
            "exp" | "exp2" | "sigmoid" | "relu" | "softplus" | "abs" | "sqrt" | "rsqrt" | "isqrt" | "where" | "max" | "min" as op,
            args,
        ):
            if op in ("where", "min"):
                return all(nonnegative(a) for a in args[-2:])
            return any(nonnegative(a) for a in args) if op == "max" else True
        case Apply("add" | "mul" | "div" | "floordiv" | "cdiv" | "exact", (a, b)):
            return nonnegative(a) and nonnegative(b)
        case Apply("mod", (_, b)):
            return nonnegative(b)
        case Apply("pow", (a, b)):
            return nonnegative(a) or (isinstance(b, Const) and isinstance(b.value, int) and b.value % 2 == 0)
        case Apply("to_float" | "to_int" | "floor" | "ceil" | "round" | "sign" | "stop_grad", (a,)):
            return nonnegative(a)
        case Reduce("sum" | "mean" | "max" | "min" | "prod", _, body, _):
            return nonnegative(body)
        case Reduce("norm" | "count", _, _, _):
            return True
        case Read(_, _, "bool", _):
            return True
    return False


def positive(expr: Expr) -> bool:
    """Whether the expression is provably > 0, after rounding too (an exponential may underflow), where sizes are positive."""
    match expr:
        case Const(value):
            return value > 0
        case Size():
            return True
        case Apply("sqrt" | "rsqrt" | "to_float" | "stop_grad", (a,)):
            return positive(a)
        case Apply("mul" | "div" | "min", (a, b)):
            return positive(a) and positive(b)
        case Apply("pow", (a, _)):
            return positive(a)
        case Apply("add", (a, b)):
            return (positive(a) and nonnegative(b)) or (nonnegative(a) and positive(b))
        case Apply("max", (a, b)):
            return positive(a) or positive(b)
        case Apply("where", (_, a, b)):
            return positive(a) and positive(b)
    return False


def tidied(expr: Expr) -> Expr:
    """Without what optional terms of a pattern leave behind: x + 0, x - 0, x * 1, x / 1, conditions that always hold."""
    expr = rebuild(expr, tidied)
    match expr:
        case Apply("add" | "sub", (a, b)) if is_const(b, 0):
            return a
        case Apply("add", (a, b)) if is_const(a, 0):
            return b
        case Apply("mul" | "div", (a, b)) if is_const(b, 1):
            return a
        case Apply("mul", (a, b)) if is_const(a, 1):
            return b
        case Apply("where", (Const(bool() as c), a, b)):
            return a if c else b
        case Apply("and" | "or" as op, (Const(bool() as c), b)) | Apply("and" | "or" as op, (b, Const(bool() as c))):
            return b if c == (op == "and") else Const(c)
        case Reduce(op, axes, body, Const(True)):
            return Reduce(op, axes, body)
        case Along(op, axes, body, Const(True), sink):
            return Along(op, axes, body, None, sink)
    return expr
