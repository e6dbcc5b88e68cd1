"""Outputs: families written out, values checked against the signature and stored."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from ...errors import AttnAbsentError, AttnNameError, AttnTypeError
from ...ir.expr import Apply, Expr, Read, axes_of, kind_of
from ...ir.nodes import Output, values_of
from ...language import tree
from .arithmetic import to_expr
from .expressions import name_text, static, static_bool
from .ranks import scope_env
from .scope import Scope, is_plain
from .signatures import InputSpec, expand_name
from .values import Absent, Value


def outputs_of(scope: Scope, decl: tree.Pattern) -> Iterator[InputSpec]:
    """Declared outputs whose condition holds, families worked out; with InputSpec's name and declaration."""
    for item in decl.outputs:
        for env in entries(scope, item):
            with scope_env(scope, env):
                for out in item.outputs if isinstance(item, tree.OutputFamily) else (item,):
                    yield from _declared(scope, out)


def _declared(scope: Scope, out: tree.Output) -> Iterator[InputSpec]:
    for name, env in expand_name(scope, out.name):
        with scope_env(scope, env):
            on = out.cond is None or static_bool(scope, out.cond, f"the condition of '{name}'")
            yield InputSpec(name, replace(out, cond=None if on else out.cond, dims=frozen(scope, out.dims) if on else ()))


def entries(scope: Scope, item: tree.Output | tree.OutputFamily) -> list[dict[str, Any]]:
    """The values of an output family's variables, one after the other; one empty entry for a plain output."""
    if isinstance(item, tree.Output):
        return [{}]
    entries = static(scope, item.range, "the range of an output family")
    return [dict(zip(item.vars, list(e) if len(item.vars) > 1 else [e], strict=False)) for e in entries]


def frozen(scope: Scope, dims: tuple[tree.Dim, ...]) -> tuple[tree.Dim, ...]:
    """Dims with the family indices of the moment put in."""
    out: list[tree.Dim] = []
    for dim in dims:
        if isinstance(dim, tree.AxisDim | tree.PackDim):
            out.append(replace(dim, name=tree.Name(dim.name.span, (name_text(scope, dim.name),), dim.name.primes)))
        elif isinstance(dim, tree.ProductDim):
            out.append(replace(dim, factors=frozen(scope, dim.factors)))
        elif isinstance(dim, tree.SumDim):
            out.append(replace(dim, parts=frozen(scope, dim.parts)))
        else:
            out.append(dim)
    return tuple(out)


def result(scope: Scope, spec: InputSpec, dims: tuple[tuple[str, ...], ...]) -> Value:
    """The value of an output, its axes checked against the signature."""
    if spec.decl.cond is not None:
        return Absent(spec.name)
    if spec.name not in scope.assigned:
        near = difflib.get_close_matches(spec.name, sorted(scope.assigned), 1)
        raise AttnNameError(
            f"output '{spec.name}' is never assigned",
            spec.span,
            f"did you mean '{near[0]}'?" if near else f"assign it: {spec.name} = ..",
        )
    found = scope.get(spec.name)
    if isinstance(found, Absent):
        raise AttnAbsentError(
            f"output '{spec.name}' depends on '{found.what}', which was not given",
            spec.span,
            "make the output conditional: 'if present(..)'",
        )
    e = to_expr(scope, found, spec.span)
    allowed = {a for dim in dims for a in dim} | set(scope.lifted)
    extra = [a for a in axes_of(e) if a not in allowed]
    if extra:
        shown = ", ".join(a for dim in dims for a in dim) or "nothing"
        raise AttnTypeError(
            f"output '{spec.name}' depends on axis '{extra[0]}', but is declared over ({shown})", spec.span,
            f"reduce it, sum[{extra[0]}](..), or add it to the dims",
        )  # fmt: skip
    want = spec.decl.type or "float"
    if kind_of(e) == "complex":
        help = "take its real(..) or abs(..), or go back with irfft"
        raise AttnTypeError(f"output '{spec.name}' would be complex: complex values stay inside a pattern", spec.span, help)
    if want == "int" and kind_of(e) == "bool":
        raise AttnTypeError(f"output '{spec.name}' is declared int, its value is a condition", spec.span, "use int(..)")
    if want == "bool" and kind_of(e) != "bool":
        raise AttnTypeError(f"output '{spec.name}' is declared bool, its value is a number", spec.span, "compare it: x != 0")
    if want == "int" and kind_of(e) == "float":
        raise AttnTypeError(f"output '{spec.name}' is declared int, its value is a float", spec.span, "use int(..), floor(..)")
    return e


def output(scope: Scope, spec: InputSpec, dims: tuple[tuple[str, ...], ...]) -> Output:
    e = result(scope, spec, dims)
    if isinstance(e, Absent):
        return Output(spec.name, "", (), "", True, spec.span)
    kind = {"int": "int", "bool": "bool"}.get(spec.decl.type or "", "bool" if kind_of(e) == "bool" else "float")
    if kind == "float" and kind_of(e) == "int":
        e = Apply("to_float", (e,))
    order = tuple(a for dim in dims for a in dim)
    if is_plain(e) and e.source not in scope.builder.inputs and kind_of(e) == kind and _own_axes(scope, e):
        return Output(spec.name, e.source, dims, kind, spec.decl.optional, spec.span)
    stored = scope.builder.assign(spec.name, e, tuple(a for a in order if a in axes_of(e)), spec.span)
    return Output(spec.name, stored.source, dims, kind, spec.decl.optional, spec.span)


def _own_axes(scope: Scope, e: Expr) -> bool:
    """Whether a plain reference uses the axes its value was defined over."""
    assert isinstance(e, Read)
    for node in scope.builder.blocks[0]:
        for v in values_of(node):
            if v.name == e.source:
                return v.axes == axes_of(e)
    return False
