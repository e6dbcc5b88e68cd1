"""Elementwise operations in PyTorch: one body for each row of `ir.ops`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from attncc.ir.ops import OPS, result_kind
from attncc.ir.sizes import SCALAR, WHOLE

from .named import Named, Value, aligned, union

KIND_DTYPES = {"bool": torch.bool, "int": torch.int64}


def _to_int(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.int64)


def _floor_div(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The quotient rounded down; integers give 0 for a divisor of 0."""
    if b.is_floating_point():
        return torch.div(a, b, rounding_mode="floor")
    none = b == 0
    return torch.div(a, b.masked_fill(none, 1), rounding_mode="floor").masked_fill(none, 0)


def _mod(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """What is left of the quotient rounded down, with the divisor's sign; integers give a for a divisor of 0."""
    return torch.remainder(a, b) if b.is_floating_point() else a - _floor_div(a, b) * b


BODIES: dict[str, Callable[..., torch.Tensor]] = {
    "or": torch.logical_or, "and": torch.logical_and, "not": torch.logical_not,
    "eq": torch.eq, "ne": torch.ne, "le": torch.le, "lt": torch.lt, "ge": torch.ge, "gt": torch.gt,
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "neg": torch.neg, "pow": torch.pow,
    "div": torch.true_divide, "exact": _floor_div, "floordiv": _floor_div, "mod": _mod, "cdiv": lambda a, b: -_floor_div(-a, b),
    "min": torch.minimum, "max": torch.maximum, "where": torch.where, "abs": torch.abs, "sign": torch.sign,
    "floor": lambda x: _to_int(torch.floor(x)), "ceil": lambda x: _to_int(torch.ceil(x)),
    "round": lambda x: _to_int(torch.round(x)),
    "isqrt": lambda x: _to_int(torch.floor(torch.sqrt(x.to(torch.float64)))), "to_int": _to_int, "to_float": lambda x: x,
    "isnan": torch.isnan, "complex": torch.complex, "real": torch.real, "imag": torch.imag,
    "stop_grad": lambda x: x.detach(),
    "sqrt": torch.sqrt, "rsqrt": torch.rsqrt, "exp": torch.exp, "exp2": torch.exp2, "expm1": torch.expm1, "log": torch.log,
    "log2": torch.log2, "log1p": torch.log1p, "sin": torch.sin, "cos": torch.cos, "tan": torch.tan, "atan": torch.atan,
    "tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": F.relu, "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "softplus": lambda x: F.softplus(x, threshold=40.0),
    "elu": F.elu, "erf": torch.erf, "logsigmoid": F.logsigmoid,
}  # fmt: skip

_INTEGER_INPUT = {"floor", "ceil", "round", "isqrt", "to_int", "isnan"}
_COMPARE = {"eq", "ne", "le", "lt", "ge", "gt"}


def kind_of(v: Value) -> str:
    """The IR kind of a value."""
    if isinstance(v, Named):
        dtype = v.t.dtype
        return "bool" if dtype == torch.bool else "complex" if dtype.is_complex else "float" if dtype.is_floating_point else "int"
    return "bool" if isinstance(v, bool) else "int" if isinstance(v, int) else "complex" if isinstance(v, complex) else "float"


def cast(v: Value, kind: str, acc: torch.dtype) -> Value:
    """A value as `kind`, floats in the accumulation type; scalars stay numbers."""
    if not isinstance(v, Named):
        return float(v) if kind == "float" and not isinstance(v, complex) else v
    if kind == "float" and not (v.t.is_floating_point() or v.t.is_complex()):
        return Named(v.t.to(acc), v.axes)
    if kind == "int" and v.t.dtype == torch.bool:
        return Named(v.t.to(torch.int64), v.axes)
    return v


def apply(op: str, args: list[Value], acc: torch.dtype, device: torch.device) -> Value:
    """An elementwise operation on aligned arguments; exact Python arithmetic when all are scalars."""
    if not any(isinstance(a, Named) for a in args):
        known: Callable[..., Any] = WHOLE[op] if op in WHOLE and not any(isinstance(a, float) for a in args) else SCALAR[op]
        return known(*args)
    kinds = [kind_of(a) for a in args]
    if op in _COMPARE:
        want = "float" if "float" in kinds else "int" if kinds != ["bool", "bool"] else "bool"
    elif op in ("where", "and", "or", "not"):
        want = result_kind(OPS[op].result, kinds)
    elif op in _INTEGER_INPUT:
        if op in ("floor", "ceil", "round", "to_int") and kinds[0] != "float":
            return cast(args[0], "int", acc)
        want = "float" if op != "isqrt" else kinds[0]
    elif op == "pow":
        whole = not isinstance(args[1], Named) and isinstance(args[1], int) and args[1] >= 0
        want = result_kind("number", kinds) if whole else result_kind("float", kinds)
    else:
        want = result_kind(OPS[op].result, kinds)
    axes = union(args)
    ready: list[Any] = []
    for n, arg in enumerate(args):
        if op == "where" and n == 0:
            ready.append(_tensor(arg, "bool", axes, acc, device))
        elif op == "pow" and n == 1 and not isinstance(arg, Named):
            ready.append(arg)
        else:
            ready.append(_tensor(cast(arg, want, acc), want, axes, acc, device))
    return Named(BODIES[op](*ready), axes)


def _tensor(v: Value, kind: str, axes: tuple[str, ...], acc: torch.dtype, device: torch.device) -> torch.Tensor:
    if isinstance(v, Named):
        return aligned(v, axes)
    dtype = KIND_DTYPES.get(kind, acc)
    if kind == "complex":
        dtype = torch.complex128 if acc == torch.float64 else torch.complex64
    return torch.tensor(v, dtype=dtype, device=device)
