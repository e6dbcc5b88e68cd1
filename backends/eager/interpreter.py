"""The eager backend: interprets a program with PyTorch operators. The oracle of every other backend, and their fallback.

Computes in float64 when a float input is float64, else in float32; results have the promoted dtype of the float inputs. Gradients
come from autograd, definitions with their own vjp included.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from attncc.backends.fitting import fitting

from attncc.errors import AttnError, AttnInternalError, AttnValueError
from attncc.ir.nodes import Assign, Attend, Call, Cotangent, Fold, Node, Output, Pick, Program, used_by, values_of
from attncc.ir.sizes import check, solve

from .attend import attend
from .elementwise import cast
from .evaluate import Evaluator
from .named import Named, Value, aligned
from .picks import pick
from .reduce import full


def run(
    program: Program, inputs: Mapping[str, torch.Tensor], outputs: Sequence[str], block: int | None = None
) -> dict[str, torch.Tensor]:
    """The asked outputs by name, stored as the signature says. block: pair values computed at a time.

    Raises AttnShapeError, AttnTypeError and AttnValueError for inputs that do not fit.
    """
    sizes = solve(program, {n: tuple(t.shape) for n, t in inputs.items()}, inputs)
    check(program, sizes)
    ev, dtype = prepare(program, inputs, sizes)
    ev.block = block or ev.block
    assumed(ev, program)
    chosen = [o for o in program.outputs if o.name in outputs]
    for node in needed(program.nodes, {o.value for o in chosen}):
        try:
            execute(ev, node, program)
        except AttnError as error:
            if error.span is not None or getattr(node, "span", None) is None:
                raise
            raise type(error)(error.message, node.span, error.help) from None
    return {o.name: stored(ev, o, dtype) for o in chosen}


def assumed(ev: Evaluator, program: Program) -> None:
    """Check every `assume`, which sees the inputs alone. Raises AttnValueError at the condition that does not hold."""
    for item in program.checks:
        if item.data and not _holds(ev.eval(item.cond)):
            said = f": {item.span.text}" if item.span is not None else ""
            raise AttnValueError(f"an assumption about the data does not hold{said}", item.span)


def _holds(v: Value) -> bool:
    return bool(v.t.all()) if isinstance(v, Named) else bool(v)


def needed(nodes: Sequence[Node], values: set[str]) -> list[Node]:
    """The nodes that some values depend on, in order."""
    out: list[Node] = []
    values = set(values)
    for node in reversed(nodes):
        if values & {v.name for v in values_of(node)}:
            values |= used_by(node)
            out.append(node)
    return out[::-1]


def prepare(
    program: Program, inputs: Mapping[str, torch.Tensor], sizes: Mapping[str, int], names: Collection[str] | None = None
) -> tuple[Evaluator, torch.dtype]:
    """An evaluator that holds the inputs split into axes, or those of some names, and the dtype of float results."""
    dtype, device = fitting(program, inputs)
    acc = torch.float64 if dtype == torch.float64 else torch.float32
    ev = Evaluator(sizes, acc, device)
    kinds = {"float": acc, "int": torch.int64, "bool": torch.bool}
    for tensor in program.inputs:
        if names is not None and tensor.name not in names:
            continue
        axes = tuple(a for d in tensor.dims for a in d)
        t = inputs[tensor.name].to(kinds[tensor.kind])
        ev.values[tensor.name] = Named(t.reshape([sizes[a] for a in axes]), axes)
    return ev, dtype


def stored(ev: Evaluator, out: Output, dtype: torch.dtype) -> torch.Tensor:
    """An output in its stored layout and dtype."""
    axes = tuple(a for d in out.dims for a in d)
    v = full(ev, ev.values[out.value], axes)
    t = aligned(v, axes).expand([ev.sizes[a] for a in axes])
    shape = []
    for dim in out.dims:
        n = 1
        for a in dim:
            n *= ev.sizes[a]
        shape.append(n)
    t = t.reshape(shape)
    kinds = {"float": dtype, "int": torch.int64, "bool": torch.bool}
    return t.to(kinds[out.kind]).contiguous()


def execute(ev: Evaluator, node: Node, program: Program) -> None:
    """Compute a node's values."""
    ev.cache.clear()
    match node:
        case Assign():
            ev.values[node.name] = assigned(ev, node)
        case Attend():
            ev.values.update(attend(ev, node))
        case Pick():
            ev.values[node.name] = pick(ev, node)
        case Fold():
            fold(ev, node, program)
        case Call():
            ev.values[node.name] = CALLS[node.op](ev, node, program)


