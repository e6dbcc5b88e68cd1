"""Programs as PyTorch operators, registered with `torch.library`: what autograd, `torch.compile` and export see of an op.

An operator `attncc::<pattern>_<hash>` takes the tensors of one program and gives its outputs, followed by what the backward pass
needs (statistics, never weights). Its fake gives shapes from the program's own size equations, so sizes stay symbols. The backward
pass is an operator of its own; differentiating that one again goes through the eager backend.

PyTorch allows an operator 64 arguments: more tensors than that are passed as one list.
"""

from __future__ import annotations

import hashlib
import keyword
import math
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch

from ..errors import AttnUnsupportedError
from ..ir.nodes import Dims, Program
from ..ir.printer import show
from ..ir.sizes import solve
from . import dispatch
from .backends import Backend, named
from .gradient import Gradient, Saved, dispatching, gradient
from .inputs import dense

_library = torch.library.Library("attncc", "FRAGMENT")
_made: dict[str, Operator] = {}
_lock = threading.Lock()
MAX_ARGUMENTS = 64


class Facts(NamedTuple):
    """Names that a call needs; `name` is the operator's. kinds: of the inputs; truths: those of kind bool. direct: plain PyTorch
    code, better called as it is outside of graphs. listed: the operator takes its tensors as one list."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    floats: tuple[str, ...]
    kinds: tuple[str, ...]
    consts: tuple[str, ...]
    truths: tuple[str, ...]
    direct: bool
    listed: bool


@dataclass(frozen=True)
class Operator:
    """A registered program. The overload takes the tensors of `facts.inputs` and gives the outputs, then what is saved. kernels, taped:
    what PyTorch's dispatcher calls in the end, below autograd and with a node on its tape."""

    facts: Facts
    way: Gradient
    overload: Callable[..., Any]
    kernels: _Kernels
    taped: Callable[..., Any]

    def __call__(self, tensors: Sequence[torch.Tensor]) -> Any:
        """As the overload does, without the dispatcher where that would find nothing else to do."""
        reached = dispatch.reached(tensors)
        if reached == "tape":
            taped = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
            return self.taped(*tensors) if taped else self.kernels.run(*tensors)
        if reached == "kernel":
            return self.kernels.forward(*tensors)
        return self.overload(*([tensors] if self.facts.listed else tensors))


def operator(program: Program, backend: Backend, outputs: Sequence[str]) -> Operator:
    """The operator of a program, registered at first use."""
    text = "\n".join((show(program), *outputs, backend.name))
    name = f"{re.sub(r'[^A-Za-z0-9_]', '_', program.name)}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    with _lock:
        if name not in _made:
            _made[name] = _register(name, program, backend, tuple(outputs))
        return _made[name]


def registered(name: str) -> Operator:
    """The operator of a name."""
    return _made[name]


