"""Which programs have a kernel for owners of few rows, as in decoding (`few_kernel.py`)."""

from __future__ import annotations

from collections.abc import Mapping

from attncc.tile.nodes import (
    Block,
    Dot,
    If,
    Init,
    Load,
    Map,
    Program,
    Reduce,
    Repeat,
    Store,
    TileLoop,
    defined,
    statements,
)  # fmt: skip

FEWS_OF_A_STRIP = 6
"""A strip has this many times FEW positions (few.h)."""


def takes_few(program: Program) -> bool:
    """Whether all that a program does with pairs goes along their keys as well as along its rows: all in loops over keys without loops
    inside, where products are of rows of features, and nothing sums over the owner's positions or keeps a pair."""
    if program.shares or program.sweep or program.bands is not None or not program.owner:
        return False
    every = tuple(statements(program.body))
    dims = {n: d for s in every if (n := defined(s)) and (d := dims_of(s)) is not None}
    loops = [s for s in every if isinstance(s, TileLoop)]
    inside = {id(s) for loop in loops for s in statements(loop.body)}
    dots = [s for s in every if isinstance(s, Dot)]
    return bool(dots) and all(id(s) in inside for s in dots) and all(_along_keys(loop, program, dims) for loop in loops)


def dims_of(stmt: object) -> tuple[str, ...] | None:
    """Dims of what a statement defines."""
    match stmt:
        case Load(dims=dims) | Map(dims=dims) | Reduce(dims=dims) | Dot(dims=dims) | Init(dims=dims):
            return dims
    return None


def _along_keys(loop: TileLoop, program: Program, dims: Mapping[str, tuple[str, ...]]) -> bool:
    owner, keys = program.owner, loop.dim
    pair = (owner, keys)

    def whole(name: str, *of: str) -> bool:
        return name in dims and dims[name] == of and all(program.dim(d).whole for d in of if d not in pair)

    for stmt in statements(loop.body):
        match stmt:
            case Block():
                continue
            case TileLoop() | If() | Repeat() | Store():
                return False
            case Dot(out=out, into=into, over=over):
                rows, other = (stmt.b, stmt.a) if owner in dims.get(stmt.b, ()) else (stmt.a, stmt.b)
                scores = bool(out) and stmt.dims == pair and set(dims.get(rows, ())) == {owner, over} and whole(other, keys, over)
                feature = next((d for d in stmt.dims if d != owner), "")
                mixes = bool(into) and over == keys and dims.get(rows) == pair and whole(other, keys, feature)
                if not (scores or mixes):
                    return False
            case Reduce(tile=tile, over=over):
                if over == owner or (owner in dims.get(tile, ()) and set(dims[tile]) == set(pair) and dims[tile] != pair):
                    return False
            case Load(dims=found) | Map(dims=found) | Init(dims=found):
                if (set(found) == set(pair) and found != pair) or len(found) > 2:
                    return False
                if isinstance(stmt, Init) and keys in found:
                    return False
    return True
