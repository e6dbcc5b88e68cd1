"""Sizes for a call: a length for every axis of a program, so that its equations and its `require`s hold.

The free axes are tried one after the other, the wished length first, then its neighbours; an equation or a `require` is asked as
soon as all its sizes are known, and what fails is undone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

from ..errors import AttnError, AttnNameError, AttnShapeError
from ..ir.expr import Apply, Expr, Index, Read, Reduce, Size, axes_of, conjuncts, walk
from ..ir.nodes import Attend, Program, exprs_of
from ..ir.printer import show_expr
from ..ir.sizes import Unknown, extend, scalar

MAX_STEPS = 4000
"""Lengths tried before giving up."""


def free_axes(program: Program) -> list[str]:
    """The axes that no equation gives: choosing their lengths gives all the others."""
    return [a.name for a in program.axes if a.size is None]


def choose_sizes(
    program: Program, wish: Callable[[str], int], fixed: Mapping[str, int] | None = None, least: int = 1, most: int = 64
) -> dict[str, int]:
    """The length of every axis.

    `wish` gives the length wanted for a free axis; `fixed` lengths are kept. The others lie between `least` and `most`, or the
    wish when that is larger. Raises AttnNameError for a fixed name that is no axis, AttnShapeError when no lengths are found.
    """
    known = {a.name for a in program.axes}
    for name in fixed or {}:
        if name not in known:
            raise AttnNameError(f"'{program.name}' has no axis '{name}'", None, f"axes: {', '.join(sorted(known))}")
    search = _Search(program, wish, least, most)
    start = dict(fixed or {})
    found, _ = search.run(start)
    if found is None:
        reason = f": {search.reason}" if search.reason else ""
        given = ", ".join(f"{n} = {v}" for n, v in start.items())
        raise AttnShapeError(
            f"no sizes were found that suit '{program.name}'{' with ' + given if given else ''}{reason}",
            None,
            "give sizes that fit, or other parameters",
        )
    return found


class _Search:
    """Backtracking that jumps: a failure names the axes it depends on, and no other axis is tried again because of it."""

    def __init__(self, program: Program, wish: Callable[[str], int], least: int, most: int) -> None:
        self.program = program
        self.wish, self.least, self.most = wish, least, most
        self.steps = 0
        self.reason = ""
        self.linked = _linked(program)
        self.conds = [
            (cond, {other for e in walk(cond) if isinstance(e, Size) for other in self.linked[e.axis]})
            for c in program.checks
            for cond in conjuncts(c.cond)
            if not c.data and not any(isinstance(e, Read) for e in walk(cond))
        ]

    def run(self, sizes: dict[str, int]) -> tuple[dict[str, int] | None, set[str]]:
        """Sizes that extend these, or None and the axes that this is because of."""
        clash = self.clash(sizes)
        if clash is not None:
            return None, clash
        unknown = [a for a in self.program.axes if a.name not in sizes]
        if not unknown:
            return sizes, set()
        axis = next((a.name for a in unknown if a.size is None), unknown[0].name)
        blame: set[str] = set()
        for length in self.lengths(axis):
            self.steps += 1
            if self.steps > MAX_STEPS:
                return None, set()
            found, why = self.run({**sizes, axis: length})
            if found is not None:
                return found, set()
            if axis not in why:
                return None, why
            blame |= why
        return None, blame - {axis}

    def lengths(self, axis: str) -> Iterator[int]:
        """The wish, then its neighbours, nearest first."""
        wish = max(self.least, self.wish(axis))
        most = max(self.most, wish)
        yield wish
        for step in range(1, most + 1):
            for length in (wish - step, wish + step):
                if self.least <= length <= most:
                    yield length

    def clash(self, sizes: dict[str, int]) -> set[str] | None:
        """Add what follows from the equations, ask what can be asked; the axes of the first thing that does not hold, or None."""
        progress = True
        while progress:
            progress = False
            for axis in self.program.axes:
                try:
                    progress |= extend(axis, sizes)
                except (AttnError, ArithmeticError, ValueError) as error:
                    self.reason = self.reason or str(getattr(error, "message", error))
                    return self.linked[axis.name]
        for axis in self.program.axes:
            if axis.size is not None and axis.name in sizes:
                known, value = _value(axis.size, sizes)
                if known and value != sizes[axis.name]:
                    self.reason = self.reason or f"axis '{axis.name}' would have sizes {sizes[axis.name]} and {value}"
                    return self.linked[axis.name]
        for cond, axes in self.conds:
            known, value = _value(cond, sizes)
            if known and not value:
                self.reason = self.reason or f"'{show_expr(cond)}' must hold"
                return axes
        return None


def _linked(program: Program) -> dict[str, set[str]]:
    """For each axis, all those that size equations connect it with, itself included."""
    groups = {a.name: {a.name} for a in program.axes}
    for axis in program.axes:
        if axis.size is not None:
            for inner in walk(axis.size):
                if isinstance(inner, Size) and groups[inner.axis] is not groups[axis.name]:
                    merged = groups[axis.name] | groups[inner.axis]
                    groups.update(dict.fromkeys(merged, merged))
    return groups


def _value(expr: Expr, sizes: Mapping[str, int]) -> tuple[bool, object]:
    """Whether an expression can be worked out with these sizes, and its value; None as the value where it has none."""
    try:
        return True, scalar(expr, sizes)
    except Unknown:
        return False, None
    except (AttnError, ArithmeticError, ValueError):
        return True, None


# ------------------------------------------------------------------------------------------------------------ what axes are for


def roles(program: Program) -> dict[str, str]:
    """What each axis does in the attends of a program: `key`, `query`, `feature`; axes that are neither are left out.

    A key axis is attended over, a feature is contracted in a score or carried by the mixed value alone, a query axis is a row
    axis that keys and values do not have. An axis whose size follows from another one hands its role on; keys go before features.
    """
    out: dict[str, str] = {}
    for expr in every_expr(program):
        for inner in walk(expr):
            if isinstance(inner, Reduce) and isinstance(inner.body, Apply) and inner.body.op == "mul":
                out.update(dict.fromkeys(inner.axes, "feature"))
    for node in program.nodes:
        if not isinstance(node, Attend):
            continue
        for segment in node.segments:
            over = set(segment.over)
            parts = [e for _, e in segment.scores] + [e for e in (segment.mix,) if e is not None]
            beside = {a for e in parts for read in _key_reads(e, over) for a in read}
            for e in parts:
                for inner in walk(e):
                    if isinstance(inner, Reduce):
                        out.update({a: "feature" for a in inner.axes if a not in over and out.get(a) != "key"})
            if segment.mix is not None:
                mixed = set(axes_of(segment.mix)) - over - set(node.rows)
                out.update({a: "feature" for a in mixed if a not in out})
            out.update({a: "query" for a in node.rows if a not in beside and a not in out})
            out.update(dict.fromkeys(over, "key"))
    grouped = {a for item in program.inputs for dim in item.dims if len(dim) > 1 for a in dim}
    out = {a: role for a, role in out.items() if role != "query" or a not in grouped}  # (g r): heads in groups, no queries
    for axis in reversed(program.axes):  # an axis that gives the size of another one has its role
        if axis.size is not None and axis.name in out:
            for inner in walk(axis.size):
                if isinstance(inner, Size) and out.get(inner.axis) != "key":
                    out[inner.axis] = out[axis.name]
    return out


def grid_rank(program: Program) -> int:
    """The largest number of axes that an attend goes over."""
    return max([len(s.over) for n in program.nodes if isinstance(n, Attend) for s in n.segments] or [1])


def pair_count(program: Program, sizes: Mapping[str, int]) -> int:
    """How many pair values the largest attend has."""
    found = [math.prod(sizes[a] for a in (*n.rows, *n.over)) for n in program.nodes if isinstance(n, Attend)]
    return max(found, default=0)


def _key_reads(e: Expr, over: set[str]) -> Iterator[tuple[str, ...]]:
    """The axes of each stored value that is read at key positions."""
    for inner in walk(e):
        if isinstance(inner, Read):
            axes = axes_of(inner)
            if over & set(axes):
                yield axes


def sensible(program: Program, tokens: int = 128, features: int = 32, others: int = 2) -> Callable[[str], int]:
    """Wishes for a demonstration: `tokens` keys and queries (shared among the axes of a grid), `features`, and 2 of all else."""
    role = roles(program)
    side = max(2, round(tokens ** (1 / grid_rank(program))))
    if not role:  # no attend: neither long axes nor heads to tell apart
        return lambda axis: 8
    return lambda axis: {"key": side, "query": side, "feature": features}.get(role.get(axis, ""), others)


def mentions_index(expr: Expr, axis: str) -> bool:
    """Whether the position along an axis occurs in an expression."""
    return any(inner == Index(axis) for inner in walk(expr))


def compared(expr: Expr) -> Iterator[tuple[Expr, str, Expr]]:
    """Every comparison in an expression, both ways round: (one side, operation, other side)."""
    mirror = {"le": "ge", "lt": "gt", "ge": "le", "gt": "lt", "eq": "eq", "ne": "ne"}
    for inner in walk(expr):
        if isinstance(inner, Apply) and inner.op in mirror:
            a, b = inner.args
            yield a, inner.op, b
            yield b, mirror[inner.op], a


def every_expr(program: Program) -> Iterator[Expr]:
    """Every expression of a program, checks included."""
    for node in program.nodes:
        yield from exprs_of(node)
    for check in program.checks:
        yield check.cond
