"""The axes of a bundle under the names of the pattern that includes it, on the syntax tree: `*: slow(grid = (h, w), o = 1)`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ...language import tree
from ...language.walk import rebuilt

Renames = Mapping[str, tree.Dim | tuple[str, ...]]
"""Axis of the bundle -> the dim that takes its place, or the names of several."""


def _base(name: tree.Name) -> str | None:
    """The text of a plain name without its primes."""
    return name.plain.rstrip("'") if name.plain is not None else None


def _primed(name: tree.Name, old: tree.Name) -> tree.Name:
    """A new name with the primes of the old one on top, where the old one stood."""
    return dataclasses.replace(name, span=old.span, primes=name.primes + old.primes)


def _dim(dim: tree.AxisDim | tree.PackDim, new: tree.Dim | tuple[str, ...]) -> tuple[tree.Dim, ...]:
    """What takes the place of one dim: a labelled size of its own wins, primes are kept."""
    if isinstance(new, tuple):
        named = (tree.Name(dim.span, (n.rstrip("'"),), len(n) - len(n.rstrip("'"))) for n in new)
        return tuple(tree.AxisDim(dim.span, _primed(name, dim.name)) for name in named)
    if isinstance(new, tree.AxisDim | tree.PackDim):
        return (dataclasses.replace(new, span=dim.span, name=_primed(new.name, dim.name), size=new.size or dim.size),)
    return (new,)


def dims_under(dims: tuple[tree.Dim, ...], renames: Renames) -> tuple[tree.Dim, ...]:
    """Dims with the axes renamed, those inside products and direct sums too."""
    out: list[tree.Dim] = []
    for dim in dims:
        if isinstance(dim, tree.AxisDim | tree.PackDim):
            new = renames.get(_base(dim.name) or "")
            out.extend((dim,) if new is None else _dim(dim, new))
        elif isinstance(dim, tree.ProductDim):
            out.append(dataclasses.replace(dim, factors=dims_under(dim.factors, renames)))
        elif isinstance(dim, tree.SumDim):
            out.append(dataclasses.replace(dim, parts=dims_under(dim.parts, renames)))
        else:
            out.append(dim)
    return tuple(out)


def under(node: Any, renames: Renames) -> Any:
    """An equation of `where` with the axes renamed, each by one name."""
    if isinstance(node, tuple):
        return tuple(under(item, renames) for item in node)
    if isinstance(node, tree.Name):
        new = renames.get(_base(node) or "")
        return _primed(new.name, node) if isinstance(new, tree.AxisDim | tree.PackDim) else node
    if not isinstance(node, tree.Node):
        return node
    return rebuilt(node, lambda part: under(part, renames))
