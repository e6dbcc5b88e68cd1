"""Predicate solving: such-that conditions of reductions are solved, so that nothing is enumerated only to be masked away.

    sum[j | j == f and c](body)     f free of the reduced axes: j is at f, the sum over j is gone
    sum[t | out == f(t) and c](x)   `out` free: each t adds to the one position f(t), a scatter
    sum[t | lo <= t < hi and c](x)  bounds free of t: a window as wide as the widest interval

An equality is linear in the axis it is solved for: `r == stride * u - pad + iy` is solved for r. After this pass a condition
that is solved stands in one of the forms `Index(axis) == f`, `Index(t) >= lo`, `Index(t) < hi`, first among the conjuncts, and
backends match these forms alone. `how` says in words what became of a reduction.
"""

from __future__ import annotations

from ..ir.expr import Apply, Const, Expr, Index, Reduce, axes_of, conjoin, conjuncts, keeping_axes, kind_of, rebuild
from ..ir.nodes import Assign, Program, map_exprs


def predicates(program: Program) -> Program:
    """Bring every such-that condition of a program into solved form."""
    guarded = keeping_axes(solve)  # an assignment names its axes, so their order in its expression is free
    return program.with_nodes(tuple(map_exprs(n, solve if isinstance(n, Assign) else guarded) for n in program.nodes))


def solve(e: Expr) -> Expr:
    """The expression with the conditions of its reductions in solved form."""
    e = rebuild(e, solve)
    if not isinstance(e, Reduce) or e.cond is None:
        return e
    first: list[Expr] = []
    rest: list[Expr] = []
    for part in conjuncts(e.cond):
        new = equality(part, e.axes) or half_line(part, e.axes)
        (rest if new is None else first).append(part if new is None else new)
    return Reduce(e.op, e.axes, e.body, conjoin(first + rest))


def equality(part: Expr, over: tuple[str, ...]) -> Expr | None:
    """`Index(axis) == f` for an equality that can be solved: for a free axis first, else for a summed one."""
    if not isinstance(part, Apply) or part.op != "eq" or not _whole(*part.args):
        return None
    a, b = part.args
    free = [x for x in axes_of(part) if x not in over]
    for axis in (*free, *over):
        for here, there in ((a, b), (b, a)):
            if here == Index(axis) and axis not in axes_of(there) and _useful(axis, there, over):
                return Apply("eq", (here, there))
    for axis in (*free, *over):
        found = _linear(Apply("sub", (a, b)), axis)
        if found is not None and found[0] in (1, -1) and _useful(axis, found[1], over):
            rest = found[1]
            return Apply("eq", (Index(axis), Apply("neg", (rest,)) if found[0] == 1 else rest))
    return None


def _useful(axis: str, there: Expr, over: tuple[str, ...]) -> bool:
    """A free axis given by summed ones is a scatter, a summed axis given by free ones is a read."""
    summed = set(axes_of(there)) & set(over)
    return bool(summed) if axis not in over else not summed


def _whole(*exprs: Expr) -> bool:
    return all(kind_of(e) == "int" for e in exprs)


def _linear(e: Expr, axis: str) -> tuple[int, Expr] | None:
    """An integer expression as coefficient * Index(axis) + rest, None when it is not of that form."""
    if e == Index(axis):
        return 1, Const(0)
    if axis not in axes_of(e):
        return 0, e
    if not isinstance(e, Apply):
        return None
    if e.op == "neg":
        found = _linear(e.args[0], axis)
        return None if found is None else (-found[0], Apply("neg", (found[1],)))
    if e.op in ("add", "sub"):
        left, right = _linear(e.args[0], axis), _linear(e.args[1], axis)
        if left is None or right is None:
            return None
        return left[0] + (right[0] if e.op == "add" else -right[0]), Apply(e.op, (left[1], right[1]))
    if e.op == "mul":
        for k, x in (e.args, e.args[::-1]):
            found = _linear(x, axis)
            if isinstance(k, Const) and isinstance(k.value, int) and found is not None:
                return k.value * found[0], Apply("mul", (k, found[1]))
    return None


def half_line(part: Expr, over: tuple[str, ...]) -> Expr | None:
    """`Index(t) >= lo` or `Index(t) < hi` for a comparison that bounds one summed axis by something free of it."""
    if not isinstance(part, Apply) or part.op not in ("le", "lt", "ge", "gt") or not _whole(*part.args):
        return None
    a, b = part.args
    flipped = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt"}
    for here, there, op in ((a, b, part.op), (b, a, flipped[part.op])):
        if isinstance(here, Index) and here.axis in over and here.axis not in axes_of(there):
            one = Apply("add", (there, Const(1)))
            return {
                "ge": Apply("ge", (here, there)), "gt": Apply("ge", (here, one)),
                "lt": Apply("lt", (here, there)), "le": Apply("lt", (here, one)),
            }[op]  # fmt: skip
    return None


def how(e: Reduce) -> str:
    """In words, how a reduction with a solved condition is carried out."""
    words = []
    for part in conjuncts(e.cond):
        if isinstance(part, Apply) and part.op == "eq" and isinstance(part.args[0], Index):
            axis, there = part.args[0].axis, part.args[1]
            if axis in e.axes and not set(axes_of(there)) & set(e.axes):
                words.append(f"{axis} is given by the other axes: a read")
                continue
            if axis not in e.axes and set(axes_of(there)) & set(e.axes) and axis not in axes_of(there):
                words.append(f"each term belongs to one {axis}: a scatter")
                continue
        if (
            isinstance(part, Apply)
            and part.op in ("ge", "lt")
            and isinstance(part.args[0], Index)
            and part.args[0].axis in e.axes
        ):
            words.append(f"{part.args[0].axis} is bounded: a window")
            continue
        words.append("not solved: tested at every position")
    return "; ".join(dict.fromkeys(words)) or "no condition"
