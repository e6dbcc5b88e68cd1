"""Calls seen before. Of a call without gradients, nothing but the addresses changes from one set of tensors to the next that are laid out
alike: a backend may record which functions it called, and the recipe is followed from the third such call on. What is checked and worked
out for a call costs as much as a small kernel, several times that where a large one has emptied the caches.

Calls are alike when everything is that a call could depend on, but for the numbers in its tensors: names of arguments, types, shapes,
strides, dispatch keys (device, layout, views that are to be read otherwise), the thread's dispatch state (modes, transforms, autocast,
inference mode) and default type. Calls that a tape, a profiler, a transform or a trace follows are never alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.autograd import profiler

from . import dispatch, graphs

Recipe = Callable[[Sequence[torch.Tensor]], Any]
"""The result of a call, from its tensors in their order there."""
MOST = 256
"""Calls of an op that are remembered; then all are forgotten."""
_C = torch._C


def sight(
    tensors: Sequence[Any], named: Mapping[str, Any], outputs: Sequence[str] | None, backend: str | None
) -> tuple[Any, ...] | None:
    """What tells a call from others; None where no recipe will do."""
    if not dispatch.ANSWERS or profiler._is_profiler_enabled or _C._is_torch_function_mode_enabled() or graphs.transforming():
        return None
    asked = tuple(outputs) if isinstance(outputs, list | tuple) else outputs
    if not all(o is None or isinstance(o, str) for o in (backend, *(asked if isinstance(asked, tuple) else (asked,)))):
        return None  # and the call says what is wrong with it
    taped = torch.is_grad_enabled()
    parts: list[Any] = [asked, backend, len(tensors), *named]
    parts += (*dispatch.here(), torch.get_default_dtype())
    for t in (*tensors, *named.values()):
        if (type(t) is not torch.Tensor and type(t) is not torch.nn.Parameter) or t.layout is not torch.strided or t.is_nested:
            return None
        asks = t.requires_grad
        if asks and taped:
            return None
        parts.append((_C._dispatch_keys(t).raw_repr(), t.dtype, t.shape, t.stride(), asks))
    return tuple(parts)


class Again:
    """Recipes of an op, by what tells its calls apart."""

    def __init__(self) -> None:
        self.recipes: dict[tuple[Any, ...], Recipe | None] = {}
        self.once: set[tuple[Any, ...]] = set()

    def learn(self, seen: tuple[Any, ...], record: Callable[[], Recipe | None]) -> None:
        """After a call that had no recipe: its second time, record one, for good where there is none to be had."""
        if seen in self.recipes:
            return
        if seen not in self.once:
            if len(self.once) >= MOST:
                self.once.clear()
            self.once.add(seen)
            return
        if len(self.recipes) >= MOST:
            self.recipes.clear()
        self.recipes[seen] = record()
