"""What a tile program costs, as formulas in the sizes of its axes: arithmetic of its products, and bytes of its arrays.

Both count every pair: a mask leaves a part of the products out, and tiles that overhang add some. Bytes are each array once,
which is what reaches memory when tiles that are read again come from cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from ..ir.expr import Apply, Const, Expr, Size
from ..tile.nodes import Block, Dot, If, Program, Repeat, Stmt, TileLoop


def _product(parts: list[Expr]) -> Expr:
    return reduce(lambda a, b: Apply("mul", (a, b)), parts) if parts else Const(1)


def _sum(parts: list[Expr]) -> Expr:
    return reduce(lambda a, b: Apply("add", (a, b)), parts) if parts else Const(0)


def flops(program: Program) -> Expr:
    """Multiplications and additions of the products, all pairs counted."""
    axes = {d.name: d.axes for d in program.dims}
    found: dict[tuple[str, str, str], tuple[str, ...]] = {}

    def visit(body: tuple[Stmt, ...], repeated: tuple[str, ...]) -> None:
        for stmt in body:
            match stmt:
                case Dot(_, b, over, dims, out, into):
                    every = [*program.grid, *repeated, *(x for d in (*dims, over) for x in axes[d])]
                    found[out or into, b, over] = tuple(dict.fromkeys([*every, *axes[program.owner]]))
                case Repeat(axis, inner):
                    visit(inner, (*repeated, axis))
                case TileLoop(body=inner) | Block(body=inner) | If(body=inner):
                    visit(inner, repeated)

    visit(program.body, ())
    return _sum([_product([Const(2), *map(Size, every)]) for every in found.values()])


def traffic(program: Program, element: int, kinds: Mapping[str, int] | None = None) -> Expr:
    """Bytes of all arrays but lists of tiles. element: bytes of a float; kinds: of ints and bools."""
    lists = {name for made in program.lists for name in (made.tiles, made.counts)}
    sizes = {"int": 8, "bool": 1, **(kinds or {})}
    parts: list[Expr] = []
    for arg in (a for a in program.args if a.name not in lists):
        each = sizes.get(arg.kind, 4 if arg.acc else element)
        parts.append(_product([*map(Size, arg.axes), Const(each)]))
    return _sum(parts)