def _register(name: str, program: Program, backend: Backend, outputs: tuple[str, ...]) -> Operator:
    way = gradient(program, backend, outputs)
    inputs = tuple(i.name for i in program.inputs)
    made = _Kernels(name, program, outputs, inputs, way)
    count = len(outputs) + len(made.extra)
    listed = len(inputs) > MAX_ARGUMENTS
    args = "Tensor[] inputs" if listed else ", ".join(f"Tensor {_safe(n)}" for n in inputs)
    results = "Tensor" if count == 1 else "(" + ", ".join(["Tensor"] * count) + ")"
    _library.define(f"{name}({args}) -> {results}")
    _library.define(f"{name}_backward(Tensor[] grads, int[] which, Tensor[] inputs, Tensor[] saved, bool[] needs) -> Tensor[]")
    _library.impl(name, _of_list(made.forward) if listed else made.forward, "CompositeExplicitAutograd")
    _library.impl(f"{name}_backward", made.backward, "CompositeExplicitAutograd")
    _library.impl(f"{name}_backward", _batched, "Batched")
    torch.library.register_fake(f"attncc::{name}", _of_list(made.fake) if listed else made.fake, lib=_library)
    torch.library.register_fake(f"attncc::{name}_backward", made.fake_backward, lib=_library)
    again = getattr(torch.ops.attncc, f"{name}_backward").default

    def pull(ctx: Any, *grads: torch.Tensor | None) -> Any:
        which = [n for n, g in enumerate(grads[: len(outputs)]) if g is not None and made.floats[n]]
        needs = [bool(n) for n in (ctx.needs_input_grad[0] if listed else ctx.needs_input_grad)]
        if not which or not any(needs):
            return [None for _ in inputs] if listed else tuple(None for _ in inputs) if len(inputs) > 1 else None
        tensors = list(ctx.saved_tensors)
        given = [g if g.layout is torch.strided else g.to_dense() for n in which if (g := grads[n]) is not None]
        call = made.backward if not torch.is_grad_enabled() and dispatch.reached((*given, *tensors)) == "tape" else again
        found = iter(call(given, which, tensors[: len(inputs)], tensors[len(inputs) :], needs))
        back = tuple(next(found) if need else None for need in needs)
        return list(back) if listed else back if len(back) > 1 else back[0]

    keep = made.keep_list if listed else made.keep
    torch.library.register_autograd(f"attncc::{name}", pull, setup_context=keep, lib=_library)
    torch.library.register_vmap(f"attncc::{name}_backward", made.each, lib=_library)
    torch.library.register_autograd(f"attncc::{name}_backward", made.pull_again, setup_context=made.keep_again, lib=_library)
    floats = tuple(i.name for i in program.inputs if i.kind == "float")
    kinds = tuple(i.kind for i in program.inputs)
    consts = tuple(i.name for i in program.inputs if i.const)
    truths = tuple(i.name for i in program.inputs if i.kind == "bool")
    facts = Facts(name, inputs, outputs, floats, kinds, consts, truths, backend.name == "eager", listed)
    overload = getattr(torch.ops.attncc, name).default
    return Operator(facts, way, overload, made, (lambda *x: overload(x)) if listed else _taped(name, made, pull))


def _taped(name: str, made: _Kernels, pull: Callable[..., Any]) -> Callable[..., Any]:
    """The forward pass with a node on autograd's tape, as the dispatcher makes one of what is registered."""

    def forward(ctx: Any, *tensors: torch.Tensor) -> Any:
        output = made.run(*tensors)
        made.keep(ctx, tensors, output)
        return output

    parts = {"forward": staticmethod(forward), "backward": staticmethod(pull)}
    return cast("type[torch.autograd.Function]", type(name, (torch.autograd.Function,), parts)).apply


def _of_list(function: Callable[..., Any]) -> Callable[[list[torch.Tensor]], Any]:
    """A function of tensors as one of their list."""
    return lambda inputs: function(*inputs)


def _safe(name: str) -> str:
    """A tensor's name as an argument of a schema."""
    return f"{name}_" if keyword.iskeyword(name) or name in ("self", "out", "Tensor", "int", "float", "bool") else name


