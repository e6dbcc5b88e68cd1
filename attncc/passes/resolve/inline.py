"""A pattern called inside another one is resolved in place, under axes bound to the caller's."""

from __future__ import annotations

from typing import Any

from ...errors import AttnAbsentError, AttnTypeError, Span
from ...ir.expr import Expr, Index, Read, axes_of, substitute
from ...language import tree
from .arguments import Arguments
from .arithmetic import to_expr
from .binding import Actual, Binding, Told
from .declared import absent_axes, is_on
from .expressions import static, static_bool
from .layouts import AxisMaker, leaves
from .outputs import outputs_of, result
from .overloads import axes_in
from .params import bind_params
from .ranks import scope_env, settle_params
from .scope import Scope, reference
from .signatures import InputSpec, expand_inputs, gather, register_wheres
from .statements import run
from .values import EXPR_TYPES, Absent, AxisRef, PackOf, Value

Given = tuple[InputSpec, dict[str, Any], Expr, Span]
"""An input that is there: its spec, the values of its family indices, the argument and where that stands."""


def inline(scope: Scope, decl: tree.Pattern, arguments: Arguments, axes: Told, span: Span) -> list[Value]:
    """Resolve a called pattern in place, under axes bound to the caller's; its outputs in order, absent ones included."""
    inner = Scope(scope.builder, scope.library, axis_names=axes_in(scope.library, decl), depth=scope.depth + 1, where=decl.name)
    sig = gather(inner, decl.params, decl.inputs, decl.where)
    given = arguments.params(list(sig.params))
    bind_params(inner, sig.params, {n: (v, s) for n, (v, s) in given.items()})
    equations = register_wheres(inner, sig)
    actuals: list[Given] = []
    specs = [spec for spec, _ in expand_inputs(inner, decl.inputs)]
    for spec, env in expand_inputs(inner, decl.inputs):
        off = not is_on(inner, spec)
        if any(spec.name == other.name for other, _, _, _ in actuals):
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
        if scope.is_local(e):
            raise AttnTypeError("a pattern takes no pair values of an attend", got[1], "a definition does: define f(s) = ..")
        e = e if isinstance(e, Read) or not axes_of(e) else scope.store(e, spec.name, got[1])
        actuals.append((spec, env, e, got[1]))
        inner.names[spec.name] = reference(spec.name, (), "float")
    arguments.finish(decl.name)
    _bind(scope, inner, equations, actuals, axes)
    maker = AxisMaker(inner, equations)
    maker.bound = {a for v in inner.names.values() if isinstance(v, AxisRef) for a in v.atoms}
    maker.aliases()
    for spec, env, _, _ in actuals:
        with scope_env(inner, env):
            maker.dims(spec.decl.dims)
    outs = list(outputs_of(inner, decl))
    for spec in outs:
        for leaf, kind in leaves(inner, spec.decl.dims):
            if kind is None and leaf not in inner.names:
                _output_axis(scope, inner, leaf)
    maker.sizes()
    settle_params(inner, sig.params)
    stored = [(spec, maker.dims(spec.decl.dims)) for spec in outs]
    inner.outputs = {spec.name: tuple(a for dim in dims for a in dim) for spec, dims in stored}
    absent_axes(inner, decl)
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


def _bind(scope: Scope, inner: Scope, equations: list[Any], actuals: list[Given], axes: Told) -> None:
    own = {spec.name: [a for a in axes_of(e) if a not in scope.lifted] for spec, _, e, _ in actuals}
    inner.ranks = {name: len(found) for name, found in own.items()}
    for kind, where in equations:
        if kind == "rank":
            name = where.left.args[0].value.plain
            rank = static(inner, where.right, "the rank of a pack")
            inner.names[name] = PackOf(tuple(AxisRef(f"{name}{n}", ()) for n in range(rank)))
    # r = n ++ k binds to a direct sum of the caller; n = (r s) factor by factor, to a product of that name
    sums: dict[str | None, tuple[tuple[str | None, ...], ...]] = {}
    products: dict[str | None, list[str]] = {}
    for kind, where in equations:
        if kind != "axis" or not isinstance(where.left, tree.Name):
            continue
        if where.cond is not None and not static_bool(inner, where.cond, "the condition of a size"):
            continue
        if isinstance(where.right, tree.Concat):
            factors = [p.factors if isinstance(p, tree.Product) else (p,) for p in where.right.parts]
            sums[where.left.plain] = tuple(tuple(f.plain for f in part if isinstance(f, tree.Name)) for part in factors)
        elif isinstance(where.right, tree.Product):
            products[where.left.plain] = [f.plain or "" for f in where.right.factors if isinstance(f, tree.Name)]

    def opened(leaf: str, kind: Any, e: Expr) -> list[tuple[str, Any]]:
        if leaf not in products:
            return [(leaf, kind or sums.get(leaf))]
        here = scope.find_axis(leaf)
        if isinstance(here, AxisRef) and len(here.atoms) == len(products[leaf]) and set(here.atoms) <= set(axes_of(e)):
            return [(f, AxisRef(f, (atom,))) for f, atom in zip(products[leaf], here.atoms, strict=True)]
        return [(f, None) for f in products[leaf]]

    formals: list[Actual] = []
    for spec, env, e, span in actuals:
        with scope_env(inner, env):
            found = leaves(inner, spec.decl.dims)
        packs = [leaf for leaf, _ in found if leaf.startswith("*")]
        if packs:
            rank = len(own[spec.name]) - sum(1 for leaf, _ in found if not leaf.startswith("*"))
            rank //= len(packs)
            if rank < 0:
                raise AttnTypeError(f"argument '{spec.name}' has too few axes", span)
            inner.names[packs[0][1:]] = PackOf(tuple(AxisRef(f"{packs[0][1:]}{n}", ()) for n in range(rank)))
            with scope_env(inner, env):
                found = leaves(inner, spec.decl.dims)
        formals.append(Actual(spec, [one for leaf, kind in found for one in opened(leaf, kind, e)], e, span))
    bound = Binding(scope, inner, axes).bind(formals)
    for name, v in list(inner.names.items()):
        if isinstance(v, PackOf) and v.items and all(isinstance(i, AxisRef) for i in v.items):
            inner.names[name] = PackOf(tuple(inner.names.get(f"{name}{n}", i) for n, i in enumerate(v.items)))
    for name, v in list(inner.names.items()):  # a bound axis and its primed copy know one another
        base = inner.names.get(name[:-1]) if name.endswith("'") else None
        if isinstance(v, AxisRef) and isinstance(base, AxisRef):
            inner.twins.update(zip(base.atoms, v.atoms, strict=False))
    for spec, _, _, _ in actuals:
        inner.names[spec.name] = bound[spec.name]


def _returned(inner: Scope, e: Value) -> Value:
    """An output under the caller's axes: private copies of an axis become that axis again where they can."""
    if not isinstance(e, EXPR_TYPES):
        return e
    free = axes_of(e)
    at = {c: Index(o) for c, o in inner.copies.items() if c in free and o not in free}
    return substitute(e, at) if at else e
