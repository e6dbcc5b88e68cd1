"""What a call does differently while `torch.compile` traces it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., Any])


def leave(reason: str) -> None:
    """End the graph here; with `fullgraph=True` the reason is in PyTorch's error."""
    if torch.compiler.is_compiling():
        from torch._dynamo import graph_break

        graph_break(msg=reason)


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


apart = _call
"""Calls a function on arguments, outside of graphs once there are any: `graphs.apart(function, *arguments)`."""


def constant(function: F) -> F:
    """A function whose result a graph takes as a constant: `torch._dynamo.assume_constant_result`, without its import."""
    vars(function)["_dynamo_marked_constant"] = True
    return function


@constant
def transforming() -> bool:
    """Whether forward mode or a transform of `torch.func` that differentiates is under way: transforms.py says which calls take part."""
    global apart
    if apart is _call and "torch._dynamo" in sys.modules:
        apart = torch.compiler.disable(_call, reason="transforms and wrong calls of attncc operators are plain Python")
    if forward_ad._current_level >= 0:
        return True
    stack = torch._C._functorch.get_interpreter_stack()
    return bool(stack) and any(i.key() != torch._C._functorch.TransformType.Vmap for i in stack)