class _Kernels:
    """The implementations of one operator and its backward."""

    def __init__(self, name: str, program: Program, outputs: tuple[str, ...], inputs: tuple[str, ...], way: Gradient) -> None:
        self.name, self.program, self.outputs, self.inputs, self.way = name, program, outputs, inputs, way
        by_name = {o.name: o for o in program.outputs}
        self.stored: list[Dims] = [by_name[o].dims for o in outputs]
        self.kinds = [by_name[o].kind for o in outputs]
        self.floats = [k == "float" for k in self.kinds]
        self.twins = [self._twin(s) for s in way.saved]
        self.extra = [s for s, twin in zip(way.saved, self.twins, strict=True) if twin is None]

    def _twin(self, item: Saved) -> int | None:
        """Which output holds what is saved, in the same order of axes; None when the operator gives it as a result of its own."""
        for n, name in enumerate(self.outputs):
            out = next(o for o in self.program.outputs if o.name == name)
            if (
                out.value == item.name
                and out.kind == "float"
                and not item.acc
                and tuple(a for d in out.dims for a in d) == item.axes
            ):
                return n
        return None

    def forward(self, *tensors: torch.Tensor) -> Any:
        for name, t in zip(self.inputs, tensors, strict=True):  # a graph may hide the layout of what it is given
            dense(name, t, None)
        with dispatching():
            return self.run(*tensors)

    def run(self, *tensors: torch.Tensor) -> Any:
        """As forward, where dispatch reaches autograd anyway."""
        with torch.no_grad():  # a program may differentiate something itself
            found, saved = self.way.forward(dict(zip(self.inputs, tensors, strict=True)))
        extra = [t for t, twin in zip(saved, self.twins, strict=True) if twin is None]
        results = _own([*(found[o] for o in self.outputs), *extra], tensors)
        return results[0] if len(results) == 1 else tuple(results)

    def fake(self, *tensors: torch.Tensor) -> Any:
        sizes = solve(self.program, {n: t.shape for n, t in zip(self.inputs, tensors, strict=True)})
        dtype = _result_type([t for t, i in zip(tensors, self.program.inputs, strict=True) if i.kind == "float"])
        acc = torch.float64 if dtype == torch.float64 else torch.float32
        kinds = {"float": dtype, "int": torch.int64, "bool": torch.bool}
        device = tensors[0].device if tensors else torch.device("cpu")
        shapes = [[math.prod(sizes[a] for a in dim) for dim in dims] for dims in self.stored]
        made = [torch.empty(s, dtype=kinds[k], device=device) for s, k in zip(shapes, self.kinds, strict=True)]
        for item in self.extra:
            kept = kinds | {"float": acc if item.acc else dtype}
            made.append(torch.empty([sizes[a] for a in item.axes], dtype=kept[item.kind], device=device))
        return made[0] if len(made) == 1 else tuple(made)

    def keep(self, ctx: Any, inputs: Any, output: Any) -> None:
        results = (output,) if isinstance(output, torch.Tensor) else tuple(output)
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(t for n, t in enumerate(results) if n >= len(self.outputs) or not self.floats[n]))
        extra = iter(results[len(self.outputs) :])
        ctx.save_for_backward(*inputs, *(next(extra) if twin is None else results[twin] for twin in self.twins))

    def keep_list(self, ctx: Any, inputs: Any, output: Any) -> None:
        self.keep(ctx, inputs[0], output)

    def backward(
        self,
        grads: list[torch.Tensor],
        which: list[int],
        inputs: list[torch.Tensor],
        saved: list[torch.Tensor],
        needs: list[bool],
    ) -> list[torch.Tensor]:
        given = dict(zip(self.inputs, inputs, strict=True))
        wanted = [n for n, need in zip(self.inputs, needs, strict=True) if need]
        with torch.no_grad():
            saved = self._unfolded(given, saved)
            found = self.way.backward(given, saved, {self.outputs[n]: g for n, g in zip(which, grads, strict=True)}, wanted)
        made = [found[n].to(given[n].dtype) if n in found else torch.zeros_like(given[n]) for n in wanted]
        return _own([t.contiguous() for t in made], (*grads, *inputs, *saved))

    def _unfolded(self, given: dict[str, torch.Tensor], saved: list[torch.Tensor]) -> list[torch.Tensor]:
        """What is saved with one dim an axis: an output may be stored with several axes in one dim."""
        items = list(zip(self.way.saved, saved, strict=True))
        if all(t.dim() == len(item.axes) for item, t in items):
            return saved
        sizes = solve(self.program, {n: t.shape for n, t in given.items()})
        return [t.reshape([sizes[a] for a in item.axes]) for item, t in items]

    def fake_backward(
        self,
        grads: list[torch.Tensor],
        which: list[int],
        inputs: list[torch.Tensor],
        saved: list[torch.Tensor],
        needs: list[bool],
    ) -> list[torch.Tensor]:
        return [torch.empty(t.shape, dtype=t.dtype, device=t.device) for t, need in zip(inputs, needs, strict=True) if need]

    def each(self, info: Any, dims: Any, *args: Any) -> Any:
        """The backward pass of a batch of gradients, one after the other. dims: where the batch is in each tensor, None without."""
        again = getattr(torch.ops.attncc, f"{self.name}_backward").default

        def row(arg: Any, at: Any, n: int) -> Any:
            if isinstance(arg, torch.Tensor):
                return arg if at is None else arg.select(at, n)
            return arg if at is None or isinstance(at, int) else [row(a, d, n) for a, d in zip(arg, at, strict=True)]

        rows = [again(*(row(arg, at, n) for arg, at in zip(args, dims, strict=True))) for n in range(info.batch_size)]
        columns = [torch.stack(column) for column in zip(*rows, strict=True)]
        return columns, [0] * len(columns)

    def keep_again(self, ctx: Any, inputs: Any, output: Any) -> None:
        grads, which, tensors, saved, needs = inputs
        ctx.which, ctx.needs, ctx.counts = which, needs, (len(grads), len(tensors), len(saved))
        ctx.save_for_backward(*grads, *tensors)

    def pull_again(self, ctx: Any, seconds: Sequence[torch.Tensor]) -> Any:
        """The gradient of the backward pass, through the eager backend, which can be differentiated further."""
        count, _, kept = ctx.counts
        further = torch.is_grad_enabled()
        grads, tensors = ctx.saved_tensors[:count], ctx.saved_tensors[count:]
        eager = named("eager").prepare(self.program, self.outputs)
        with torch.enable_grad():
            leaves, heads = [_leaf(t, further) for t in tensors], [_leaf(g, further) for g in grads]
            found = eager(dict(zip(self.inputs, leaves, strict=True)))
            wanted = [t for t, need in zip(leaves, ctx.needs, strict=True) if need]
            outs = [found[self.outputs[n]] for n in ctx.which]
            firsts = torch.autograd.grad(outs, wanted, heads, create_graph=True, allow_unused=True)
            pairs = [(f, s) for f, s in zip(firsts, seconds, strict=True) if f is not None and s is not None and f.requires_grad]
            into = [*heads, *(t for t in leaves if t.requires_grad)]
            got: Sequence[torch.Tensor | None] = [None] * len(into)
            if pairs:
                firsts, seconds = zip(*pairs, strict=True)
                got = torch.autograd.grad(firsts, into, seconds, create_graph=further, allow_unused=True)
        rest = iter(got[count:])
        return list(got[:count]), None, [next(rest) if t.requires_grad else None for t in leaves], [None] * kept, None


