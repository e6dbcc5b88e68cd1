"""Walking syntax trees: what a node is made of, everything below it, the same node made of other things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

from .tree_expr import Node

_known: dict[type, tuple[str, ...]] = {}


def _names(kind: type[Node]) -> tuple[str, ...]:
    if kind not in _known:
        _known[kind] = tuple(f.name for f in fields(kind) if f.name != "span")
    return _known[kind]


def inside(node: Node) -> list[Any]:
    """What a node is made of, in order: nodes, tuples of them, words and numbers; not its span."""
    return [getattr(node, name) for name in _names(type(node))]


def descend(node: Any) -> Iterator[Node]:
    """A node, or those of a tuple, and every node below, in no order."""
    stack = [node]
    while stack:
        top = stack.pop()
        if isinstance(top, Node):
            yield top
            stack.extend(inside(top))
        elif isinstance(top, tuple):
            stack.extend(top)


def rebuilt(node: Node, change: Callable[[Any], Any]) -> Any:
    """The node with everything that it is made of changed."""
    return replace(node, **{name: change(getattr(node, name)) for name in _names(type(node))})
