"""Which names of a declaration are axes: decided from the syntax alone, before anything is resolved.

A name is an axis when it stands where only an axis can: in dims, after `over`, in the brackets of a reduction or a definition,
beside `->` or `++` in brackets, and where it names a product or direct sum of axes. In `where`, any other such name is given a
size; what is no axis is a number there.
"""

from __future__ import annotations

from typing import Any

from ...language import tree
from ...language.walk import descend


def key_of(name: tree.Name) -> str:
    """A name with each family index left open and primes dropped: `c{n + 1}'` gives `c{}`."""
    return "".join(part if isinstance(part, str) else "{}" for part in name.parts)


def axis_keys(*roots: Any) -> set[str]:
    """Keys of every name used as an axis below some nodes."""
    found: set[str] = set()

    def axis(item: Any) -> None:
        if isinstance(item, tree.Name):
            found.add(key_of(item))
        elif isinstance(item, tree.Pack):
            found.add(key_of(item.name))
        elif isinstance(item, tree.Product):
            for factor in item.factors:
                axis(factor)
        elif isinstance(item, tree.Concat):
            for part in item.parts:
                axis(part)
        elif isinstance(item, tree.Arrow):
            axis(item.left)
            axis(item.right)

    for root in roots:
        for node in descend(root):
            match node:
                case tree.AxisDim() | tree.PackDim():
                    found.add(key_of(node.name))
                case tree.Attend() | tree.Over():
                    for item in node.axes:
                        axis(item)
                case tree.Call(fn=tree.Bracket(items=items)):
                    for item in items:
                        axis(item)
                case tree.Arrow() | tree.Concat() | tree.Product():
                    axis(node)
                case tree.Where(left=left, right=tree.Concat() | tree.Product()):
                    axis(left)
                case tree.Normalize(items=items):
                    for one in items:
                        if isinstance(one.value, tree.Bracket):
                            for item in one.value.items:
                                axis(item)
    return found
