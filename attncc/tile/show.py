"""Tile programs as text, one statement a line.

kernel core: a tile of i, for each b, h
  in   q[b, h, i, d]
  out  core[b, h, i, e]
  let  scale = |d| ^ -0.5 * 1.4427
  q[i, d] = load q[b, h, i, d]
  loop tile.number in j.full_tiles: j from tile.number * j.box
    qk[i, j] = dot over d of q, k
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..ir.expr import Expr
from ..ir.printer import show_expr
from .nodes import Bisect, Block, Dot, If, Init, Load, Map, Program, Reduce, Repeat, Set, Stmt, Store, TileLoop


def show(program: Program) -> str:
    """The whole program."""
    grid = f", for each {', '.join(program.grid)}" if program.grid else ""
    grid += f", of one position {', '.join(program.ones)}" if program.ones else ""
    grid += f", tiles shared out over {program.shares}" if program.shares else ""
    grid += f", each owns a band of {program.bands.over}" if program.bands else ""
    grid += f", one tile after the other, {program.sweep}" if program.sweep else ""
    lines = [f"kernel {program.name}: a tile of {', '.join(program.dim(program.owner).axes)}{grid}"]
    for dim in program.dims:
        lines.append(f"  dim  {dim.name} is {'all of' if dim.whole else 'a box of'} {', '.join(dim.axes)}")
    for arg in program.args:
        lines.append(
            f"  {arg.role:<8}{arg.name}[{', '.join(arg.axes)}]: {arg.kind}{' in the accumulation type' if arg.acc else ''}"
        )
    lines += [f"  number  {s.name} = {_text(s.expr)}" for s in program.scalars]
    lines += [f"  list    {x.tiles}, {x.counts}: tiles of {x.loop} for a tile of {x.owner}, where {_text(x.cond)}" for x in program.lists]
    lines += [f"  carry   {line}" for init in program.carry for line in _lines(init)]
    lines += [f"  {line}" for stmt in program.body for line in _lines(stmt)]
    lines += [f"  note {note}" for note in program.notes]
    return "\n".join(lines) + "\n"


def _text(expr: Expr) -> str:
    """An expression with tile values as plain names."""
    return re.sub(r"(?:`([^`]+)`|([\w.]+))\[\]", lambda m: m[1] or m[2], show_expr(expr))


def _at(name: str, dims: tuple[str, ...]) -> str:
    return f"{name}[{', '.join(dims)}]"


def _index(arg: str, index: tuple[Expr, ...]) -> str:
    return f"{arg}[{', '.join(map(_text, index))}]"


def _lines(stmt: Stmt) -> Iterator[str]:
    match stmt:
        case Load(out, arg, index, dims, own, fill):
            rest = ("" if fill is None else f" else {_text(fill)}") + (", own type" if own else "")
            yield f"{_at(out, dims)} = load {_index(arg, index)}{rest}"
        case Init(acc, dims, start):
            yield f"{_at(acc, dims)} := {_text(start)}"
        case Map(out, expr, dims):
            yield f"{_at(out, dims)} = {_text(expr)}"
        case Set(acc, expr):
            yield f"{acc} := {_text(expr)}"
        case Dot(a, b, over, dims, out, into):
            yield f"{_at(out, dims)} = dot over {over} of {a}, {b}" if out else f"{into} += dot over {over} of {a}, {b}"
        case Reduce(out, op, tile, over, dims):
            yield f"{_at(out, dims)} = {op} over {over} of {tile}"
        case Store(arg, index, tile, _, add):
            yield f"store {_index(arg, index)} {'+=' if add else '='} {tile}"
        case Bisect(out, axis, low, high, cond):
            yield f"{out} = last {axis} of {_text(low)} .. {_text(high)} with {_text(cond)}"
        case Block(title, body):
            yield f"# {title}"
            yield from _nested(body)
        case TileLoop():
            places = ", ".join(f"{a} from {_text(s)}" for a, s in zip(stmt.axes, stmt.starts, strict=True))
            tests = " (tested pair by pair)" if stmt.masked else ""
            yield f"loop {stmt.counter} in {_text(stmt.count)}: {places}{tests}"
            yield from _nested((*stmt.lets, *stmt.body))
        case If(cond, body):
            yield f"if {_text(cond)}"
            yield from _nested(body)
        case Repeat(axis, body):
            yield f"for each {axis}"
            yield from _nested(body)


def _nested(body: tuple[Stmt, ...]) -> Iterator[str]:
    for stmt in body:
        for line in _lines(stmt):
            yield f"  {line}"
