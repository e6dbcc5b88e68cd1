"""The whole of resolve: choose the overload, bind parameters and axes, run the body, collect outputs.

`resolve` makes a program of a pattern; `inline` puts a pattern called inside another one in place.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...errors import AttnAbsentError, AttnError, AttnNameError, AttnTypeError, Source, Span
from ...ir.expr import Apply, Expr, Index, Read, Size, axes_of, kind_of, substitute, walk
from ...ir.nodes import Attend, Axis, Input, Node, Output, Program, exprs_of, used_by, values_of
from ...language import tree
from .arguments import Arguments
from .calls import bind_axes
from .expressions import name_text, static, static_bool, to_expr
from .layouts import AxisMaker
from .names import axis_keys, descend
from .params import bind_params, type_text
from .scope import Builder, Library, Scope, is_plain, reference
from .signatures import InputSpec, Signature, expand_inputs, expand_name, gather, register_wheres
from .statements import run
from .values import EXPR_TYPES, Absent, AxisRef, Lazy, PackOf, Value


def literals(decl: tree.Pattern) -> dict[str, Any]:
    """The parameters that tell overloads apart: those whose type is a single value."""
    out: dict[str, Any] = {}
    for item in decl.params:
        if isinstance(item, tree.Param) and item.name.plain:
            if item.type.kind == "enum" and len(item.type.values) == 1:
                out[item.name.plain] = item.type.values[0]
            elif item.type.kind == "bool" and item.type.values:
                out[item.name.plain] = item.type.values[0] == "true"
    return out


def _takes(decl: tree.Pattern) -> dict[str, tuple[Any, ...]]:
    """The values that each enum and each literal truth value of a pattern admits."""
    enums = {i.name.plain: i.type.values for i in decl.params if isinstance(i, tree.Param) and i.name.plain and i.type.kind == "enum"}
    return {**enums, **{n: (v,) for n, v in literals(decl).items()}}


def choose(library: Library, name: str, given: Mapping[str, Any], span: Span | None, strict: bool = True) -> tree.Pattern:
    """The overload of a pattern that the enum parameters pick. Raises AttnTypeError with the list when none or several fit.

    An overload fits when it admits every value that is given. Of several, those come first whose literals are all given or default.
    """
    candidates = library.patterns[name]
    if len(candidates) == 1:
        return candidates[0]
    fits = [d for d in candidates if all(given[n] in values for n, values in _takes(d).items() if n in given)]
    if len(fits) > 1:
        exact = [d for d in fits if all(n in given or n in _defaulted(d) for n in literals(d))]
        fits = exact or fits
    if len(fits) > 1 and given:
        known = [d for d in fits if all(n in _declared(library, d) for n in given)]
        fits = known or fits
    if len(fits) == 1:
        return fits[0]
    keys = {n for d in candidates for n in literals(d)}
    rows = [", ".join(f"{n}={' | '.join(map(repr, v))}" for n, v in _takes(d).items() if n in keys) for d in candidates]
    problem = "no overload" if not fits else "more than one overload"
    raise AttnTypeError(f"{problem} of '{name}' fits these parameters", span or candidates[0].span, f"overloads: {'; '.join(rows)}")


def _defaulted(decl: tree.Pattern) -> set[str]:
    return {i.name.plain or "" for i in decl.params if isinstance(i, tree.Param) and i.default is not None}


def _declared(library: Library, decl: tree.Pattern) -> set[str]:
    """Names of a pattern's parameters, bundles included, families left out."""
    out: set[str] = set()
    todo: list[Any] = [*decl.params, *decl.inputs]
    while todo:
        item = todo.pop()
        if isinstance(item, tree.Param):
            out.add(item.name.plain or "")
        elif isinstance(item, tree.Include) and item.bundle in library.bundles:
            found = library.bundles[item.bundle]
            todo.extend([*found.params, *found.inputs])
    return out


def _bundles(library: Library, decl: tree.Pattern) -> list[tree.Bundle]:
    out: list[tree.Bundle] = []
    todo: list[Any] = [*decl.params, *decl.inputs]
    while todo:
        item = todo.pop()
        if isinstance(item, tree.Include) and item.bundle in library.bundles:
            found = library.bundles[item.bundle]
            if found not in out:
                out.append(found)
                todo.extend([*found.params, *found.inputs])
    return out


