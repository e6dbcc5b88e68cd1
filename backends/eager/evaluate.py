"""Expressions over named tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from attncc.errors import AttnInternalError
from attncc.ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, sources_of

from . import elementwise, gather, reduce
from .named import Named, Value, aligned, union

BLOCK = 2**24
"""Pair values computed at a time; larger attends go block by block, recomputed in the backward pass."""


class Evaluator:
    """Values by name, sizes of axes, the accumulation type.

    windows: axis -> (start, length) when only a block of it is computed. pairs: names of pair values of the attend in hand;
    admitted: which of its pairs take part in reductions. guard: pairs outside which a read may be anywhere, as nothing counts there.
    """

    def __init__(self, sizes: Mapping[str, int], acc: torch.dtype, device: torch.device) -> None:
        self.sizes = dict(sizes)
        self.acc, self.device = acc, device
        self.values: dict[str, Value] = {}
        self.windows: dict[str, tuple[int, int]] = {}
        self.pairs: set[str] = set()
        self.admitted: Named | None = None
        self.guard: Named | None = None
        self.cache: dict[Expr, Value] = {}
        self.block = BLOCK

    def child(self) -> Evaluator:
        """A copy that can hold more names."""
        out = Evaluator(self.sizes, self.acc, self.device)
        out.values, out.windows = dict(self.values), dict(self.windows)
        out.pairs, out.admitted, out.guard, out.block = set(self.pairs), self.admitted, self.guard, self.block
        return out

    def extent(self, axis: str) -> int:
        """How many positions of an axis are computed now."""
        return self.windows[axis][1] if axis in self.windows else self.sizes[axis]

    def is_whole(self, axis: str) -> bool:
        return axis not in self.windows

    def pseudo_axis(self, n: int) -> str:
        """A new axis of n positions, for a window inside a reduction."""
        name = f"#window{len(self.sizes)}"
        self.sizes[name] = n
        return name

    def eval(self, e: Expr) -> Value:
        """The value of an expression."""
        match e:
            case Const(value):
                return value
            case Size(axis):
                return self.sizes[axis]
            case Index(axis):
                start, n = self.windows.get(axis, (0, self.sizes[axis]))
                return Named(torch.arange(start, start + n, device=self.device), (axis,))
            case Read():
                return self.read(e)
        if e in self.cache:
            return self.cache[e]
        match e:
            case Apply("where", (cond, a, b)):
                test = self.eval(cond)
                out = (
                    self.eval(a if test else b)
                    if not isinstance(test, Named)
                    else self.eval_apply("where", [test, self.eval(a), self.eval(b)])
                )
            case Apply(op, args):
                out = self.eval_apply(op, [self.eval(a) for a in args])
            case Reduce():
                out = reduce.reduce(self, e, self.admitted if self.on_pairs(e) else None)
            case Along():
                out = self.along(e)
            case _:
                raise AttnInternalError(f"no evaluation for {e!r}")
        self.cache[e] = out
        return out

    def eval_apply(self, op: str, args: list[Value]) -> Value:
        return elementwise.apply(op, args, self.acc, self.device)

    def multiply(self, a: Value, b: Value) -> Value:
        return self.eval_apply("mul", [a, b])

    def on_pairs(self, e: Expr) -> bool:
        """Whether an expression depends on pair values of the attend in hand."""
        return self.admitted is not None and any(s in self.pairs for s in sources_of(e))

    def read(self, e: Read) -> Value:
        source = self.values[e.source]
        if not isinstance(source, Named):
            return source
        if e.index == tuple(Index(a) for a in source.axes) and (not self.windows or e.source in self.pairs):
            return source
        where: list[str | int | Named] = []
        for own, at in zip(source.axes, e.index, strict=True):
            if isinstance(at, Index) and self._renames(own, at.axis, e.source):
                where.append(at.axis)
                continue
            found = self.eval(at)
            if isinstance(found, Named) and not found.axes:
                found = int(found.t)
            where.append(found if isinstance(found, Named) else int(found))  # type: ignore[arg-type]  # a position is a whole number
        fill = None if e.fill is None else self.eval(e.fill)
        return gather.read(source, where, fill, e.source, self.guard)

    def _renames(self, own: str, axis: str, source: str) -> bool:
        """Whether reading axis `own` at the position along `axis` takes every position in order: a new name does."""
        if axis in self.windows:
            return own == axis and source in self.pairs
        return self.sizes[own] == self.sizes[axis]

    def along(self, e: Along) -> Value:
        """softmax and its kin over the pairs that take part."""
        body = elementwise.cast(self.eval(e.body), "float", self.acc)
        cond = None if e.cond is None else self.eval(e.cond)
        mask = self.admitted if self.on_pairs(e.body) else None
        if isinstance(cond, Named):
            mask = cond if mask is None else reduce.both(cond, mask)
        body = reduce.full(self, body, tuple(a for a in e.axes if a not in union([body])))
        axes = union([body] if mask is None else [body, mask])
        t = aligned(body, axes)
        dims = [axes.index(a) for a in e.axes]
        if e.op in ("cumsum", "cumprod"):
            if mask is not None:
                none = torch.full((), 0.0 if e.op == "cumsum" else 1.0, dtype=t.dtype, device=t.device)
                t = torch.where(aligned(mask, axes), t, none)
            return Named((torch.cumsum if e.op == "cumsum" else torch.cumprod)(t, dims[0]), axes)
        sink = None
        if e.sink is not None:
            found = elementwise.cast(self.eval(e.sink), "float", self.acc)
            spread = reduce.full(self, found, ())
            axes = (*axes, *(a for a in spread.axes if a not in axes))
            t = t.reshape(*t.shape, *[1] * (len(axes) - t.dim()))
            sink = aligned(spread, axes)
        keep = None if mask is None else aligned(mask, axes)
        return Named(softmax(t, dims, keep, sink, e.op == "log_softmax"), axes)


def softmax(t: torch.Tensor, dims: list[int], keep: torch.Tensor | None, sink: torch.Tensor | None, log: bool) -> torch.Tensor:
    """Softmax along dims over the entries of `keep`, with exp(sink) added below; rows without an entry give 0."""
    logits = t if keep is None else torch.where(keep, t, -math.inf)
    if any(t.shape[d] == 0 for d in dims):
        return logits
    top = logits.detach().amax(dims, keepdim=True)
    if sink is not None:
        top = torch.maximum(top, sink.detach())
    top = torch.where(top == -math.inf, torch.zeros_like(top), top)
    weight = torch.exp(logits - top)
    total = weight.sum(dims, keepdim=True)
    if sink is not None:
        total = total + torch.exp(sink - top)
    safe = torch.where(total == 0, torch.ones_like(total), total)
    if not log:
        return weight / safe
    out = logits - top - safe.log()
    return out if keep is None else torch.where(keep, out, torch.zeros_like(out))
