"""The whole of resolve: bind parameters and tensors, run the body, collect outputs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from ...errors import AttnAbsentError, AttnNameError, AttnTypeError, Source, Span
from ...ir.nodes import Input, Program
from ...language import tree
from .budget import MAX_DIMS
from .declared import absent_axes, check_known, is_on
from .finish import finish
from .layouts import AxisMaker
from .outputs import output, outputs_of
from .overloads import axes_in
from .params import bind_params
from .ranks import ranks, ranks_of_lists, scope_env, settle_params
from .scope import Builder, Library, Scope, reference
from .signatures import InputSpec, expand_inputs, gather, register_wheres
from .statements import run
from .values import Absent


def resolve(library: Library, decl: tree.Pattern, params: Mapping[str, Any], present: Mapping[str, int]) -> Program:
    """The program of a pattern for given parameters and present inputs (name -> number of stored dims).

    Raises AttnError subclasses that point into the source; nothing of the source is ever executed.
    """
    builder = Builder()
    scope = Scope(builder, library, axis_names=axes_in(library, decl), where=decl.name)
    sig = gather(scope, decl.params, decl.inputs, decl.where)
    check_known(params, sig.params, decl)
    call = Source("<call>", ", ".join(f"{n}={v!r}" for n, v in params.items()))
    where = Span(call, 0, len(call.text))
    bind_params(scope, sig.params, {n: (v, where) for n, v in params.items()})
    equations = register_wheres(scope, sig)
    for name in sig.params:
        builder.taken.add(name)
    specs: list[tuple[InputSpec, dict[str, Any]]] = []
    off: dict[str, InputSpec] = {}
    for spec, env in expand_inputs(scope, decl.inputs):
        builder.taken.add(spec.name)
        if not is_on(scope, spec):
            off[spec.name] = spec
            scope.names.setdefault(spec.name, Absent(spec.name))
            continue
        if any(spec.name == other.name for other, _ in specs):
            raise AttnNameError(
                f"input '{spec.name}' is declared twice", spec.span, "give the declarations conditions that exclude each other"
            )
        if spec.name in present:
            specs.append((spec, env))
            scope.names[spec.name] = reference(spec.name, (), "float")  # present(x) in later conditions
        elif spec.decl.optional:
            scope.names[spec.name] = Absent(spec.name)
        else:
            raise AttnAbsentError(f"input '{spec.name}' is missing", spec.span, "pass it by position or by name")
    for name, spec in off.items():
        if name in present and not any(name == other.name for other, _ in specs):
            assert spec.decl.cond is not None
            raise AttnTypeError(f"input '{name}' is not used with these parameters", spec.decl.cond.span, "leave it out")
    _unused(present, {s.name for s, _ in specs}, decl)
    scope.ranks = dict(present)
    ranks_of_lists(scope, sig)
    ranks(scope, equations, [(s, env, present[s.name]) for s, env in specs])
    maker = AxisMaker(scope, equations)
    maker.aliases()
    for spec, env in specs:
        with scope_env(scope, env):
            dims = maker.dims(spec.decl.dims)
        if len(dims) > MAX_DIMS:
            raise AttnTypeError(f"'{spec.name}' has {len(dims)} dims, a tensor has {MAX_DIMS} at most", spec.span)
        kind = spec.decl.type if spec.decl.type in ("int", "bool") else "float"
        builder.inputs[spec.name] = Input(spec.name, dims, kind or "float", spec.decl.type == "const", spec.span)
        axes = tuple(a for dim in dims for a in dim)
        if len(set(axes)) != len(axes):
            raise _repeated(spec, axes)
        scope.names[spec.name] = reference(spec.name, axes, kind or "float")
    maker.sizes()
    settle_params(scope, sig.params)
    outs = list(outputs_of(scope, decl))
    stored = [(spec, maker.dims(spec.decl.dims)) for spec in outs]
    scope.outputs = {spec.name: tuple(a for dim in dims for a in dim) for spec, dims in stored}
    absent_axes(scope, decl)
    run(scope, decl.body)
    for n, (spec, _) in enumerate(stored):
        if any(spec.name == other.name for other, _ in stored[:n]):
            raise AttnNameError(f"output '{spec.name}' is declared twice", spec.span, "give one of them another name")
        if len(set(scope.outputs[spec.name])) < len(scope.outputs[spec.name]):
            raise _repeated(spec, scope.outputs[spec.name])
    outputs = tuple(output(scope, spec, dims) for spec, dims in stored)
    return finish(decl.name, builder, outputs)


def _repeated(spec: Any, axes: tuple[str, ...]) -> AttnTypeError:
    """The error for dims that name one axis in two places."""
    twice = next(a for n, a in enumerate(axes) if a in axes[:n])
    return AttnTypeError(f"'{spec.name}' names the axis '{twice}' twice", spec.span, f"use its twin for the second one: {twice}'")


def _unused(present: Mapping[str, int], known: set[str], decl: tree.Pattern) -> None:
    for name in present:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            raise AttnNameError(
                f"'{decl.name}' has no input '{name}'",
                decl.span,
                f"did you mean '{near[0]}'?" if near else f"inputs: {', '.join(sorted(known))}",
            )
