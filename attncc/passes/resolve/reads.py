"""Brackets: reading a tensor at other positions, list entries, and the joints of direct sums."""

from __future__ import annotations

from ...errors import AttnNameError, AttnTypeError, Span
from ...ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, Size, axes_of, kind_of, substitute, walk
from ...ir.nodes import Check
from ...language import tree
from .arithmetic import to_expr
from .expressions import expr, name_text, static, value
from .scope import Scope, captures, is_plain
from .values import Absent, AxisRef, PackOf, RowsAt, Several, Value, lift


@value.register
def _(node: tree.Bracket, scope: Scope) -> Value:
    base = value(node.base, scope)
    if isinstance(base, Absent):
        return base
    if isinstance(base, list | tuple | str):
        return _entry(node, scope, base)
    if isinstance(base, Several) and base.called and isinstance(node.items[0], tree.Bind):
        base = base.items[0]
    if isinstance(base, Several):
        at = static(scope, node.items[0], "the number of a part")
        return base.items[at]
    if isinstance(base, bool | int | float):
        raise AttnTypeError("a number has no axes to read at", node.span)
    if node.such_that is not None:
        raise AttnTypeError("'|' belongs to reductions, not to reads", node.such_that.span)
    return lift(lambda v: read_at(scope, to_expr(scope, v, node.base.span), node), base)


def _entry(node: tree.Bracket, scope: Scope, base: list | tuple | str) -> Value:
    if len(node.items) != 1:
        raise AttnTypeError("a list takes one position", node.span)
    if not isinstance(base, str):
        at = value(node.items[0], scope)
        if isinstance(at, int) and not isinstance(at, bool):
            if not -len(base) <= at < len(base):
                raise AttnTypeError(f"position {at} is outside a list of {len(base)}", node.span)
            return base[at]
        if all(isinstance(entry, int | float) for entry in base) and base:
            return _table(scope, list(base), to_expr(scope, at, node.items[0].span), node.items[0].span)
        if all(isinstance(entry, list | tuple) for entry in base) and base:
            return RowsAt(tuple(tuple(row) for row in base), to_expr(scope, at, node.items[0].span))
    raise AttnTypeError("a list is read at a whole number known while compiling", node.span)


def _table(scope: Scope, entries: list, at: Expr, span: Span) -> Expr:
    """A static list of numbers read at a run-time position; each call checks that an axis that is one has no more positions."""
    if isinstance(at, Index):
        what = f"a list of {len(entries)} is read at every position of axis '{at.axis}', which has more"
        scope.builder.checks.append(Check(Apply("le", (Size(at.axis), Const(len(entries)))), False, span, what))
    out: Expr = Const(entries[-1])
    for n in range(len(entries) - 2, -1, -1):
        out = Apply("where", (Apply("eq", (at, Const(n))), Const(entries[n]), out))
    return out


def read_at(scope: Scope, base: Expr, node: tree.Bracket) -> Value:
    """`base[...]`: positions by name (`t = i`) or, all bare, one for each axis in order. Absent when a position is."""
    at: dict[str, Expr] = {}
    free = axes_of(base)
    named = [item for item in node.items if isinstance(item, tree.Bind)]
    if named and len(named) != len(node.items):
        raise AttnTypeError("give all positions by name (t = i) or all in order", node.span)
    if not named:
        positions = node.items
        if len(positions) != len(free):
            raise AttnTypeError(
                f"{len(positions)} positions for {len(free)} axes ({', '.join(free)})",
                node.span,
                "or name the ones to change: x[t = i]",
            )
        with scope.mode(sizing=False, integral=True):
            for axis, item in zip(free, positions, strict=True):
                one = value(item, scope)
                if isinstance(one, Absent):
                    return one
                at[axis] = position(scope, to_expr(scope, one, item.span), item.span)
    for item in named:
        absent = _bind(scope, item, free, at)
        if absent is not None:
            return absent
    fill = None
    if node.fill is not None:
        fill = expr(scope, node.fill)
        if axes_of(fill):
            raise AttnTypeError("the fill of a read must not depend on an axis", node.fill.span)
    return read(scope, base, at, fill, node.span)


def position(scope: Scope, at: Expr, span: Span) -> Expr:
    """A position must be an integer."""
    if kind_of(at) != "int":
        raise AttnTypeError(
            f"a position is an integer, found a value of kind {kind_of(at)}", span, "use 'div' for floor division, or int(x)"
        )
    return at


def _bind(scope: Scope, item: tree.Bind, free: tuple[str, ...], at: dict[str, Expr]) -> Absent | None:
    """Put the positions of `axis = position` into `at`; what is absent comes back."""
    target = axis_of(scope, item.left)
    with scope.mode(sizing=False, integral=True):
        where = value(item.right, scope)
    if isinstance(where, Absent):
        return where
    targets = target.items if isinstance(target, PackOf) else (target,)
    wheres = where.items if isinstance(where, PackOf) else where if isinstance(where, list) else (where,)
    if len(targets) != len(wheres):
        raise AttnTypeError(f"{len(wheres)} positions for a pack of {len(targets)} axes", item.span)
    for ref, pos in zip(targets, wheres, strict=True):
        missing = [a for a in ref.atoms if a not in free]
        if missing:
            raise AttnNameError(
                f"there is no axis '{ref.name}' to read at",
                item.left.span,
                f"the axes are: {', '.join(free)}" if free else "it is a scalar",
            )
        if isinstance(pos, AxisRef) and len(pos.atoms) == len(ref.atoms):
            found: list[Expr] = [Index(a) for a in pos.atoms]
        else:
            found = unravel(ref, position(scope, to_expr(scope, pos, item.right.span), item.right.span))
        for atom, one in zip(ref.atoms, found, strict=True):
            if atom in at:
                raise AttnTypeError(f"axis '{ref.name}' is read at two positions", item.span)
            at[atom] = one
    return None


