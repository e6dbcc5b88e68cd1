"""The kernels of a call, recorded: which functions are called in what order, with everything but addresses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from attncc.backends.steps import Stored

from .launch import Launch, called, longs

Tensors = Mapping[str, torch.Tensor]


class Called(NamedTuple):
    """A kernel. places: of its arrays among all of the call; pointers: their type; fixed: its other arguments, as C has them."""

    name: str
    function: Callable[..., int]
    places: tuple[int, ...]
    pointers: Any
    fixed: tuple[Any, ...]


class Recorded:
    """Outputs of calls with tensors laid out alike. new: arrays that are made, after the tensors of a call: shape, type, whether it begins
    with zeros. results: which of them are outputs, and their shapes."""

    def __init__(
        self, calls: Sequence[Called], new: Sequence[New], results: Sequence[tuple[int, tuple[int, ...] | None]]
    ) -> None:
        self.calls, self.new, self.results = tuple(calls), tuple(new), tuple(results)

    def __call__(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Raises MemoryError."""
        arrays = list(tensors)
        for shape, dtype, zero in self.new:
            arrays.append(torch.zeros(shape, dtype=dtype) if zero else torch.empty(shape, dtype=dtype))
        addresses = [t.data_ptr() for t in arrays]
        for name, function, places, pointers, fixed in self.calls:
            called(name, function, pointers(*[addresses[p] for p in places]), *fixed)
        return [arrays[p] if shape is None else arrays[p].reshape(shape) for p, shape in self.results]


New = tuple[tuple[int, ...], torch.dtype, bool]


def recorded(
    given: Tensors, arrays: Tensors, launches: Iterable[Launch], outputs: Sequence[Stored], dtype: torch.dtype
) -> Recorded | None:
    """The recipe of a call. given: its tensors; arrays: the same with one dim an axis; outputs: in order; dtype: of float ones. None where
    arrays are copied, converted, listed or summed up on the way."""
    places = {name: place for place, name in enumerate(given)}
    strides = {name: arrays[name].stride() for name in given}
    types = {name: t.dtype for name, t in arrays.items()}
    if any(t.numel() == 0 or arrays[n].data_ptr() != t.data_ptr() for n, t in given.items()):
        return None
    calls: list[Called] = []
    new: list[New] = []
    for launch in launches:
        if launch.program.lists or launch.banded or any(types[name] != kind for name, kind in launch.given):
            return None
        for name, shape, kind, zero in launch.new:
            if name not in places:
                places[name], types[name] = len(given) + len(new), kind
                strides[name] = torch.empty(shape, dtype=kind, device="meta").stride()
                new.append((shape, kind, zero))
        steps = longs([s for name in launch.order for s in strides[name]])
        calls.append(
            Called(launch.name, launch.function, tuple(places[n] for n in launch.order), launch.pointers, (steps, *launch.rest))
        )
    results = [(places.get(out.value, 0), out.shape) for out in outputs]
    plain = all(o.kind == "float" and types.get(o.value) == dtype and o.axes is None for o in outputs)
    fresh = all(place >= len(given) for place, _ in results) and len({place for place, _ in results}) == len(results)
    return Recorded(calls, new, results) if plain and fresh else None
