"""Statements: assignments, folds, static ifs, checks."""

from __future__ import annotations

from functools import singledispatch

from ...errors import AttnNameError, AttnTypeError, AttnValueError, Span
from ...ir.expr import Along, Expr, Read, Reduce, axes_of, kind_of, sources_of, walk
from ...ir.nodes import Check
from ...language import tree
from .arithmetic import conjunction, to_expr
from .expressions import name_text, static_bool, value, whole
from .layouts import AxisMaker
from .scope import Scope, is_plain, unreserved
from .signatures import expand_name
from .values import EXPR_TYPES, Absent, AxisRef, PackOf, Several, Value


class Returned(Exception):
    """The value of a definition's `return`."""

    def __init__(self, value: Value) -> None:
        self.value = value


def run(scope: Scope, body: tuple[tree.Stmt, ...]) -> None:
    """Resolve statements in order."""
    for stmt in body:
        scope.builder.budget.spend(stmt.span)
        statement(stmt, scope)


@singledispatch
def statement(node: tree.Node, scope: Scope) -> None:
    raise AttnTypeError("this is no statement", node.span)


def declare(scope: Scope, name: str, got: Value, span: Span) -> None:
    """Bind a name once; a fold may bind its carried names again."""
    if name in scope.assigned and name not in scope.carried:
        raise AttnNameError(
            f"'{name}' is assigned twice", span, "use another name; only a fold carries a value from step to step"
        )
    if name not in scope.assigned and name in scope.names and name not in scope.carried:
        raise AttnNameError(f"'{name}' already names something else here", span, "inputs, parameters and axes cannot be assigned")
    scope.assigned.add(name)
    scope.names[name] = got


@statement.register
def _(node: tree.Assign, scope: Scope) -> None:
    targets = [(name, target) for target in node.targets for name, _ in expand_name(scope, target.name)]
    family = any(isinstance(part, tree.Family) for target in node.targets for part in target.name.parts)
    if len(node.values) == 1 and (len(targets) > 1 or family):
        got = whole(scope, node.values[0])
        if isinstance(got, Absent):
            items: list[Value] = [got] * len(targets)
        elif isinstance(got, Several | list):
            items = list(got.items if isinstance(got, Several) else got)
        elif len(targets) == 1:
            items = [got]
        else:
            raise AttnTypeError(f"{len(targets)} names for one value", node.span)
        if len(items) < len(targets):
            raise AttnTypeError(f"{len(targets)} names for {len(items)} values", node.span)
        if len(items) > len(targets) and not _is_call(scope, node.values[0]):
            raise AttnTypeError(
                f"{len(targets)} names for {len(items)} values", node.span, "use '_' for a part that is not needed"
            )
        for (name, target), item in zip(targets, items, strict=False):
            bind(scope, name, target, item)
        return
    if len(node.values) != len(targets):
        raise AttnTypeError(f"{len(targets)} names for {len(node.values)} values", node.span)
    if len(targets) == 1:
        name, target = targets[0]
        bind(scope, name, target, None, node.values[0])
        return
    items = [whole(scope, v) for v in node.values]
    for (name, target), item in zip(targets, items, strict=True):
        bind(scope, name, target, item)


def _is_call(scope: Scope, node: tree.Expr) -> bool:
    from .functions import name_of

    return isinstance(node, tree.Call) and name_of(scope, node.fn) in scope.library.patterns


def bind(scope: Scope, name: str, target: tree.Target, got: Value, source: tree.Expr | None = None) -> None:
    """Assign a value (or the syntax `source`, resolved under the target's primed axes) to a name.

    An output without brackets has those of the signature: its primed axes are bound, its value keeps their order.
    """
    axes: list[AxisRef] | None = None
    like = scope.outputs.get(name, ())
    if target.dims is not None:
        axes = target_axes(scope, target.dims)
    with scope.binding([AxisRef("", like)] if axes is None else axes):
        if source is not None:
            got = whole(scope, source)
    if isinstance(got, Several) and source is not None and len(got.items) >= 1 and _is_call(scope, source):
        got = got.items[0]
    if name == "_":
        return
    unreserved(name, target.span)
    if axes is not None:
        got = to_expr(scope, got, target.span)
    if isinstance(got, AxisRef):
        got = got.size() if scope.sizing else got.index()
    if isinstance(got, EXPR_TYPES):
        got = settle(scope, name, got, None if axes is None else tuple(a for ref in axes for a in ref.atoms), target.span, like)
    declare(scope, name, got, target.span)