def assigned(ev: Evaluator, node: Assign) -> Value:
    """A definition over its axes; missing ones stay missing and broadcast where it is read."""
    v = cast(ev.eval(node.expr), node.kind, ev.acc)
    if not node.axes:
        return v
    return Named(aligned(full(ev, v, node.axes), node.axes), node.axes)


def fold(ev: Evaluator, node: Fold, program: Program) -> None:
    """A loop with carried values."""
    start, stop, step = (int(_number(ev.eval(e))) for e in (node.start, node.stop, node.step))
    carried = {c.name: ev.values[c.init] for c in node.carries}
    for n in range(start, stop + (1 if step > 0 else -1), step):
        ev.values.update(carried)
        ev.values[node.var] = n
        for inner in node.body:
            execute(ev, inner, program)
        carried = {c.name: ev.values[c.next] for c in node.carries}
    ev.values.update(carried)


def _number(v: Value) -> Any:
    return v.t.item() if isinstance(v, Named) else v


def fourier(ev: Evaluator, node: Call, program: Program) -> Value:
    """rfft and irfft; the last of `along` is the halved axis."""
    source = ev.values[node.inputs[0]]
    assert isinstance(source, Named)
    dims = [source.axes.index(a) for a in node.along]
    if node.op == "rfft":
        t = torch.fft.rfftn(source.t, dim=dims)
    else:
        lengths = [ev.sizes[a] for a in node.along[:-1]] + [ev.sizes[node.target]]
        t = torch.fft.irfftn(source.t, s=lengths, dim=dims)
    axes = tuple(node.target if a == node.along[-1] else a for a in source.axes)
    return Named(aligned(Named(t, axes), node.axes), node.axes)


def gradient(ev: Evaluator, node: Call, program: Program) -> Value:
    """The gradient of a scalar with respect to a value: what depends on the value is computed again with autograd on."""
    target, wrt = node.inputs
    at = ev.values[wrt]
    assert isinstance(at, Named)
    higher = torch.is_grad_enabled()
    with torch.enable_grad():
        inner = ev.child()
        leaf = at.t if higher and at.t.requires_grad else at.t.detach().requires_grad_()
        inner.values[wrt] = Named(leaf, at.axes)
        stale = {wrt}
        before = list(program.nodes)[: list(program.nodes).index(node)]
        for other in needed(before, {target}):
            if used_by(other) & stale:
                execute(inner, other, program)
                stale |= {v.name for v in values_of(other)}
        total = inner.values[target]
        if not isinstance(total, Named) or not total.t.requires_grad:
            return Named(torch.zeros_like(at.t), at.axes)
        (found,) = torch.autograd.grad(total.t, leaf, create_graph=higher, allow_unused=True)
    return Named(torch.zeros_like(at.t) if found is None else found, at.axes)


def custom(ev: Evaluator, node: Call, program: Program) -> Value:
    """A definition with its own vjp, as an autograd function."""
    args = [ev.values[n] for n in node.inputs]
    shapes = [a.axes if isinstance(a, Named) else () for a in args]
    tensors = [a.t if isinstance(a, Named) else torch.as_tensor(a, device=ev.device) for a in args]

    def inside(values: Sequence[torch.Tensor]) -> Evaluator:
        inner = ev.child()
        for formal, t, axes in zip(node.formals, values, shapes, strict=True):
            inner.values[formal.name] = Named(t, axes)
        for item in node.body:
            execute(inner, item, program)
        return inner

    class Custom(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *values: torch.Tensor) -> torch.Tensor:
            inner = inside(values)
            ctx.save_for_backward(*values)
            out = inner.values[node.value]
            assert isinstance(out, Named)
            return aligned(out, node.axes).clone()

        @staticmethod
        def backward(ctx: Any, *grads: torch.Tensor) -> Any:
            inner = inside(ctx.saved_tensors)
            inner.values[node.grad] = Named(grads[0], node.axes)
            found: dict[str, torch.Tensor] = {}
            for cotangent in node.cotangents:
                found[cotangent.input] = _cotangent(inner, cotangent, program)
            return tuple(
                aligned(Named(found[f.name], f.axes), axes) if f.name in found else None
                for f, axes in zip(node.formals, shapes, strict=True)
            )

    result: torch.Tensor = Custom.apply(*tensors)
    return Named(result, node.axes)


def _cotangent(inner: Evaluator, cotangent: Cotangent, program: Program) -> torch.Tensor:
    for item in cotangent.body:
        execute(inner, item, program)
    out = inner.values[cotangent.value]
    if not isinstance(out, Named):
        raise AttnInternalError("a gradient without axes")
    return out.t


CALLS = {"vjp": custom, "rfft": fourier, "irfft": fourier, "grad": gradient}
