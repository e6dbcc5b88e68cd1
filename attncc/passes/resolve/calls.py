"""Calls: built-in functions, definitions and patterns. The latter two are inlined, under names and axes of their own."""

from __future__ import annotations

import difflib
from contextlib import suppress
from typing import Any

from ...errors import AttnError, AttnNameError, AttnTypeError, Span
from ...ir.expr import Expr, axes_of, kind_of
from ...ir.nodes import Assign, Cotangent
from ...ir.nodes import Call as CallNode
from ...language import tree
from ...language.walk import descend
from .arguments import Arguments
from .arithmetic import to_expr
from .binding import told
from .expressions import name_text, value
from .functions import BRACKETED, CONDITIONED, FUNCTIONS, name_of
from .params import bind_params
from .reads import axis_of
from .scope import Scope, reference
from .signatures import expand_inputs, gather
from .statements import Returned, run
from .use import Use
from .values import EXPR_TYPES, Absent, AxisRef, PackOf, Several, Value, is_static

MAX_DEPTH = 24


@value.register
def _(node: tree.Call, scope: Scope) -> Value:
    name = name_of(scope, node.fn)
    if name is None:
        raise AttnTypeError("this cannot be called", node.span)
    scope.builder.budget.spend(node.span)
    if scope.depth > MAX_DEPTH:
        raise AttnTypeError(f"calls are nested more than {MAX_DEPTH} deep", node.span, "a definition must not call itself")
    if isinstance(node.fn, tree.Bracket):
        for item in descend(tuple(i.right if isinstance(i, tree.Bind) else i for i in node.fn.items)):
            found = scope.names.get(item.plain or "") if isinstance(item, tree.Name) else None
            if isinstance(found, Absent):  # an axis that only an absent input has
                return found
    if name in scope.library.defines:
        return call_define(scope, scope.library.defines[name], node)
    if name in FUNCTIONS:  # before patterns: softmax is the function, in the file softmax.attn too
        return FUNCTIONS[name](scope, _use(scope, name, node))
    if name in scope.library.patterns:
        return call_pattern(scope, name, node)
    known = [*scope.library.defines, *scope.library.patterns, *FUNCTIONS]
    near = difflib.get_close_matches(name, known, 1)
    what = (
        "a tensor, not a function: read it with x[...]" if name in scope.names else f"did you mean '{near[0]}'?" if near else ""
    )
    raise AttnNameError(f"unknown function '{name}'", node.fn.span, f"'{name}' is {what}" if name in scope.names else what)


def _use(scope: Scope, name: str, node: tree.Call) -> Use:
    args: list[tree.Expr] = []
    options: dict[str, tree.Expr] = {}
    for arg in (*node.args, *node.options):
        if isinstance(arg.value, tree.Rest | tree.Glob):
            raise AttnTypeError(f"'{name}' does not take '...' or a bundle", arg.span)
        if arg.name is not None:
            options[name_text(scope, arg.name)] = arg.value
        else:
            args.append(arg.value)
    bracket = node.fn if isinstance(node.fn, tree.Bracket) else None
    if bracket is not None and name not in BRACKETED:
        help = (
            "it contracts the last stored dim of the weight; else write sum[c](w * x)"
            if name == "linear"
            else f"write {name}(..)"
        )
        raise AttnTypeError(f"'{name}' takes no axes in brackets", bracket.span, help)
    if bracket is not None and bracket.fill is not None:
        raise AttnTypeError(f"'else' belongs to reads, not to '{name}'", bracket.fill.span, "a choice is where(c, a, b)")
    cond = node.such_that or (bracket.such_that if bracket is not None else None)
    if cond is not None and name not in CONDITIONED:
        raise AttnTypeError(
            f"'{name}' takes no condition after '|'", cond.span, "a reduction does, sum[j | c](e); a choice is where(c, a, b)"
        )
    return Use(name, node.span, bracket, tuple(args), options, node.such_that)


def call_define(scope: Scope, decl: tree.Define, node: tree.Call) -> Value:
    """Inline a definition. Packs in its brackets, where it names single axes, make it work axis by axis."""
    bracket = node.fn if isinstance(node.fn, tree.Bracket) else None
    given = _bracket_axes(scope, decl, bracket, node.span)
    ranks = {len(v.items) for n, v in given.items() if isinstance(v, PackOf) and not n.startswith("*")}
    if not ranks:
        return _inline_define(scope, decl, node, given, None)
    if len(ranks) > 1:
        raise AttnTypeError("the packs in the brackets have different rank", node.span)
    return PackOf(
        tuple(
            _inline_define(scope, decl, node, {n: v.items[i] if isinstance(v, PackOf) else v for n, v in given.items()}, i)
            for i in range(ranks.pop())
        )
    )


