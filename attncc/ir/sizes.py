"""Sizes at run time: every axis gets its length from the shapes of the tensors and the program's size equations.

Arithmetic is Python's own: exact integers, and doubles where a parameter is a float, so `floor((n - 1) * ratio)` means what it says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import AttnShapeError, AttnUnsupportedError, AttnValueError, Span
from .expr import Apply, Const, Expr, Read, Size, walk
from .nodes import Axis, Input, Program


def _exact(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if b == 0 or a % b:
            raise AttnShapeError(f"{a} is not a multiple of {b}")
        return a // b
    return a / b


def _whole(fn: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """A division without a fraction, which has no result for a divisor of 0."""

    def safe(a: Any, b: Any) -> Any:
        if b == 0:
            raise AttnValueError(f"a size divides {a} by 0")
        return fn(a, b)

    return safe


def _guarded(fn: Callable[[float], float], at_edge: Callable[[float], float]) -> Callable[[float], float]:
    """A function of a double that gives the IEEE result where Python's raises."""

    def safe(x: float) -> float:
        try:
            return fn(x)
        except (ValueError, OverflowError):
            return at_edge(x)

    return safe


SCALAR: dict[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a,
    "div": lambda a, b: a / b if b else math.nan if a == 0 or a != a else math.copysign(math.inf, a),
    "exact": _exact, "floordiv": _whole(lambda a, b: a // b), "mod": _whole(lambda a, b: a % b), "cdiv": _whole(lambda a, b: -(-a // b)),
    "pow": lambda a, b: a**b, "min": min, "max": max, "abs": abs, "sign": lambda a: (a > 0) - (a < 0),
    "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "le": lambda a, b: a <= b, "lt": lambda a, b: a < b,
    "ge": lambda a, b: a >= b, "gt": lambda a, b: a > b, "where": lambda c, a, b: a if c else b,
    "floor": math.floor, "ceil": math.ceil, "round": round, "isqrt": lambda a: math.isqrt(int(a)),
    "to_float": float, "to_int": int, "isnan": lambda a: a != a, "stop_grad": lambda a: a,
    "sqrt": _guarded(math.sqrt, lambda x: math.nan), "rsqrt": lambda a: 1 / math.sqrt(a) if a > 0 else math.inf if a == 0 else math.nan,
    "exp": _guarded(math.exp, lambda x: math.inf), "exp2": _guarded(lambda x: 2.0**x, lambda x: math.inf),
    "expm1": _guarded(math.expm1, lambda x: math.inf), "log1p": _guarded(math.log1p, lambda x: -math.inf if x == -1 else math.nan),
    "log": _guarded(math.log, lambda x: -math.inf if x == 0 else math.nan),
    "log2": _guarded(math.log2, lambda x: -math.inf if x == 0 else math.nan),
    "sin": math.sin, "cos": math.cos, "tan": math.tan, "atan": math.atan, "tanh": math.tanh, "erf": math.erf,
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)) if a > -700 else 0.0, "relu": lambda a: max(a, 0.0),
    "softplus": lambda a: math.log1p(math.exp(-abs(a))) + max(a, 0.0), "silu": lambda a: a / (1 + math.exp(-a)) if a > -700 else 0.0,
    "elu": lambda a: a if a > 0 else math.expm1(a), "gelu": lambda a: a * 0.5 * (1 + math.erf(a / math.sqrt(2))),
    "gelu_tanh": lambda a: 0.5 * a * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3))),
    "logsigmoid": lambda a: min(a, 0.0) - math.log1p(math.exp(-abs(a))), "complex": complex,
    "real": lambda a: a.real, "imag": lambda a: a.imag,
}  # fmt: skip
"""Every elementwise operation on Python numbers."""


WHOLE: dict[str, Callable[[int, int], int]] = {
    "floordiv": lambda a, b: a // b if b else 0, "mod": lambda a, b: a % b if b else a, "cdiv": lambda a, b: -(-a // b) if b else 0,
}  # fmt: skip
"""Integer division as it is at positions and of data: x div 0 = 0 and x mod 0 = x, so that (x div n) * n + x mod n is x. A size does not
divide by 0: that is an error of the call."""


class Unknown(Exception):
    """A size that is needed is not known (yet)."""


def scalar(expr: Expr, sizes: Mapping[str, int], reads: Callable[[Read], Any] | None = None) -> Any:
    """The number a scalar expression gives. Raises Unknown for a missing size."""
    match expr:
        case Const(value):
            return value
        case Size(axis):
            if axis not in sizes:
                raise Unknown(axis)
            return sizes[axis]
        case Apply("where", (cond, a, b)):
            return scalar(a if scalar(cond, sizes, reads) else b, sizes, reads)
        case Apply(op, args):
            return SCALAR[op](*(scalar(a, sizes, reads) for a in args))
        case Read() if reads is not None:
            return reads(expr)
    raise Unknown("data")


