"""Operators and names: a syntax-tree expression becomes a static value, an axis, or an IR expression."""

from __future__ import annotations

import difflib
import math
from functools import singledispatch
from typing import Any

from ...errors import AttnAbsentError, AttnNameError, AttnTypeError, Span
from ...ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, kind_of, rebuild
from ...language import tree
from .arithmetic import conjunction, describe, make, make_and, to_expr
from .budget import counted
from .scope import Scope
from .values import EXPR_TYPES, Absent, AxisRef, PackOf, RowsAt, Several, Value, is_static, lift

CONSTANTS: dict[str, bool | float] = {"true": True, "false": False, "inf": math.inf, "pi": math.pi, "nan": math.nan}
INFIX = {"+": "add", "-": "sub", "*": "mul", "/": "div", "div": "floordiv", "mod": "mod", "^": "pow", "and": "and", "or": "or"}
COMPARE = {"==": "eq", "!=": "ne", "<=": "le", "<": "lt", ">=": "ge", ">": "gt"}


def name_text(scope: Scope, name: tree.Name) -> str:
    """The text of a name with its family indices put in, primes left out."""
    out = []
    for part in name.parts:
        if isinstance(part, str):
            out.append(part)
        elif isinstance(part, tree.Index):
            found = static(scope, part.value, "a family index")
            if not isinstance(found, int | str) or isinstance(found, bool):
                raise AttnTypeError(f"a family index is an int or a string, found {describe(found)}", part.span)
            out.append(str(found))
        else:
            raise AttnTypeError("a family is declared in a signature or on the left of '=' only", part.span)
    return "".join(out)


def lookup(scope: Scope, text: str, primes: int, span: Span) -> Value:
    """The value of a name. A primed tensor is read at the primed axes that are bound around it."""
    full = text + "'" * primes
    if full in scope.names:
        return scope.get(full)
    axis = scope.find_axis(full)
    if axis is not None:
        return axis
    if primes:
        base = lookup(scope, text, primes - 1, span)
        return lift(lambda v: _prime(scope, v, full, span), base)
    if text in CONSTANTS:
        return CONSTANTS[text]
    if text in scope.axis_names:
        raise AttnNameError(
            f"the size of axis '{text}' is not known", span, f"give it in a tensor's dims or in 'where {text} = ...'"
        )
    near = difflib.get_close_matches(text, [n for n in scope.names if not n.startswith("~")], 1)
    raise AttnNameError(f"unknown name '{text}'", span, f"did you mean '{near[0]}'?" if near else "")


def _prime(scope: Scope, value: Value, full: str, span: Span) -> Value:
    if is_static(value):
        return value
    expr = to_expr(scope, value, span)
    bound = scope.bound_primes()
    at = {a: Index(bound[a]) for a in axes_of(expr) if a in bound}
    if not at:
        raise AttnTypeError(
            f"the prime of '{full}' has nothing to bind",
            span,
            "a prime reads a tensor at an axis such as n' that is bound around it",
        )
    return scope.moved(expr, at, span)


@singledispatch
def value(node: tree.Node, scope: Scope) -> Value:
    """Resolve an expression."""
    raise AttnTypeError("this is not allowed here", node.span)


def expr(scope: Scope, node: tree.Expr) -> Expr:
    """Resolve to an IR expression."""
    return to_expr(scope, value(node, scope), node.span)


def whole(scope: Scope, node: tree.Expr) -> Value:
    """Resolve the whole expression of a statement or clause.

    An axis that a dot in it contracts has no position left outside the dot: there its bare name is its size, as in
    `dot(q, k) / sqrt(d)`.
    """
    builder = scope.builder
    outer, builder.contracted = builder.contracted, set()
    try:
        found = value(node, scope)
        return lift(lambda v: _sizes(v, frozenset(builder.contracted)) if isinstance(v, EXPR_TYPES) else v, found)
    finally:
        builder.contracted = outer


def _sizes(e: Expr, contracted: frozenset[str]) -> Expr:
    if isinstance(e, Index) and e.axis in contracted:
        return Size(e.axis)
    if isinstance(e, Read):
        return e
    if isinstance(e, Reduce | Along):
        contracted -= set(e.axes)
    return rebuild(e, lambda child: _sizes(child, contracted)) if contracted else e


