"""Whether the tensors of a call are those of a program, in kind and device."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from attncc.errors import AttnTypeError
from attncc.ir.nodes import Program


def fitting(program: Program, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.dtype, torch.device]:
    """The dtype of float results and the device of all. Raises AttnTypeError for inputs of another kind, or on several devices."""
    for tensor in program.inputs:
        dtype = inputs[tensor.name].dtype
        kind = "bool" if dtype == torch.bool else "float" if dtype.is_floating_point else "complex" if dtype.is_complex else "int"
        if kind != tensor.kind and not (tensor.kind == "bool" and dtype == torch.uint8):
            help = f"{tensor.name}.{'long' if tensor.kind == 'int' else tensor.kind}()"
            raise AttnTypeError(f"'{tensor.name}' must be a tensor of kind {tensor.kind}, found {dtype}", tensor.span, help)
    floats = [inputs[i.name].dtype for i in program.inputs if i.kind == "float"]
    dtype = torch.get_default_dtype() if not floats else floats[0]
    for other in floats[1:]:
        dtype = torch.promote_types(dtype, other)
    devices = {t.device for t in inputs.values()}
    if len(devices) > 1:
        raise AttnTypeError(
            f"the tensors are on several devices: {', '.join(sorted(map(str, devices)))}", None, "move them to one"
        )
    return dtype, devices.pop() if devices else torch.device("cpu")
