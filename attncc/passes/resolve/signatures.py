"""Signatures: parameters and their types, bundles, families, stored dims, sizes. Shared by patterns compiled and patterns called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import AttnError, AttnNameError, AttnTypeError, AttnValueError, Span
from ...ir.expr import Apply, Expr, Size, axes_of, walk
from ...ir.nodes import Check, Dims
from ...language import tree
from .expressions import name_text, static, static_bool, to_expr, value
from .names import key_of
from .renames import dims_under, under
from .scope import Scope
from .values import EXPR_TYPES, Absent, AxisRef, Lazy, PackOf, Value, is_number, is_static


@dataclass(frozen=True)
class InputSpec:
    """An input or output with families and bundles worked out: its full name, and its declaration with the axes renamed."""

    name: str
    decl: tree.Input | tree.Output

    @property
    def span(self) -> Span:
        return self.decl.span


@dataclass
class Signature:
    """The parts of a declaration with its bundles' parts put in."""

    params: dict[str, tree.Param]
    wheres: list[tree.Where]


def family_values(scope: Scope, family: tree.Family) -> list[Any]:
    """What a family index runs over."""
    found = static(scope, family.range, "the range of a family")
    if not isinstance(found, list | tuple):
        raise AttnTypeError("a family runs over a range or a list", family.span, 'write {n in 0 .. 3} or {m in ("q", "k")}')
    return list(found)