def static(scope: Scope, node: tree.Expr, what: str) -> Any:
    """Resolve to a value known while compiling."""
    found = value(node, scope)
    if isinstance(found, Absent):
        raise AttnAbsentError(f"'{found.what}' was not given, and {what} needs it", node.span)
    if not is_static(found):
        raise AttnTypeError(
            f"{what} must be known while compiling",
            node.span,
            "it may depend on parameters and on which inputs are present, not on sizes or data",
        )
    return found


def static_bool(scope: Scope, node: tree.Expr, what: str) -> bool:
    """Resolve to a truth value known while compiling."""
    found = conjunction(scope, value(node, scope), node.span)
    if isinstance(found, Absent):
        raise AttnAbsentError(f"'{found.what}' was not given, and {what} needs it", node.span)
    if isinstance(found, EXPR_TYPES):
        raise AttnTypeError(
            f"{what} must be known while compiling",
            node.span,
            "it may depend on parameters and on which inputs are present, not on sizes or data",
        )
    if not isinstance(found, bool):
        raise AttnTypeError(f"{what} must be true or false, found {describe(found)}", node.span)
    return found


@value.register
def _(node: tree.Num, scope: Scope) -> Value:
    return node.value


@value.register
def _(node: tree.Str, scope: Scope) -> Value:
    return node.value


@value.register
def _(node: tree.Name, scope: Scope) -> Value:
    found = lookup(scope, name_text(scope, node), node.primes, node.span)
    if scope.sizing:
        found = lift(lambda v: v.size() if isinstance(v, AxisRef) else v, found)
    return found


@value.register
def _(node: tree.Unary, scope: Scope) -> Value:
    return make(scope, "neg" if node.op == "-" else "not", node.span, value(node.value, scope))


@value.register
def _(node: tree.Binary, scope: Scope) -> Value:
    if node.op == "??":
        left = value(node.left, scope)
        return value(node.right, scope) if isinstance(left, Absent) or left is None else left
    op = INFIX[node.op]
    left = value(node.left, scope)
    if op in ("and", "or") and isinstance(left, bool):  # static left side: the right one is checked only where it counts
        return left if left == (op == "or") else _truth(value(node.right, scope), op, node.right.span)
    right = value(node.right, scope)
    if op in ("and", "or") and isinstance(right, bool):
        return right if right == (op == "or") else _truth(left, op, node.left.span)
    if op == "div" and scope.integral and _whole(scope, left) and _whole(scope, right):
        op = "exact"
        if not scope.sizing and _varies(left, right):
            raise AttnTypeError("a position is an integer, and '/' may leave a fraction", node.span, "write 'div' to round down")
    return make(scope, op, node.span, left, right)


def _truth(v: Value, op: str, span: Span) -> Value:
    """A side of `and` or `or` that decides alone, the other one being known. Raises AttnTypeError when it is no condition."""
    for one in v.items if isinstance(v, PackOf) else (v,):
        if not isinstance(one, bool | Absent) and not (isinstance(one, EXPR_TYPES) and kind_of(one) == "bool"):
            raise AttnTypeError(f"'{op}' needs conditions, found {describe(one)}", span, "compare it first, e.g. 'x != 0'")
    return v


def _varies(*values: Value) -> bool:
    """Whether one of some whole numbers differs from position to position."""
    return any(
        _varies(*v.items) if isinstance(v, PackOf) else isinstance(v, AxisRef) or (isinstance(v, EXPR_TYPES) and bool(axes_of(v)))
        for v in values
    )


def _whole(scope: Scope, v: Value) -> bool:
    if isinstance(v, PackOf):
        return all(_whole(scope, item) for item in v.items)
    if isinstance(v, list):
        return all(_whole(scope, item) for item in v)
    if isinstance(v, AxisRef):
        return True
    if isinstance(v, bool | float | str) or v is None:
        return False
    return isinstance(v, int) or (isinstance(v, EXPR_TYPES) and kind_of(v) == "int")


