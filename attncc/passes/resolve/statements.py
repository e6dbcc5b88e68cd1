"""Statements: assignments, folds, static ifs, checks."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from ...errors import AttnNameError, AttnTypeError, AttnValueError, Span
from ...ir.expr import Along, Apply, Expr, Read, Reduce, axes_of, kind_of, sources_of, walk
from ...ir.nodes import Assign, Carry, Check, Fold, Node
from ...ir.ops import widest
from ...language import tree
from .budget import counted
from .expressions import conjunction, name_text, static_bool, to_expr, value, whole
from .layouts import AxisMaker
from .names import descend
from .scope import Scope, is_plain, reference
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

    What costs nothing to compute again stays an expression: plain references, arithmetic on positions and sizes, conditions.
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
        if axes == free and is_plain(e):
            return e
        return scope.builder.assign(name, e, axes, span)
    if is_plain(e) or is_cheap(e):
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
    for var in node.vars:
        if var in scope.names:
            raise AttnNameError(
                f"'{var}' already names something else here", node.span, "give the fold's variable a name of its own"
            )
    steps = _steps(scope, node)
    if isinstance(steps, list) and (_static_only(node) or isinstance(node.range, tree.List | tree.Call | tree.Name)):
        _unroll(scope, node, steps)
        return
    if isinstance(steps, list):
        if not steps:
            return
        step = steps[1] - steps[0] if len(steps) > 1 else 1
        bounds: tuple[Value, Value, Value] = (steps[0], steps[-1], step)
    else:
        bounds = steps
    mark = len(scope.builder.blocks[-1]), dict(scope.names), set(scope.assigned), len(scope.builder.checks)
    try:
        _loop(scope, node, bounds)
    except _NotALoop as reason:
        del scope.builder.blocks[-1][mark[0] :], scope.builder.checks[mark[3] :]
        scope.names, scope.assigned = mark[1], mark[2]
        if not isinstance(steps, list):
            raise AttnTypeError(
                str(reason), node.span, "keep the axes and kinds of carried values the same at every step"
            ) from None
        _unroll(scope, node, steps)


class _NotALoop(Exception):
    """The steps differ in a way that only unrolling can express."""


def _steps(scope: Scope, node: tree.Fold) -> list[Any] | tuple[Value, Value, Value]:
    """A static list of steps, or run-time (start, stop, step)."""
    step: Value = 1
    if node.step is not None:
        step = value(node.step, scope)
        if not isinstance(step, int) or isinstance(step, bool) or step == 0:
            raise AttnTypeError("the step of a fold is a whole number other than 0", node.step.span)
    if isinstance(node.range, tree.Range):
        with scope.mode(sizing=True, integral=True):
            start, stop = value(node.range.start, scope), value(node.range.stop, scope)
        if isinstance(start, int) and isinstance(stop, int):
            return counted(start, stop, step, node.range.span)
        for bound in (start, stop):
            e = to_expr(scope, bound, node.range.span)
            if axes_of(e) or kind_of(e) != "int":
                raise AttnTypeError("a fold runs between two whole numbers", node.range.span)
        return start, stop, step
    found = value(node.range, scope)
    if isinstance(found, Several):
        found = list(found.items)
    if not isinstance(found, list | tuple):
        raise AttnTypeError("a fold runs over a range or a list", node.range.span, "write 'fold n in 0 .. 3 { }'")
    return list(found)


def _static_only(node: tree.Fold) -> bool:
    """Whether the body uses a loop variable where only a static value can stand: a family index or a list position."""
    for inner in descend(node.body):
        if isinstance(inner, tree.Index) and any(isinstance(n, tree.Name) and n.plain in node.vars for n in descend(inner.value)):
            return True
        if isinstance(inner, tree.Attr) and isinstance(inner.base, tree.Bracket):
            return True
    return False


def _assigned_in(scope: Scope, body: tuple[tree.Stmt, ...]) -> list[str]:
    """Names assigned in a fold's body that existed before it: the carried ones."""
    out: list[str] = []
    for inner in descend(body):
        targets = inner.targets if isinstance(inner, tree.Assign) else (inner.target,) if isinstance(inner, tree.Attend) else ()
        for target in targets:
            if target is not None and target.name.plain is not None and target.name.plain in scope.assigned:
                out.append(target.name.plain)
    return sorted(dict.fromkeys(out), key=out.index)


def _unroll(scope: Scope, node: tree.Fold, steps: list[Any]) -> None:
    carried = _assigned_in(scope, node.body)
    before = dict(scope.names), set(scope.assigned), set(scope.carried)
    for step in steps:
        values = list(step) if len(node.vars) > 1 and isinstance(step, list | tuple) else [step]
        if len(values) != len(node.vars):
            raise AttnTypeError(f"{len(node.vars)} names for {len(values)} values", node.span)
        scope.carried = before[2] | set(carried)
        for var, one in zip(node.vars, values, strict=True):
            scope.names[var] = one
        known = set(scope.names)
        run(scope, node.body)
        for name in set(scope.names) - known:  # names of one step, families aside, end with it
            if name in scope.assigned and not _is_family(node, name):
                del scope.names[name]
                scope.assigned.discard(name)
    scope.carried = before[2]
    for var in node.vars:
        scope.names.pop(var, None)
        if var in before[0]:
            scope.names[var] = before[0][var]


