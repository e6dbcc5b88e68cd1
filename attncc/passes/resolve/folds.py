"""`fold`: repetition with carried values. It stays a loop where every step has the same form; else it is unrolled."""

from __future__ import annotations

from typing import Any

from ...errors import AttnNameError, AttnTypeError, Span
from ...ir.expr import Apply, Expr, Read, axes_of, kind_of
from ...ir.nodes import Assign, Carry, Fold, Node
from ...ir.ops import widest
from ...language import tree
from ...language.walk import descend
from .arithmetic import to_expr
from .budget import counted
from .expressions import value
from .scope import Scope, is_plain, reference
from .statements import run
from .values import EXPR_TYPES, Several, Value


def fold(scope: Scope, node: tree.Fold) -> None:
    """Resolve a fold: unrolled where its steps differ in names, axes or kinds, else one node that loops."""
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
            raise AttnTypeError(str(reason), node.span, reason.help) from None
        _unroll(scope, node, steps)


class _NotALoop(Exception):
    """The steps differ in a way that only unrolling can express."""

    help = "keep the axes and kinds of carried values the same at every step"


class _OfPairs(_NotALoop):
    help = "let the fold run over a few whole numbers, so that it is written out"


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
        if scope.is_local(e):
            raise _OfPairs(f"'{name}' depends on pair values of an attend, which no loop carries")
        shapes[name] = (axes_of(e), kind_of(e))
    outer = dict(scope.names), set(scope.assigned), set(scope.carried)
    for _ in range(4):
        block, names, results = _body(scope, node, carried, shapes, outer)
        for name, e in results.items():
            if scope.is_local(e):
                raise _OfPairs(f"'{name}' depends on pair values of an attend, which no loop carries")
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
