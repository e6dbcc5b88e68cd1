"""A call as closures to be timed: the forward pass alone, and with the backward pass."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..testing.calls import Sample


def forward(sample: Sample, backend: str) -> Callable[[], object]:
    """Run the outputs of a plain call, without gradients."""
    outputs = plain_outputs(sample)

    def run() -> object:
        with torch.no_grad():
            return sample.call(backend, outputs)

    return run


def both(sample: Sample, backend: str) -> Callable[[], object] | None:
    """Run forward and backward; None when nothing has a gradient."""
    outputs = [o.name for o in sample.program.outputs if o.kind == "float" and not o.on_request]
    leaves = {}
    for item in sample.program.inputs:
        t = sample.tensors[item.name].detach()
        leaves[item.name] = t.requires_grad_(item.kind == "float" and not item.const)
    wanted = [t for t in leaves.values() if t.requires_grad]
    if not wanted or not outputs:
        return None
    values = sample.call(backend, outputs, leaves)
    chosen = [n for n, v in enumerate(values) if v.requires_grad]
    if not chosen:
        return None
    upstream = [torch.ones_like(values[n]) for n in chosen]

    def run() -> object:
        found = sample.call(backend, outputs, leaves)
        return torch.autograd.grad([found[n] for n in chosen], wanted, upstream, allow_unused=True)

    return run


def plain_outputs(sample: Sample) -> list[str]:
    """The outputs of a plain call."""
    return [o.name for o in sample.program.outputs if not o.on_request]


def wait(device: str) -> Callable[[], None] | None:
    """What waits for a device to finish."""
    return torch.cuda.synchronize if device == "cuda" else None


def peer_forward(sample: Sample, peer: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> Callable[[], object]:
    """Run a function of another library on the same tensors, without gradients."""

    def run() -> object:
        with torch.no_grad():
            return peer(sample.tensors)

    return run


def peer_both(sample: Sample, peer: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> Callable[[], object]:
    """Run such a function forward and backward."""
    leaves = {n: t.detach().requires_grad_(t.is_floating_point()) for n, t in sample.tensors.items()}
    wanted = [t for t in leaves.values() if t.requires_grad]
    upstream = torch.ones_like(peer(leaves))

    def run() -> object:
        return torch.autograd.grad(peer(leaves), wanted, upstream, allow_unused=True)

    return run