def unravel(ref: AxisRef, at: Expr) -> list[Expr]:
    """The positions along the factors of a row-major product."""
    out: list[Expr] = []
    for atom in reversed(ref.atoms[1:]):
        size = AxisRef("", (atom,)).size()
        out.append(Apply("mod", (at, size)))
        at = Apply("floordiv", (at, size))
    return [at, *reversed(out)]


def axis_of(scope: Scope, node: tree.Expr) -> AxisRef | PackOf:
    """The axis that a syntax node names inside brackets, `over` or dims: a name, `*g`, `(r s)`, `n ++ k`."""
    if isinstance(node, tree.Name):
        text = name_text(scope, node) + "'" * node.primes
        found = scope.find_axis(text)
        return found if found is not None else scope.axis_ref(text, node.span)
    if isinstance(node, tree.Pack):
        text = name_text(scope, node.name) + "'" * node.name.primes
        found = scope.find_axis(text)
        if not isinstance(found, PackOf):
            raise AttnNameError(f"'*{text}' is not a pack of axes", node.span)
        return found
    if isinstance(node, tree.Product):
        return AxisRef("product", tuple(atom for factor in node.factors for atom in single(scope, factor).atoms))
    if isinstance(node, tree.Concat):
        parts = tuple(single(scope, part).atoms for part in node.parts)
        atom = scope.builder.sum_axis(parts)
        return AxisRef(atom, (atom,))
    raise AttnTypeError("expected the name of an axis", node.span)


def single(scope: Scope, node: tree.Expr) -> AxisRef:
    """One axis (not a pack)."""
    found = axis_of(scope, node)
    if isinstance(found, PackOf):
        raise AttnTypeError("expected one axis, found a pack", node.span)
    return found


def flatten(found: list[AxisRef | PackOf]) -> list[AxisRef]:
    """Axes with packs spread out."""
    return [ref for item in found for ref in (item.items if isinstance(item, PackOf) else (item,))]


def read(scope: Scope, base: Expr, at: dict[str, Expr], fill: Expr | None, span: Span) -> Expr:
    """`base` at other positions. What is not a plain reference and would be computed again elsewhere is stored first."""
    at = {axis: pos for axis, pos in at.items() if pos != Index(axis)}
    if not at:
        return base
    heavy = any(isinstance(e, Reduce | Along) for e in walk(base))
    if fill is not None and not is_plain(base):
        base = scope.store(base, "t", span)
    elif heavy:
        if all(isinstance(pos, Const) for pos in at.values()) and not captures(base, at):
            return substitute(base, at)
        base = scope.store(base, "t", span)
    if fill is not None:
        assert isinstance(base, Read)
        out = substitute(base, at)
        assert isinstance(out, Read)
        return Read(out.source, out.index, out.kind, fill)
    return substitute(base, at)


def concat(scope: Scope, total: AxisRef, items: list[Value], span: Span) -> Expr:
    """`concat[a ++ b](x, y)`: each part where it belongs, read with a fill of zero elsewhere."""
    parts = scope.builder.axes[total.atoms[0]].parts
    if len(items) != len(parts):
        raise AttnTypeError(f"{len(items)} tensors for a direct sum of {len(parts)} parts", span)
    here: Expr = Index(total.atoms[0])
    ends: list[Expr] = []
    for part in parts:
        size = AxisRef("", part).size()
        ends.append(Apply("add", (ends[-1], size)) if ends else size)
    out: Expr | None = None
    for n in range(len(parts) - 1, -1, -1):
        one = to_expr(scope, items[n], span)
        offset = Apply("sub", (here, ends[n - 1])) if n else here
        positions = unravel(AxisRef("", parts[n]), offset)
        at = {atom: pos for atom, pos in zip(parts[n], positions, strict=True) if atom in axes_of(one)}
        if at:
            zero = Const(0.0) if kind_of(one) == "float" else Const(False) if kind_of(one) == "bool" else Const(0)
            one = read(scope, one, at, zero, span)
        out = one if out is None else Apply("where", (Apply("lt", (here, ends[n])), one, out))
    assert out is not None
    return out


def split(scope: Scope, base: Expr, axis: AxisRef | None, span: Span) -> Several:
    """`split(x)` along its one direct sum, `split[z](x)` along an axis of known size or a named direct sum."""
    if axis is None:
        sums = [a for a in axes_of(base) if scope.builder.axes[a].parts]
        if len(sums) != 1:
            raise AttnTypeError(
                f"'split' needs one direct sum among the axes, found {len(sums)}", span, "name the axis: split[n ++ k](x)"
            )
        axis = AxisRef(sums[0], (sums[0],))
    atom = axis.atoms[0]
    if len(axis.atoms) != 1 or atom not in axes_of(base):
        raise AttnTypeError(f"'{axis.name}' is not an axis of what is split", span)
    if not is_plain(base):
        base = scope.store(base, "t", span)
    info = scope.builder.axes[atom]
    if info.parts:
        out: list[Expr] = []
        offset: Expr | None = None
        for part in info.parts:
            ref = AxisRef("", part)
            here = ref.index()
            out.append(substitute(base, {atom: here if offset is None else Apply("add", (offset, here))}))
            offset = ref.size() if offset is None else Apply("add", (offset, ref.size()))
        return Several(tuple(out))
    if isinstance(info.size, Const) and isinstance(info.size.value, int):
        return Several(tuple(substitute(base, {atom: Const(n)}) for n in range(info.size.value)))
    raise AttnTypeError(f"'split[{axis.name}]' needs a size known while compiling", span, f"give it in the dims: {axis.name}: 3")