def target_axes(scope: Scope, dims: tuple[tree.Dim, ...]) -> list[AxisRef]:
    """The axes of a left-hand side; they must exist."""
    out: list[AxisRef] = []
    for dim in dims:
        if isinstance(dim, tree.AxisDim):
            out.append(scope.axis_ref(name_text(scope, dim.name) + "'" * dim.name.primes, dim.span))
        elif isinstance(dim, tree.PackDim):
            pack = scope.find_axis(name_text(scope, dim.name) + "'" * dim.name.primes)
            if not isinstance(pack, PackOf):
                raise AttnNameError("this is not a pack of axes", dim.span)
            out.extend(pack.items)
        elif isinstance(dim, tree.ProductDim):
            out.extend(target_axes(scope, dim.factors))
        elif isinstance(dim, tree.SumDim):
            for stored in AxisMaker(scope, []).dim(dim):
                out.append(AxisRef("", stored))
    return out


def settle(scope: Scope, name: str, e: Expr, axes: tuple[str, ...] | None, span: Span, like: tuple[str, ...] = ()) -> Expr:
    """Make an assigned expression a value of the program, checking the axes on its left, or else ordering its axes as in `like`.

    What costs nothing to compute again stays an expression: plain references, arithmetic on positions and sizes, conditions. So does
    what a definition makes of the pair values of an attend: those are never stored.
    """
    free = axes_of(e)
    if axes is not None:
        extra = [a for a in free if a not in axes and a not in scope.lifted]
        if extra:
            raise AttnTypeError(
                f"'{name}' is declared over ({', '.join(axes)}), but its value depends on '{extra[0]}' too", span,
                f"add the axis on the left, or reduce it: sum[{extra[0]}](...)",
            )  # fmt: skip
        axes = (*[a for a in scope.lifted if a in free and a not in axes], *axes)
        if scope.is_local(e) or (axes == free and is_plain(e)):
            return e
        return scope.builder.assign(name, e, axes, span)
    if scope.is_local(e) or is_plain(e) or is_cheap(e):
        return e
    order = tuple(sorted(free, key=lambda a: like.index(a) if a in like else -1))
    return scope.builder.assign(name, e, order, span)


def is_cheap(e: Expr) -> bool:
    """Arithmetic on positions, sizes, constants and scalars; or a condition without a reduction."""
    nodes = list(walk(e))
    if any(isinstance(n, Reduce | Along) for n in nodes) or len(nodes) > 400:
        return False
    return kind_of(e) == "bool" or all(not isinstance(n, Read) or not n.index for n in nodes)


@statement.register
def _(node: tree.If, scope: Scope) -> None:
    run(scope, node.then if static_bool(scope, node.cond, "the condition of 'if'") else node.orelse)


@statement.register
def _(node: tree.Require, scope: Scope) -> None:
    for cond in node.conds:
        with scope.mode(sizing=True, integral=False):
            got = conjunction(scope, value(cond, scope), cond.span)
        if isinstance(got, Absent) or got is True:
            continue
        if got is False:
            raise AttnValueError(
                f"a requirement does not hold: {cond.span.text}",
                cond.span,
                "change the parameters, or the optional inputs that are given",
            )
        check = to_expr(scope, got, cond.span)
        if kind_of(check) != "bool":
            raise AttnTypeError("'require' needs a condition", cond.span)
        if axes_of(check) or sources_of(check):
            raise AttnTypeError("'require' checks parameters and sizes", cond.span, "use 'assume' for conditions on data")
        scope.builder.checks.append(Check(check, False, cond.span))


@statement.register
def _(node: tree.Assume, scope: Scope) -> None:
    for cond in node.conds:
        got = conjunction(scope, value(cond, scope), cond.span)
        if isinstance(got, Absent) or got is True:
            continue
        check = to_expr(scope, got, cond.span)
        if kind_of(check) != "bool":
            raise AttnTypeError("'assume' needs a condition", cond.span)
        if all(s in scope.builder.inputs for s in sources_of(check)):
            scope.builder.checks.append(Check(check, True, cond.span))
        elif scope.depth == 0:
            raise AttnTypeError("'assume' is about the inputs", cond.span, "say it of the tensors that are passed in")


@statement.register
def _(node: tree.Return, scope: Scope) -> None:
    if not scope.returns:
        raise AttnTypeError("'return' belongs in a definition", node.span, "a pattern assigns its outputs by name: o = ...")
    raise Returned(value(node.value, scope))


@statement.register
def _(node: tree.Fold, scope: Scope) -> None:
    from .folds import fold

    fold(scope, node)


@statement.register
def _(node: tree.Attend, scope: Scope) -> None:
    from .attends import attend

    attend(scope, node)
