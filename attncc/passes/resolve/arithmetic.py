"""Elementwise operations on values: folded when everything is known, lifted over packs, absent when an argument is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ...errors import AttnAbsentError, AttnTypeError, AttnValueError, Span
from ...ir.expr import Apply, Const, Expr, Read, kind_of
from ...ir.nodes import Check
from ...ir.ops import OPS
from .budget import bounded, power
from .scope import Scope, is_plain
from .values import EXPR_TYPES, Absent, AxisRef, PackOf, Several, Value, is_number, is_static, lift


def _exact(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if b == 0 or a % b:
            raise ValueError(f"{a} / {b} is not a whole number")
        return a // b
    return a / b


STATIC: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b, "exact": _exact,
    "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "pow": power, "neg": lambda a: -a,
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "le": lambda a, b: a <= b, "lt": lambda a, b: a < b,
    "ge": lambda a, b: a >= b, "gt": lambda a, b: a > b, "cdiv": lambda a, b: -(-a // b),
    "min": min, "max": max, "abs": abs, "floor": math.floor, "ceil": math.ceil, "round": round,
    "isqrt": lambda a: math.isqrt(int(a)),
    "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "log2": math.log2, "to_float": float, "to_int": int,
    "sin": math.sin, "cos": math.cos, "tanh": math.tanh,
}  # fmt: skip
"""Elementwise operations on plain numbers, folded while compiling with Python's exact integers and doubles."""


def to_expr(scope: Scope, value: Value, span: Span, what: str = "a number or a tensor") -> Expr:
    """The IR expression of a value; an axis is its index (its size while sizes are worked out)."""
    if isinstance(value, EXPR_TYPES):
        return value
    if is_number(value):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise AttnValueError("this whole number does not fit into 64 bits", span, "write it as a float: 1e30")
        return Const(value)
    if isinstance(value, AxisRef):
        return value.size() if scope.sizing else value.index()
    if isinstance(value, Absent):
        raise AttnAbsentError(f"'{value.what}' was not given, and this needs it", span, "catch its absence with '?? default'")
    if isinstance(value, Several) and value.called:
        return to_expr(scope, value.items[0], span, what)
    if isinstance(value, Several):
        raise AttnTypeError(f"expected {what}, found {len(value.items)} values", span, "bind them to names: 'a, b = ...'")
    if isinstance(value, PackOf):
        raise AttnTypeError(f"expected {what}, found one value for each axis of a pack", span)
    raise AttnTypeError(f"expected {what}, found {describe(value)}", span)


def describe(value: Value) -> str:
    """What a value is, in the language's words."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return f'the string "{value}"'
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a record"
    if isinstance(value, bool | int | float):
        return f"the number {value}"
    if isinstance(value, AxisRef):
        return f"the axis '{value.name}'"
    if isinstance(value, Read) and is_plain(value):
        return f"the tensor '{value.source}'"
    if isinstance(value, EXPR_TYPES):
        return f"a value of kind {kind_of(value)}"
    if isinstance(value, PackOf):
        return "a pack of axes"
    if isinstance(value, Several):
        return f"{len(value.items)} values"
    return "this"


def make(scope: Scope, op: str, span: Span, *args: Value) -> Value:
    """Apply an elementwise operation: folded when everything is static, lifted over packs, absent when an argument is."""

    def one(*vals: Value) -> Value:
        if all(is_number(v) for v in vals) and op in STATIC:
            try:
                return bounded(STATIC[op](*vals))
            except (ValueError, OverflowError, ZeroDivisionError, TypeError) as reason:
                if op in ("exact", "floordiv", "mod", "div", "isqrt", "floor") or isinstance(reason, OverflowError):
                    kind = AttnTypeError if isinstance(reason, TypeError) else AttnValueError
                    raise kind(f"cannot work this out: {reason}", span, "change the parameters or sizes it comes from") from None
        if op in ("eq", "ne") and all(is_static(v) for v in vals):
            return (vals[0] == vals[1]) == (op == "eq")
        for v in vals:
            if is_static(v) and not is_number(v):
                raise AttnTypeError(f"'{OPS[op].infix or op}' does not take {describe(v)}", span)
        exprs = tuple(to_expr(scope, v, span) for v in vals)
        if op in ("floordiv", "mod", "cdiv") and exprs[1] == Const(0):  # said at the call: a 'require' may say more before
            scope.builder.checks.append(Check(Const(False), False, span, f"'{OPS[op].infix or op}' by zero"))
        made = scope.builder.budget.weigh(Apply(op, exprs), span)
        check_kinds(op, exprs, span)
        return made

    try:
        return lift(one, *args)
    except ValueError as reason:
        raise AttnTypeError(str(reason), span) from None


def check_kinds(op: str, args: tuple[Expr, ...], span: Span) -> None:
    """Raise AttnTypeError where an operation does not take the kinds of its arguments."""
    kinds = [kind_of(a) for a in args]
    label = OPS[op].infix or op
    if op in ("and", "or", "not"):
        for kind in kinds:
            if kind != "bool":
                raise AttnTypeError(
                    f"'{label}' needs conditions, found a value of kind {kind}", span, "compare it first, e.g. 'x != 0'"
                )
    elif op in ("le", "lt", "ge", "gt", "min", "max", "floor", "ceil", "mod", "floordiv") and "complex" in kinds:
        raise AttnTypeError(f"'{label}' is not defined for complex values", span, "use real(x), imag(x) or abs(x)")
    elif op in ("cdiv", "isqrt") and (other := next((k for k in kinds if k not in ("int", "bool")), "")):
        help = "ceil(x / y)" if op == "cdiv" else "floor(sqrt(x))"
        raise AttnTypeError(f"'{label}' is of whole numbers, found a value of kind {other}", span, help)
    elif op == "where" and kinds[0] != "bool":
        raise AttnTypeError(f"the first argument of 'where' must be a condition, found a value of kind {kinds[0]}", span)
    elif op == "complex" and "complex" in kinds:
        raise AttnTypeError("'complex' takes a real and an imaginary part", span)


def conjunction(scope: Scope, found: Value, span: Span) -> Value:
    """A condition on a pack holds when it holds for every axis."""
    if not isinstance(found, PackOf):
        return found
    out: Value = True
    for item in found.items:
        out = make_and(scope, out, item, span)
    return out


def make_and(scope: Scope, a: Value, b: Value, span: Span) -> Value:
    """`a and b` with static sides folded."""
    if isinstance(a, bool):
        return b if a else False
    if isinstance(b, bool):
        return a if b else False
    return make(scope, "and", span, a, b)
