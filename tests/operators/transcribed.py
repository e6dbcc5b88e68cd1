"""A shipped operator against a plain transcription of its definition: float64, outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

import attncc
from attncc.testing.compare import compare

Tensors = dict[str, torch.Tensor]
Reference = Callable[..., Tensors]
ROUNDING = 1e-11
"""Relative to the largest entry of an array: both sides are float64 and sum in another order."""


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers; `seed` tells arrays of one shape apart."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1000 * seed + sum(shape)), dtype=torch.float64)


def rands(seed: int = 0, **shapes: tuple[int, ...]) -> Tensors:
    """An array for each name, all different."""
    return {name: rand(*shape, seed=seed + n) for n, (name, shape) in enumerate(shapes.items())}


def prefix(lengths: list[int], n: int) -> torch.Tensor:
    """[b, n], true at the first positions of each row."""
    return torch.arange(n) < torch.tensor(lengths)[:, None]


def agree(
    name: str,
    params: Mapping[str, Any],
    inputs: Tensors,
    reference: Reference,
    fixed: tuple[str, ...] = (),
    backend: str = "eager",
) -> None:
    """Every output of the reference is given, and every gradient to a float input that is not `fixed`."""

    def run(call: Callable[[Tensors], Tensors]) -> Tensors:
        tensors = {n: t.clone() for n, t in inputs.items()}
        free = [n for n, t in tensors.items() if t.is_floating_point() and n not in fixed]
        for n in free:
            tensors[n].requires_grad_()
        outputs = call(tensors)
        fed = [n for n in wanted if outputs[n].requires_grad]
        upstream = [rand(*outputs[n].shape, seed=99 + m) for m, n in enumerate(fed)]
        grads = torch.autograd.grad([outputs[n] for n in fed], [tensors[n] for n in free], upstream, materialize_grads=True)
        return outputs | {f"d {n}": g for n, g in zip(free, grads, strict=True)}

    def attended(tensors: Tensors) -> Tensors:
        found = attncc.load(name, **params)(outputs=wanted, backend=backend, **tensors)
        return dict(zip(wanted, found if isinstance(found, tuple) else (found,), strict=True))

    wanted = tuple(reference(**inputs, **params))
    expected = run(lambda tensors: reference(**tensors, **params))
    found = run(attended)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        result = compare(found[key], value, torch.float64)
        assert result.reason is None, f"{key}: {result.reason}"
        assert result.error <= ROUNDING * (1 + result.scale), f"{key}: {result.error}"
