"""Values for the parameters of a pattern, by their declared types."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import AttnError, AttnTypeError
from ..language import tree
from ..language.walk import inside
from ..passes.resolve.overloads import choose, literals
from ..passes.resolve.scope import Builder, Library, Scope
from ..passes.resolve.signatures import gather
from ..runtime.op import Op

FLOATS = (1.0, 0.5, 2.0, 0.25, 0.0, -1.0)
INTS = (2, 1, 3, 4, 0, -1)
LISTS = (1, 2, 3)
"""Lengths of lists of free length."""


def strings_in(node: Any) -> tuple[str, ...]:
    """Every string that a declaration mentions, in order: the values that a parameter of type string is compared with."""
    found: list[str] = []
    todo = [node]
    while todo:
        item = todo.pop(0)
        if isinstance(item, tree.Str):
            found.append(item.value)
        elif isinstance(item, tree.Node):
            todo[:0] = inside(item)
        elif isinstance(item, tuple | list):
            todo[:0] = item
    return tuple(dict.fromkeys(found))


def plain_values(kind: tree.Type, words: tuple[str, ...]) -> list[Any]:
    """A few values of a type, the plainest first."""
    match kind.kind:
        case "bool":
            out: list[Any] = [False, True]
        case "true" | "false":
            out = [kind.kind == "true"]
        case "int":
            out = list(INTS)
        case "float":
            out = list(FLOATS)
        case "string":
            out = list(words) or ["a"]
        case "enum":
            out = list(kind.values)
        case "list":
            inner = plain_values(kind.items[0], words)
            if isinstance(kind.length, tree.Num):
                out = [[v] * int(kind.length.value) for v in inner]
            elif isinstance(kind.length, tree.Pack):
                out = inner  # one value for every axis
            else:
                out = [[v] * n for n in LISTS for v in inner]
        case "tuple":
            out = [list(v) for v in itertools.islice(itertools.product(*(plain_values(t, words) for t in kind.items)), 16)]
        case "record":
            names = [f for f, _ in kind.fields]
            every = itertools.product(*(plain_values(t, words) for _, t in kind.fields))
            out = [dict(zip(names, v, strict=True)) for v in itertools.islice(every, 16)]
        case _:
            out = []
    return [None, *out] if kind.optional else out


def required(op: Op) -> dict[str, tree.Type]:
    """The parameters that have no default and are not given."""
    return _open(op._specs.types, op.params)


def _open(types: Mapping[str, tree.Param], given: Mapping[str, Any]) -> dict[str, tree.Type]:
    return {
        n: p.type
        for n, p in types.items()
        if n not in given and p.default is None and not p.type.optional and p.type.kind not in ("true", "false")
    }


def variants(library: Library, name: str, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The given parameters with the literals of each overload that they leave open."""
    try:
        choose(library, name, given, None)
        yield dict(given)
    except AttnTypeError:
        for decl in library.patterns[name]:
            own = literals(decl)
            if all(given.get(n, v) == v for n, v in own.items()):
                yield {**own, **given}


def completed(library: Library, decl: tree.Pattern, given: Mapping[str, Any], limit: int = 64) -> Iterator[dict[str, Any]]:
    """The given parameters with values for those that have no default, plainest first; just them when nothing is missing."""
    scope = Scope(Builder(), library, where=decl.name)
    missing = _open(gather(scope, decl.params, decl.inputs, decl.where).params, given)
    words = strings_in(decl)
    choices = [[v for v in plain_values(kind, words) if v is not None] for kind in missing.values()]
    for values in itertools.islice(sorted_products(choices), limit):
        yield {**given, **dict(zip(missing, values, strict=True))}


def sorted_products(choices: list[list[Any]]) -> Iterator[tuple[Any, ...]]:
    """Every combination, those of early entries first."""
    sizes = [len(c) for c in choices]
    for total in range(sum(n - 1 for n in sizes) + 1):
        for ranks in itertools.product(*(range(min(n, total + 1)) for n in sizes)):
            if sum(ranks) == total:
                yield tuple(c[r] for c, r in zip(choices, ranks, strict=True))


def objection(error: AttnError) -> str:
    """An error in one line."""
    return error.message if error.span is None else f"{error.span!r}: {error.message}"
