"""The form of a program for when the axes that its loops are repeated for have one position each: no loop around the others.

Query heads that share keys are repeated inside the program of those keys. Most calls have as many heads of keys as of queries, and a
loop of one step still costs what is carried through it: registers, which are what bounds the tiles of a backward pass. Here those axes
are grid axes. The caller runs this form where their sizes are 1, the program itself for any others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from .nodes import Block, If, Program, Repeat, Stmt, TileLoop, defined, statements
from .verify import verify


def with_single(program: Program) -> Program:
    """The program with its form for one position in `single`, where there is one to make.

    There is none for axes that the program adds, whose sizes change with lengths, for sums dealt out to programs, and for lists from
    data, which are made for the tiles of one kernel.
    """
    axes = repeated(program)
    if not axes or program.shares or program.lists or program.sweep or {a for a, _ in program.made} & set(axes):
        return program
    body = tuple(_inlined(program.body, set(axes)))
    names = [defined(s) for s in _flat(body)]
    if len(set(names) - {""}) != len([n for n in names if n]):  # loops side by side use the same names
        return program
    note = f"where {' and '.join(f'|{a}| = 1' for a in axes)}: no loop around those over tiles"
    made = replace(program, name=f"{program.name}_single", grid=(*program.grid, *axes), body=body, ones=axes, notes=(*program.notes, note))
    return replace(program, single=verify(made))


def repeated(program: Program) -> tuple[str, ...]:
    """The axes that loops over tiles are repeated for."""
    found = (s for s in statements(program.body) if isinstance(s, Repeat))
    return tuple(dict.fromkeys(s.axis for s in found if any(isinstance(x, TileLoop) for x in statements(s.body))))


def idle(program: Program, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the programs that do not run for some sizes: this one, or its form for one position."""
    if program.single is None:
        return ()
    return (program.name if all(sizes[a] == 1 for a in repeated(program)) else program.single.name,)


def _inlined(body: tuple[Stmt, ...], axes: set[str]) -> Iterator[Stmt]:
    for stmt in body:
        match stmt:
            case Repeat(axis=axis) if axis in axes:
                yield from _inlined(stmt.body, axes)
            case TileLoop() | Block() | If() | Repeat():
                yield replace(stmt, body=tuple(_inlined(stmt.body, axes)))
            case _:
                yield stmt


def _flat(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Statements whose values are visible after them."""
    for stmt in body:
        yield stmt
        if isinstance(stmt, Block):
            yield from _flat(stmt.body)
