"""Overloads: which pattern of a name the literal parameters pick, and the names that are axes in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import AttnNameError, AttnTypeError, Span
from ...language import tree
from .names import axis_keys
from .scope import Library


def literals(decl: tree.Pattern) -> dict[str, Any]:
    """The parameters that tell overloads apart: those whose type is a single value."""
    out: dict[str, Any] = {}
    for item in decl.params:
        if isinstance(item, tree.Param) and item.name.plain:
            if item.type.kind == "enum" and len(item.type.values) == 1:
                out[item.name.plain] = item.type.values[0]
            elif item.type.kind == "bool" and item.type.values:
                out[item.name.plain] = item.type.values[0] == "true"
    return out


def _takes(decl: tree.Pattern) -> dict[str, tuple[Any, ...]]:
    """The values that each enum and each literal truth value of a pattern admits."""
    enums = {
        i.name.plain: i.type.values for i in decl.params if isinstance(i, tree.Param) and i.name.plain and i.type.kind == "enum"
    }
    return {**enums, **{n: (v,) for n, v in literals(decl).items()}}


def choose(library: Library, name: str, given: Mapping[str, Any], span: Span | None) -> tree.Pattern:
    """The overload of a pattern that the enum parameters pick. Raises AttnTypeError with the list when none or several fit.

    Raises AttnNameError for two that nothing tells apart.

    An overload fits when it admits every value that is given. Those come first whose keys, the parameters with a single value in
    some overload, are all given or default.
    """
    candidates = library.patterns[name]
    if len(candidates) == 1:
        return candidates[0]
    for n, decl in enumerate(candidates):
        if any(_takes(decl) == _takes(o) and _declared(library, decl) == _declared(library, o) for o in candidates[:n]):
            help = 'rename one, or tell them apart by a parameter with one value each: kind: "a"'
            raise AttnNameError(f"pattern '{name}' is declared twice", decl.span, help)
    fits = [d for d in candidates if all(given[n] in values for n, values in _takes(d).items() if n in given)]
    keys = {n for d in candidates for n in literals(d)}
    if len(fits) > 1:
        exact = [d for d in fits if all(n in given or n in _defaulted(d) for n in _takes(d) if n in keys)]
        fits = exact or fits
    if len(fits) > 1 and given:
        known = [d for d in fits if all(n in _declared(library, d) for n in given)]
        fits = known or fits
    if len(fits) == 1:
        return fits[0]
    rows = [", ".join(f"{n}={' | '.join(map(repr, v))}" for n, v in _takes(d).items() if n in keys) for d in candidates]
    problem = "no overload" if not fits else "more than one overload"
    raise AttnTypeError(
        f"{problem} of '{name}' fits these parameters", span or candidates[0].span, f"overloads: {'; '.join(rows)}"
    )


def _defaulted(decl: tree.Pattern) -> set[str]:
    return {i.name.plain or "" for i in decl.params if isinstance(i, tree.Param) and i.default is not None}


def _declared(library: Library, decl: tree.Pattern) -> set[str]:
    """Names of a pattern's parameters, bundles included, families left out."""
    lists: list[tree.Pattern | tree.Bundle] = [decl, *_bundles(library, decl)]
    return {item.name.plain or "" for part in lists for item in part.params if isinstance(item, tree.Param)}


def _bundles(library: Library, decl: tree.Pattern) -> list[tree.Bundle]:
    """The bundles that a pattern includes, and those that these include."""
    out: list[tree.Bundle] = []
    todo: list[Any] = [*decl.params, *decl.inputs]
    while todo:
        item = todo.pop()
        if isinstance(item, tree.Include) and item.bundle in library.bundles:
            found = library.bundles[item.bundle]
            if found not in out:
                out.append(found)
                todo.extend([*found.params, *found.inputs])
    return out


def axes_in(library: Library, decl: tree.Pattern) -> set[str]:
    """Keys of every name that is an axis in a pattern or in the bundles that it includes."""
    bundles = _bundles(library, decl)
    return axis_keys(
        decl.inputs,
        decl.outputs,
        decl.body,
        *(b.inputs for b in bundles),
        decl.where,
        *(b.where for b in bundles),
    )