@value.register
def _(node: tree.Compare, scope: Scope) -> Value:
    with scope.mode(integral=False):
        values = [value(x, scope) for x in node.operands]
    out: Value = None
    for op, left, right in zip(node.ops, values, values[1:], strict=False):
        part = _contains(scope, left, right, node.span) if op == "in" else make(scope, COMPARE[op], node.span, left, right)
        if isinstance(part, Absent):
            return part
        out = part if out is None else make_and(scope, out, part, node.span)
    return out


def _contains(scope: Scope, item: Value, group: Value, span: Span) -> Value:
    """`x in list`, `r in segment` of a direct sum, `i in table[g]`."""
    if isinstance(item, Absent) or isinstance(group, Absent):
        return item if isinstance(item, Absent) else group
    if is_static(item) and isinstance(group, list | tuple):
        return item in group
    if isinstance(group, AxisRef):
        return _in_segment(scope, item, group, span)
    if isinstance(group, list | tuple):
        out: Value = False
        for entry in group:
            test = make(scope, "eq", span, item, entry)
            out = test if out is False else make(scope, "or", span, out, test)
        return out
    if isinstance(group, RowsAt):
        out = False
        for n, row in enumerate(group.rows):
            here = make(scope, "eq", span, group.at, n)
            test = make_and(scope, here, _contains(scope, item, row, span), span)
            out = test if out is False else out if test is False else make(scope, "or", span, out, test)
        return out
    raise AttnTypeError("'in' needs a list, or a part of a direct sum of axes, on its right", span)


def _in_segment(scope: Scope, item: Value, group: AxisRef, span: Span) -> Value:
    if not isinstance(item, AxisRef) or len(item.atoms) != 1:
        raise AttnTypeError("'in' with an axis on its right tests an axis that is a direct sum", span)
    base = {twin: b for b, twin in scope.twins.items()}
    parts = scope.builder.axes[item.atoms[0]].parts
    start: Value = 0
    for part in parts:
        size = AxisRef("", part).size()
        if part == group.atoms or tuple(base.get(a, a) for a in part) == group.atoms:
            at = item.index()
            stop = make(scope, "add", span, start, size)
            low = make(scope, "ge", span, at, start) if start != 0 else True
            return make_and(scope, low, make(scope, "lt", span, at, stop), span)
        start = make(scope, "add", span, start, size) if start != 0 else size
    raise AttnTypeError(f"'{group.name}' is not a part of '{item.name}'", span)


@value.register
def _(node: tree.Tuple, scope: Scope) -> Value:
    return _sequence(node.items, scope)


@value.register
def _(node: tree.List, scope: Scope) -> Value:
    return _sequence(node.items, scope)


def _sequence(items: tuple[tree.Expr, ...], scope: Scope) -> Value:
    values = [value(item, scope) for item in items]
    return values if all(is_static(v) for v in values) else Several(tuple(values))


@value.register
def _(node: tree.Range, scope: Scope) -> Value:
    start, stop = static(scope, node.start, "this range"), static(scope, node.stop, "this range")
    if isinstance(start, bool) or isinstance(stop, bool) or not isinstance(start, int) or not isinstance(stop, int):
        raise AttnTypeError("a range runs between two whole numbers", node.span)
    return counted(start, stop, 1, node.span)


@value.register
def _(node: tree.Attr, scope: Scope) -> Value:
    if node.name == "size":
        with scope.mode(sizing=False):
            base = value(node.base, scope)
        found = lift(lambda v: v.size() if isinstance(v, AxisRef) else v, base)
        sizes = found.items if isinstance(found, PackOf) else [found]
        if isinstance(found, Absent) or all(isinstance(s, Size | Apply | Const) for s in sizes):
            return found
        raise AttnTypeError(f"'.size' is the size of an axis, not of {describe(base)}", node.span, "name the axis: n.size")
    base = value(node.base, scope)
    if isinstance(base, Absent):
        return base
    if isinstance(base, dict):
        if node.name not in base:
            raise AttnNameError(f"no field '{node.name}'", node.span, f"fields: {', '.join(base)}")
        return base[node.name]
    raise AttnTypeError(f"{describe(base)} has no field '{node.name}'", node.span, "axes have '.size', records their fields")
