"""A call of an op on made-up data: which optional inputs are there, how long the axes are, what the tensors hold, how they lie.

Everything is drawn from the signature, so this works for any pattern; equal arguments give equal tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch

from ..errors import AttnError, AttnNameError, AttnTypeError, AttnValueError
from ..ir.nodes import Program
from ..passes.resolve.declared import input_dims
from ..passes.resolve.overloads import choose
from ..runtime.op import Op
from .lengths import choose_sizes, sensible
from .values import caller_sizes, sample_tensors

LAYOUTS = ("contiguous", "offset", "transposed", "strided")
"""How a tensor lies in memory: dense; a dense slice that begins inside a larger one; dims stored in reverse order; every second
element of the last dim."""


@dataclass(frozen=True)
class Sample:
    """An op, the program for the inputs that are present, the length of every axis, and how the tensors are made."""

    op: Op
    program: Program
    sizes: Mapping[str, int]
    seed: int = 0
    dtype: torch.dtype = torch.float32
    density: float = 0.7
    layout: str = "contiguous"
    device: str = "cpu"

    @cached_property
    def tensors(self) -> dict[str, torch.Tensor]:
        """The inputs. Raises AttnValueError when no data are found that the pattern takes."""
        made = sample_tensors(self.program, self.sizes, self.seed, self.dtype, self.density)
        return {name: laid_out(t.to(self.device), self.layout) for name, t in made.items()}

    @property
    def optional(self) -> tuple[str, ...]:
        """The optional inputs that are present."""
        return tuple(i.name for i in self.program.inputs if dims_of(self.op, 1).get(i.name, (0, False))[1])

    @property
    def lengths(self) -> dict[str, int]:
        """The lengths that a caller chooses: of the axes that the others follow from."""
        return caller_sizes(self.program, self.sizes)

    def call(
        self, backend: str | None = None, outputs: Sequence[str] | None = None, tensors: Mapping[str, torch.Tensor] | None = None
    ) -> list[torch.Tensor]:
        """The outputs of the op on the tensors of the sample, or on others."""
        given: dict[str, Any] = dict(self.tensors if tensors is None else tensors)
        found = self.op(outputs=outputs, backend=backend, **given)
        return [found] if isinstance(found, torch.Tensor) else list(found)

    def cast(self, dtype: torch.dtype) -> Sample:
        """The same call in another dtype."""
        return replace(self, dtype=dtype)


def dims_of(op: Op, rank: int | None) -> dict[str, tuple[int, bool]]:
    """Number of stored dims of every input that can be given, and whether it may be left out; `rank` counts for open packs."""
    return input_dims(op._library, op._decl, op.params, rank)


def has_open_rank(op: Op) -> bool:
    """Whether the number of dims of some input is for the caller to choose."""
    return dims_of(op, 1) != dims_of(op, 2)


def with_params(op: Op, params: Mapping[str, Any]) -> Op:
    """The same pattern with more parameters given. Raises AttnError subclasses as `attncc.compile` does."""
    if not params:
        return op
    merged = {**op.params, **params}
    known = op._library.patterns.get(op.name, [op._decl])
    decl = choose(op._library, op.name, merged, None) if len(known) > 1 else op._decl
    return type(op)(op._library, decl, merged, op._source)


def program_of(op: Op, optional: Sequence[str] | None = None, rank: int = 2) -> Program:
    """The program with these optional inputs present; None takes none of them, or all where the pattern needs some.

    Raises AttnNameError for an input that the pattern does not have, and what resolving raises.
    """
    dims = dims_of(op, rank)
    for name in optional or ():
        if name not in dims:
            raise AttnNameError(f"'{op.name}' has no input '{name}'", op._decl.span, f"inputs: {', '.join(dims)}")
    free = [n for n, (_, may_miss) in dims.items() if may_miss]
    choices = [tuple(optional)] if optional is not None else [(), tuple(free), *((n,) for n in free)]
    first: AttnError | None = None
    for chosen in choices:
        try:
            return op.specialise({n: count for n, (count, may_miss) in dims.items() if not may_miss or n in chosen})
        except (AttnTypeError, AttnValueError, AttnNameError) as error:
            first = first or error
    assert first is not None
    raise first


def sample(
    op: Op, seed: int = 0, sizes: Mapping[str, int] | None = None, *, dtype: torch.dtype = torch.float32,
    optional: Sequence[str] | None = None, rank: int = 2, density: float = 0.7, layout: str = "contiguous", device: str = "cpu",
    wish: Callable[[Program], Callable[[str], int]] | None = None,
) -> Sample:  # fmt: skip
    """A call of an op. `sizes` fixes lengths of axes; the others are small, or what `wish(program)(axis)` says, and fit.

    Raises AttnNameError for an unknown input or axis, AttnShapeError when no sizes fit, AttnValueError when no data do.
    """
    program = program_of(op, optional, rank)
    found = choose_sizes(program, wish(program) if wish else sensible(program, 8, 4, 2), sizes)
    return Sample(op, program, found, seed, dtype, density, layout, device)


def sample_inputs(
    op: Op, seed: int = 0, sizes: Mapping[str, int] | None = None, *, dtype: torch.dtype = torch.float32,
    optional: Sequence[str] | None = None, rank: int = 2, density: float = 0.7, layout: str = "contiguous", device: str = "cpu",
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Tensors to call an op with, by input name: `op(**sample_inputs(op))`.

    sizes     lengths of axes, `{"i": 64}`; the rest are small numbers that satisfy the pattern
    optional  names of the optional inputs to make as well; None: none of them, or all where the pattern needs some
    rank      the rank of a grid whose rank the tensors give
    density   how often a bool is true
    layout    one of LAYOUTS
    """
    options: dict[str, Any] = {"optional": optional, "rank": rank, "density": density, "layout": layout, "device": device}
    return sample(op, seed, sizes, dtype=dtype, **options).tensors


def laid_out(t: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values in another memory layout."""
    if layout not in LAYOUTS:
        raise AttnNameError(f"no layout '{layout}'", None, f"layouts: {', '.join(LAYOUTS)}")
    if layout == "contiguous" or t.dim() == 0:
        return t.contiguous()
    if layout == "transposed":
        order = list(range(t.dim()))[::-1]
        return t.permute(order).contiguous().permute(order)
    if layout == "offset":
        room = t.new_zeros((t.shape[0] + 1, *t.shape[1:]))
        room[1:] = t
        return room[1:]
    room = t.new_zeros((*t.shape[:-1], 2 * t.shape[-1]))
    room[..., ::2] = t
    return room[..., ::2]
