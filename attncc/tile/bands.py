"""How sums by key are dealt out to programs: a rule in sizes, the same for every target.

    parts         rows are dealt out over shares, each with an array of its own; the arrays together are at most as large as the largest
                  operand, so a large table leaves few shares, and a small grid with few shares leaves most of a machine idle
    owner-band    each program owns a band of the table's elements and visits the tiles of pairs that may fall into it: one array, no
                  shares; bands as wide as two tiles make it visit twice the tiles that parts does

So a table is cut into bands where that keeps more than twice as many processors at work (for each table of the program): where the
memory of parts would leave too few shares. Both are deterministic.

    atomic        every tile of rows at once, all of them add to one array atomically: no memory, no tile visited twice, but the order of
                  additions, and with it the last bits, change from run to run. For GPUs, and where a caller asks for it alone
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce

from ..ir.expr import ONE, Apply, Const, Expr, Size
from .nodes import Arg, Block, If, Program, Repeat, Stmt, Store, TileLoop

GPU = 128
"""Processors of a large GPU, about: what targets that differ in it agree on."""
OVERHEAD = 2
"""Tiles that a table's bands visit, for one that parts visits."""
ROWS = 64
"""Rows of a tile, about."""


def product(axes: tuple[str, ...]) -> Expr:
    """The number of positions along some axes together."""
    return reduce(lambda a, b: Apply("mul", (a, b)), map(Size, axes)) if axes else ONE


def least(axes: int) -> int:
    """How wide a band is at least: two tiles along one of so many axes of a box."""
    return 2 * round(ROWS ** (1 / axes))


def heads(program: Program) -> Expr:
    """Grid positions beside shares and bands, at least 1."""
    inner = {program.shares, program.bands.axis if program.bands is not None else ""}
    return _max(ONE, product(tuple(a for a in program.grid if a not in inner)))


def count(program: Program, processors: int) -> Expr:
    """How many bands keep so many processors at work."""
    assert program.bands is not None
    return _max(ONE, _min(program.bands.most, _cdiv(Const(processors), heads(program))))


def cheaper(program: Program, processors: int) -> Expr:
    """Whether the program is run by its bands."""
    assert program.banded and program.most is not None
    rows = _cdiv(product(program.dim(program.owner).axes), Const(ROWS))
    parts = _busy(processors, Apply("mul", (heads(program), _max(ONE, _min(rows, program.most)))))
    bands = reduce(_min, (_busy(processors, Apply("mul", (heads(p), count(p, processors)))) for p in program.banded))
    return Apply("lt", (Apply("mul", (Const(OVERHEAD * len(program.banded)), parts)), bands))


def extra(program: Program, arg: Arg) -> int:
    """How many axes of a sum are not those of the array that is asked for: it is summed along them. They are the first ones."""
    beside = {program.shares, *(axis for axis, _ in program.made)}
    return sum(a in beside for a in arg.axes)


def atomic(program: Program) -> Program:
    """The same sums by atomic additions of tiles that run at once; the program itself where it has none."""
    over = {a.name: extra(program, a) for a in program.args if a.role == "sum"}
    if not program.shares or not all(over.values()):
        return program

    def visit(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for stmt in body:
            match stmt:
                case Store() if stmt.arg in over:
                    out.append(replace(stmt, index=stmt.index[over[stmt.arg] :]))
                case TileLoop() | Block() | Repeat() | If():
                    out.append(replace(stmt, body=visit(stmt.body)))
                case _:
                    out.append(stmt)
        return tuple(out)

    args = tuple(replace(a, role="atomic", axes=a.axes[over[a.name] :]) if a.name in over else a for a in program.args)
    note = "tiles of rows add to one array atomically, as was asked for: the last bits of sums change from run to run"
    return replace(
        program, args=args, grid=tuple(a for a in program.grid if a != program.shares), body=visit(program.body), shares="",
        most=None, banded=(), notes=(*program.notes, note),
    )  # fmt: skip


def _busy(processors: int, programs: Expr) -> Expr:
    return _min(Const(processors), programs)


def _max(a: Expr, b: Expr) -> Expr:
    return a if a == b else Apply("max", (a, b))


def _min(a: Expr, b: Expr) -> Expr:
    return Apply("min", (a, b))


def _cdiv(a: Expr, b: Expr) -> Expr:
    return Apply("cdiv", (a, b))