def _axis_names(library: Library, decl: tree.Pattern) -> set[str]:
    bundles = _bundles(library, decl)
    return axis_keys(
        decl.inputs,
        decl.outputs,
        decl.body,
        *(b.inputs for b in bundles),
        decl.where,
        *(b.where for b in bundles),
    )


# --------------------------------------------------------------------------------------------------------------- compiling


def resolve(library: Library, decl: tree.Pattern, params: Mapping[str, Any], present: Mapping[str, int]) -> Program:
    """The program of a pattern for given parameters and present inputs (name -> number of stored dims).

    Raises AttnError subclasses that point into the source; nothing of the source is ever executed.
    """
    builder = Builder()
    scope = Scope(builder, library, axis_names=_axis_names(library, decl), where=decl.name)
    sig = gather(scope, decl.params, decl.inputs, decl.where)
    _known(params, sig.params, decl)
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
            raise AttnNameError(f"input '{spec.name}' is declared twice", spec.span, "give the declarations conditions that exclude each other")
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
    _unused(present, {s.name for s, _ in specs}, scope, decl)
    scope.ranks = dict(present)
    _ranks_of_lists(scope, sig)
    ranks(scope, equations, [(s, env, present[s.name]) for s, env in specs])
    maker = AxisMaker(scope, equations)
    maker.aliases()
    for spec, env in specs:
        with scope_env(scope, env):
            dims = maker.dims(spec.decl.dims)
        kind = spec.decl.type if spec.decl.type in ("int", "bool") else "float"
        builder.inputs[spec.name] = Input(spec.name, dims, kind or "float", spec.decl.type == "const", spec.span)
        axes = tuple(a for dim in dims for a in dim)
        if len(set(axes)) != len(axes):
            raise AttnTypeError(f"'{spec.name}' names an axis twice", spec.span, "use a twin for the second one: c'")
        scope.names[spec.name] = reference(spec.name, axes, kind or "float")
    maker.sizes()
    _settle_params(scope, sig.params)
    outs = list(_outputs(scope, decl))
    stored = [(spec, maker.dims(spec.decl.dims)) for spec in outs]
    scope.outputs = {spec.name: tuple(a for dim in dims for a in dim) for spec, dims in stored}
    _absent_axes(scope, decl)
    run(scope, decl.body)
    outputs = tuple(_output(scope, spec, dims) for spec, dims in stored)
    return _finish(decl.name, builder, outputs)


@dataclass(frozen=True)
class Declared:
    """A pattern's names for given parameters: every input that can be given, every parameter, the outputs of a plain call."""

    inputs: tuple[InputSpec, ...]
    params: tuple[str, ...]
    outputs: tuple[str, ...]
    scope: Scope
    types: Mapping[str, tree.Param]


def inputs_of(library: Library, decl: tree.Pattern, params: Mapping[str, Any]) -> Declared:
    """Names of a pattern once its parameters are known; the parameters are checked. Raises AttnError subclasses."""
    scope = Scope(Builder(), library, axis_names=_axis_names(library, decl), where=decl.name)
    sig = gather(scope, decl.params, decl.inputs, decl.where)
    _known(params, sig.params, decl)
    call = Source("<call>", ", ".join(f"{n}={v!r}" for n, v in params.items()))
    bind_params(scope, sig.params, {n: (v, Span(call, 0, len(call.text))) for n, v in params.items()})
    for name in params:
        scope.get(name)
    register_wheres(scope, sig)
    inputs: list[InputSpec] = []
    for spec, _ in expand_inputs(scope, decl.inputs):
        on = True
        if spec.decl.cond is not None and not spec.decl.optional:
            scope.names.setdefault(spec.name, Absent(spec.name))
            on = _static_or_true(scope, spec)
        if on and not any(spec.name == other.name for other in inputs):
            inputs.append(spec)
    outputs = [name for name, optional in _output_names(scope, decl) if not optional]
    return Declared(tuple(inputs), tuple(sig.params), tuple(outputs), scope, sig.params)


def _static_or_true(scope: Scope, spec: InputSpec) -> bool:
    """Whether an input can be given; a condition on which others are present is decided at the call."""
    assert spec.decl.cond is not None
    if any(isinstance(n, tree.Call) for n in descend(spec.decl.cond)):
        return True
    return static_bool(scope, spec.decl.cond, f"the condition of '{spec.name}'")


