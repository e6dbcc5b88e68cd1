"""Tensor values for a call: what an input may hold is read off the program.

- Bounds of an `assume` on an input (`sigma > 0`, `lengths <= n`) are kept.
- An int input that gives positions along an axis stays inside that axis, one that is compared with positions stays near them;
  any other int is small, so that equal values occur.
- A bool input is true with a given density; each of its rows can be empty.
- Floats are normal, weights of projections with less variance than data, or uniform between their bounds.

What cannot be read off is tried: the eager backend says whether data are admissible, and other distributions follow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from ..errors import AttnError, AttnShapeError, AttnValueError
from ..ir.expr import Apply, Expr, Index, Read, Reduce, children, conjuncts, kind_of, walk
from ..ir.nodes import Input, Program
from ..ir.sizes import Unknown, scalar
from .lengths import compared, every_expr, free_axes, mentions_index, roles

ATTEMPTS = 8

DECIDING = frozenset(["le", "lt", "ge", "gt", "eq", "ne", "floor", "ceil", "round", "sign"])
"""Operations of floats whose result jumps."""


@dataclass(frozen=True)
class Bounds:
    """The interval an input's values are drawn from. An end is None where nothing bounds it; edges: whether it is admitted."""

    low: float | None = None
    high: float | None = None
    edges: tuple[bool, bool] = (True, True)


