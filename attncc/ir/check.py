"""Checks of one expression: what it reads, what its operations take, its kind and its free axes; and of what holds one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..errors import Span
from .expr import TRUE, Along, Apply, Const, Expr, Index, Read, Reduce, Size, kind_of
from .nodes import Assign, Axis, Value
from .ops import ALONG, KINDS, OPS, REDUCERS, result_kind
from .rules import fail

_LOGIC = {"and", "or", "not"}
_WHOLE = {"cdiv", "exact", "isqrt"}
_REAL = {
    "le", "lt", "ge", "gt", "min", "max", "floordiv", "mod", "floor", "ceil", "round", "sign", "complex", "to_float", "to_int",
    "atan", "relu", "gelu", "gelu_tanh", "silu", "softplus", "elu", "erf", "logsigmoid", "expm1", "log1p",
}  # fmt: skip
_ADMITTED = "admitted"


@dataclass(frozen=True)
class Scope:
    """What an expression can see. later: names that a node further on defines, for the message alone."""

    axes: Mapping[str, Axis]
    values: Mapping[str, Value]
    later: frozenset[str] = field(default_factory=frozenset)

    def plus(self, values: Iterable[Value]) -> Scope:
        """This scope with more values."""
        return Scope(self.axes, {**self.values, **{v.name: v for v in values}}, self.later)

    def fresh(self, name: str, span: Span | None) -> None:
        """Check that a name may be defined here."""
        if not name or name == _ADMITTED:
            fail("name-once", f"a value may not be called '{name}'", span)
        if name in self.values:
            fail("name-once", f"'{name}' is defined twice", span)

    def value(self, name: str, span: Span | None) -> Value:
        """The value of a name."""
        if name not in self.values:
            why = "is read before it is defined" if name in self.later else "is not defined here"
            fail("name-known", f"'{name}' {why}", span)
        return self.values[name]

    def known(self, axes: Iterable[str], what: str, span: Span | None) -> None:
        """Check that axes are declared."""
        for axis in axes:
            if axis not in self.axes:
                fail("axis-known", f"unknown axis '{axis}' in {what}", span)

    def distinct(self, axes: Iterable[str], what: str, span: Span | None) -> None:
        """Check that axes are declared, and each there once."""
        seen: set[str] = set()
        for axis in axes:
            self.known([axis], what, span)
            if axis in seen:
                fail("axes-distinct", f"axis '{axis}' is twice in {what}", span)
            seen.add(axis)


def show_axes(axes: Iterable[str]) -> str:
    return f"({', '.join(axes)})"


def check_kind(kind: str, what: str, span: Span | None) -> None:
    if kind not in KINDS:
        fail("kind-known", f"{what} has the unknown kind '{kind}'", span)


def check_expr(expr: Expr, scope: Scope, what: str, span: Span | None) -> tuple[str, frozenset[str]]:
    """Hold an expression to the rules. what: its place, for messages. Returns: its kind and its free axes."""

    def inner(e: Expr) -> tuple[str, frozenset[str]]:
        return check_expr(e, scope, what, span)

    match expr:
        case Const():
            return kind_of(expr), frozenset()
        case Index(axis) | Size(axis):
            scope.known([axis], what, span)
            return "int", frozenset([axis] if isinstance(expr, Index) else [])
        case Read():
            return _read(expr, scope, what, span)
        case Apply(op, args):
            if op not in OPS:
                fail("op-known", f"there is no operation '{op}', in {what}", span)
            arity = OPS[op].arity
            if len(args) != arity if arity is not None else len(args) < 2:
                wants = "two or more" if arity is None else arity
                fail("op-arity", f"'{op}' has {len(args)} arguments, not {wants}, in {what}", span)
            found = [inner(a) for a in args]
            kinds = [kind for kind, _ in found]
            _takes(op, kinds, what, span)
            kind = kind_of(expr) if op == "pow" else result_kind(OPS[op].result, kinds)
            return kind, frozenset[str]().union(*(axes for _, axes in found))
        case Reduce(op, axes, body, cond):
            if op not in REDUCERS:
                fail("op-known", f"there is no reduction '{op}', in {what}", span)
            if op == "count" and body != TRUE:
                fail("count-true", f"the body of a count is not 'true', in {what}", span)
            kind, free = _reduced(op, axes, [body, cond], scope, what, span)
            return result_kind(REDUCERS[op], [kind]), free.difference(axes)
        case Along(op, axes, body, cond, sink):
            if op not in ALONG:
                fail("op-known", f"there is no function '{op}' along axes, in {what}", span)
            kind, free = _reduced(op, axes, [body, cond], scope, what, span)
            if sink is not None:
                sunk, more = inner(sink)
                if sunk == "complex" or op not in ("softmax", "log_softmax"):
                    fail("sink-softmax", f"'{op}' has a {sunk} sink, in {what}", span)
                free |= more
            return result_kind(ALONG[op], [kind]), free.union(axes)
    raise TypeError(expr)


def _read(expr: Read, scope: Scope, what: str, span: Span | None) -> tuple[str, frozenset[str]]:
    value = scope.value(expr.source, span)
    if len(expr.index) != len(value.axes):
        axes = show_axes(value.axes)
        fail("read-arity", f"'{expr.source}' has axes {axes} and is read at {len(expr.index)} positions, in {what}", span)
    if expr.kind != value.kind:
        fail("read-kind", f"'{expr.source}' is {value.kind} and is read as {expr.kind}, in {what}", span)
    free: frozenset[str] = frozenset()
    for axis, position in zip(value.axes, expr.index, strict=True):
        kind, more = check_expr(position, scope, what, span)
        if kind != "int":
            fail("read-int", f"the position of '{expr.source}' along '{axis}' is {kind}, not int, in {what}", span)
        free |= more
    if expr.fill is None:
        return expr.kind, free
    kind, more = check_expr(expr.fill, scope, what, span)
    return result_kind("same", [expr.kind, kind]), free | more


def _takes(op: str, kinds: list[str], what: str, span: Span | None) -> None:
    """Check the kinds of an operation's arguments."""
    wrong = ""
    if op in _LOGIC and set(kinds) != {"bool"}:
        wrong = "bool"
    elif op == "where" and kinds[0] != "bool":
        wrong = "a bool condition"
    elif op in _WHOLE and not set(kinds) <= {"bool", "int"}:
        wrong = "int"
    elif op in _REAL and "complex" in kinds:
        wrong = "no complex value"
    if wrong:
        fail("op-kinds", f"'{op}' takes {wrong}, found ({', '.join(kinds)}), in {what}", span)


