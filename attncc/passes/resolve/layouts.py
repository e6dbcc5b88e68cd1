"""Layouts: stored dims become axes, `where` gives axes their sizes and names products and direct sums of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ...errors import AttnError, AttnNameError, AttnTypeError, AttnValueError, Span
from ...ir.expr import Apply, Const, Expr, Read, Size, axes_of, kind_of, walk
from ...ir.nodes import Check, Dims
from ...language import tree
from .arithmetic import to_expr
from .expressions import name_text, static_bool, value
from .scope import Scope
from .signatures import expand_name, family_values, restore
from .values import Absent, AxisRef, PackOf


def concat_family(scope: Scope, node: tree.Expr) -> list[tree.Expr] | None:
    """The parts of `concat{n in ..}(c{n})` as (name with its index put in); None for anything else."""
    if not (
        isinstance(node, tree.Call) and isinstance(node.fn, tree.Name) and node.fn.parts[0] == "concat" and len(node.fn.parts) > 1
    ):
        return None
    family = node.fn.parts[1]
    if not isinstance(family, tree.Family) or len(node.args) != 1:
        raise AttnTypeError("write concat{n in 0 .. 3}(c{n})", node.span)
    out: list[tree.Expr] = []
    old = scope.names.get(family.var)
    for item in family_values(scope, family):
        scope.names[family.var] = item
        inner = node.args[0].value
        if not isinstance(inner, tree.Name):
            raise AttnTypeError("write concat{n in 0 .. 3}(c{n})", node.span)
        out.append(tree.Name(inner.span, (name_text(scope, inner),), inner.primes))
    restore(scope, family.var, old)
    return out


class AxisMaker:
    """Turns dims into axes: existing names are used, new ones become axes of the program."""

    def __init__(self, scope: Scope, equations: list[tuple[str, tree.Where]]) -> None:
        self.scope = scope
        self.equations = equations
        self.bound: set[str] = set()

    def atom(self, name: str) -> AxisRef:
        """The axis of a plain name, made when new."""
        found = self.scope.find_axis(name)
        if isinstance(found, AxisRef):
            return found
        if found is not None:
            raise AttnTypeError(f"'{name}' is a pack of axes: write '*{name}'")
        if name in self.scope.names:
            raise AttnNameError(
                f"'{name}' is an axis here and something else elsewhere", help="one name, one meaning: rename one of them"
            )
        if name.endswith("'"):
            return self.scope.twin(self.atom(name[:-1]), name)
        made = AxisRef(name, (self.scope.builder.axis(name),))
        self.scope.names[name] = made
        return made

    def aliases(self) -> None:
        """Products and direct sums named in `where`: n = (r s), r = kk ++ n, s = concat{n in ..}(c{n})."""
        for kind, where in self.equations:
            if kind != "axis" or not self._active(where):
                continue
            assert isinstance(where.left, tree.Name)
            parts = concat_family(self.scope, where.right)
            if isinstance(where.right, tree.Concat):
                parts = list(where.right.parts)
            names = [n for n, _ in expand_name(self.scope, where.left)]
            if parts is not None:
                if not parts:
                    raise AttnValueError(f"axis '{names[0]}' is the sum of no axes", where.span, "name a part or more")
                self._sum(names[0], parts)
            elif isinstance(where.right, tree.Product):
                found = self.scope.find_axis(names[0])
                if isinstance(found, AxisRef):
                    self._factor(found, where.right)
                else:
                    atoms = tuple(a for f in where.right.factors for a in self._named(f).atoms)
                    self.scope.names[names[0]] = AxisRef(names[0], atoms)

    def _factor(self, product: AxisRef, node: tree.Product) -> None:
        """A product bound by a call: its factors get this pattern's names."""
        if len(product.atoms) != len(node.factors):
            raise AttnTypeError(f"axis '{product.name}' must be a product of {len(node.factors)} axes", node.span)
        for factor, atom in zip(node.factors, product.atoms, strict=True):
            if isinstance(factor, tree.Name):
                self.scope.names.setdefault(factor.plain or "", AxisRef(factor.plain or "", (atom,)))

    def _active(self, where: tree.Where) -> bool:
        return where.cond is None or static_bool(self.scope, where.cond, "the condition of a size")

    def _named(self, node: tree.Expr) -> AxisRef:
        if isinstance(node, tree.Name):
            return self.atom(name_text(self.scope, node) + "'" * node.primes)
        if isinstance(node, tree.Product):
            return AxisRef("", tuple(a for f in node.factors for a in self._named(f).atoms))
        raise AttnTypeError("expected the name of an axis", node.span)

    def _sum(self, name: str, parts: list[tree.Expr]) -> None:
        found = self.scope.find_axis(name)
        if isinstance(found, AxisRef):  # bound by a call: its parts get this pattern's names
            self._open(found, [name_text(self.scope, p) if isinstance(p, tree.Name) else None for p in parts], parts[0].span)
            return
        atoms = tuple(self._named(p).atoms for p in parts)
        self.scope.names[name] = AxisRef(name, (self.scope.builder.sum_axis(atoms, name),))

    def _open(self, total: AxisRef, names: list[str | None], span: Span) -> None:
        inner = self.scope.builder.axes[total.atoms[0]].parts
        if len(inner) != len(names):
            raise AttnTypeError(f"axis '{total.name}' must be a direct sum of {len(names)} parts", span)
        for name, atoms in zip(names, inner, strict=True):
            if name is not None and name not in self.scope.names:
                self.scope.names[name] = AxisRef(name, atoms)

    def dims(self, dims: tuple[tree.Dim, ...]) -> Dims:
        """Stored dims as products of axes."""
        out: list[tuple[str, ...]] = []
        for dim in dims:
            out.extend(self.dim(dim))
        return tuple(out)

    def dim(self, dim: tree.Dim) -> list[tuple[str, ...]]:
        """The stored dims of one dim; a pack gives several."""
        match dim:
            case tree.OneDim():
                return [()]
            case tree.AxisDim(span, name, size):
                try:
                    ref = self.atom(name_text(self.scope, name) + "'" * name.primes)
                except AttnError as error:
                    raise type(error)(error.message, error.span or span, error.help) from None
                if size is not None:
                    self.sized(ref, size)
                return [ref.atoms]
            case tree.PackDim(span, name, size):
                text = name_text(self.scope, name) + "'" * name.primes
                pack = self.scope.find_axis(text)
                if not isinstance(pack, PackOf):
                    raise AttnTypeError(
                        f"the rank of '*{text}' is not known",
                        span,
                        f"give a parameter of type int[*{text}], or 'where rank({text}) = ...'",
                    )
                if size is not None:
                    self.sized_pack(pack, size)
                return [ref.atoms for ref in pack.items]
            case tree.ProductDim(_, factors):
                return [tuple(a for f in factors for one in self.dim(f) for a in one)]
            case tree.SumDim(_, parts):
                atoms = tuple(tuple(a for one in self.dim(p) for a in one) for p in parts)
                return [(self.scope.builder.sum_axis(atoms),)]
        raise AttnTypeError("this is no stored dim", dim.span)

    def sized(self, ref: AxisRef, size: tree.Expr) -> None:
        """Give an axis its size, or check it where the axis has one already."""
        with self.scope.mode(sizing=True, integral=True):
            got = value(size, self.scope)
        if isinstance(got, Absent):
            return
        found = to_expr(self.scope, got, size.span)
        self.give(ref, self._length(found, size.span), size.span)

    def _length(self, found: Expr, span: Span) -> Expr:
        """An expression that can be a size. Of data it may hold entries of int inputs at fixed positions."""
        if axes_of(found) or any(isinstance(e, Read) and not self._entry(e) for e in walk(found)):
            raise AttnTypeError(
                "a size must not depend on positions or data", span, "an entry of an int input may be one: x[n = n.size - 1]"
            )
        if kind_of(found) != "int":
            shown = f"the number {found.value}" if isinstance(found, Const) else f"a value of kind {kind_of(found)}"
            raise AttnTypeError(f"a size is a whole number, found {shown}", span, "use 'div', floor(..) or int(..)")
        return found

    def _entry(self, read: Read) -> bool:
        """Whether a read is an entry of an int input of the program."""
        given = self.scope.builder.inputs.get(read.source)
        return given is not None and given.kind == "int" and read.fill is None

    def sized_pack(self, pack: PackOf, size: tree.Expr) -> None:
        with self.scope.mode(sizing=True, integral=True):
            got = value(size, self.scope)
        sizes = got.items if isinstance(got, PackOf) else got if isinstance(got, list) else [got] * len(pack.items)
        for ref, one in zip(pack.items, sizes, strict=True):
            self.give(ref, self._length(to_expr(self.scope, one, size.span), size.span), size.span)

    def give(self, ref: AxisRef, found: Expr, span: Span) -> None:
        """Record `size of ref = found`."""
        if ref.size() == found:
            return
        axis = self.scope.builder.axes[ref.atoms[0]] if len(ref.atoms) == 1 else None
        stored = {a for i in self.scope.builder.inputs.values() for dim in i.dims for a in dim} if self.bound else set()
        if axis is not None and axis.size is None and ref.atoms[0] not in stored and not _mentions(found, ref.atoms[0]):
            self.scope.builder.axes[ref.atoms[0]] = replace(axis, size=found)
        elif axis is None or axis.size != found:
            what = f"axis '{ref.name}' does not have the size {span.text}"
            self.scope.builder.checks.append(Check(Apply("eq", (ref.size(), found)), False, span, what))

    def sizes(self) -> None:
        """Work out the size equations of `where`."""
        for kind, where in self.equations:
            layout = isinstance(where.right, tree.Concat | tree.Product) or concat_family(self.scope, where.right) is not None
            if kind != "axis" or layout:
                continue
            assert isinstance(where.left, tree.Name)
            for name, _ in expand_name(self.scope, where.left):
                if self._active(where):
                    self.sized(self.atom(name), where.right)


def _mentions(expr: Expr, axis: str) -> bool:
    return any(isinstance(e, Size) and e.axis == axis for e in walk(expr))


def leaves(scope: Scope, dims: tuple[tree.Dim, ...]) -> list[tuple[str, Any]]:
    """The axes of a signature's dims in order: (name, None), or (name of the sum, axes of each part). Packs are spread."""
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