def _bracket_axes(scope: Scope, decl: tree.Define, bracket: tree.Bracket | None, span: Span) -> dict[str, Any]:
    """Formal axis name -> the caller's axis; `*g` -> a pack of all that is left."""
    items = list(bracket.items) if bracket is not None else []
    flat: list[tree.Expr] = []
    formals: list[tree.Expr] = []
    for item in decl.axes:
        formals.extend([item.left, item.right] if isinstance(item, tree.Arrow) else [item])
    for item in items:
        flat.extend([item.left, item.right] if isinstance(item, tree.Arrow) else [item])
    arrows = [isinstance(i, tree.Arrow) for i in decl.axes], [isinstance(i, tree.Arrow) for i in items]
    packed = any(isinstance(f, tree.Pack) for f in formals)
    if (len(flat) != len(formals) and not packed) or (not packed and arrows[0] != arrows[1]):
        shape = ", ".join(_axis_text(a) for a in decl.axes)
        raise AttnTypeError(f"'{decl.name}' takes the axes [{shape}] in brackets", bracket.span if bracket else span)
    out: dict[str, Any] = {}
    for n, formal in enumerate(formals):
        if isinstance(formal, tree.Pack):
            rest: list[AxisRef] = []
            for item in flat[n:]:
                found = axis_of(scope, item)
                rest.extend(found.items if isinstance(found, PackOf) else [found])
            out["*" + (formal.name.plain or "")] = PackOf(tuple(rest))
            break
        if not isinstance(formal, tree.Name):
            raise AttnTypeError("the axes of a definition are names", formal.span)
        out[formal.plain or ""] = axis_of(scope, flat[n])
    return out


def _axis_text(item: tree.Expr) -> str:
    if isinstance(item, tree.Arrow):
        return f"{_axis_text(item.left)} -> {_axis_text(item.right)}"
    if isinstance(item, tree.Pack):
        return "*" + (item.name.plain or "")
    return item.plain or "" if isinstance(item, tree.Name) else "?"


def _entry(v: Value, i: int | None) -> Value:
    """The entry of a pack or list that belongs to one axis of a pack."""
    if i is None:
        return v
    if isinstance(v, PackOf):
        return v.items[i]
    return v[i] if isinstance(v, list) else v


def _inline_define(scope: Scope, decl: tree.Define, node: tree.Call, axes: dict[str, Any], entry: int | None) -> Value:
    inner = Scope(
        scope.builder, scope.library, twins=scope.twins, lifted=scope.lifted, attend=scope.attend, depth=scope.depth + 1,
        integral=scope.integral, where=decl.name,
    )  # fmt: skip
    refs: list[AxisRef] = []
    for name, ref in axes.items():
        if isinstance(ref, PackOf):
            inner.names[name.lstrip("*")] = ref
            refs.extend(ref.items)
        else:
            inner.names[name] = AxisRef(name, ref.atoms)
            refs.append(ref)
    try:
        sig = gather(inner, decl.params, decl.inputs, ())
        arguments = Arguments(scope, node, set(sig.params))
        given = arguments.params(list(sig.params))
        bind_params(inner, sig.params, {n: (_entry(v, entry), s) for n, (v, s) in given.items()})
        formals: list[tuple[str, Expr]] = []
        for spec, _ in expand_inputs(inner, decl.inputs):
            got = arguments.input(spec.name)
            v = _entry(got[0], entry) if got is not None else None
            if v is None:
                if not spec.decl.optional and spec.decl.cond is None:
                    raise AttnTypeError(f"'{decl.name}' needs '{spec.name}'", node.span)
                v = Absent(spec.name)
            if decl.vjp and isinstance(v, EXPR_TYPES):
                formals.append((spec.name, v))
            else:
                inner.names[spec.name] = v
        arguments.finish(decl.name)
        if decl.vjp:
            return _with_vjp(scope, inner, decl, formals, refs, node.span)
        with inner.binding(refs):
            inner.primes[:0] = scope.primes
            inner.sizing = scope.sizing
            return _body(inner, decl)
    except AttnError as error:
        raise _located(error, node.span, decl.name) from None


def _located(error: AttnError, span: Span, name: str) -> AttnError:
    """An error inside a shipped definition points at the call too."""
    if error.span is not None and error.span.source is not span.source and "in '" not in error.help:
        inner = f"in '{name}' ({error.span!r})"
        return type(error)(error.message, span, f"{error.help}; {inner}" if error.help else inner)
    return error