def shapes(program: Program, sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """The shape of every input."""
    out = {}
    for item in program.inputs:
        shape = []
        for dim in item.dims:
            n = 1
            for axis in dim:
                n *= sizes[axis]
            shape.append(n)
        out[item.name] = tuple(shape)
    return out


def bounds(program: Program, sizes: Mapping[str, int]) -> dict[str, Bounds]:
    """Bounds of each int and float input, from the `assume`s and, for ints, from how they are used."""
    out: dict[str, Bounds] = {}
    kinds = {item.name: item.kind for item in program.inputs}
    for check in program.checks:
        if check.data:
            for cond in conjuncts(check.cond):
                for left, op, right in compared(cond):
                    if isinstance(left, Read) and left.source in kinds and op in ("le", "lt", "ge", "gt"):
                        out[left.source] = _narrowed(out.get(left.source, Bounds()), op, _number(right, sizes))
    for name, kind in kinds.items():
        if kind == "int":
            own = out.get(name, Bounds())
            low, high = _used(program, name, sizes)
            out[name] = Bounds(low if own.low is None else own.low, high if own.high is None else own.high, own.edges)
    return out


def _number(expr: Expr, sizes: Mapping[str, int]) -> float | None:
    try:
        return float(scalar(expr, sizes))
    except (Unknown, AttnError, ArithmeticError, ValueError):
        return None


def _narrowed(own: Bounds, op: str, value: float | None) -> Bounds:
    if value is None:
        return own
    if op in ("ge", "gt"):
        return own if own.low is not None and own.low >= value else Bounds(value, own.high, (op == "ge", own.edges[1]))
    return own if own.high is not None and own.high <= value else Bounds(own.low, value, (own.edges[0], op == "le"))


def _used(program: Program, name: str, sizes: Mapping[str, int]) -> tuple[float, float]:
    """An interval for an int input from its uses: positions of an axis, or values compared with positions."""
    names = {name, *_derived(program, name)}
    highs: list[int] = []
    near: list[int] = []
    known = _axes_of_values(program)
    for expr in every_expr(program):
        for inner in walk(expr):
            if isinstance(inner, Read) and inner.source in known:
                for own, at in zip(known[inner.source], inner.index, strict=False):
                    if not isinstance(at, Index) and _reads(at, names):
                        highs.append(sizes[own] - 1)
        for left, op, right in compared(expr):
            if _reads(left, names):
                axes = [a for a in sizes if mentions_index(right, a)]
                if axes and op == "eq":
                    highs.append(max(sizes[a] for a in axes) - 1)
                elif axes:
                    near.append(max(sizes[a] for a in axes))
    if highs:
        return 0, max(min(highs), 0)
    return (0, max(near)) if near else (0, 2)


def _reads(expr: Expr, names: set[str]) -> bool:
    return kind_of(expr) == "int" and any(isinstance(e, Read) and e.source in names for e in walk(expr))


def _derived(program: Program, name: str) -> Iterator[str]:
    """Int values computed from an input, which are positions when it is one."""
    from ..ir.nodes import Assign

    names = {name}
    for node in program.nodes:
        if isinstance(node, Assign) and node.kind == "int" and _reads(node.expr, names):
            names.add(node.name)
            yield node.name


def _axes_of_values(program: Program) -> dict[str, tuple[str, ...]]:
    from ..ir.nodes import values_of

    out = {item.name: tuple(a for dim in item.dims for a in dim) for item in program.inputs}
    for node in program.nodes:
        out.update({v.name: v.axes for v in values_of(node)})
    return out


def spreads(program: Program, sizes: Mapping[str, int]) -> dict[str, float]:
    """The standard deviation of each float input: 1, and for weights 1 / sqrt(terms), so that a projection keeps the variance.

    A weight is contracted with tokens and has neither their axes nor those that all of them share (the batch).
    """
    role = roles(program)
    axes = {item.name: {a for dim in item.dims for a in dim} for item in program.inputs if item.kind == "float"}
    tokens = [own for own in axes.values() if any(role.get(a) in ("key", "query") for a in own)]
    batch = {a for a in set.intersection(*tokens) if role.get(a) != "feature"} if tokens else set()
    out = dict.fromkeys(axes, 1.0)
    for expr in every_expr(program) if tokens else ():
        for inner in walk(expr):
            if isinstance(inner, Reduce) and inner.op == "sum":
                for read in walk(inner.body):
                    own = axes.get(read.source, set()) if isinstance(read, Read) else set()
                    summed = own & set(inner.axes)
                    if isinstance(read, Read) and summed and own not in tokens and not own & batch:
                        out[read.source] = min(out[read.source], math.prod(sizes[a] for a in summed) ** -0.5)
    return out


def draw(
    program: Program, sizes: Mapping[str, int], seed: int, dtype: torch.dtype, density: float = 0.7, attempt: int = 0
) -> dict[str, torch.Tensor]:
    """Contiguous tensors on the CPU for every input. Later `attempt`s draw tamer distributions.

    Floats are drawn in float64 and rounded to `dtype`, so that calls in several dtypes see the same data.
    """
    generator = torch.Generator().manual_seed(seed)
    limits, scales = bounds(program, sizes), spreads(program, sizes)
    made = shapes(program, sizes)
    return {
        item.name: _tensor(
            item, made[item.name], limits.get(item.name, Bounds()), scales.get(item.name, 1.0), generator, dtype, density, attempt
        )
        for item in program.inputs
    }


def _tensor(
    item: Input, shape: tuple[int, ...], own: Bounds, spread: float, generator: torch.Generator, dtype: torch.dtype, density: float,
    attempt: int,
) -> torch.Tensor:  # fmt: skip
    if item.kind == "bool":
        keep = 1.0 if attempt else density
        return torch.rand(shape, generator=generator, dtype=torch.float64) < keep
    if item.kind == "int":
        low = int(own.low if own.low is not None else 0) + (0 if own.edges[0] else 1)
        high = int(own.high if own.high is not None else low + 2) - (0 if own.edges[1] else 1)
        high = max(low, high)
        values = torch.randint(low, high + 1, shape, generator=generator)
        if attempt == 1 and shape:
            values = values.sort(-1).values
        if attempt == 2 and shape and shape[-1]:
            values = low + torch.arange(shape[-1]).expand(shape) % (high - low + 1)
        return values.contiguous() if attempt < 3 else torch.full(shape, low if attempt % 2 else high)
    if own.low is not None and own.high is not None:
        unit = torch.rand(shape, generator=generator, dtype=torch.float64) * 0.9 + 0.05
        return (own.low + (own.high - own.low) * unit).to(dtype)
    values = spread * torch.randn(shape, generator=generator, dtype=torch.float64)
    if own.low is not None:
        values = own.low + values.abs() + 0.25
    elif own.high is not None:
        values = own.high - values.abs() - 0.25
    elif attempt >= 4:
        values = values.abs() if attempt % 2 else values.sigmoid()
    return values.to(dtype)


def sample_tensors(
    program: Program, sizes: Mapping[str, int], seed: int, dtype: torch.dtype, density: float = 0.7
) -> dict[str, torch.Tensor]:
    """Tensors that the program takes: drawn until the eager backend accepts them.

    Raises AttnValueError with the last objection when no distribution suits.
    """
    from ..runtime.backends import named

    wanted = [o.name for o in program.outputs]
    run = named("eager").prepare(program, wanted)
    last: AttnError | None = None
    for attempt in range(ATTEMPTS):
        tensors = draw(program, sizes, seed, dtype, density, attempt)
        try:
            with torch.no_grad():
                run({n: t.double() if t.is_floating_point() else t for n, t in tensors.items()})
        except (AttnValueError, AttnShapeError) as error:
            last = error
            if not any(item.kind != "float" for item in program.inputs) and not any(c.data for c in program.checks):
                break
        else:
            return tensors
    assert last is not None
    reason = last.message if last.span is None else f"{last.span!r}: {last.message}"
    raise AttnValueError(
        f"no sample data were found that '{program.name}' takes: {reason}", last.span, last.help or "pass inputs of your own"
    )


def decides_on_data(program: Program) -> bool:
    """Whether float data choose between values: a pick, a comparison or a rounding of floats. Near a tie rounding may decide."""
    from ..ir.nodes import Pick

    if any(isinstance(n, Pick) for n in program.nodes):
        return True
    for expr in every_expr(program):
        for inner in walk(expr):
            deciding = isinstance(inner, Apply) and inner.op in DECIDING
            if deciding and any(kind_of(a) == "float" and any(isinstance(e, Read) for e in walk(a)) for a in children(inner)):
                return True
    return False


def caller_sizes(program: Program, sizes: Mapping[str, int]) -> dict[str, int]:
    """The lengths of the free axes: those that a caller chooses and the others follow from."""
    return {name: sizes[name] for name in free_axes(program)}
