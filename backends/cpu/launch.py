"""One kernel for the sizes of a call: everything that it is given but the arrays, worked out once."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from attncc.backends.lists import listed

from attncc.tile.nodes import Program

from . import threads
from .numbers import number
from .printed import Kernel

Tensors = Mapping[str, torch.Tensor]


class Launch:
    """Calls a kernel. dtype: of the arrays; acc: of statistics among them. boxes: tile sizes by axis."""

    def __init__(
        self,
        library: ctypes.CDLL,
        kernel: Kernel,
        program: Program,
        sizes: Mapping[str, int],
        boxes: Mapping[str, int],
        dtype: torch.dtype,
        acc: torch.dtype,
    ) -> None:
        kinds = {"int": torch.int64, "bool": torch.bool}
        self.name = program.name
        self.function: Callable[..., int] = getattr(library, kernel.name)
        self.order = [a.name for a in kernel.arrays]
        self.given = [(a.name, kinds.get(a.kind, acc if a.acc else dtype)) for a in program.args if a.role == "in"]
        self.new = [
            (a.name, tuple(sizes[x] for x in a.axes), kinds.get(a.kind, acc if a.acc else dtype), a.role == "sum")
            for a in program.args
            if a.role != "in"
        ]
        self.program, self.sizes, self.boxes = program, sizes, boxes
        bands = program.bands
        self.banded = [(a.name, a.axes.index(bands.axis), sizes[bands.over]) for a in program.args if bands and a.role == "sum"]
        self.pointers = ctypes.c_void_p * len(self.order)
        self.strides: tuple[list[tuple[int, ...]], ctypes.Array[ctypes.c_long]] = ([], longs([]))
        self.rest = (
            longs([sizes[a] for a in kernel.sizes]),
            (ctypes.c_double * len(program.scalars))(*(number(s.expr, sizes) for s in program.scalars)),
            longs([boxes[a] for a in kernel.boxes]),
        )

    def __call__(self, arrays: Tensors, made: dict[str, torch.Tensor]) -> None:
        """Run it. arrays: what the call has so far; made: what kernels before this one made, and what this one makes, where an
        array may be given for it. One dim an axis. Raises MemoryError."""
        here: dict[str, torch.Tensor] = {}
        for made_list in self.program.lists:
            found = listed(made_list, self.program, {**arrays, **made}, self.sizes, self.boxes)
            arrays = {**arrays, made_list.tiles: found[0], made_list.counts: found[1]}
        for name, dtype in self.given:
            array = made[name] if name in made else arrays[name]
            here[name] = array if array.dtype == dtype else array.to(dtype)
        for name, shape, dtype, zero in self.new:
            if name in made:  # an array that it is written to
                here[name] = made[name]
                continue
            here[name] = made[name] = torch.zeros(shape, dtype=dtype) if zero else torch.empty(shape, dtype=dtype)
        tensors = [here[n] for n in self.order]
        steps = [t.stride() for t in tensors]
        known, strides = self.strides
        if steps != known:
            strides = longs([s for array in steps for s in array])
            self.strides = steps, strides
        called(self.name, self.function, self.pointers(*[t.data_ptr() for t in tensors]), strides, *self.rest)
        for name, at, size in self.banded:
            made[name] = made[name].flatten(at, at + 1).narrow(at, 0, size)


def longs(numbers: Sequence[int]) -> ctypes.Array[ctypes.c_long]:
    return (ctypes.c_long * len(numbers))(*numbers)


def called(name: str, function: Callable[..., int], *arguments: Any) -> None:
    """Call a kernel on as many threads as it may use. Raises MemoryError."""
    if function(*arguments, ctypes.c_long(threads.allowed()), ctypes.c_void_p(threads.entries())):
        raise MemoryError(f"no memory for the tiles of {name}")
