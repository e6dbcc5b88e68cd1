"""`Op`: a pattern with its parameters, callable on tensors. One program per set of present inputs, made at first use."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..errors import AttnError, AttnNameError, AttnTypeError, AttnUnsupportedError, Source
from ..ir.nodes import Program
from ..ir.sizes import sized_by_data
from . import dispatch, graphs, inputs, texts, tuning
from .again import Again, Recipe, sight
from .backends import choose as choose_backend
from .backends import named
from .declaration import Declaration, Written
from .operators import Facts, Operator, operator, registered
from .transforms import transformed

if TYPE_CHECKING:
    from ..language import tree
    from ..passes.resolve.declared import Declared
    from ..passes.resolve.scope import Library
    from .explain import Explanation


@dataclass(frozen=True)
class Signature:
    """Names of the inputs, parameters and outputs, in order."""

    inputs: tuple[str, ...]
    params: tuple[str, ...]
    outputs: tuple[str, ...]


class Op:
    """An attention operator: call it with tensors in the order of the signature, or by name.

    `op(q, k, v)` gives a tensor, or a named tuple when the pattern has several outputs; `outputs=("o", "lse")` asks for chosen
    ones, those on request included; `backend="eager" | "cpu" | "triton"` overrides the choice by device. Optional inputs may be
    left out or None.

    Shapes are those of the signature: one dim for each of its dims, an axis of equal name of equal size. Float inputs are float32,
    bfloat16, float16 or float64, float outputs have the dtype that these promote to. Int inputs have up to 64 bits, unsigned ones
    up to 32, int outputs are int64; a bool input is bool or uint8. Sums accumulate in float32, in float64 where an input is float64.

    Raises AttnTypeError for an argument that is no dense tensor of such a dtype, AttnAbsentError for a missing one, AttnNameError for
    an unknown name, AttnShapeError for sizes that do not fit or break a `require`, AttnValueError for data that break an `assume`,
    AttnUnsupportedError for what a backend that is asked for does not take.
    """

    def __init__(
        self, library: Library, decl: tree.Pattern, params: Mapping[str, Any], source: Source, autotune: bool = False
    ) -> None:
        self._begin(Declaration(library, decl, params, source), autotune)

    @classmethod
    def written(cls, source: Source, pattern: str | None, params: Mapping[str, Any], autotune: bool = False) -> Op:
        """The op of a text."""
        made = cls.__new__(cls)
        made._begin(Written(source, pattern, params), autotune)
        return made

    def _begin(self, declaration: Declaration, autotune: bool) -> None:
        self._declaration, self._head = declaration, declaration.head
        self.autotune = autotune
        self._measures = autotune or tuning.wanted()
        self._tuned: set[Any] = set()
        self.params = dict(declaration.params)
        self.name = self._head.name
        self._programs: dict[tuple[tuple[str, int], ...], Program] = {}
        self._entries: dict[Any, Operator] = {}
        self._calls: dict[Any, Facts] = {}
        self._results: dict[tuple[str, ...], Any] = {}
        self._again = Again()
        self._inputs = self._head.inputs

    def __getstate__(self) -> dict[str, Any]:
        return {"declaration": self._declaration, "autotune": self.autotune}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._begin(state["declaration"], state["autotune"])

    def __deepcopy__(self, memo: dict[int, Any]) -> Op:
        """An op does not change: a copy of a model shares it."""
        return self

    @property
    def _library(self) -> Library:
        return self._declaration.opened[0]

    @property
    def _decl(self) -> tree.Pattern:
        return self._declaration.opened[1]

    @property
    def _specs(self) -> Declared:
        return self._declaration.specs

    @property
    def _source(self) -> Source:
        return self._declaration.source

    def __repr__(self) -> str:
        params = ", ".join(f"{k}={v!r}" for k, v in self.params.items())
        return f"<attncc.Op {self.name}({params}) from {self._source.name}>"

    @property
    def signature(self) -> Signature:
        """Names of inputs, parameters and outputs, in order. Outputs are those of the default call."""
        return Signature(self._inputs, self._head.params, self._head.outputs)

    @property
    def title(self) -> str:
        """The comment above the pattern: what it is and where it is from."""
        return self._head.title

    def bind(self, tensors: Sequence[Any], named: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """Arguments by input name; None counts as not given. Raises AttnTypeError, AttnNameError."""
        if len(tensors) > len(self._inputs):
            raise AttnTypeError(
                f"'{self.name}' takes {len(self._inputs)} tensors, found {len(tensors)}",
                self._head.span,
                f"inputs: {', '.join(self._inputs)}",
            )
        given: dict[str, Any] = dict(zip(self._inputs, tensors, strict=False))
        for name, t in named.items():
            if name in given:
                raise AttnTypeError(f"input '{name}' is given by position and by name", self._head.span)
            if name in self._head.off and name not in self._inputs:
                raise AttnTypeError(
                    f"input '{name}' is not used with these parameters",
                    self._head.off[name],
                    "leave it out, or change the parameters in this condition",
                )
            if name not in self._inputs:
                kind = "a parameter: give it to attncc.load or attncc.compile" if name in self._head.params else "not an input"
                raise AttnNameError(f"'{name}' is {kind}", self._head.span, f"inputs: {', '.join(self._inputs)}")
            given[name] = t
        out = {}
        for name, t in given.items():
            if t is None:
                continue
            out[name] = inputs.dense(name, t, self._head.span)
        return out

    def program(self, *tensors: torch.Tensor, **named: torch.Tensor) -> Program:
        """The program for these tensors: which optional inputs are there and how many dims they have. Raises as a call does."""
        return self.specialise({n: t.dim() for n, t in self.bind(tensors, named).items()})

    def specialise(self, present: Mapping[str, int]) -> Program:
        """The program for present inputs (name -> number of dims), resolved, verified and cached.

        Raises AttnNameError, AttnTypeError or AttnAbsentError where the pattern does not take them.
        """
        key = tuple(sorted(present.items()))
        if key not in self._programs:
            self._programs[key] = self._declaration.program(key)
        return self._programs[key]

    @property
    def ir(self) -> Program:
        """The program with no optional input present; with all of them where the pattern cannot do without."""
        from ..passes.resolve.declared import stored_dims

        try:
            return self.specialise(stored_dims(self._library, self._decl, self.params))
        except AttnTypeError:
            if all(not s.decl.optional for s in self._specs.inputs):
                raise
            return self.specialise(stored_dims(self._library, self._decl, self.params, optional=True))

    def __call__(
        self, *tensors: Any, outputs: Sequence[str] | None = None, backend: str | None = None, **named_tensors: Any
    ) -> Any:
        seen = None if torch.compiler.is_compiling() else sight(tensors, named_tensors, outputs, backend)
        if seen is not None and (recipe := self._again.recipes.get(seen)) is not None:
            return recipe((*tensors, *named_tensors.values()))
        bound = self.bind(tensors, named_tensors)
        transforming = graphs.transforming()
        device = inputs.together(bound, self._head.span).type
        names = outputs if isinstance(outputs, tuple | list) else () if outputs is None else (outputs,)
        if not all(isinstance(o, str) for o in names):
            raise AttnTypeError(f"outputs are names, found {outputs!r}", self._head.span, 'outputs=("o", "lse")')
        asked = outputs if outputs is None or isinstance(outputs, str) else tuple(outputs)
        if transforming:
            return graphs.apart(self._transformed, bound, asked, backend, device)
        found = self._run(bound, asked, backend, device)
        if seen is not None and not self._measures:
            self._again.learn(seen, lambda: self._recorded(bound, asked, backend, device))
        return found

    def _recorded(
        self, bound: dict[str, torch.Tensor], asked: tuple[str, ...] | str | None, backend: str | None, device: str
    ) -> Recipe | None:
        """The recipe of a call that has been made; None where its backend has none, or something is done before kernels are called."""
        facts = self._checked(
            tuple(t.dtype for t in bound.values()), tuple((n, t.dim()) for n, t in bound.items()), asked, backend, device
        )
        if facts.direct or any(bound[n].dtype != torch.bool for n in facts.truths) or not dispatch.reached(bound.values()):
            return None
        made = registered(facts.name).way.again({n: bound[n] for n in facts.inputs}, facts.outputs)
        if made is None:
            return None
        order = [list(bound).index(n) for n in facts.inputs]
        result = self._results[facts.outputs] if len(facts.outputs) > 1 else lambda only: only
        return lambda tensors: result(*made([tensors[n] for n in order]))

    def _transformed(
        self, bound: dict[str, torch.Tensor], asked: tuple[str, ...] | str | None, backend: str | None, device: str
    ) -> Any:
        """The results of a call while something is differentiated by other means than a tape: by PyTorch's own operators if it is this."""
        if transformed(bound.values()):
            if backend not in (None, "eager"):
                help = "leave 'backend' out: the call then goes through eager"
                raise AttnUnsupportedError("torch.func and forward-mode derivatives see no kernels", self._head.span, help)
            backend = "eager"
        return self._run(bound, asked, backend, device)

    def _run(self, bound: dict[str, torch.Tensor], asked: tuple[str, ...] | str | None, backend: str | None, device: str) -> Any:
        """The results of a call. device: the type of it."""
        dims, dtypes = tuple((n, t.dim()) for n, t in bound.items()), tuple(t.dtype for t in bound.values())
        call = (dtypes, dims, asked, backend, device)
        found = self._facts(*call)
        if isinstance(found, str):
            graphs.leave(found)
        facts: Facts = graphs.apart(self._checked, *call) if isinstance(found, str) else found
        if device != "meta" and torch.is_autocast_enabled(device):
            bound = _autocast(facts.floats, bound, torch.get_autocast_dtype(device))
        compiling = torch.compiler.is_compiling()
        for name in facts.truths:
            if bound[name].dtype != torch.bool:
                bound = {**bound, name: bound[name] != 0}
        if self._measures and not compiling:
            self._tune_once(bound, asked, backend, device)
        for name in facts.consts:
            if bound[name].requires_grad:
                raise AttnTypeError(f"'{name}' gets no gradient here, but asks for one", self._head.span, f"pass {name}.detach()")
        if facts.direct and not compiling:
            made = registered(facts.name).way.forward(bound)[0]
            results = [made[o] for o in facts.outputs]
        else:
            tensors = [bound[n] for n in facts.inputs]
            if compiling:
                out = getattr(torch.ops.attncc, facts.name).default(*([tensors] if facts.listed else tensors))
            else:
                out = registered(facts.name)(tensors)
            results = [out] if isinstance(out, torch.Tensor) else list(out)[: len(facts.outputs)]
        if len(results) == 1:
            return results[0]
        return self._results[facts.outputs](*results)

    @graphs.constant
    def _facts(self, *call: Any) -> Facts | str:
        """What a compiled graph takes as constants: everything about a call but the tensors, or what is wrong with it."""
        try:
            return self._checked(*call)
        except AttnError as error:
            return str(error)

    def _checked(self, *call: Any) -> Facts:
        """The facts of a call. Raises AttnError subclasses: what is wrong with it."""
        if call not in self._calls:
            dtypes, dims, *rest = call
            facts = self._entry(dims, *rest).facts
            kinds = dict(zip(facts.inputs, facts.kinds, strict=True))
            for (name, _), dtype in zip(dims, dtypes, strict=True):
                if dtype not in inputs.TYPES[kinds[name]]:
                    raise inputs.unsuited(next(i for i in self.specialise(dict(dims)).inputs if i.name == name), dtype)
            if facts.outputs not in self._results:  # names that Python reserves become _0, _1, ...
                self._results[facts.outputs] = namedtuple(self.name, facts.outputs, rename=True)
            self._calls[call] = facts
        return self._calls[call]

    def _entry(
        self, dims: tuple[tuple[str, int], ...], outputs: tuple[str, ...] | str | None, backend: str | None, device: str
    ) -> Operator:
        """The operator for inputs of these dims, asked outputs, a backend and a device type."""
        key = (dims, outputs, backend, device)
        if key not in self._entries:
            program = self.specialise(dict(dims))
            chosen = named(backend) if backend is not None else choose_backend(program, device)
            if sized_by_data(program):  # plans and kernels go by shapes
                chosen = named("eager")
            self._entries[key] = operator(program, chosen, self._wanted(program, outputs))
        return self._entries[key]

    def explain(self, *tensors: Any, **named_tensors: Any) -> Explanation:
        """The decisions about the program for these tensors, or, without any, for a call without optional inputs.

        `str` of it is plain text: classes of nodes, masks, mixing order, kernels, how each step is differentiated. Raises as a call does.
        """
        from ..ir.sizes import solve
        from .explain import explain

        if not tensors and not named_tensors:
            return explain(self.ir)
        bound = self.bind(tensors, named_tensors)
        program = self.specialise({n: t.dim() for n, t in bound.items()})
        return explain(program, solve(program, {n: tuple(t.shape) for n, t in bound.items()}, bound))

    def tune(
        self, *tensors: Any, outputs: Sequence[str] | None = None, path: str | Path | None = None,
        timer: Callable[..., float] | None = None, quiet: bool = False, **named_tensors: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """Measure the kernels of a call, forward and backward, in several configurations, and use the best from now on.

        path: a file to write them to as well, for `pin` and ATTNCC_PINNED elsewhere. timer: gives the milliseconds of (call, kernel,
        configuration) instead of Triton's `do_bench`. quiet: without a progress bar. Gives what was found: the target, the device,
        Triton's version and a configuration for each kernel. Raises AttnUnsupportedError without a CUDA device.
        """
        bound = self.bind(tensors, named_tensors)
        program = self.specialise({n: t.dim() for n, t in bound.items()})
        return tuning.tune(program, self._wanted(program, outputs), bound, path, timer, quiet)

    def pin(self, path: str | Path) -> Op:
        """Use the measured configurations of a file in this process, for every kernel that it names; gives the op itself.

        Raises AttnValueError for a file that is none; a kernel raises AttnUnsupportedError when the file is of another device.
        """
        tuning.pin(path)
        return self

    def _tune_once(self, bound: Mapping[str, torch.Tensor], outputs: Any, backend: str | None, device: str) -> None:
        """Tune for these dims, last sizes and dtypes, unless done; where Triton runs the program, or where it was asked for."""
        key = (outputs, backend, device, tuple((n, t.dim(), t.dtype, *t.shape[-1:]) for n, t in bound.items()))
        if key in self._tuned:
            return
        self._tuned.add(key)
        program = self.specialise({n: t.dim() for n, t in bound.items()})
        chosen = named(backend) if backend is not None else choose_backend(program, device)
        if self.autotune or (chosen.name == "triton" and device == "cuda"):
            plain = {n: t.detach() for n, t in bound.items()}
            tuning.tune(program, self._wanted(program, outputs), plain)

    def source(self, target: str = "cuda:90", sizes: Mapping[str, int] | None = None, bits: int = 16) -> str:
        """The generated kernels, as text: Triton for a target like cuda:90, C for "cpu".

        sizes: of head dimensions, 64 where not given; bits: of a float, 32 or 64 for C too. Raises AttnUnsupportedError when
        nothing of the pattern is fused, AttnValueError for an unknown target.
        """
        backend: Any = named("cpu" if target == "cpu" else "triton")
        program = self.ir
        reasons = backend.refuses(program)
        if reasons:
            raise AttnUnsupportedError(f"'{self.name}' has no fused kernel: {reasons[0]}", self._head.span)
        text: str = backend.source(program, self._wanted(program, None), dict(sizes or {}), target, bits)
        return text

    def _wanted(self, program: Program, outputs: Sequence[str] | None) -> tuple[str, ...]:
        if outputs is None:
            return tuple(o.name for o in program.outputs if not o.on_request)
        if isinstance(outputs, str):
            outputs = (outputs,)
        known = {o.name for o in program.outputs}
        for name in outputs:
            if name not in known:
                raise AttnNameError(
                    f"'{self.name}' has no output '{name}' here", self._head.span, f"outputs: {', '.join(sorted(known))}"
                )
        if not outputs:
            raise AttnTypeError("no output is asked for", self._head.span)
        return tuple(outputs)


def _autocast(floats: Sequence[str], tensors: Mapping[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Float inputs in the autocast dtype, as for scaled_dot_product_attention; float64 and integers stay."""
    return {n: t.to(dtype) if n in floats and t.dtype != torch.float64 else t for n, t in tensors.items()}


def compile(path_or_source: str | Path, *, pattern: str | None = None, autotune: bool = False, **params: Any) -> Op:
    """An op from a `.attn` file or from the text of one.

    `pattern` names the pattern when the file holds several; `params` are its compile-time parameters. `autotune`: the first call
    with new dims, dtypes or head dimensions measures configurations on the device (`Op.tune`).

    Raises AttnSyntaxError, AttnNameError, AttnTypeError, AttnValueError, each with file, line and column; AttnUnsupportedError for a
    file that cannot be read. Nothing in a text is evaluated by Python.
    """
    return Op.written(texts.read(path_or_source), pattern, params, autotune)


def load(name: str, *, autotune: bool = False, **params: Any) -> Op:
    """A shipped pattern by name, e.g. `attncc.load("neighborhood2d", window=(5, 7))`; `sigmoid_core` is a part of sigmoid.attn.

    autotune, params: as in `compile`. Raises AttnNameError for a name that no shipped file declares, else as `compile` does.
    """
    source, pattern = texts.find(name)
    return Op.written(source, pattern, params, autotune)


def patterns() -> tuple[texts.Shipped, ...]:
    """Names, titles and citations of all shipped patterns, by name. `attncc list` prints them."""
    return texts.patterns()