def stored_dims(library: Library, decl: tree.Pattern, params: Mapping[str, Any], optional: bool = False) -> dict[str, int]:
    """Number of stored dims of every input that must be given; with optional, of those that may be left out as well.

    Raises AttnTypeError when a rank depends on the tensors.
    """
    return {name: dims for name, (dims, free) in input_dims(library, decl, params).items() if optional or not free}


def input_dims(
    library: Library, decl: tree.Pattern, params: Mapping[str, Any], rank: int | None = None
) -> dict[str, tuple[int, bool]]:
    """Number of stored dims of every input that can be given, and whether it may be left out.

    `rank` counts for packs whose rank only tensors give; without it such a pack of an input that must be given raises AttnTypeError.
    An input on condition of what else is present counts as one that may be left out.
    """
    found = inputs_of(library, decl, params)
    sig = gather(found.scope, decl.params, decl.inputs, decl.where)
    _ranks_of_lists(found.scope, sig)
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
        out[spec.name] = (sum(_stored(found.scope, d) for d in dims) + len(unknown) * (rank or 0), optional)
    return out


def _ranks_of_lists(scope: Scope, sig: Signature) -> None:
    """A parameter of type T[*g] given as a list says the rank of g."""
    for name, decl in sig.params.items():
        if decl.type.kind == "list" and isinstance(decl.type.length, tree.Pack):
            found = scope.names.get(name)
            given = found.given if isinstance(found, Lazy) else found
            if isinstance(given, list | tuple):
                make_pack(scope, name_text(scope, decl.type.length.name), len(given))


def _known(params: Mapping[str, Any], declared: Mapping[str, tree.Param], decl: tree.Pattern) -> None:
    for name in params:
        if name not in declared:
            near = difflib.get_close_matches(name, list(declared), 1)
            listing = ", ".join(f"{n}: {type_text(p.type)}" for n, p in declared.items()) or "none"
            help = f"did you mean '{near[0]}'?" if near else f"parameters: {listing}"
            raise AttnNameError(f"'{decl.name}' has no parameter '{name}'", decl.span, help)


def is_on(scope: Scope, spec: InputSpec) -> bool:
    """Whether an input takes part with these parameters and inputs. One name may be declared under conditions that exclude each other."""
    return spec.decl.cond is None or static_bool(scope, spec.decl.cond, f"the condition of '{spec.name}'")


def _unused(present: Mapping[str, int], known: set[str], scope: Scope, decl: tree.Pattern) -> None:
    for name in present:
        if name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            raise AttnNameError(
                f"'{decl.name}' has no input '{name}'",
                decl.span,
                f"did you mean '{near[0]}'?" if near else f"inputs: {', '.join(sorted(known))}",
            )


class scope_env:
    """Family variables bound for a while."""

    def __init__(self, scope: Scope, env: dict[str, Any]) -> None:
        self.scope, self.env = scope, env

    def __enter__(self) -> None:
        self.scope.names.update(self.env)

    def __exit__(self, *_: object) -> None:
        for name in self.env:
            self.scope.names.pop(name, None)


def packs_in(dims: tuple[tree.Dim, ...]) -> Iterator[tree.PackDim]:
    for dim in dims:
        if isinstance(dim, tree.PackDim):
            yield dim
        elif isinstance(dim, tree.ProductDim):
            yield from packs_in(dim.factors)
        elif isinstance(dim, tree.SumDim):
            yield from packs_in(dim.parts)


