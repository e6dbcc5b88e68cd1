"""What PyTorch's dispatcher would do with a call of an operator: nothing but autograd, for plain tensors outside of modes, transforms
and traces. Going through it costs as much as a small kernel, more where a large one has emptied the caches."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch.autograd import profiler

from .gradient import AUTOGRAD

_C = torch._C
_TAPES = (_C.DispatchKey.AutogradCPU, _C.DispatchKey.AutogradCUDA)
_KERNELS = (_C.DispatchKey.CPU, _C.DispatchKey.CUDA)
_NAMES = ("_dispatch_keys", "_dispatch_tls_local_include_set", "_dispatch_tls_local_exclude_set", "_is_torch_function_mode_enabled")
ANSWERS = (
    all(hasattr(_C, name) for name in _NAMES)
    and all(hasattr(_C.DispatchKeySet, name) for name in ("raw_repr", "from_raw_repr", "highestPriorityTypeId"))
    and hasattr(profiler, "_is_profiler_enabled")
)
"""PyTorch promises none of these names: where a version lacks one, every call goes through its dispatcher."""


def reached(tensors: Iterable[torch.Tensor]) -> str:
    """What a call reaches first: `tape`, autograd with the kernel below it; `kernel`; or "" for anything else, be it a mode, a
    subclass, a transform, a trace, a profiler, autocast, or memory that is to be read otherwise than it stands there."""
    if not ANSWERS or profiler._is_profiler_enabled or _C._is_torch_function_mode_enabled():
        return ""
    keys = []
    for t in tensors:
        if type(t) is not torch.Tensor and type(t) is not torch.nn.Parameter:
            return ""
        keys.append(_C._dispatch_keys(t).raw_repr())
    return _first(*here(), *keys)


def here() -> tuple[int, int]:
    """The dispatch keys that this thread adds to those of tensors, and those that it leaves out."""
    return _C._dispatch_tls_local_include_set().raw_repr(), _C._dispatch_tls_local_exclude_set().raw_repr()


@lru_cache(1024)
def _first(include: int, exclude: int, *tensors: int) -> str:
    """Of the keys of a thread and of tensors."""
    keys = _C.DispatchKeySet.from_raw_repr(include)
    for one in tensors:
        keys = keys | _C.DispatchKeySet.from_raw_repr(one)
    keys = keys - _C.DispatchKeySet.from_raw_repr(exclude) - _C.DispatchKeySet(_C.DispatchKey.BackendSelect)
    below = keys - AUTOGRAD
    if below.highestPriorityTypeId() not in _KERNELS:
        return ""
    return "tape" if keys.highestPriorityTypeId() in _TAPES else "kernel"
