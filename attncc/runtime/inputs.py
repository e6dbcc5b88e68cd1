"""What a tensor of a call has to be, whatever the backend: dense, of an element type that attncc computes with, on one device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..errors import AttnTypeError, Span
from ..ir.nodes import Input
from . import graphs

FLOATS = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
INTS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32)
TYPES: dict[str, tuple[torch.dtype, ...]] = {"float": FLOATS, "int": INTS, "bool": (torch.bool, torch.uint8)}
"""Element types by the kind of an input. Unsigned 64 bits are not among them: positions are signed. Of bytes for truth values, what is
not zero is true: a call makes truth values of them."""


def dense(name: str, t: object, span: Span | None) -> torch.Tensor:
    """An argument as a tensor that kernels can read. Raises AttnTypeError."""
    if not isinstance(t, torch.Tensor):
        raise AttnTypeError(f"'{name}' must be a torch.Tensor, found {type(t).__name__}", span, "torch.as_tensor(x)")
    if t.layout is not torch.strided or t.is_nested:
        kind = "nested" if t.is_nested else str(t.layout)
        raise AttnTypeError(f"'{name}' must be a dense tensor, found one that is {kind}", span, "x.to_dense()")
    return t


def unsuited(tensor: Input, found: torch.dtype) -> AttnTypeError:
    """The error of an input with an element type that its kind does not have."""
    what = str(found).removeprefix("torch.")
    known = ", ".join(str(t).removeprefix("torch.") for t in TYPES[tensor.kind])
    help = "x.dequantize()" if what.startswith(("qint", "quint")) else f"{tensor.kind} inputs are {known}"
    return AttnTypeError(f"'{tensor.name}' must be a tensor of kind {tensor.kind}, found {found}", tensor.span, help)


def together(tensors: Mapping[str, torch.Tensor], span: Span | None) -> torch.device:
    """The device of a call. Raises AttnTypeError for several, and for fake tensors beside real ones."""
    place: torch.device | None = None
    plain = True
    for t in tensors.values():
        if place is None:
            place = t.device
        elif t.device != place:
            places = ", ".join(sorted({str(t.device) for t in tensors.values()}))
            raise AttnTypeError(f"the tensors are on several devices: {places}", span, "move them to one")
        plain = plain and type(t) in (torch.Tensor, torch.nn.Parameter)
    if not plain:
        graphs.apart(_unmixed, tensors, span)
    return place if place is not None else torch.device("cpu")


def _unmixed(tensors: Mapping[str, torch.Tensor], span: Span | None) -> None:
    """Fake tensors are of one mode, with real ones beside them only where the mode takes them; masked ones are none."""
    from torch._subclasses.fake_tensor import FakeTensor
    from torch.masked import MaskedTensor

    masked = next((n for n, t in tensors.items() if isinstance(t, MaskedTensor)), None)
    if masked is not None:
        raise AttnTypeError(
            f"'{masked}' must be a dense tensor, found a masked one", span, "x.to_tensor(0), its mask as an input of its own"
        )
    modes = {id(t.fake_mode): t.fake_mode for t in tensors.values() if isinstance(t, FakeTensor)}
    real = any(not isinstance(t, FakeTensor) for t in tensors.values())
    if len(modes) > 1 or (real and any(not mode.allow_non_fake_inputs for mode in modes.values())):
        what = "fake tensors of several modes" if len(modes) > 1 else "fake tensors and real ones"
        raise AttnTypeError(f"the call mixes {what}", span, "make all of them with one FakeTensorMode")