def expand_name(scope: Scope, name: tree.Name) -> Iterator[tuple[str, dict[str, Any]]]:
    """The names of a family, each with its index values; a plain name gives itself."""

    def go(parts: tuple[Any, ...], text: str, env: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        if not parts:
            yield text + "'" * name.primes, env
        elif isinstance(parts[0], tree.Family):
            for item in family_values(scope, parts[0]):
                old = scope.names.get(parts[0].var)
                scope.names[parts[0].var] = item
                try:
                    yield from go(parts[1:], text + str(item), {**env, parts[0].var: item})
                finally:
                    _restore(scope, parts[0].var, old)
        elif isinstance(parts[0], str):
            yield from go(parts[1:], text + parts[0], env)
        else:
            yield from go(parts[1:], text + str(static(scope, parts[0].value, "a family index")), env)

    yield from go(name.parts, "", {})


def _restore(scope: Scope, name: str, old: Any) -> None:
    if old is None:
        scope.names.pop(name, None)
    else:
        scope.names[name] = old


def gather(scope: Scope, params: tuple[tree.Param | tree.Include, ...], inputs: tuple[tree.Input | tree.Include, ...],
           wheres: tuple[tree.Where, ...]) -> Signature:  # fmt: skip
    """Put the parameters and sizes of all included bundles into one signature."""
    out = Signature({}, [])

    def bundle(include: tree.Include, depth: int) -> None:
        decl = scope.library.bundles.get(include.bundle)
        if decl is None:
            raise AttnNameError(
                f"unknown bundle '{include.bundle}'", include.span, f"bundles: {', '.join(scope.library.bundles) or 'none'}"
            )
        if depth > 16:
            raise AttnTypeError(f"bundle '{include.bundle}' includes itself", include.span)
        outer, out.wheres = out.wheres, list(decl.where)
        add(decl.params, depth)
        for item in decl.inputs:
            if isinstance(item, tree.Include):
                bundle(item, depth + 1)
        own = [under(w, dict(include.renames)) for w in out.wheres]
        out.wheres = [*outer, *(w for w in own if w not in outer)]

    def add(items: tuple[tree.Param | tree.Include, ...], depth: int) -> None:
        for item in items:
            if isinstance(item, tree.Include):
                bundle(item, depth + 1)
                continue
            for name, _ in expand_name(scope, item.name):
                old = out.params.get(name)
                if old is not None and (old.type != item.type or old.default != item.default):
                    raise AttnNameError(f"parameter '{name}' is declared twice with different types or defaults", item.span)
                out.params[name] = item

    for item in inputs:
        if isinstance(item, tree.Include):
            bundle(item, 0)
    add(params, 0)
    out.wheres.extend(wheres)
    return out


def expand_inputs(
    scope: Scope, items: tuple[tree.Input | tree.Include, ...], prefix: str = ""
) -> Iterator[tuple[InputSpec, dict[str, Any]]]:
    """Every input of a signature, bundles and families worked out. Family variables are bound while the caller holds an item."""
    for item in items:
        if isinstance(item, tree.Include):
            decl = scope.library.bundles.get(item.bundle)
            if decl is None:
                raise AttnNameError(f"unknown bundle '{item.bundle}'", item.span)
            prefixes = [""] if item.prefix is None else [n for n, _ in expand_name(scope, item.prefix)]
            for one in prefixes:
                for spec, env in expand_inputs(scope, decl.inputs, prefix + one):
                    dims = dims_under(spec.decl.dims, dict(item.renames))
                    yield InputSpec(spec.name, replace(spec.decl, dims=dims)), env
        else:
            for name, env in expand_name(scope, item.name):
                yield InputSpec(prefix + name, item), env


def check_param(name: str, kind: tree.Type, given: Any, span: Span | None, scope: Scope | None = None) -> Value:
    """A parameter's value, checked against its type. Raises AttnValueError."""

    def bad(want: str) -> AttnValueError:
        shown = repr(given) if not isinstance(given, EXPR_TYPES) else "a run-time value"
        return AttnValueError(f"parameter '{name}' must be {want}, found {shown}", span or kind.span)

    if hasattr(given, "item") and not isinstance(given, EXPR_TYPES):
        given = given.item() if getattr(given, "ndim", 0) == 0 else given.tolist()
    if given is None or isinstance(given, Absent):
        if kind.optional:
            return Absent(name)
        raise bad(f"given ({type_text(kind)})")
    match kind.kind:
        case "bool":
            if kind.values and given is not (kind.values[0] == "true"):
                raise bad(kind.values[0])
            if isinstance(given, bool) or isinstance(given, EXPR_TYPES):
                return given
            raise bad("true or false")
        case "int":
            if isinstance(given, EXPR_TYPES) or (isinstance(given, int) and not isinstance(given, bool)):
                return given
            if isinstance(given, float) and given.is_integer():
                return int(given)
            raise bad("a whole number")
        case "float":
            if isinstance(given, EXPR_TYPES):
                return given
            if isinstance(given, int | float) and not isinstance(given, bool):
                return float(given)
            raise bad("a number")
        case "string":
            if isinstance(given, str):
                return given
            raise bad("a string")
        case "enum":
            if given in kind.values and isinstance(given, str):
                return given
            raise bad("one of " + ", ".join(f'"{v}"' for v in kind.values) if len(kind.values) > 1 else f'"{kind.values[0]}"')
        case "list":
            return _list_param(name, kind, given, span, scope, bad)
        case "tuple":
            if not isinstance(given, list | tuple) or len(given) != len(kind.items):
                raise bad(f"a tuple of {len(kind.items)}")
            return [
                check_param(f"{name}[{n}]", t, g, span, scope) for n, (t, g) in enumerate(zip(kind.items, given, strict=True))
            ]
        case "record":
            if not isinstance(given, dict) or set(given) != {f for f, _ in kind.fields}:
                raise bad("a record with fields " + ", ".join(f for f, _ in kind.fields))
            return {f: check_param(f"{name}.{f}", t, given[f], span, scope) for f, t in kind.fields}
    raise AttnTypeError(
        f"unknown type '{kind.kind}'", kind.span, "types: int, float, bool, string, an enum of strings, T[], T?, tuples, records"
    )


def _list_param(
    name: str, kind: tree.Type, given: Any, span: Span | None, scope: Scope | None, bad: Callable[[str], AttnValueError]
) -> Value:
    length: int | None = None
    if isinstance(given, PackOf):
        given = list(given.items)
    if isinstance(kind.length, tree.Pack):
        pack = scope.names.get(name_text(scope, kind.length.name)) if scope is not None else None
        length = len(pack.items) if isinstance(pack, PackOf) else None
    elif kind.length is not None and scope is not None:
        length = static(scope, kind.length, "the length of a list type")
    elif isinstance(kind.length, tree.Num):
        length = int(kind.length.value)
    if not isinstance(given, list | tuple):
        if kind.length is None:
            raise bad(f"a list ({type_text(kind)})")
        if length is None:
            return given  # one value for every axis of a pack whose rank is not known yet
        given = [given] * length
    if length is not None and len(given) != length:
        raise bad(f"a list of {length}")
    out = [check_param(f"{name}[{n}]", kind.items[0], g, span, scope) for n, g in enumerate(given)]
    return PackOf(tuple(out)) if isinstance(kind.length, tree.Pack) and length is not None else out


def type_text(kind: tree.Type) -> str:
    """A type in the language's words."""
    mark = "?" if kind.optional else ""
    match kind.kind:
        case "enum":
            return " | ".join(f'"{v}"' for v in kind.values) + mark
        case "bool" if kind.values:
            return kind.values[0] + mark
        case "list":
            inner = ""
            if isinstance(kind.length, tree.Num):
                inner = str(kind.length.value)
            elif isinstance(kind.length, tree.Pack):
                inner = "*" + (kind.length.name.plain or "g")
            return f"{type_text(kind.items[0])}[{inner}]{mark}"
        case "tuple":
            return "(" + ", ".join(map(type_text, kind.items)) + ")" + mark
        case "record":
            return "{" + ", ".join(f"{f}: {type_text(t)}" for f, t in kind.fields) + "}" + mark
    return kind.kind + mark


def bind_params(scope: Scope, sig: Signature, given: dict[str, tuple[Value, Span | None]]) -> None:
    """Give every parameter its value: the given one, checked, or its default at first use."""
    for name, decl in sig.params.items():
        if name in given:
            got, span = given[name]
            scope.names[name] = Lazy(partial(check_param, name, decl.type, got, span, scope), decl.span, name, got)
        elif decl.default is not None:
            scope.names[name] = Lazy(partial(default_of, scope, name, decl), decl.span, name)
        elif decl.type.optional:
            scope.names[name] = Absent(name)
        else:
            scope.names[name] = Lazy(partial(_missing, name, decl), decl.span, name)


def _missing(name: str, decl: tree.Param) -> Value:
    raise AttnValueError(
        f"parameter '{name}' ({type_text(decl.type)}) has no default and was not given", decl.span, f"pass {name}=..."
    )


def _integral(kind: tree.Type) -> bool:
    """Whether `/` in a default divides exactly: in whole numbers and lists of them."""
    return kind.kind == "int" or (kind.kind in ("list", "tuple") and all(_integral(t) for t in kind.items))


def default_of(scope: Scope, name: str, decl: tree.Param) -> Value:
    """A default, in which a bare axis is its size."""
    assert decl.default is not None
    with scope.mode(sizing=True, integral=_integral(decl.type)):
        got = value(decl.default, scope)
    if isinstance(got, list | tuple | PackOf) or is_number(got) or isinstance(got, str):
        return check_param(name, decl.type, got, decl.default.span, scope)
    if got is None or isinstance(got, Absent):
        return check_param(name, decl.type, None, decl.span, scope)
    out = to_expr(scope, got, decl.default.span)
    if axes_of(out):
        raise AttnTypeError(f"the default of '{name}' depends on positions", decl.default.span, "it may use parameters and sizes")
    return out


def register_wheres(scope: Scope, sig: Signature) -> list[tuple[str, tree.Where]]:
    """Make scalars of `where` available by name; give back the equations for axes, families worked out later."""
    axes: list[tuple[str, tree.Where]] = []
    for where in sig.wheres:
        if isinstance(where.left, tree.Call):
            axes.append(("rank", where))
        elif isinstance(where.left, tree.Name) and key_of(where.left) in scope.axis_names:
            axes.append(("axis", where))
        elif isinstance(where.left, tree.Name):
            name = where.left.plain
            if name is None:
                raise AttnTypeError("a family of scalars cannot be declared in 'where'", where.span)
            if name in scope.names:
                raise AttnNameError(f"'{name}' is declared twice", where.span)
            scope.names[name] = Lazy(partial(_scalar, scope, name, where), where.span, name)
        else:
            raise AttnTypeError("'where' gives the size of an axis or names a number: name = ...", where.span)
    return axes


def _scalar(scope: Scope, name: str, where: tree.Where) -> Value:
    with scope.mode(sizing=True, integral=True):
        if where.cond is not None and not static_bool(scope, where.cond, "the condition of a size"):
            return Absent(name)
        got = value(where.right, scope)
    if is_static(got) or isinstance(got, Absent | PackOf):
        return got
    return to_expr(scope, got, where.right.span)


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
    _restore(scope, family.var, old)
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
        if axes_of(found):
            raise AttnTypeError("a size must not depend on positions or data", size.span)
        self.give(ref, found, size.span)

    def sized_pack(self, pack: PackOf, size: tree.Expr) -> None:
        with self.scope.mode(sizing=True, integral=True):
            got = value(size, self.scope)
        sizes = got.items if isinstance(got, PackOf) else got if isinstance(got, list) else [got] * len(pack.items)
        for ref, one in zip(pack.items, sizes, strict=True):
            self.give(ref, to_expr(self.scope, one, size.span), size.span)

    def give(self, ref: AxisRef, found: Expr, span: Span) -> None:
        """Record `size of ref = found`."""
        if ref.size() == found:
            return
        axis = self.scope.builder.axes[ref.atoms[0]] if len(ref.atoms) == 1 else None
        stored = {a for i in self.scope.builder.inputs.values() for dim in i.dims for a in dim} if self.bound else set()
        if axis is not None and axis.size is None and ref.atoms[0] not in stored and not _mentions(found, ref.atoms[0]):
            self.scope.builder.axes[ref.atoms[0]] = replace(axis, size=found)
        elif axis is None or axis.size != found:
            self.scope.builder.checks.append(Check(Apply("eq", (ref.size(), found)), False, span))

    def sizes(self) -> None:
        """Work out the size equations of `where`."""
        for kind, where in self.equations:
            if kind != "axis" or isinstance(where.right, tree.Concat | tree.Product) or concat_family(self.scope, where.right):
                continue
            assert isinstance(where.left, tree.Name)
            for name, _ in expand_name(self.scope, where.left):
                if self._active(where):
                    self.sized(self.atom(name), where.right)


def _mentions(expr: Expr, axis: str) -> bool:
    return any(isinstance(e, Size) and e.axis == axis for e in walk(expr))