def _is_family(node: tree.Fold, name: str) -> bool:
    for inner in descend(node.body):
        targets = inner.targets if isinstance(inner, tree.Assign) else (inner.target,) if isinstance(inner, tree.Attend) else ()
        named = [t.name for t in targets if t is not None]
        if isinstance(inner, tree.Emit):
            named += [item.name for item in inner.items if item.name is not None]
        for target in named:
            if target.plain is None and isinstance(target.parts[0], str) and name.startswith(target.parts[0]):
                return True
    return False


def _loop(scope: Scope, node: tree.Fold, bounds: tuple[Value, Value, Value]) -> None:
    """A fold that stays a loop: carried values keep their axes and kinds, widened to what the body gives."""
    builder = scope.builder
    if len(node.vars) != 1:
        raise AttnTypeError("a fold over a range has one variable", node.span)
    carried = _assigned_in(scope, node.body)
    if not carried:
        raise _NotALoop("a fold over sizes must carry a value: assign it before the fold")
    shapes: dict[str, tuple[tuple[str, ...], str]] = {}
    for name in carried:
        first = scope.get(name)
        if not isinstance(first, EXPR_TYPES) and not isinstance(first, bool | int | float):
            raise _NotALoop(f"'{name}' is not a tensor or a number")
        e = to_expr(scope, first, node.span)
        shapes[name] = (axes_of(e), kind_of(e))
    outer = dict(scope.names), set(scope.assigned), set(scope.carried)
    for _ in range(4):
        block, names, results = _body(scope, node, carried, shapes, outer)
        grown = {
            n: (tuple(dict.fromkeys((*[a for a in axes_of(results[n]) if a not in shapes[n][0]], *shapes[n][0]))),
                widest([shapes[n][1], kind_of(results[n])]))
            for n in carried
        }  # fmt: skip
        if grown == shapes:
            break
        shapes = grown
    else:
        raise _NotALoop("the carried values change their axes from step to step")
    scope.names, scope.assigned, scope.carried = dict(outer[0]), set(outer[1]), set(outer[2])
    carries = []
    builder.blocks.append(block)
    nexts = {n: _stored(scope, n, results[n], shapes[n], node.span) for n in carried}
    builder.blocks.pop()
    for n in carried:
        init = _stored(scope, n, to_expr(scope, outer[0][n], node.span), shapes[n], node.span)
        carries.append(Carry(names[n], *shapes[n], init, nexts[n]))
        scope.names[n] = reference(names[n], *shapes[n])
    start, stop, step = (to_expr(scope, b, node.range.span) for b in bounds)
    builder.emit(Fold(names[""], start, stop, step, tuple(carries), tuple(block), node.span), node.span)


def _stored(scope: Scope, name: str, e: Expr, shape: tuple[tuple[str, ...], str], span: Span) -> str:
    """The name of a value that holds `e` over exactly these axes."""
    if is_plain(e) and axes_of(e) == shape[0] and kind_of(e) == shape[1]:
        assert isinstance(e, Read)
        defined = {n.name: n.axes for block in scope.builder.blocks for n in block if isinstance(n, Assign)}
        if defined.get(e.source) == shape[0]:
            return e.source
    if kind_of(e) != shape[1]:
        e = Apply("to_float" if shape[1] == "float" else "to_int", (e,))
    unique = scope.builder.fresh(name)
    scope.builder.emit(Assign(unique, shape[0], shape[1], e, span), span)
    return unique


def _body(scope: Scope, node: tree.Fold, carried: list[str], shapes: dict[str, tuple[tuple[str, ...], str]],
          outer: tuple[dict[str, Value], set[str], set[str]]) -> tuple[list[Node], dict[str, str], dict[str, Expr]]:  # fmt: skip
    """Resolve the body once with the carried values under the given shapes."""
    builder = scope.builder
    scope.names, scope.assigned = dict(outer[0]), set(outer[1])
    scope.carried = outer[2] | set(carried)
    names = {n: builder.fresh(n) for n in carried}
    names[""] = builder.fresh(node.vars[0])
    for n in carried:
        scope.names[n] = reference(names[n], *shapes[n])
    scope.names[node.vars[0]] = Read(names[""], (), "int")
    builder.blocks.append([])
    try:
        run(scope, node.body)
        results = {n: to_expr(scope, scope.get(n), node.span) for n in carried}
    finally:
        block = builder.blocks.pop()
    return block, names, results


@statement.register
def _(node: tree.Attend, scope: Scope) -> None:
    from .attends import attend

    attend(scope, node)