def _body(scope: Scope, decl: tree.Define) -> Value:
    scope.returns = True
    try:
        run(scope, decl.body)
    except Returned as found:
        return found.value
    raise AttnTypeError(f"definition '{decl.name}' has no return", decl.span)


def _with_vjp(
    scope: Scope, inner: Scope, decl: tree.Define, formals: list[tuple[str, Expr]], refs: list[AxisRef], span: Span
) -> Expr:
    """A definition with gradients of its own: a Call node around its body."""
    builder = scope.builder
    args, stubs = [], []
    for name, actual in formals:
        stored = builder.assign(name, actual, span=span)
        args.append(stored.source)
        unique = builder.fresh(name)
        stubs.append(Assign(unique, axes_of(stored), kind_of(stored), stored, span))
        inner.names[name] = reference(unique, axes_of(stored), kind_of(stored))
    builder.blocks.append([])
    with inner.binding(refs):
        inner.primes[:0] = scope.primes
        result = to_expr(inner, _body(inner, decl), span)
    out = builder.assign(decl.name, result, span=span)
    body = tuple(builder.blocks.pop())
    grad = builder.fresh(decl.vjp_grad or "g")
    inner.names[decl.vjp_grad or "g"] = reference(grad, axes_of(out), kind_of(out))
    cotangents = []
    given: set[str] = set()
    for stmt in decl.vjp:
        if not isinstance(stmt, tree.Assign) or len(stmt.targets) != 1 or stmt.targets[0].name.plain not in dict(formals):
            raise AttnTypeError("a vjp gives the gradient of each input: input = expression", stmt.span)
        name = stmt.targets[0].name.plain or ""
        stub = next(s for (n, _), s in zip(formals, stubs, strict=True) if n == name)
        builder.blocks.append([])
        with inner.binding(refs):
            got = to_expr(inner, value(stmt.values[0], inner), stmt.span)
        if set(axes_of(got)) != set(stub.axes):
            raise AttnTypeError(f"the gradient of '{name}' must have the axes ({', '.join(stub.axes)})", stmt.span)
        stored = builder.assign("grad", got, stub.axes, stmt.span)
        given.add(name)
        cotangents.append(Cotangent(stub.name, tuple(builder.blocks.pop()), stored.source))
    for stub, (name, _) in zip(stubs, formals, strict=True):
        if name not in given and stub.kind == "float":
            help = f"add '{name} = ..' to it, '{name} = 0 * {name}' where it has none"
            raise AttnTypeError(f"the vjp of '{decl.name}' gives no gradient of '{name}'", decl.span, help)
    name = builder.fresh(decl.name)
    builder.emit(
        CallNode(
            name,
            axes_of(out),
            kind_of(out),
            "vjp",
            tuple(args),
            (),
            "",
            tuple(stubs),
            body,
            out.source,
            grad,
            tuple(cotangents),
            span,
        ),
        span,
    )
    return reference(name, axes_of(out), kind_of(out))


def call_pattern(scope: Scope, name: str, node: tree.Call) -> Value:
    """Inline a pattern and give its outputs."""
    from .inline import inline
    from .overloads import choose, literals

    axes = told(scope, name, node.fn if isinstance(node.fn, tree.Bracket) else None)
    known = {n for p in scope.library.patterns[name] for n in _param_names(scope, p)}
    arguments = Arguments(scope, node, known)
    keys = {n for decl in scope.library.patterns[name] for n in literals(decl)}
    if name == scope.where:  # another overload of the same pattern: what tells them apart is not passed on by '...'
        arguments.kept = keys
    given = arguments.params(sorted(known))
    literal = {n: v for n, (v, _) in given.items() if is_static(v) and (n in arguments.named or n in keys)}
    decl = choose(scope.library, name, literal, node.span)
    outputs = inline(scope, decl, arguments, axes, node.span)
    return outputs[0] if len(outputs) == 1 else Several(tuple(outputs), called=True)


def _param_names(scope: Scope, decl: tree.Pattern) -> list[str]:
    probe = Scope(scope.builder, scope.library, names={n: v for n, v in scope.names.items() if is_static(v)})
    out: list[str] = []
    for item in decl.params:
        if isinstance(item, tree.Param) and item.name.plain:
            out.append(item.name.plain)
    with suppress(AttnError):  # a family may run over a parameter that only the call itself gives
        out.extend(gather(probe, decl.params, decl.inputs, ()).params)
    return out
