"""Parameters: types, checking of given values, defaults worked out at first use."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...errors import AttnTypeError, AttnValueError, Span
from ...ir.expr import axes_of
from ...language import tree
from .arithmetic import to_expr
from .budget import repeated
from .expressions import name_text, static, value
from .scope import Scope
from .values import EXPR_TYPES, Absent, Lazy, PackOf, Value, is_number


def check_param(name: str, kind: tree.Type, given: Any, span: Span | None, scope: Scope | None = None) -> Value:
    """A parameter's value, checked against its type. Raises AttnValueError."""

    def bad(want: str) -> AttnValueError:
        shown = repr(given) if not isinstance(given, EXPR_TYPES) else "a run-time value"
        return AttnValueError(f"parameter '{name}' must be {want}, found {shown}", span or kind.span)

    if hasattr(given, "item") and not isinstance(given, EXPR_TYPES):
        given = given.item() if getattr(given, "ndim", 0) == 0 else given.tolist()
    if given is None or isinstance(given, Absent):
        if kind.optional:
            return Absent(name)
        raise bad(f"given ({type_text(kind)})")
    match kind.kind:
        case "bool":
            if kind.values and given is not (kind.values[0] == "true"):
                raise bad(kind.values[0])
            if isinstance(given, (bool, *EXPR_TYPES)):
                return given
            raise bad("true or false")
        case "int":
            if isinstance(given, int) and not -(2**63) <= given < 2**63:
                raise bad("a whole number that fits into 64 bits")
            if isinstance(given, EXPR_TYPES) or (isinstance(given, int) and not isinstance(given, bool)):
                return given
            if isinstance(given, float) and given.is_integer():
                return int(given)
            raise bad("a whole number")
        case "float":
            if isinstance(given, EXPR_TYPES):
                return given
            if isinstance(given, int | float) and not isinstance(given, bool):
                return float(given)
            raise bad("a number")
        case "string":
            if isinstance(given, str):
                return given
            raise bad("a string")
        case "enum":
            if given in kind.values and isinstance(given, str):
                return given
            raise bad("one of " + ", ".join(f'"{v}"' for v in kind.values) if len(kind.values) > 1 else f'"{kind.values[0]}"')
        case "list":
            return _list_param(name, kind, given, span, scope, bad)
        case "tuple":
            if not isinstance(given, list | tuple) or len(given) != len(kind.items):
                raise bad(f"a tuple of {len(kind.items)}")
            return [
                check_param(f"{name}[{n}]", t, g, span, scope) for n, (t, g) in enumerate(zip(kind.items, given, strict=True))
            ]
        case "record":
            if not isinstance(given, dict) or set(given) != {f for f, _ in kind.fields}:
                raise bad("a record with fields " + ", ".join(f for f, _ in kind.fields))
            return {f: check_param(f"{name}.{f}", t, given[f], span, scope) for f, t in kind.fields}
    raise AttnTypeError(
        f"unknown type '{kind.kind}'", kind.span, "types: int, float, bool, string, an enum of strings, T[], T?, tuples, records"
    )


def _list_param(
    name: str, kind: tree.Type, given: Any, span: Span | None, scope: Scope | None, bad: Callable[[str], AttnValueError]
) -> Value:
    length: int | None = None
    if isinstance(given, PackOf):
        given = list(given.items)
    if isinstance(kind.length, tree.Pack):
        pack = scope.names.get(name_text(scope, kind.length.name)) if scope is not None else None
        length = len(pack.items) if isinstance(pack, PackOf) else None
    elif kind.length is not None and scope is not None:
        length = static(scope, kind.length, "the length of a list type")
    elif isinstance(kind.length, tree.Num):
        length = int(kind.length.value)
    if not isinstance(given, list | tuple):
        if kind.length is None:
            raise bad(f"a list ({type_text(kind)})")
        if length is None:
            return given  # one value for every axis of a pack whose rank is not known yet
        given = repeated(given, length, name, span)
    if length is not None and len(given) != length:
        raise bad(f"a list of {length}")
    out = [check_param(f"{name}[{n}]", kind.items[0], g, span, scope) for n, g in enumerate(given)]
    return PackOf(tuple(out)) if isinstance(kind.length, tree.Pack) and length is not None else out


def type_text(kind: tree.Type) -> str:
    """A type in the language's words."""
    mark = "?" if kind.optional else ""
    match kind.kind:
        case "enum":
            return " | ".join(f'"{v}"' for v in kind.values) + mark
        case "bool" if kind.values:
            return kind.values[0] + mark
        case "list":
            inner = ""
            if isinstance(kind.length, tree.Num):
                inner = str(kind.length.value)
            elif isinstance(kind.length, tree.Pack):
                inner = "*" + (kind.length.name.plain or "g")
            return f"{type_text(kind.items[0])}[{inner}]{mark}"
        case "tuple":
            return "(" + ", ".join(map(type_text, kind.items)) + ")" + mark
        case "record":
            return "{" + ", ".join(f"{f}: {type_text(t)}" for f, t in kind.fields) + "}" + mark
    return kind.kind + mark


def bind_params(scope: Scope, declared: dict[str, tree.Param], given: dict[str, tuple[Value, Span | None]]) -> None:
    """Give every parameter its value: the given one, checked, or its default at first use."""
    for name, decl in declared.items():
        if name in given:
            got, span = given[name]
            scope.names[name] = Lazy(partial(check_param, name, decl.type, got, span, scope), decl.span, name, got)
        elif decl.default is not None:
            scope.names[name] = Lazy(partial(default_of, scope, name, decl), decl.span, name)
        elif decl.type.optional:
            scope.names[name] = Absent(name)
        else:
            scope.names[name] = Lazy(partial(_missing, name, decl), decl.span, name)


def _missing(name: str, decl: tree.Param) -> Value:
    raise AttnValueError(
        f"parameter '{name}' ({type_text(decl.type)}) has no default and was not given", decl.span, f"pass {name}=..."
    )


def _integral(kind: tree.Type) -> bool:
    """Whether `/` in a default divides exactly: in whole numbers and lists of them."""
    return kind.kind == "int" or (kind.kind in ("list", "tuple") and all(_integral(t) for t in kind.items))


def default_of(scope: Scope, name: str, decl: tree.Param) -> Value:
    """A default, in which a bare axis is its size."""
    assert decl.default is not None
    with scope.mode(sizing=True, integral=_integral(decl.type)):
        got = value(decl.default, scope)
    if isinstance(got, list | tuple | PackOf) or is_number(got) or isinstance(got, str):
        return check_param(name, decl.type, got, decl.default.span, scope)
    if got is None or isinstance(got, Absent):
        return check_param(name, decl.type, None, decl.span, scope)
    out = to_expr(scope, got, decl.default.span)
    if axes_of(out):
        raise AttnTypeError(f"the default of '{name}' depends on positions", decl.default.span, "it may use parameters and sizes")
    return out
