"""Calling a program on tensors: straight through eager, or a backend's forward with gradients through autograd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import AttnTypeError
from ..ir.nodes import Program
from .backends import Backend, Compiled, named


def call(program: Program, backend: Backend, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str]) -> list[torch.Tensor]:
    """The asked outputs in order. Raises AttnTypeError when a `const` input asks for a gradient."""
    for item in program.inputs:
        if item.const and inputs[item.name].requires_grad:
            raise AttnTypeError(f"'{item.name}' gets no gradient here, but asks for one", item.span, f"pass {item.name}.detach()")
    run = backend.prepare(program, outputs)
    if backend.name == "eager" or not (torch.is_grad_enabled() and any(t.requires_grad for t in inputs.values())):
        found = run(inputs)
        return [found[name] for name in outputs]
    names = tuple(inputs)
    result: Any = Fused.apply(run, program, tuple(outputs), names, *(inputs[n] for n in names))
    return list(result)


class Fused(torch.autograd.Function):
    """A backend's forward; the backward pass recomputes through the eager backend."""

    @staticmethod
    def forward(
        ctx: Any, run: Compiled, program: Program, outputs: tuple[str, ...], names: tuple[str, ...], *tensors: torch.Tensor
    ) -> Any:
        found = run(dict(zip(names, tensors, strict=True)))
        ctx.program, ctx.outputs, ctx.names = program, outputs, names
        ctx.save_for_backward(*tensors)
        kinds = {o.name: o.kind for o in program.outputs}
        ctx.mark_non_differentiable(*(found[o] for o in outputs if kinds[o] != "float"))
        return tuple(found[o] for o in outputs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        needs = ctx.needs_input_grad[4:]
        with torch.enable_grad():
            leaves = [t.detach().requires_grad_(need) for t, need in zip(ctx.saved_tensors, needs, strict=True)]
            eager = named("eager").prepare(ctx.program, ctx.outputs)
            found = eager(dict(zip(ctx.names, leaves, strict=True)))
            pairs = [(found[o], g) for o, g in zip(ctx.outputs, grads, strict=True) if g is not None and found[o].requires_grad]
            wanted = [t for t, need in zip(leaves, needs, strict=True) if need]
            got = iter(torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True))
        return (None, None, None, None, *(next(got) if need else None for need in needs))
