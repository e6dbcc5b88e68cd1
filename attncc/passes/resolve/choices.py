"""Functions that make nodes of their own: integers chosen by data, Fourier transforms, the gradient of a scalar."""

from __future__ import annotations

from ...errors import AttnTypeError
from ...ir.expr import Read, axes_of, kind_of
from ...ir.nodes import Call, Pick, values_of
from ...language import tree
from .arithmetic import to_expr
from .expressions import value
from .reads import single
from .scope import Scope, is_plain, reference
from .use import Use
from .values import Absent, Value


def pick(scope: Scope, use: Use) -> Value:
    """topk[t -> w], argmax[c], argsort[n], sort[w], positions[n -> s], in_top[j | cond](e; n = w)."""
    use.only(*(("n",) if use.name == "in_top" else ()))
    use.count(1)
    if use.bracket is None or len(use.bracket.items) != 1:
        raise AttnTypeError(f"'{use.name}' needs one axis in brackets", use.span)
    item = use.bracket.items[0]
    arrow = use.name in ("topk", "positions")
    if arrow != isinstance(item, tree.Arrow):
        raise AttnTypeError(f"write {use.name}[{'n -> w' if arrow else 'n'}](...)", item.span)
    source = single(scope, item.left if isinstance(item, tree.Arrow) else item)
    target = single(scope, item.right) if isinstance(item, tree.Arrow) else source
    got = use.body(scope, [source])
    if isinstance(got, Absent):
        return got
    found, cond = got
    e = to_expr(scope, found, use.args[0].span)
    if len(source.atoms) != 1 or len(target.atoms) != 1:
        raise AttnTypeError(f"'{use.name}' works along one atomic axis", use.span)
    axis, to = source.atoms[0], target.atoms[0]
    if arrow and axis == to:
        help = f"name the axis of the chosen ones: {use.name}[{source.name} -> w](..), with 'where w = ..'"
        raise AttnTypeError(f"'{use.name}' goes to an axis of its own", item.span, help)
    if axis not in axes_of(e):
        raise AttnTypeError(f"the argument of '{use.name}' has no axis '{source.name}'", use.span)
    if use.name == "positions" and kind_of(e) != "bool":
        raise AttnTypeError("'positions' needs a condition", use.args[0].span)
    free = axes_of(e) if cond is None else tuple(dict.fromkeys((*axes_of(e), *axes_of(cond))))
    axes = tuple(a for a in free if a != axis) if use.name == "argmax" else tuple(to if a == axis else a for a in free)
    count = None
    if use.name == "in_top":
        if "n" not in use.options:
            raise AttnTypeError("'in_top' needs n: in_top[j](e; n = 8)", use.span)
        count = to_expr(scope, value(use.options["n"], scope), use.options["n"].span)
        extra = [a for a in axes_of(count) if a not in free or a == axis]
        if kind_of(count) != "int" or extra:
            what = f"depends on axis '{extra[0]}'" if extra else f"is a value of kind {kind_of(count)}"
            help = f"a whole number for each row: '{extra[0]}.size' is the size" if extra else "a whole number for each row"
            raise AttnTypeError(f"n of 'in_top' {what}", use.options["n"].span, help)
    kind = "bool" if use.name == "in_top" else kind_of(e) if use.name == "sort" else "int"
    name = scope.builder.fresh(use.name)
    if scope.is_local(e):
        raise AttnTypeError(
            f"'{use.name}' cannot select by pair values of an attend", use.span, "compute the ranking before the attend"
        )
    scope.builder.emit(Pick(name, axes, kind, use.name, axis, to, e, cond, count, use.span), use.span)
    return reference(name, axes, kind)


def fourier(scope: Scope, use: Use) -> Value:
    """`rfft[h, w -> wv](x)` and `irfft[h, wv -> w](x)`; the last axis is the halved one."""
    use.only()
    use.count(1)
    items = use.bracket.items if use.bracket is not None else ()
    if not items or not isinstance(items[-1], tree.Arrow) or any(isinstance(i, tree.Arrow) for i in items[:-1]):
        raise AttnTypeError(f"write {use.name}[h, w -> wv](x)", use.span)
    last = items[-1]
    assert isinstance(last, tree.Arrow)
    refs = [single(scope, i) for i in items[:-1]] + [single(scope, last.left)]
    target = single(scope, last.right)
    found = value(use.args[0], scope)
    if isinstance(found, Absent):
        return found
    e = to_expr(scope, found, use.args[0].span)
    base = e if is_plain(e) else scope.store(e, "t", use.span)
    assert isinstance(base, Read)
    axes = tuple(target.atoms[0] if a == refs[-1].atoms[0] else a for a in axes_of(base))
    kind = "complex" if use.name == "rfft" else "float"
    name = scope.builder.fresh(use.name)
    along_axes = tuple(ref.atoms[0] for ref in refs)
    source = scope.builder.assign("t", base, span=use.span) if not _whole(scope, base) else base
    scope.builder.emit(Call(name, axes, kind, use.name, (source.source,), along_axes, target.atoms[0], span=use.span), use.span)
    return reference(name, axes, kind)


def _whole(scope: Scope, base: Read) -> bool:
    """Whether a plain reference has its axes under the names they were stored with."""
    known = {v.name: v.axes for block in scope.builder.blocks for n in block for v in values_of(n)}
    return known.get(base.source) == axes_of(base)


def gradient(scope: Scope, use: Use) -> Value:
    """`grad(scalar, x)`: the gradient of a scalar with respect to a named tensor."""
    use.only()
    use.count(2)
    target = to_expr(scope, value(use.args[0], scope), use.args[0].span)
    if axes_of(target):
        raise AttnTypeError(
            f"'grad' differentiates a scalar, found axes ({', '.join(axes_of(target))})", use.args[0].span, "sum it first"
        )
    wrt = to_expr(scope, value(use.args[1], scope), use.args[1].span)
    if not is_plain(wrt) or not isinstance(wrt, Read):
        raise AttnTypeError("'grad' differentiates with respect to a named tensor", use.args[1].span)
    source = target if isinstance(target, Read) else scope.builder.assign("t", target, span=use.span)
    name = scope.builder.fresh("grad")
    scope.builder.emit(Call(name, axes_of(wrt), "float", "grad", (source.source, wrt.source), span=use.span), use.span)
    return reference(name, axes_of(wrt), "float")
