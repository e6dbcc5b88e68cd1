"""Signatures: bundles put in, families written out, numbers of `where` by name. Shared by patterns compiled and called."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ...errors import AttnNameError, AttnTypeError, Span
from ...language import tree
from .arithmetic import to_expr
from .expressions import static, static_bool, value
from .names import axis_keys, key_of
from .renames import dims_under, under
from .scope import Scope
from .values import Absent, Lazy, PackOf, Value, is_static


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
            if env and not (text.isascii() and text.isidentifier()):
                raise AttnNameError(f"'{text}' is no name", name.span, "an index of a family is a whole number from 0, or a word")
            yield text + "'" * name.primes, env
        elif isinstance(parts[0], tree.Family):
            for item in family_values(scope, parts[0]):
                old = scope.names.get(parts[0].var)
                scope.names[parts[0].var] = item
                try:
                    yield from go(parts[1:], text + str(item), {**env, parts[0].var: item})
                finally:
                    restore(scope, parts[0].var, old)
        elif isinstance(parts[0], str):
            yield from go(parts[1:], text + parts[0], env)
        else:
            yield from go(parts[1:], text + str(static(scope, parts[0].value, "a family index")), env)

    yield from go(name.parts, "", {})


def restore(scope: Scope, name: str, old: Any) -> None:
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
            raise AttnTypeError(f"bundle '{include.bundle}' includes itself", include.span, "take it out of its own list")
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
                    raise AttnNameError(
                        f"parameter '{name}' is declared twice with different types or defaults", item.span,
                        "give one of them another name",
                    )  # fmt: skip
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
            _renamed(item, decl)
            prefixes = [""] if item.prefix is None else [n for n, _ in expand_name(scope, item.prefix)]
            for one in prefixes:
                for spec, env in expand_inputs(scope, decl.inputs, prefix + one):
                    dims = dims_under(spec.decl.dims, dict(item.renames))
                    yield InputSpec(spec.name, replace(spec.decl, dims=dims)), env
        else:
            for name, env in expand_name(scope, item.name):
                yield InputSpec(prefix + name, item), env


def _renamed(item: tree.Include, decl: tree.Bundle) -> None:
    """Raise AttnNameError for a renamed axis that the bundle has not; one that includes others may have it from them."""
    own = axis_keys(decl.inputs, decl.where)
    for name, _ in item.renames:
        if name not in own and not any(isinstance(i, tree.Include) for i in (*decl.inputs, *decl.params)):
            raise AttnNameError(
                f"bundle '{decl.name}' has no axis '{name}'", item.span, f"its axes: {', '.join(sorted(own)) or 'none'}"
            )


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
                raise AttnNameError(f"'{name}' is declared twice", where.span, "one name, one meaning: rename one of them")
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