def ranks(scope: Scope, equations: list[Any], specs: list[tuple[InputSpec, dict[str, Any], int]]) -> None:
    """Give every pack its axes: the rank comes from `where rank(g) = ..`, a list parameter, or the tensors."""
    for kind, where in equations:
        if kind == "rank":
            assert isinstance(where.left, tree.Call)
            name = where.left.args[0].value
            assert isinstance(name, tree.Name)
            found = static(scope, where.right, "the rank of a pack")
            if not isinstance(found, int) or found < 0:
                raise AttnTypeError("the rank of a pack is a whole number", where.span)
            make_pack(scope, name.plain or "", found)
    for _ in range(len(specs) + 1):
        for spec, env, ndim in specs:
            open_packs = [p for p in packs_in(spec.decl.dims) if (p.name.plain or "") not in scope.names]
            if len({p.name.plain for p in open_packs}) == 1 and not any(p.size is not None for p in open_packs):
                with scope_env(scope, env):
                    plain = sum(_stored(scope, d) for d in spec.decl.dims)
                if ndim < plain:
                    raise AttnTypeError(f"'{spec.name}' has {ndim} dims, expected at least {plain}", spec.span)
                make_pack(scope, open_packs[0].name.plain or "", (ndim - plain) // len(open_packs))
    for spec, _, _ in specs:
        for pack in packs_in(spec.decl.dims):
            if (pack.name.plain or "") not in scope.names:
                make_pack(scope, pack.name.plain or "", _rank_by_size(scope, pack))


def _rank_by_size(scope: Scope, pack: tree.PackDim) -> int:
    from .expressions import value

    if pack.size is not None:
        with scope.mode(sizing=True, integral=True):
            found = value(pack.size, scope)
        if isinstance(found, PackOf):
            return len(found.items)
    raise AttnTypeError(f"the rank of '*{pack.name.plain}' is not known", pack.span, "give 'where rank(g) = ...'")


def _stored(scope: Scope, dim: tree.Dim) -> int:
    """How many stored dims a dim takes, unknown packs counted as none."""
    if isinstance(dim, tree.PackDim):
        found = scope.find_axis(dim.name.plain or "")
        return len(found.items) if isinstance(found, PackOf) else 0
    return 1


def make_pack(scope: Scope, name: str, rank: int) -> None:
    if name in scope.names:
        return
    items = []
    for n in range(rank):
        atom = scope.builder.axis(f"{name}{n}")
        ref = AxisRef(f"{name}{n}", (atom,))
        items.append(ref)
    scope.names[name] = PackOf(tuple(items))


def _absent_axes(scope: Scope, decl: tree.Pattern) -> None:
    """An axis that only absent inputs and outputs have is absent too: what mentions it is."""
    absent = [(s, env) for s, env in expand_inputs(scope, decl.inputs) if isinstance(scope.names.get(s.name), Absent)]
    off = [o for o in decl.outputs if isinstance(o, tree.Output) and o.cond is not None]
    absent += [(InputSpec(name, out), env) for out in off for name, env in expand_name(scope, out.name)]
    for spec, env in absent:
        with scope_env(scope, env):
            for name, _ in leaves(scope, spec.decl.dims):
                if not name.endswith("'"):
                    scope.names.setdefault(name, Absent(spec.name))


def _settle_params(scope: Scope, declared: Mapping[str, tree.Param]) -> None:
    """Check every parameter that was given, used or not; spread single values over packs."""
    for name in declared:
        found = scope.get(name)
        kind = declared[name].type
        if kind.kind == "list" and isinstance(kind.length, tree.Pack) and not isinstance(found, PackOf | Absent):
            pack = scope.find_axis(name_text(scope, kind.length.name))
            if isinstance(pack, PackOf):
                items = found if isinstance(found, list) else [found] * len(pack.items)
                if len(items) != len(pack.items):
                    raise AttnTypeError(
                        f"parameter '{name}' has {len(items)} entries for {len(pack.items)} axes", declared[name].span
                    )
                scope.names[name] = PackOf(tuple(items))


def _outputs(scope: Scope, decl: tree.Pattern) -> Iterator[InputSpec]:
    """Declared outputs whose condition holds, families worked out; with InputSpec's name and declaration."""
    for item in decl.outputs:
        if isinstance(item, tree.OutputFamily):
            for env in _entries(scope, item):
                with scope_env(scope, env):
                    for out in item.outputs:
                        for name, _ in expand_name(scope, out.name):
                            yield InputSpec(name, replace(out, cond=None, dims=_frozen(scope, out.dims)))
            continue
        for name, env in expand_name(scope, item.name):
            on = item.cond is None or static_bool(scope, item.cond, f"the condition of '{name}'")
            with scope_env(scope, env):
                yield InputSpec(name, replace(item, cond=None if on else item.cond, dims=_frozen(scope, item.dims) if on else ()))


def _output_names(scope: Scope, decl: tree.Pattern) -> Iterator[tuple[str, bool]]:
    """Names of outputs and whether they come on request alone; where parameters that have no value decide, nothing is said."""
    for item in decl.outputs:
        outs = item.outputs if isinstance(item, tree.OutputFamily) else (item,)
        try:
            for env in _entries(scope, item):
                with scope_env(scope, env):
                    for out in outs:
                        yield from ((name, out.optional) for name, _ in expand_name(scope, out.name))
        except AttnError:
            continue


def _entries(scope: Scope, item: tree.Output | tree.OutputFamily) -> list[dict[str, Any]]:
    """The values of an output family's variables, one after the other; one empty entry for a plain output."""
    if isinstance(item, tree.Output):
        return [{}]
    entries = static(scope, item.range, "the range of an output family")
    return [dict(zip(item.vars, list(e) if len(item.vars) > 1 else [e], strict=False)) for e in entries]


def _frozen(scope: Scope, dims: tuple[tree.Dim, ...]) -> tuple[tree.Dim, ...]:
    """Dims with the family indices of the moment put in."""
    out: list[tree.Dim] = []
    for dim in dims:
        if isinstance(dim, tree.AxisDim | tree.PackDim):
            out.append(replace(dim, name=tree.Name(dim.name.span, (name_text(scope, dim.name),), dim.name.primes)))
        elif isinstance(dim, tree.ProductDim):
            out.append(replace(dim, factors=_frozen(scope, dim.factors)))
        elif isinstance(dim, tree.SumDim):
            out.append(replace(dim, parts=_frozen(scope, dim.parts)))
        else:
            out.append(dim)
    return tuple(out)


def result(scope: Scope, spec: InputSpec, dims: tuple[tuple[str, ...], ...]) -> Value:
    """The value of an output, its axes checked against the signature."""
    if spec.decl.cond is not None:
        return Absent(spec.name)
    if spec.name not in scope.assigned:
        near = difflib.get_close_matches(spec.name, sorted(scope.assigned), 1)
        raise AttnNameError(f"output '{spec.name}' is never assigned", spec.span, f"did you mean '{near[0]}'?" if near else "")
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
        raise AttnTypeError(f"output '{spec.name}' depends on axis '{extra[0]}', but is declared over ({shown})", spec.span)
    want = spec.decl.type or "float"
    if want == "int" and kind_of(e) == "float":
        raise AttnTypeError(f"output '{spec.name}' is declared int, its value is a float", spec.span, "use int(..), floor(..)")
    return e


def _output(scope: Scope, spec: InputSpec, dims: tuple[tuple[str, ...], ...]) -> Output:
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


def _finish(name: str, builder: Builder, outputs: tuple[Output, ...]) -> Program:
    """Drop what no output needs and the axes nothing mentions."""
    outputs = tuple(o for o in outputs if o.value)
    checks = tuple(dict.fromkeys(builder.checks))
    need = {o.value for o in outputs} | {e.source for c in checks for e in walk(c.cond) if isinstance(e, Read)}
    nodes: list[Node] = []
    for node in reversed(builder.blocks[0]):
        if need & {v.name for v in values_of(node)}:
            if isinstance(node, Attend):
                node = _trim(node, need)
            need |= used_by(node)
            nodes.append(node)
    nodes.reverse()
    axes = _used_axes(builder, nodes, outputs, checks)
    return Program(name, axes, tuple(builder.inputs.values()), checks, tuple(nodes), outputs)


def _trim(node: Attend, need: set[str]) -> Attend:
    """An attend without emits that nothing uses."""
    kept = []
    wanted = set(need)
    for emit in reversed(node.emits):
        if emit.name in wanted:
            kept.append(emit)
            wanted |= {e.source for e in walk(emit.expr) if isinstance(e, Read)}
    return replace(node, emits=tuple(reversed(kept)))


def _used_axes(builder: Builder, nodes: list[Node], outputs: tuple[Output, ...], checks: tuple[Any, ...]) -> tuple[Axis, ...]:
    used = {a for i in builder.inputs.values() for d in i.dims for a in d} | {a for o in outputs for d in o.dims for a in d}
    exprs = [e for n in nodes for e in exprs_of(n)] + [c.cond for c in checks]
    for node in nodes:
        used |= _node_axes(node)
    for e in exprs:
        for inner in walk(e):
            if isinstance(inner, Index | Size):
                used.add(inner.axis)
            used |= set(getattr(inner, "axes", ()))
    todo = list(used)
    while todo:
        axis = builder.axes[todo.pop()]
        more = {a for part in axis.parts for a in part}
        if axis.size is not None:
            more |= {e.axis for e in walk(axis.size) if isinstance(e, Size)}
        todo.extend(more - used)
        used |= more
    return tuple(a for n, a in builder.axes.items() if n in used)


def _node_axes(node: Node) -> set[str]:
    out = {a for v in values_of(node) for a in v.axes}
    for inner in getattr(node, "body", ()):
        out |= _node_axes(inner)
    for name in ("source", "target"):
        axis = getattr(node, name, "")
        if axis:
            out.add(axis)
    for field in ("along", "over", "rows", "keys"):
        out |= set(getattr(node, field, ()))
    for segment in getattr(node, "segments", ()):
        out |= set(segment.over)
    for cotangent in getattr(node, "cotangents", ()):
        for inner in cotangent.body:
            out |= _node_axes(inner)
    return out


# ---------------------------------------------------------------------------------------------------------------- inlining


def leaves(scope: Scope, dims: tuple[tree.Dim, ...]) -> list[tuple[str, Any]]:
    """The axes of a signature's dims in order: (name, None), or (name of the sum, the axes of each part). Packs are spread out."""
    out: list[tuple[str, Any]] = []
    for dim in dims:
        if isinstance(dim, tree.AxisDim):
            out.append((name_text(scope, dim.name) + "'" * dim.name.primes, None))
        elif isinstance(dim, tree.PackDim):
            name = name_text(scope, dim.name)
            found = scope.names.get(name)
            if isinstance(found, PackOf):
                out.extend((f"{name}{n}", None) for n in range(len(found.items)))
            else:
                out.append(("*" + name, None))
        elif isinstance(dim, tree.ProductDim):
            out.extend(leaves(scope, dim.factors))
        elif isinstance(dim, tree.SumDim):
            inner = tuple(tuple(leaf for leaf, _ in leaves(scope, (part,))) for part in dim.parts)
            out.append((" ++ ".join(" ".join(part) for part in inner), inner))
    return out


def inline(scope: Scope, decl: tree.Pattern, arguments: Arguments, span: Span) -> list[Value]:
    """Resolve a called pattern in place; its outputs in order, absent ones included."""
    inner = Scope(
        scope.builder, scope.library, axis_names=_axis_names(scope.library, decl), depth=scope.depth + 1, where=decl.name
    )
    sig = gather(inner, decl.params, decl.inputs, decl.where)
    given = arguments.params(list(sig.params))
    bind_params(inner, sig.params, {n: (v, s) for n, (v, s) in given.items()})
    equations = register_wheres(inner, sig)
    actuals: list[tuple[InputSpec, dict[str, Any], Expr]] = []
    specs = [spec for spec, _ in expand_inputs(inner, decl.inputs)]
    for spec, env in expand_inputs(inner, decl.inputs):
        off = not is_on(inner, spec)
        if any(spec.name == other.name for other, _, _ in actuals):
            continue
        if off and any(s.name == spec.name and is_on(inner, s) for s in specs):
            continue
        got = arguments.input(spec.name)
        if off or got is None or isinstance(got[0], Absent):
            if not off and not spec.decl.optional:
                what = f", and '{got[0].what}' was not given" if got is not None else ""
                raise AttnAbsentError(f"'{decl.name}' needs '{spec.name}'{what}", span)
            inner.names[spec.name] = Absent(spec.name)
            continue
        e = to_expr(scope, got[0], got[1])
        actuals.append((spec, env, e if isinstance(e, Read) or not axes_of(e) else scope.store(e, spec.name, got[1])))
        inner.names[spec.name] = reference(spec.name, (), "float")
    arguments.finish(decl.name)
    _bind(scope, inner, equations, actuals, span)
    maker = AxisMaker(inner, equations)
    maker.bound = {a for v in inner.names.values() if isinstance(v, AxisRef) for a in v.atoms}
    maker.aliases()
    for spec, env, _ in actuals:
        with scope_env(inner, env):
            maker.dims(spec.decl.dims)
    outs = list(_outputs(inner, decl))
    for spec in outs:
        for leaf, kind in leaves(inner, spec.decl.dims):
            if kind is None and leaf not in inner.names:
                _output_axis(scope, inner, leaf)
    maker.sizes()
    _settle_params(inner, sig.params)
    stored = [(spec, maker.dims(spec.decl.dims)) for spec in outs]
    inner.outputs = {spec.name: tuple(a for dim in dims for a in dim) for spec, dims in stored}
    _absent_axes(inner, decl)
    run(inner, decl.body)
    results = [result(inner, spec, dims) for spec, dims in stored]
    return [_returned(inner, e) for e in results]


def _output_axis(scope: Scope, inner: Scope, leaf: str) -> None:
    """An axis that only outputs have is the caller's of that name, where there is one; r' is the caller's copy of what r is."""
    base = inner.names.get(leaf.rstrip("'"))
    if not leaf.endswith("'"):
        found = scope.find_axis(leaf)
        if isinstance(found, AxisRef):
            inner.names[leaf] = found
    elif isinstance(base, AxisRef) and leaf.count("'") == 1 and all(a in scope.twins for a in base.atoms):
        inner.names[leaf] = AxisRef(leaf, tuple(scope.twins[a] for a in base.atoms))
        todo = list(base.atoms)
        while todo:
            atom = todo.pop()
            inner.twins[atom] = scope.twins[atom]
            todo.extend(a for part in scope.builder.axes[atom].parts for a in part)


def _bind(
    scope: Scope, inner: Scope, equations: list[Any], actuals: list[tuple[InputSpec, dict[str, Any], Expr]], span: Span
) -> None:
    inner.ranks = {spec.name: len(axes_of(e)) for spec, _, e in actuals}
    for kind, where in equations:
        if kind == "rank":
            name = where.left.args[0].value.plain
            rank = static(inner, where.right, "the rank of a pack")
            inner.names[name] = PackOf(tuple(AxisRef(f"{name}{n}", ()) for n in range(rank)))
    sums, products = {}, {}  # r = n ++ k binds to a direct sum of the caller; n = (r s) factor by factor, to a product of that name
    for kind, where in equations:
        if kind != "axis" or not isinstance(where.left, tree.Name):
            continue
        if where.cond is not None and not static_bool(inner, where.cond, "the condition of a size"):
            continue
        if isinstance(where.right, tree.Concat):
            factors = [p.factors if isinstance(p, tree.Product) else (p,) for p in where.right.parts]
            sums[where.left.plain] = tuple(tuple(f.plain for f in part if isinstance(f, tree.Name)) for part in factors)
        elif isinstance(where.right, tree.Product):
            products[where.left.plain] = [f.plain for f in where.right.factors if isinstance(f, tree.Name)]

    def opened(leaf: str, kind: Any, e: Expr) -> list[tuple[str, Any]]:
        if leaf not in products:
            return [(leaf, kind or sums.get(leaf))]
        here = scope.find_axis(leaf)
        fits = isinstance(here, AxisRef) and len(here.atoms) == len(products[leaf]) and set(here.atoms) <= set(axes_of(e))
        return [(f, AxisRef(f, (here.atoms[n],)) if fits else None) for n, f in enumerate(products[leaf])]

    specs: list[tuple[InputSpec, list[tuple[str, Any]], Expr]] = []
    for spec, env, e in actuals:
        with scope_env(inner, env):
            found = leaves(inner, spec.decl.dims)
        packs = [leaf for leaf, _ in found if leaf.startswith("*")]
        if packs:
            rank = len(axes_of(e)) - sum(1 for leaf, _ in found if not leaf.startswith("*"))
            rank //= len(packs)
            if rank < 0:
                raise AttnTypeError(f"argument '{spec.name}' has too few axes", span)
            inner.names[packs[0][1:]] = PackOf(tuple(AxisRef(f"{packs[0][1:]}{n}", ()) for n in range(rank)))
            with scope_env(inner, env):
                found = leaves(inner, spec.decl.dims)
        specs.append((spec, [one for leaf, kind in found for one in opened(leaf, kind, e)], e))
    bound = bind_axes(scope, inner, specs, span)
    for name, v in list(inner.names.items()):
        if isinstance(v, PackOf) and v.items and all(isinstance(i, AxisRef) for i in v.items):
            inner.names[name] = PackOf(tuple(inner.names.get(f"{name}{n}", i) for n, i in enumerate(v.items)))
    for name, v in list(inner.names.items()):  # a bound axis and its primed copy know one another
        base = inner.names.get(name[:-1]) if name.endswith("'") else None
        if isinstance(v, AxisRef) and isinstance(base, AxisRef):
            inner.twins.update(zip(base.atoms, v.atoms, strict=False))
    for spec, _, _ in actuals:
        inner.names[spec.name] = bound[spec.name]


def _returned(inner: Scope, e: Value) -> Value:
    """An output under the caller's axes: private copies of an axis become that axis again where they can."""
    if not isinstance(e, EXPR_TYPES):
        return e
    free = axes_of(e)
    at = {c: Index(o) for c, o in inner.copies.items() if c in free and o not in free}
    return substitute(e, at) if at else e
