"""What is known of a pattern before there are tensors: its inputs, parameters and outputs, and how many dims inputs have."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import AttnError, AttnNameError, AttnTypeError, Source, Span
from ...language import tree
from ...language.walk import descend
from .expressions import static_bool
from .layouts import leaves
from .outputs import entries
from .overloads import axes_in
from .params import bind_params, type_text
from .ranks import packs_in, ranks_of_lists, scope_env, stored_count
from .scope import Builder, Library, Scope, unreserved
from .signatures import InputSpec, expand_inputs, expand_name, gather, register_wheres
from .values import Absent


@dataclass(frozen=True)
class Declared:
    """A pattern's names for given parameters: every input that can be given, every parameter, the outputs of a plain call.

    types: declarations of the parameters. off: inputs that these parameters switch off, with their conditions.
    """

    inputs: tuple[InputSpec, ...]
    params: tuple[str, ...]
    outputs: tuple[str, ...]
    scope: Scope
    types: Mapping[str, tree.Param]
    off: Mapping[str, Span]


def inputs_of(library: Library, decl: tree.Pattern, params: Mapping[str, Any]) -> Declared:
    """Names of a pattern once its parameters are known; the parameters are checked. Raises AttnError subclasses."""
    scope = Scope(Builder(), library, axis_names=axes_in(library, decl), where=decl.name)
    sig = gather(scope, decl.params, decl.inputs, decl.where)
    check_known(params, sig.params, decl)
    call = Source("<call>", ", ".join(f"{n}={v!r}" for n, v in params.items()))
    bind_params(scope, sig.params, {n: (v, Span(call, 0, len(call.text))) for n, v in params.items()})
    for name in params:
        scope.get(name)
    register_wheres(scope, sig)
    inputs: list[InputSpec] = []
    off: dict[str, Span] = {}
    for spec, _ in expand_inputs(scope, decl.inputs):
        on = True
        unreserved(spec.name, spec.span)
        if spec.decl.cond is not None and not spec.decl.optional:
            scope.names.setdefault(spec.name, Absent(spec.name))
            on = _static_or_true(scope, spec)
            if not on:
                off[spec.name] = spec.decl.cond.span
        again = next((w for w in sig.wheres if isinstance(w.left, tree.Name) and w.left.plain == spec.name), None)
        if again is not None:
            raise AttnNameError(
                f"'{spec.name}' is an input and a number of 'where'", again.span, "one name, one meaning: rename one of them"
            )
        if spec.name in sig.params:
            raise AttnNameError(
                f"'{spec.name}' is an input and a parameter", spec.span, "one name, one meaning: rename one of them"
            )
        if on and any(spec.name == other.name and spec.decl.cond is None and other.decl.cond is None for other in inputs):
            raise AttnNameError(
                f"input '{spec.name}' is declared twice",
                spec.span,
                "give one another name, or conditions that exclude each other",
            )
        if on and not any(spec.name == other.name for other in inputs):
            inputs.append(spec)
    outputs = [name for name, optional in _output_names(scope, decl) if not optional]
    return Declared(tuple(inputs), tuple(sig.params), tuple(outputs), scope, sig.params, off)


def _static_or_true(scope: Scope, spec: InputSpec) -> bool:
    """Whether an input can be given; a condition on which others are present is decided at the call."""
    assert spec.decl.cond is not None
    if any(isinstance(n, tree.Call) for n in descend(spec.decl.cond)):
        return True
    return is_on(scope, spec)


def stored_dims(library: Library, decl: tree.Pattern, params: Mapping[str, Any], optional: bool = False) -> dict[str, int]:
    """Number of stored dims of every input that must be given; with optional, of those that may be left out as well.

    Raises AttnTypeError when a rank depends on the tensors.
    """
    return {name: dims for name, (dims, free) in input_dims(library, decl, params).items() if optional or not free}


def input_dims(
    library: Library, decl: tree.Pattern, params: Mapping[str, Any], rank: int | None = None
) -> dict[str, tuple[int, bool]]:
    """Number of stored dims of every input that can be given, and whether it may be left out.

    `rank` counts for packs whose rank only tensors give; without it such a pack of a required input raises AttnTypeError.
    An input on condition of what else is present counts as one that may be left out.
    """
    found = inputs_of(library, decl, params)
    sig = gather(found.scope, decl.params, decl.inputs, decl.where)
    ranks_of_lists(found.scope, sig)
    out = {}
    for spec in found.inputs:
        conditional = spec.decl.cond is not None and any(isinstance(n, tree.Call) for n in descend(spec.decl.cond))
        optional = spec.decl.optional or conditional
        dims = spec.decl.dims
        unknown = [p for p in packs_in(dims) if (p.name.plain or "") not in found.scope.names]
        if unknown and rank is None and not optional:
            raise AttnTypeError(
                f"the rank of '*{unknown[0].name.plain}' depends on the tensors",
                unknown[0].span,
                "use op.program(*tensors), or give a list parameter",
            )
        out[spec.name] = (sum(stored_count(found.scope, d) for d in dims) + len(unknown) * (rank or 0), optional)
    return out


def check_known(params: Mapping[str, Any], declared: Mapping[str, tree.Param], decl: tree.Pattern) -> None:
    for name in params:
        if name not in declared:
            near = difflib.get_close_matches(name, list(declared), 1)
            listing = ", ".join(f"{n}: {type_text(p.type)}" for n, p in declared.items()) or "none"
            help = f"did you mean '{near[0]}'?" if near else f"parameters: {listing}"
            raise AttnNameError(f"'{decl.name}' has no parameter '{name}'", decl.span, help)


def is_on(scope: Scope, spec: InputSpec) -> bool:
    """Whether an input takes part with these parameters and inputs. Declarations of one name exclude each other."""
    try:
        return spec.decl.cond is None or static_bool(scope, spec.decl.cond, f"the condition of '{spec.name}'")
    except AttnNameError as error:
        help = error.help or "the condition of an input may use parameters, and present(..) of an input before it"
        raise AttnNameError(error.message, error.span, help) from None


def _output_names(scope: Scope, decl: tree.Pattern) -> Iterator[tuple[str, bool]]:
    """Names of outputs and whether they come on request alone; where parameters that have no value decide, nothing is said."""
    for item in decl.outputs:
        outs = item.outputs if isinstance(item, tree.OutputFamily) else (item,)
        try:
            for env in entries(scope, item):
                with scope_env(scope, env):
                    for out in outs:
                        yield from ((name, out.optional) for name, _ in expand_name(scope, out.name))
        except AttnError:
            continue


def absent_axes(scope: Scope, decl: tree.Pattern) -> None:
    """An axis that only absent inputs and outputs have is absent too: what mentions it is."""
    absent = [(s, env) for s, env in expand_inputs(scope, decl.inputs) if isinstance(scope.names.get(s.name), Absent)]
    for item in decl.outputs:
        for family in entries(scope, item):
            with scope_env(scope, family):
                for out in item.outputs if isinstance(item, tree.OutputFamily) else (item,):
                    if out.cond is not None:
                        absent += [(InputSpec(name, out), {**family, **env}) for name, env in expand_name(scope, out.name)]
    for spec, env in absent:
        with scope_env(scope, env):
            for name, _ in leaves(scope, spec.decl.dims):
                if not name.endswith("'"):
                    scope.names.setdefault(name, Absent(spec.name))
