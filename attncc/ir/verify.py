"""`verify(program)` holds a program to the rules of rules.py. It runs after every pass and names the first rule that is broken.

Scopes: a value is visible from the node after the one that defines it. Inside an attend the clauses also see the names of
earlier clauses, with the axes of `nodes.pair_values`, and from the maps on `admitted`; a segment's clauses see its own scores,
and a mix sees the maps and posts too when there is one segment. Inside a fold the body sees the counter and the carried values;
after it only the carried values remain. Inside a call the body sees the formals, a cotangent also the body's values and the
gradient.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ..errors import Span
from .check import Scope, check_assign, check_expr, check_kind, show_axes, within
from .check_attend import check_attend
from .expr import Const, Index, Read, Size, sources_of, walk
from .nodes import (
    Assign,
    Attend,
    Axis,
    Call,
    Check,
    Dims,
    Fold,
    Input,
    Node,
    Output,
    Pick,
    Program,
    Value,
    values_of,
)
from .rules import fail

PICKS = ("topk", "argmax", "argsort", "sort", "positions", "in_top")


def verify(program: Program) -> Program:
    """The program itself. Raises: AttnInternalError with the broken rule as its help."""
    _axes(program)
    axes = {axis.name: axis for axis in program.axes}
    scope = Scope(axes, {}, frozenset(v.name for node in program.nodes for v in values_of(node)))
    for given in program.inputs:
        scope = scope.plus([_input(given, scope)])
    for check in program.checks:
        _check(check, scope)
    scope = _body(program.nodes, scope)
    seen: set[str] = set()
    for output in program.outputs:
        if output.name in seen:
            fail("output-once", f"output '{output.name}' is declared twice", output.span)
        seen.add(output.name)
        _output(output, scope)
    return program


# ------------------------------------------------------------------------------------------------------------ signature


def _axes(program: Program) -> None:
    axes: dict[str, Axis] = {}
    for axis in program.axes:
        if axis.name in axes:
            fail("axis-once", f"axis '{axis.name}' is declared twice")
        axes[axis.name] = axis
    scope = Scope(axes, {i.name: Value(i.name, tuple(a for d in i.dims for a in d), i.kind) for i in program.inputs})
    for axis in program.axes:
        what = f"axis '{axis.name}'"
        scope.known((a for part in axis.parts for a in part), what, None)
        if axis.size is not None:
            for e in walk(axis.size):
                if isinstance(e, Index) or (isinstance(e, Read) and (e.kind != "int" or e.fill is not None)):
                    fail("axis-size", f"the size of {what} is not made of sizes")
            kind, _ = check_expr(axis.size, scope, what, None)
            if kind != "int":
                fail("axis-size", f"the size of {what} is {kind}, not int")
    _acyclic({a.name: [e.axis for e in walk(a.size) if isinstance(e, Size)] if a.size else [] for a in program.axes}, "its size")
    _acyclic({a.name: [p for part in a.parts for p in part] for a in program.axes}, "its parts")
    known = {a for given in program.inputs for dim in given.dims for a in dim}
    pending = [a for a in known if a in axes]
    while pending:
        more = {p for part in axes[pending.pop()].parts for p in part} - known
        known |= more
        pending.extend(more)
    for axis in program.axes:
        if axis.size is None and not axis.parts and axis.name not in known:
            fail("axis-given", f"nothing gives the size of axis '{axis.name}'")


def _acyclic(needs: dict[str, list[str]], through: str) -> None:
    """Check that no axis reaches itself."""
    done: set[str] = set()
    for start in needs:
        path: list[tuple[str, list[str]]] = [(start, list(needs[start]))]
        while path and start not in done:
            name, rest = path[-1]
            if not rest:
                done.add(name)
                path.pop()
                continue
            axis = rest.pop()
            names = [step for step, _ in path]
            if axis in names:
                cycle = " -> ".join([*names[names.index(axis) :], axis])
                fail("axis-cycle", f"axis '{axis}' depends on itself through {through}: {cycle}")
            if axis not in done:
                path.append((axis, list(needs[axis])))


def _flat(dims: Dims, what: str, scope: Scope, span: Span | None) -> tuple[str, ...]:
    axes = tuple(axis for dim in dims for axis in dim)
    scope.distinct(axes, f"the dims of {what}", span)
    return axes


def _signature_kind(kind: str, what: str, span: Span | None) -> None:
    check_kind(kind, what, span)
    if kind == "complex":
        fail("kind-known", f"{what} is complex", span)


def _input(given: Input, scope: Scope) -> Value:
    scope.fresh(given.name, given.span)
    _signature_kind(given.kind, f"input '{given.name}'", given.span)
    return Value(given.name, _flat(given.dims, f"input '{given.name}'", scope, given.span), given.kind)


def _check(check: Check, scope: Scope) -> None:
    what = "an assume" if check.data else "a require"
    kind, _ = check_expr(check.cond, scope, what, check.span)
    if kind != "bool":
        fail("check-bool", f"{what} is {kind}, not bool", check.span)
    if not check.data:
        for e in walk(check.cond):
            if isinstance(e, Index | Read):
                thing = f"reads '{e.source}'" if isinstance(e, Read) else f"has the index '{e.axis}'"
                fail("check-bool", f"a require {thing}", check.span)


def _output(output: Output, scope: Scope) -> None:
    what = f"output '{output.name}'"
    value = scope.value(output.value, output.span)
    _signature_kind(output.kind, what, output.span)
    axes = _flat(output.dims, what, scope, output.span)
    missing = [a for a in value.axes if a not in axes]
    if missing:
        fail("output-axes", f"{what} has no dim for {show_axes(missing)} of '{value.name}'", output.span)
    if output.kind != value.kind:
        fail("output-kind", f"{what} is {output.kind} and '{value.name}' is {value.kind}", output.span)


# ------------------------------------------------------------------------------------------------------------ nodes


def _body(nodes: tuple[Node, ...], scope: Scope) -> Scope:
    """Check nodes in their order. Returns: the scope after them."""
    later = Counter(v.name for node in nodes for v in values_of(node))
    scope = replace(scope, later=scope.later | frozenset(later))
    for node in nodes:
        after = scope
        for value in values_of(node):
            after.fresh(value.name, node.span)
            check_kind(value.kind, f"'{value.name}'", node.span)
            scope.distinct(value.axes, f"'{value.name}'", node.span)
            after = after.plus([value])
        _node(node, scope)
        scope = after
    return scope


def _node(node: Node, scope: Scope) -> None:
    match node:
        case Assign():
            check_assign(node, scope)
        case Attend():
            check_attend(node, scope)
        case Pick():
            _pick(node, scope)
        case Fold():
            _fold(node, scope)
        case Call():
            _call(node, scope)


def _pick(node: Pick, scope: Scope) -> None:
    what = f"{node.op} '{node.name}'"
    if node.op not in PICKS:
        fail("pick-op", f"there is no pick '{node.op}'", node.span)
    scope.known([node.source, *([node.target] if node.target else [])], what, node.span)
    moves = bool(node.target) and node.target != node.source
    if (node.op in ("topk", "positions") and not moves) or (node.op in ("argmax", "in_top") and moves):
        fail("pick-target", f"{what} goes from '{node.source}' to '{node.target}'", node.span)
    kind, free = check_expr(node.expr, scope, what, node.span)
    if (node.op == "positions" and kind != "bool") or kind == "complex":
        fail("pick-args", f"{what} takes {'bool' if node.op == 'positions' else 'no complex value'}, found {kind}", node.span)
    if node.cond is not None:
        held, more = check_expr(node.cond, scope, what, node.span)
        if held != "bool":
            fail("cond-bool", f"the condition of {what} is {held}, not bool", node.span)
        free |= more
    if (node.count is not None) != (node.op == "in_top"):
        fail("pick-args", f"{what} has {'a' if node.count is not None else 'no'} count", node.span)
    if node.count is not None:
        counted, more = check_expr(node.count, scope, what, node.span)
        if counted != "int" or node.source in more:
            along = f" along '{node.source}'" if node.source in more else ""
            fail("pick-args", f"the count of {what} is {counted}{along}", node.span)
        free |= more
    wanted_kind = {"sort": kind, "in_top": "bool"}.get(node.op, "int")
    if node.kind != wanted_kind:
        fail("pick-kind", f"{what} is {node.kind}, not {wanted_kind}", node.span)
    gains = {"argmax": set(), "in_top": {node.source}}.get(node.op, {node.target or node.source})
    if moves and node.target in free:
        fail("pick-axes", f"the argument of {what} already has the axis '{node.target}'", node.span)
    within((free - {node.source}) | gains, node.axes, "pick-axes", what, node.span)
    if node.source in node.axes and node.source not in gains:
        fail("pick-axes", f"{what} still has the axis '{node.source}'", node.span)


def _fold(node: Fold, scope: Scope) -> None:
    what = f"fold '{node.var}'"
    for bound in (node.start, node.stop, node.step):
        kind, free = check_expr(bound, scope, what, node.span)
        if kind != "int" or free:
            fail("fold-bounds", f"a bound of {what} is {kind} with axes {show_axes(sorted(free))}", node.span)
    if node.step == Const(0):
        fail("fold-bounds", f"the step of {what} is 0", node.span)
    inner = scope
    carried = [Value(carry.name, carry.axes, carry.kind) for carry in node.carries]
    for value in (Value(node.var, (), "int"), *carried):
        inner.fresh(value.name, node.span)
        check_kind(value.kind, f"'{value.name}'", node.span)
        inner.distinct(value.axes, f"'{value.name}'", node.span)
        inner = inner.plus([value])
    after = _body(node.body, inner)
    for carry, value in zip(node.carries, carried, strict=True):
        _same(scope.value(carry.init, node.span), value, "fold-carry", f"'{carry.name}' of {what} starts as", node.span)
        _same(after.value(carry.next, node.span), value, "fold-carry", f"'{carry.name}' of {what} becomes", node.span)


def _same(found: Value, wanted: Value, rule: str, says: str, span: Span | None) -> None:
    """Check that two values have the same kind and, in any order, the same axes."""
    if set(found.axes) != set(wanted.axes) or found.kind != wanted.kind:
        has, should = f"{show_axes(found.axes)} {found.kind}", f"{show_axes(wanted.axes)} {wanted.kind}"
        fail(rule, f"{says} '{found.name}' {has}, not {should}", span)


def _call(node: Call, scope: Scope) -> None:
    what = f"{node.op} '{node.name}'"
    if node.op not in ("vjp", "rfft", "irfft", "grad"):
        fail("call-op", f"there is no call '{node.op}'", node.span)
    fft, own = node.op in ("rfft", "irfft"), node.op == "vjp"
    inner = (node.formals, node.body, node.value, node.grad, node.cotangents)
    if (any(inner) and not own) or (bool(node.along or node.target) and not fft):
        fail("call-op", f"{what} has fields of another call", node.span)
    inputs = [scope.value(name, node.span) for name in node.inputs]
    if fft:
        _fft(node, inputs, scope, what)
    elif own:
        _vjp(node, inputs, scope, what)
    else:
        if len(inputs) != 2 or inputs[0].axes or inputs[0].kind != "float":
            fail("call-grad", f"{what} is not of a float scalar with respect to one value", node.span)
        _same(inputs[1], Value(node.name, node.axes, node.kind), "call-grad", f"{what} is with respect to", node.span)


def _fft(node: Call, inputs: list[Value], scope: Scope, what: str) -> None:
    scope.distinct(node.along, what, node.span)
    scope.known([node.target], what, node.span)
    if len(inputs) != 1 or not node.along or not set(node.along) <= set(inputs[0].axes):
        fail("call-fft", f"{what} along {show_axes(node.along)} needs one input with those axes", node.span)
    full, half = ("float", "complex") if node.op == "rfft" else ("complex", "float")
    kept = (set(inputs[0].axes) - {node.along[-1]}) | {node.target}
    if set(node.axes) != kept or node.target in inputs[0].axes or node.kind != half or inputs[0].kind != full:
        has = f"{show_axes(node.axes)} {node.kind}"
        fail("call-fft", f"{what} gives {has}, not {show_axes(sorted(kept))} {half} from {full}", node.span)


def _vjp(node: Call, inputs: list[Value], scope: Scope, what: str) -> None:
    sees = Scope(scope.axes, {v.name: v for v in inputs})
    formals: list[Value] = []
    for formal in node.formals:
        for source in sources_of(formal.expr):
            if source not in sees.values:
                fail("call-vjp", f"'{formal.name}' of {what} reads '{source}', which is no input of it", node.span)
        if formal.name in scope.values or any(formal.name == f.name for f in formals):
            fail("name-once", f"'{formal.name}' is defined twice", node.span)
        scope.distinct(formal.axes, f"'{formal.name}'", node.span)
        check_assign(formal, sees)
        formals.append(Value(formal.name, formal.axes, formal.kind))
    inner = _body(node.body, scope.plus(formals))
    wanted = Value(node.name, node.axes, node.kind)
    if node.value not in inner.values:
        fail("call-vjp", f"{what} returns '{node.value}', which its body does not define", node.span)
    _same(inner.values[node.value], wanted, "call-vjp", f"{what} returns", node.span)
    if node.grad:
        inner.fresh(node.grad, node.span)
        inner = inner.plus([Value(node.grad, node.axes, node.kind)])
    towards = {v.name: v for v in (formals or inputs)}
    for cotangent in node.cotangents:
        wrt = towards.pop(cotangent.input, None)
        if wrt is None:
            fail("call-cotangent", f"{what} has no input '{cotangent.input}' that still needs a cotangent", node.span)
        after = _body(cotangent.body, inner)
        says = f"'{wrt.name}' of {what} has the cotangent"
        _same(after.value(cotangent.value, node.span), wrt, "call-cotangent", says, node.span)
