"""An evaluator of expressions for tests: exact Python integers, float64 tensors for floats, straight from the words of ops.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import torch

from attncc.ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, kind_of

F = torch.nn.functional


class Undefined(Exception):
    """A division by zero, or an exact division that is not."""


def divide(a: int, b: int) -> int:
    if b == 0:
        raise Undefined
    return a // b


def exact(a: int, b: int) -> int:
    if b == 0 or a % b:
        raise Undefined
    return a // b


def root(a: int) -> int:
    if a < 0:
        raise Undefined
    return math.isqrt(a)


WHOLE: dict[str, Callable] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "neg": lambda a: -a,
    "floordiv": divide,
    "mod": lambda a, b: a - b * divide(a, b),
    "cdiv": lambda a, b: -divide(-a, b),
    "exact": exact,
    "min": min,
    "max": max,
    "abs": abs,
    "sign": lambda a: (a > 0) - (a < 0),
    "pow": lambda a, b: a**b,
    "isqrt": root,
    **dict.fromkeys(("to_int", "floor", "ceil", "round", "stop_grad"), int),
}
FLOAT: dict[str, Callable] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "mod": torch.remainder,
    "floordiv": lambda a, b: torch.div(a, b, rounding_mode="floor"),
    "min": torch.minimum,
    "max": torch.maximum,
    "pow": torch.pow,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "elu": F.elu,
    "logsigmoid": F.logsigmoid,
    "to_float": lambda x: x,
    "stop_grad": lambda x: x.detach(),
}
COMPARE: dict[str, Callable] = {
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "le": lambda a, b: a <= b,
    "lt": lambda a, b: a < b,
    "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b,
}


def real(x: object) -> torch.Tensor:
    return x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)


def value(expr: Expr, at: Mapping[str, int], sizes: Mapping[str, int], read: Callable[[str, tuple[int, ...]], object]) -> object:
    """The value of an expression at a position. read: the value of a name at positions. Raises: Undefined."""

    def inner(e: Expr) -> object:
        return value(e, at, sizes, read)

    match expr:
        case Const(number):
            return number if not isinstance(number, float) else real(number)
        case Index(axis):
            return at[axis]
        case Size(axis):
            return sizes[axis]
        case Read(source, index):
            return read(source, tuple(inner(e) for e in index))
        case Reduce(op, axes, body, cond):
            found = []
            for here in itertools.product(*(range(sizes[a]) for a in axes)):
                there = {**at, **dict(zip(axes, here, strict=True))}
                if cond is None or value(cond, there, sizes, read):
                    found.append(value(body, there, sizes, read))
            return {"sum": sum, "count": len, "any": any, "all": all}[op](found)
        case Apply("where", (cond, yes, no)):
            found = inner(yes if inner(cond) else no)
            return {"float": real, "int": int, "bool": bool}[kind_of(expr)](found)
        case Apply(op, args):
            parts = [inner(a) for a in args]
            if op in ("and", "or", "not"):  # elementwise: no operand is passed over
                return not parts[0] if op == "not" else all(parts) if op == "and" else any(parts)
            if op in COMPARE:
                return bool(COMPARE[op](*parts))
            if op == "isnan":
                return bool(real(parts[0]).isnan())
            if any(isinstance(p, torch.Tensor) for p in parts) or kind_of(expr) == "float":
                result = FLOAT.get(op) or getattr(torch, op)
                floats = result(*map(real, parts))
                return int(floats) if kind_of(expr) == "int" and floats.isfinite() else floats
            return int(WHOLE[op](*parts))
        case Along():
            raise NotImplementedError
    raise TypeError(expr)