def _reduced(
    op: str, axes: tuple[str, ...], parts: list[Expr | None], scope: Scope, what: str, span: Span | None
) -> tuple[str, frozenset[str]]:
    """Check the axes, body and condition of a reduction. A body that is constant along an axis is legal: a sum multiplies it."""
    scope.distinct(axes, f"'{op}' in {what}", span)
    body, cond = parts
    assert body is not None
    kind, free = check_expr(body, scope, what, span)
    logic, real = op in ("any", "all"), op in ("max", "min", "lse", "softmax", "log_softmax")
    if (logic and kind != "bool") or (real and kind == "complex"):
        fail("op-kinds", f"'{op}' takes {'bool' if logic else 'no complex value'}, found {kind}, in {what}", span)
    if cond is not None:
        held, more = check_expr(cond, scope, what, span)
        if held != "bool":
            fail("cond-bool", f"the condition of '{op}' is {held}, not bool, in {what}", span)
        free |= more
    return kind, free


def check_assign(node: Assign, scope: Scope) -> None:
    """Hold a definition to the rules."""
    what = f"'{node.name}'"
    kind, free = check_expr(node.expr, scope, what, node.span)
    within(free, node.axes, "value-axes", what, node.span)
    if kind != node.kind:
        fail("value-kind", f"{what} is {node.kind} and its expression is {kind}", node.span)


def within(free: frozenset[str], axes: Iterable[str], rule: str, what: str, span: Span | None) -> None:
    """Check that free axes are among some axes."""
    allowed = tuple(axes)
    extra = sorted(free.difference(allowed))
    if extra:
        fail(rule, f"{what} has axes {show_axes(allowed)}, and its expression also {show_axes(extra)}", span)
