"""The built-in functions: one entry each in a table, by what they do.

An entry takes the scope and a `Use` (the call taken apart) and gives a value. Elementwise functions of `ir.ops` need no entry.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from ...errors import AttnTypeError, AttnValueError, Span
from ...ir.expr import Along, Const, Expr, Index, Read, Reduce, apply, axes_of, kind_of
from ...ir.ops import ALONG, OPS, REDUCERS
from ...language import tree
from .arithmetic import conjunction, describe, make, to_expr
from .choices import fourier, gradient, pick
from .expressions import name_text, value
from .reads import axis_of, concat, flatten, single, split
from .scope import Scope
from .use import Entry, Use
from .values import Absent, AxisRef, Value, is_number, is_static, lift


def elementwise(scope: Scope, use: Use) -> Value:
    """A function of `ir.ops`."""
    use.only()
    if use.such_that is not None:  # max(a, b | c): without brackets and with several arguments it is no reduction
        raise AttnTypeError(
            f"'{use.name}' of {len(use.args)} values takes no condition", use.such_that.span, "write where(c, a, b)"
        )
    op = OPS[ALIASES.get(use.name, use.name)]
    if use.name in ("min", "max") and len(use.args) > 2:
        out = value(use.args[0], scope)
        for arg in use.args[1:]:
            out = make(scope, op.name, use.span, out, value(arg, scope))
        return out
    assert op.arity is not None
    use.count(op.arity)
    with scope.mode(integral=scope.integral and (op.result != "float" and op.name not in ROUNDS)):
        args = [value(a, scope) for a in use.args]
    return make(scope, op.name, use.span, *args)


ROUNDS = frozenset({"floor", "ceil", "round", "to_int", "isnan"})
"""Functions of a float: in a position or a size too, '/' in their arguments is the division of numbers."""


ALIASES = {"float": "to_float", "int": "to_int"}
WORDS = frozenset(
    {"or", "and", "not", "eq", "ne", "le", "lt", "ge", "gt", "add", "sub", "mul", "div", "exact", "floordiv", "mod", "neg", "pow"}
)


def where(scope: Scope, use: Use) -> Value:
    """`where(c, a, b)`; with a static condition only the taken branch is resolved."""
    use.only()
    use.count(3)
    cond = conjunction(scope, value(use.args[0], scope), use.args[0].span)
    if isinstance(cond, bool):
        return value(use.args[1 if cond else 2], scope)
    return make(scope, "where", use.span, cond, value(use.args[1], scope), value(use.args[2], scope))


def clamp(scope: Scope, use: Use) -> Value:
    """`clamp(x, lo, hi)` = min(max(x, lo), hi)."""
    use.only()
    use.count(3)
    x, low, high = (value(a, scope) for a in use.args)
    return make(scope, "min", use.span, make(scope, "max", use.span, x, low), high)


def identity(scope: Scope, use: Use) -> Value:
    use.only()
    use.count(1)
    return value(use.args[0], scope)


def reduction_axes(scope: Scope, use: Use, body: Expr | None) -> list[AxisRef]:
    """The axes between the brackets; without brackets the keys inside an attend, else every axis of the argument."""
    if use.bracket is not None:
        if use.bracket.fill is not None:
            raise AttnTypeError("'else' belongs to reads, not to reductions", use.bracket.fill.span)
        return flatten([axis_of(scope, item) for item in use.bracket.items])
    if scope.attend is not None:
        return [AxisRef(a, (a,)) for a in scope.attend.over]
    return [AxisRef(a, (a,)) for a in (axes_of(body) if body is not None else ()) if a not in scope.lifted]


def reduce(scope: Scope, use: Use) -> Value:
    """sum, mean, prod, max, min, any, all, count, norm, lse."""
    if use.bracket is None and use.args:
        first = value(use.args[0], scope)
        if isinstance(first, list) and len(use.args) == 1:
            lists: dict[str, Callable[..., Value]] = {"sum": sum, "max": max, "min": min, "any": any, "all": all}
            if use.name not in lists or not all(is_number(item) for item in first):
                raise AttnTypeError(
                    f"'{use.name}' does not take this list", use.span, f"of a list of numbers: {', '.join(lists)}"
                )
            if not first and use.name in ("max", "min"):
                raise AttnValueError(f"'{use.name}' of an empty list", use.span)
            return lists[use.name](first)
        if use.name in ("min", "max") and len(use.args) > 1:
            return elementwise(scope, use)
    use.only()
    axes = reduction_axes(scope, use, None) if use.bracket is not None else []
    use.count(0 if use.name == "count" else 1)
    got = use.body(scope, axes, True)
    if isinstance(got, Absent):
        return got
    body, cond = got

    def one(item: Value) -> Value:
        e = to_expr(scope, item, use.span)
        refs = axes or reduction_axes(scope, use, e)
        atoms = tuple(dict.fromkeys(a for ref in refs for a in ref.atoms))
        if use.name in ("any", "all") and kind_of(e) != "bool":
            raise AttnTypeError(f"'{use.name}' needs a condition, found a value of kind {kind_of(e)}", use.span)
        if use.name == "count" and cond is None and not atoms:
            raise AttnTypeError("'count' needs axes to count over: count[j | ...]()", use.span)
        missing = [a for a in atoms if a not in axes_of(e) and (cond is None or a not in axes_of(cond))]
        if missing and use.name not in ("count",) and use.bracket is not None:
            raise AttnTypeError(
                f"nothing here depends on axis '{missing[0]}'", use.span, f"multiply by {missing[0]}.size if that is meant"
            )
        return Reduce(use.name, atoms, e, cond)

    return lift(one, body)


def along(scope: Scope, use: Use) -> Value:
    """softmax, log_softmax, cumsum, cumprod: functions along axes that keep them. softmax(s; sink = e) adds exp(e) below."""
    use.only(*(("sink", "plus_one") if use.name in ("softmax", "log_softmax") else ()))
    use.count(1)
    axes = flatten([axis_of(scope, item) for item in use.bracket.items]) if use.bracket is not None else []
    got = use.body(scope, axes)
    if isinstance(got, Absent):
        return got
    body, cond = got
    e = to_expr(scope, body, use.span)
    refs = axes or reduction_axes(scope, use, e)
    sink: Expr | None = None
    if "sink" in use.options:
        found = value(use.options["sink"], scope)
        sink = None if isinstance(found, Absent) else to_expr(scope, found, use.options["sink"].span)
    if "plus_one" in use.options:
        plus = value(use.options["plus_one"], scope)
        if not isinstance(plus, bool | Absent):
            raise AttnTypeError(
                "plus_one is true or false", use.options["plus_one"].span, "a learned term below is a sink: sink = e"
            )
        sink = Const(0.0) if sink is None and plus is True else sink
    atoms = tuple(a for ref in refs for a in ref.atoms)
    missing = [a for a in atoms if a not in axes_of(e) and (cond is None or a not in axes_of(cond))]
    if missing and use.bracket is not None and use.name in ("softmax", "log_softmax"):  # without brackets: a score may be 0
        raise AttnTypeError(
            f"nothing here depends on axis '{missing[0]}'", use.span, "a softmax runs along an axis of its argument"
        )
    return Along(use.name, atoms, e, cond, sink)


def contracted(scope: Scope, use: Use, a: Expr, b: Expr) -> tuple[str, ...]:
    """What dot and dist2 sum over: the axes in the brackets, else the last axis of a that b has too."""
    if use.bracket is not None:
        refs = flatten([axis_of(scope, item) for item in use.bracket.items])
        return tuple(atom for ref in refs for atom in ref.atoms)
    shared = [axis for axis in axes_of(a) if axis in axes_of(b)]
    if not shared:
        raise AttnTypeError(
            f"'{use.name}' finds no common axis: ({', '.join(axes_of(a))}) and ({', '.join(axes_of(b))})",
            use.span, f"name the axis, {use.name}[d](a, b), or rename one side, k[dk = dq]",
        )  # fmt: skip
    return (shared[-1],)


def dot(scope: Scope, use: Use) -> Value:
    """`dot(a, b)`: the sum over the last common axis of a * b. `dist2`: of (a - b)^2. `dist1`: of |a - b|."""
    use.only()
    use.count(2)
    axes = flatten([axis_of(scope, item) for item in use.bracket.items]) if use.bracket is not None else []
    with scope.binding(axes):
        values = [value(a, scope) for a in use.args]
    for v in values:
        if isinstance(v, Absent):
            return v
    a, b = (to_expr(scope, v, node.span, "a tensor") for v, node in zip(values, use.args, strict=True))
    over = contracted(scope, use, a, b)
    scope.builder.contracted.update(over)
    bodies = {
        "dot": lambda: apply("mul", a, b),
        "dist2": lambda: apply("pow", apply("sub", a, b), 2),
        "dist1": lambda: apply("abs", apply("sub", a, b)),
    }
    return Reduce("sum", over, bodies[use.name]())


def linear(scope: Scope, use: Use) -> Value:
    """`linear(x, w, b)`: contract the last stored dim of w with x, keep the other axes of w, add b when it is there."""
    use.only()
    use.count(2, 3)
    x_value, w_value = value(use.args[0], scope), value(use.args[1], scope)
    for v in (x_value, w_value):
        if isinstance(v, Absent):
            return v
    x, w = to_expr(scope, x_value, use.args[0].span, "a tensor"), to_expr(scope, w_value, use.args[1].span, "a weight")
    over = _last_dim(scope, w, use.args[1].span)
    at = {}
    inverse = {twin: base for base, twin in scope.twins.items()}
    for axis in over:
        if axis not in axes_of(x):
            base = inverse.get(axis)
            if base is None or base not in axes_of(x):
                raise AttnTypeError(
                    f"'linear' contracts axis '{axis}' of the weight, which x ({', '.join(axes_of(x))}) does not have", use.span,
                    "rename it at use, x[c = c2], or write the sum out",
                )  # fmt: skip
            at[base] = Index(axis)
    x = scope.moved(x, at, use.args[0].span)
    outer = [a for a in axes_of(w) if a not in over]
    shared = [a for a in outer if a in axes_of(x)]
    if shared:
        raise AttnTypeError(
            f"'linear' would pair axis '{shared[0]}' of x and the weight one by one", use.span, "write the sum out: sum[c](w * x)"
        )
    out: Expr = Reduce("sum", over, apply("mul", x, w))
    if len(use.args) == 3:
        bias = value(use.args[2], scope)
        if not isinstance(bias, Absent) and bias is not None:
            out = apply("add", out, to_expr(scope, bias, use.args[2].span))
    return out


def _last_dim(scope: Scope, w: Expr, span: Span) -> tuple[str, ...]:
    free = axes_of(w)
    if isinstance(w, Read) and w.source in scope.builder.inputs:
        for dim in reversed(scope.builder.inputs[w.source].dims):
            atoms = tuple(a for a in dim if a in free)
            if atoms:
                return atoms
    if not free:
        raise AttnTypeError("the weight of 'linear' is a scalar", span)
    return free[-1:]


def present(scope: Scope, use: Use) -> Value:
    """Whether an optional input or parameter was given."""
    use.only()
    use.count(1)
    found = value(use.args[0], scope)
    return not (isinstance(found, Absent) or found is None)


def eye(scope: Scope, use: Use) -> Value:
    """`eye(m, m')`: 1 where the positions agree."""
    use.only()
    use.count(2)
    return make(scope, "where", use.span, make(scope, "eq", use.span, *(value(a, scope) for a in use.args)), 1, 0)


def static_list(fn: Callable[..., Value]) -> Entry:
    """A function of static lists."""

    def entry(scope: Scope, use: Use) -> Value:
        use.only()
        values = [value(a, scope) for a in use.args]
        for v in values:
            if isinstance(v, Absent):
                return v
            if not is_static(v):
                raise AttnTypeError(f"'{use.name}' works on lists known while compiling, found {describe(v)}", use.span)
        try:
            return fn(*values)
        except (TypeError, ValueError) as reason:
            raise AttnTypeError(f"'{use.name}' does not take this: {reason}", use.span) from None

    return entry


def _partition(groups: list, total: int) -> bool:
    """Whether non-empty groups hold each of 0 .. total - 1 once."""
    return all(groups) and sorted(x for group in groups for x in group) == list(range(total))


def rank(scope: Scope, use: Use) -> Value:
    """The number of axes of a tensor."""
    use.only()
    use.count(1)
    name = use.args[0].plain if isinstance(use.args[0], tree.Name) else None
    if name in scope.ranks:
        return scope.ranks[name]
    found = value(use.args[0], scope)
    return (
        found
        if isinstance(found, Absent)
        else len([a for a in axes_of(to_expr(scope, found, use.span)) if a not in scope.lifted])
    )


def joined(scope: Scope, use: Use) -> Value:
    """`concat[a ++ b](x, y)`."""
    use.only()
    if use.bracket is None or len(use.bracket.items) != 1:
        raise AttnTypeError("write concat[a ++ b](x, y)", use.span)
    total = single(scope, use.bracket.items[0])
    values = [value(a, scope) for a in use.args]
    for v in values:
        if isinstance(v, Absent):
            return v
    if len(total.atoms) != 1 or not scope.builder.axes[total.atoms[0]].parts:
        raise AttnTypeError(f"'{total.name}' is not a direct sum of axes", use.span, "write concat[a ++ b](x, y)")
    return concat(scope, total, values, use.span)


def parts(scope: Scope, use: Use) -> Value:
    """`split(x)`, `split[z](x)`."""
    use.only()
    use.count(1)
    axis = single(scope, use.bracket.items[0]) if use.bracket is not None else None
    found = value(use.args[0], scope)
    return found if isinstance(found, Absent) else split(scope, to_expr(scope, found, use.span), axis, use.span)


FUNCTIONS: dict[str, Entry] = {
    **{name: elementwise for name in OPS if name not in WORDS},
    **dict.fromkeys(ALIASES, elementwise),
    **dict.fromkeys(REDUCERS, reduce),
    **dict.fromkeys(ALONG, along),
    **dict.fromkeys(("dot", "dist2", "dist1"), dot),
    **dict.fromkeys(("topk", "argmax", "argsort", "sort", "positions", "in_top"), pick),
    "where": where, "clamp": clamp, "identity": identity, "linear": linear, "rfft": fourier, "irfft": fourier, "grad": gradient,
    "present": present, "eye": eye, "rank": rank, "concat": joined, "split": parts,
    "len": static_list(len), "zip": static_list(lambda *xs: [list(x) for x in zip(*xs, strict=True)]),
    "columns": static_list(lambda rows: [list(x) for x in zip(*rows, strict=True)]),
    "distinct": static_list(lambda xs: len({repr(x) for x in xs}) == len(xs)),
    "increasing": static_list(lambda xs: all(a < b for a, b in pairwise(xs))),
    "partition": static_list(_partition),
}  # fmt: skip
"""Every built-in function by name. Definitions of the file and the prelude come before these."""


BRACKETED = frozenset({*REDUCERS, *ALONG, "dot", "dist2", "dist1", "concat", "split", "rfft", "irfft", "topk", "argmax", "argsort", "sort",
                       "positions", "in_top"})  # fmt: skip
"""The functions that take axes in brackets."""
CONDITIONED = frozenset({*REDUCERS, *ALONG, "topk", "argmax", "argsort", "sort", "positions", "in_top"})
"""The functions that take a condition after '|'."""


def name_of(scope: Scope, node: tree.Expr) -> str | None:
    """The name that is called, for `f(..)` and `f[..](..)`."""
    base = node.base if isinstance(node, tree.Bracket) else node
    return name_text(scope, base) if isinstance(base, tree.Name) and not base.primes else None
