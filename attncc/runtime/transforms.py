"""Derivatives by other means than autograd's tape: `torch.func` and forward mode. They differentiate PyTorch's own operators, one by
one; an operator registered with `torch.library` is an error to some of them and a constant to others, which would be silently wrong.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.autograd import forward_ad


def transformed(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether a call on these tensors is being differentiated that way, so that it must run on PyTorch's operators."""
    if torch._C._are_functorch_transforms_active():
        from torch._C._functorch import TransformType
        from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

        return any(i.key() in (TransformType.Grad, TransformType.Jvp) for i in retrieve_all_functorch_interpreters())
    return forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)
