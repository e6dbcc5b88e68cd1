"""The elementwise operations of the IR: one row each. A new function of the language is one row here and one body per backend.

Kinds are `bool`, `int`, `float`, `complex`; int and bool are exact. A row's `result` names the rule for the kind of the result:
`same` (the widest argument), `number` (that, an int at least), `float` (complex for complex), one of an operation's own, or a fixed
kind; `result_kind` has them all. `div` of two integers is a float; `exact` is integer division that must not leave a remainder,
used for sizes and positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("bool", "int", "float", "complex")


@dataclass(frozen=True, slots=True)
class Op:
    """An elementwise operation: its arity (None: two or more), the rule for its kind, and how it prints."""

    name: str
    arity: int | None
    result: str
    infix: str = ""
    level: int = 0


_ROWS = [
    Op("or", 2, "bool", "or", 1),
    Op("and", 2, "bool", "and", 2),
    Op("not", 1, "bool", "not", 3),
    Op("eq", 2, "bool", "==", 4),
    Op("ne", 2, "bool", "!=", 4),
    Op("le", 2, "bool", "<=", 4),
    Op("lt", 2, "bool", "<", 4),
    Op("ge", 2, "bool", ">=", 4),
    Op("gt", 2, "bool", ">", 4),
    Op("add", 2, "number", "+", 5),
    Op("sub", 2, "number", "-", 5),
    Op("mul", 2, "number", "*", 6),
    Op("div", 2, "float", "/", 6),
    Op("exact", 2, "number", "/!", 6),
    Op("floordiv", 2, "number", "div", 6),
    Op("mod", 2, "number", "mod", 6),
    Op("neg", 1, "number", "-", 7),
    Op("pow", 2, "pow", "^", 8),
    Op("cdiv", 2, "int"),
    Op("min", 2, "number"),
    Op("max", 2, "number"),
    Op("where", 3, "where"),
    Op("abs", 1, "abs"),
    Op("sign", 1, "number"),
    Op("floor", 1, "int"),
    Op("ceil", 1, "int"),
    Op("round", 1, "int"),
    Op("isqrt", 1, "int"),
    Op("to_float", 1, "float"),
    Op("to_int", 1, "int"),
    Op("isnan", 1, "bool"),
    Op("complex", 2, "complex"),
    Op("real", 1, "realpart"),
    Op("imag", 1, "realpart"),
    Op("stop_grad", 1, "same"),
    *(
        Op(name, 1, "float")
        for name in (
            "sqrt", "rsqrt", "exp", "exp2", "expm1", "log", "log2", "log1p", "sin", "cos", "tan", "atan", "tanh", "sigmoid", "relu",
            "gelu", "gelu_tanh", "silu", "softplus", "elu", "erf", "logsigmoid",
        )
    ),
]  # fmt: skip

OPS: dict[str, Op] = {row.name: row for row in _ROWS}

REDUCERS: dict[str, str] = {
    "sum": "number", "mean": "float", "prod": "number", "max": "number", "min": "number",
    "any": "bool", "all": "bool", "count": "int", "norm": "float", "lse": "float",
}  # fmt: skip
"""Reductions by name, with the rule for the kind of their result."""

ALONG: dict[str, str] = {"softmax": "float", "log_softmax": "float", "cumsum": "number", "cumprod": "number"}
"""Functions along axes that keep them."""


def widest(kinds: Sequence[str]) -> str:
    """The widest of some kinds."""
    return KINDS[max(KINDS.index(kind) for kind in kinds)]


def result_kind(rule: str, kinds: Sequence[str]) -> str:
    """The kind a rule gives for argument kinds."""
    if rule in KINDS:
        return "complex" if rule == "float" and "complex" in kinds else rule
    if rule == "same":
        return widest(kinds)
    if rule == "where":
        return widest(kinds[1:])
    if rule in ("number", "pow"):
        return widest([*kinds, "int"])
    if rule == "abs":
        return "float" if kinds[0] == "complex" else widest([*kinds, "int"])
    if rule == "realpart":
        return "float"
    raise KeyError(rule)