def solve(program: Program, shapes: Mapping[str, Sequence[int]], data: Mapping[str, Any] | None = None) -> dict[str, int]:
    """The length of every axis, from the shapes of the inputs, and from their entries where a size is one (`data`: the tensors).

    Raises AttnShapeError with the tensor, the dim and the axis.
    """
    sizes: dict[str, int] = {}
    for tensor in program.inputs:
        if tensor.name not in shapes:
            raise AttnShapeError(f"input '{tensor.name}' is missing", tensor.span)
        shape = shapes[tensor.name]
        if len(shape) != len(tensor.dims):
            found = f"{len(shape)} dim{'s' * (len(shape) != 1)} {tuple(shape)}"
            expected = f"{len(tensor.dims)}: [{dims_text(tensor)}]"
            raise AttnShapeError(f"'{tensor.name}' has {found}, expected {expected}", tensor.span)

    def reads(entry: Read) -> int:
        return _entry(entry, program, data, sizes)

    progress = True
    while progress:
        progress = False
        for axis in program.axes:
            try:
                progress |= extend(axis, sizes, reads)
            except (AttnShapeError, AttnValueError) as error:
                message = error.message if f"'{axis.name}'" in error.message else f"axis '{axis.name}' gets no size: {error.message}"
                raise type(error)(message, _place(program, axis), "pass tensors whose sizes fit, or change the parameters") from None
        for tensor in program.inputs:
            for dim, length in zip(tensor.dims, shapes[tensor.name], strict=True):
                progress |= _from_dim(dim, length, sizes)
    missing = [a.name for a in program.axes if a.name not in sizes]
    if missing:
        _divides(program, shapes, sizes)
        if data is None and sized_by_data(program):
            name = sized_by_data(program)[0]
            raise AttnUnsupportedError(
                f"the size of axis '{name}' is given by data, which are not known here", None, "call the op outside of torch.compile"
            )
        raise AttnShapeError(
            f"the size of axis '{missing[0]}' does not follow from the tensors", _named(program, missing[0]),
            f"give it in 'where {missing[0]} = ..'",
        )  # fmt: skip
    _agree(program, shapes, sizes, reads)
    return sizes


def sized_by_data(program: Program) -> list[str]:
    """The axes whose sizes are worked out from entries of inputs: shapes alone do not give them."""
    return [a.name for a in program.axes if a.size is not None and entries(a.size)]


def entries(size: Expr) -> list[Read]:
    """The entries of inputs that a size is worked out from."""
    return [e for e in walk(size) if isinstance(e, Read)]


def _entry(entry: Read, program: Program, data: Mapping[str, Any] | None, sizes: Mapping[str, int]) -> int:
    """The entry of an int input at fixed positions."""
    if data is None or entry.source not in data:
        raise Unknown(entry.source)
    given = next(i for i in program.inputs if i.name == entry.source)
    axes = [a for dim in given.dims for a in dim]
    for axis in axes:
        if axis not in sizes:
            raise Unknown(axis)
    _fits(given, data[entry.source].shape, sizes)
    places = dict(zip(axes, [scalar(e, sizes) for e in entry.index], strict=True))
    for axis, n in places.items():
        if not 0 <= n < sizes[axis]:
            raise AttnShapeError(f"'{entry.source}' is read at position {n}, outside an axis of {sizes[axis]}")
    stored = []
    for dim in given.dims:
        n = 0
        for axis in dim:
            n = n * sizes[axis] + places[axis]
        stored.append(n)
    return int(data[entry.source][tuple(stored)])


def _place(program: Program, axis: Axis) -> Span | None:
    """The input that has an axis, or has one that its size is worked out from."""
    if (own := _named(program, axis.name)) is not None:
        return own
    names = {axis.name} | ({e.axis for e in walk(axis.size) if isinstance(e, Size)} if axis.size is not None else set())
    return next((i.span for i in program.inputs if any(names & set(d) for d in i.dims)), None)


def _named(program: Program, axis: str) -> Span | None:
    """The input, else the output, that has an axis."""
    places = [i.span for i in program.inputs if any(axis in d for d in i.dims)]
    places += [o.span for o in program.outputs if any(axis in d for d in o.dims)]
    return places[0] if places else None


