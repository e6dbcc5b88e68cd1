"""How a backend is differentiated: what its forward pass keeps, and its backward pass.

A backend with a backward pass of its own has a method `gradient(program, outputs)` that gives a `Gradient`, or None for programs
without an attend that it differentiates. Those go through `Recompute`: nothing is kept, the eager backend computes forward again
and autograd does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch

from ..ir.nodes import Program
from .backends import Backend, named

Tensors = Mapping[str, torch.Tensor]
Recipe = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A tensor that the forward pass keeps: one dim an axis; acc: in the accumulation type, else in the dtype of the outputs;
    kind: `float`, `int` or `bool`."""

    name: str
    axes: tuple[str, ...]
    acc: bool = True
    kind: str = "float"


class Gradient(Protocol):
    """Forward and backward of a program on a backend."""

    saved: tuple[Saved, ...]

    def forward(self, inputs: Tensors) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        """The outputs by name, and what `saved` names, in its order."""
        ...

    def backward(
        self, inputs: Tensors, saved: Sequence[torch.Tensor], grads: Tensors, needs: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """Gradients of the inputs named in `needs`, from those of some outputs. A missing entry is zero."""
        ...

    def again(self, inputs: Tensors, outputs: Sequence[str]) -> Recipe | None:
        """Some outputs of a forward pass like one that has been made, from tensors in the order of `inputs`; None where more is to be
        done than to call functions that are known."""
        ...


@contextmanager
def dispatching() -> Iterator[None]:
    """Inside the kernel of an operator: let dispatch reach autograd again, which it passes by there."""
    include, exclude = torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()
    with torch._C._ForceDispatchKeyGuard(include, exclude - AUTOGRAD):
        yield


AUTOGRAD = torch._C.DispatchKeySet(torch._C.DispatchKey.Undefined)
for _name in dir(torch._C.DispatchKey):
    if _name.startswith(("Autograd", "ADInplaceOrView")):
        AUTOGRAD = AUTOGRAD | torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, _name))
"""The dispatch keys of autograd, one for each kind of device."""


class Recompute:
    """A backend's forward; the backward pass computes forward again with the eager backend."""

    saved: tuple[Saved, ...] = ()

    def __init__(self, program: Program, backend: Backend, outputs: Sequence[str]) -> None:
        self._run = backend.prepare(program, outputs)
        self._eager = named("eager").prepare(program, outputs)

    def forward(self, inputs: Tensors) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        return self._run(inputs), []

    def again(self, inputs: Tensors, outputs: Sequence[str]) -> Recipe | None:
        return None

    def backward(
        self, inputs: Tensors, saved: Sequence[torch.Tensor], grads: Tensors, needs: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        with dispatching(), torch.enable_grad():
            leaves = {n: t.detach().requires_grad_(n in needs) for n, t in inputs.items()}
            found = self._eager(leaves)
            pairs = [(found[o], g) for o, g in grads.items() if found[o].requires_grad]
            if not pairs:
                return {}
            got = torch.autograd.grad([o for o, _ in pairs], [leaves[n] for n in needs], [g for _, g in pairs], allow_unused=True)
        return {n: g for n, g in zip(needs, got, strict=True) if g is not None}


def gradient(program: Program, backend: Backend, outputs: Sequence[str]) -> Gradient:
    """The best way a backend has to differentiate a program."""
    own = getattr(backend, "gradient", None)
    found: Gradient | None = own(program, outputs) if own is not None else None
    return Recompute(program, backend, outputs) if found is None else found
