"""How sums by key are dealt out to programs: a rule in sizes, the same for every target.

    parts         rows are dealt out over shares, each with an array of its own; the arrays together are at most as large as the largest
                  operand, so a large table leaves few shares, and a small grid with few shares leaves most of a machine idle
    owner-band    each program owns a band of the table's elements and visits the tiles of pairs that may fall into it: one array, no
                  shares; a band of n times the width of two tiles visits 1 + 1 / n times the tiles that its part of the work has

So a table is cut into bands where the tiles that are visited more than once cost less than the processors that the memory of parts would
leave without work. Both are deterministic. Measured on a CPU (one head, 2048 positions, 64 features, bands of 2048, 512 and 128
differences): 1.09, 1.14 and 1.36 times the time of parts on as many processors, where this rule says 1.06, 1.25 and 2.

    atomic        every tile of rows at once, all of them add to one array atomically: no memory, no tile visited twice, but the order of
                  additions, and with it the last bits, change from run to run. For GPUs, and where a caller asks for it alone
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from ..ir.expr import ONE, Apply, Const, Expr, Size
from ..ir.sizes import scalar
from .nodes import Arg, Block, If, Program, Repeat, Stmt, Store, TileLoop

GPU = 128
"""Processors of a large GPU, about: what targets that differ in it agree on."""
ROWS = 64
"""Rows of a tile, about."""


def product(axes: tuple[str, ...]) -> Expr:
    """The number of positions along some axes together."""
    sizes: list[Expr] = [Size(a) for a in axes]
    return reduce(lambda a, b: Apply("mul", (a, b)), sizes) if sizes else ONE


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
    most = _cdiv(Size(program.bands.over), Const(program.bands.least))
    return _max(ONE, _min(most, _cdiv(Const(processors), heads(program))))


def visited(program: Program, processors: int) -> Expr:
    """Tiles that the bands of a program visit, for one that parts visits."""
    assert program.bands is not None
    again = Apply("mul", (Const(program.bands.least), count(program, processors)))
    return Apply("add", (ONE, Apply("div", (again, _max(ONE, Size(program.bands.over))))))


def cheaper(program: Program, processors: int) -> Expr:
    """Whether the program is run by its bands."""
    assert program.banded and program.most is not None
    rows = _cdiv(product(program.dim(program.owner).axes), Const(ROWS))
    parts = _busy(processors, Apply("mul", (heads(program), _max(ONE, _min(rows, program.most)))))
    busy = reduce(_min, (_busy(processors, Apply("mul", (heads(p), count(p, processors)))) for p in program.banded))
    tiles = reduce(lambda a, b: Apply("add", (a, b)), (visited(p, processors) for p in program.banded))
    return Apply("lt", (Apply("mul", (parts, tiles)), busy))


def idle(program: Program, sizes: Mapping[str, int]) -> tuple[str, ...]:
    """Names of the programs that a GPU does not run for some sizes: the parts, or the bands."""
    if not program.banded:
        return ()
    return (program.name,) if scalar(cheaper(program, GPU), sizes) else tuple(p.name for p in program.banded)


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
