"""Compiling a generated module's kernels ahead of time: the types of their arguments, and the requests to the compiler.

What a launch of contiguous tensors gives is assumed: pointers and strides divide by 16, the last stride is 1. Lengths are not
specialised.
"""

from __future__ import annotations

from attncc.tile.nodes import Arg

from .configs import whole_name
from .kernel import Kernel
from .machine.compile import Request
from .module import Module

_POINTER = {"int": "*i64", "bool": "*i1"}


def pointer_type(arg: Arg, dtype: str) -> str:
    """The pointer type of an array whose floats have an element type: `fp32`, `bf16`, `fp16`."""
    return _POINTER.get(arg.kind) or ("*fp32" if arg.acc else f"*{dtype}")


def request(module: Module, kernel: Kernel, target: str, dtype: str, whole: bool = False) -> Request:
    """The request for one kernel. whole: its form for lengths that fill their tiles, where it has one."""
    config = dict(module.configs[whole_name(kernel.name) if whole and kernel.whole else kernel.name])
    warps, stages = int(config.pop("num_warps")), int(config.pop("num_stages"))
    args = {arg.name: arg for arg in kernel.arrays}
    signature = {p: pointer_type(args[a], dtype) for a, p in kernel.pointers.items()}
    for d in kernel.descriptors:
        block = ", ".join(str(config.get(x, x)) for x in d.block)
        signature[d.name] = f"tensordesc<{'fp32' if args[d.arg].acc else dtype}[{block}]>"
    constants: dict[str, object] = {}
    for arg in (args[a] for a in kernel.pointers):
        for n, axis in enumerate(arg.axes):
            name = kernel.strides[arg.name, axis]
            if n == len(arg.axes) - 1:
                constants[name] = 1
            else:
                signature[name] = "i32"
    aligned = [n for n, t in signature.items() if not t.startswith("tensordesc")]
    signature |= dict.fromkeys(kernel.size_names, "i32")
    signature |= {n: "i32" if k == "int" else "fp32" for n, k in zip(kernel.scalar_names, kernel.scalar_kinds, strict=True)}
    return Request(
        kernel=kernel.name,
        signature=signature,
        constants={**constants, **config, **({"WIDE": False} if kernel.far else {})},
        target=target,
        warps=warps,
        stages=stages,
        source=module.text,
        aligned=aligned,
    )