def _batched(*args: Any) -> Any:
    """The backward pass of a batch in PyTorch's older way, which operators cannot take part in."""
    raise AttnUnsupportedError(
        "vectorize=True and is_grads_batched=True are not for attncc operators", None, "torch.func.jacrev, torch.func.vmap"
    )


def _leaf(t: torch.Tensor, connected: bool) -> torch.Tensor:
    """A tensor to differentiate by, apart from any other of the same memory. connected: what it comes from may be asked for later."""
    if connected and t.requires_grad:
        return t.view_as(t)
    return t.detach().requires_grad_(t.is_floating_point())


def _own(results: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The results, copied where they share memory with an argument or with one another: operators must not alias."""
    taken = {t.untyped_storage().data_ptr() for t in others if t.numel()}
    out = []
    for t in results:
        memory = t.untyped_storage().data_ptr()
        if memory in taken and t.numel():
            t = t.clone()
            memory = t.untyped_storage().data_ptr()
        taken.add(memory)
        out.append(t)
    return out


def _result_type(floats: Sequence[torch.Tensor]) -> torch.dtype:
    """The dtype of float outputs: what the float inputs promote to."""
    if not floats:
        return torch.get_default_dtype()
    dtype = floats[0].dtype
    for t in floats[1:]:
        dtype = torch.promote_types(dtype, t.dtype)
    return dtype