def _divides(program: Program, shapes: Mapping[str, Sequence[int]], sizes: Mapping[str, int]) -> None:
    """Raise AttnShapeError for a stored product whose known axes do not divide it."""
    for tensor in program.inputs:
        for n, (dim, length) in enumerate(zip(tensor.dims, shapes[tensor.name], strict=True)):
            known = [a for a in dim if a in sizes]
            rest = math.prod(sizes[a] for a in known)
            if len(known) == len(dim) - 1 and (rest == 0 or length % rest):
                shown = " * ".join(f"{a} = {sizes[a]}" for a in known)
                raise AttnShapeError(
                    f"dim {n} of '{tensor.name}' has size {length}, which is no multiple of {rest} ({shown}) in [{dims_text(tensor)}]",
                    tensor.span,
                )


def extend(axis: Axis, sizes: dict[str, int], reads: Callable[[Read], Any] | None = None) -> bool:
    """Add the length that an axis's equation gives, or a length that the equation gives backwards; whether there was one.

    reads: the entries of inputs; without it a size that is one stays open. Raises AttnShapeError for a length that can not be.
    """
    if axis.size is None:
        return False
    if axis.name in sizes:
        return _backwards(axis, sizes)
    try:
        found = scalar(axis.size, sizes, reads)
    except Unknown:
        return False
    if isinstance(found, float) and found.is_integer():
        found = int(found)
    if isinstance(found, float | bool | complex) or found < 0:
        raise AttnShapeError(f"axis '{axis.name}' would have size {found}")
    sizes[axis.name] = found
    return True


def _backwards(axis: Axis, sizes: dict[str, int]) -> bool:
    """Twins give each other's size; a direct sum and all parts but one give that part."""
    if isinstance(axis.size, Size) and axis.size.axis not in sizes:
        sizes[axis.size.axis] = sizes[axis.name]
        return True
    open_parts = [p for p in axis.parts if any(a not in sizes for a in p)]
    if len(open_parts) == 1 and len(open_parts[0]) == 1:
        rest = sum(math.prod(sizes[a] for a in p) for p in axis.parts if p is not open_parts[0])
        if sizes[axis.name] >= rest:
            sizes[open_parts[0][0]] = sizes[axis.name] - rest
            return True
    return False


def _from_dim(dim: tuple[str, ...], length: int, sizes: dict[str, int]) -> bool:
    unknown = [a for a in dim if a not in sizes]
    if len(unknown) != 1:
        return False
    rest = math.prod(sizes[a] for a in dim if a in sizes)
    if rest == 0 or length % rest:
        return False
    sizes[unknown[0]] = length // rest
    return True


def dims_text(tensor: Input) -> str:
    """Stored dims as the language writes them."""
    return ", ".join(d[0] if len(d) == 1 else "(" + " ".join(d) + ")" if d else "1" for d in tensor.dims)


def _fits(tensor: Input, shape: Sequence[int], sizes: Mapping[str, int]) -> None:
    """Raise AttnShapeError for a dim that its axes do not fill."""
    for n, (dim, length) in enumerate(zip(tensor.dims, shape, strict=True)):
        want = math.prod(sizes[a] for a in dim)
        if want != length:
            shown = " * ".join(f"{a} = {sizes[a]}" for a in dim) or "a dim of size 1"
            raise AttnShapeError(
                f"dim {n} of '{tensor.name}' has size {length}, expected {want} ({shown}) in [{dims_text(tensor)}]",
                tensor.span,
            )


def _agree(
    program: Program, shapes: Mapping[str, Sequence[int]], sizes: Mapping[str, int], reads: Callable[[Read], Any]
) -> None:
    for tensor in program.inputs:
        _fits(tensor, shapes[tensor.name], sizes)
    for axis in program.axes:
        if axis.size is not None:
            found = scalar(axis.size, sizes, reads)
            if found != sizes[axis.name]:
                raise AttnShapeError(
                    f"axis '{axis.name}' has size {sizes[axis.name]} in the tensors, its equation gives {found}",
                    _named(program, axis.name), "pass tensors whose sizes fit",
                )  # fmt: skip


def check(program: Program, sizes: Mapping[str, int]) -> None:
    """Check every `require`. Raises AttnValueError at the condition that does not hold."""
    for item in program.checks:
        if item.data or any(isinstance(e, Read) for e in walk(item.cond)):
            continue
        try:
            holds = scalar(item.cond, sizes)
        except Unknown as reason:
            raise AttnUnsupportedError(f"this requirement needs '{reason}', which is not known", item.span) from None
        if not holds:
            named = sorted({e.axis for e in walk(item.cond) if isinstance(e, Size)})
            values = ", ".join(f"{a} = {sizes[a]}" for a in named)
            said = f": {item.span.text}" if item.span is not None else ""
            help = f"with {values}" if values else "change the parameters"
            raise AttnValueError(item.what or f"a requirement does not hold{said}", item.span, help)
