"""What the text of a kernel follows beside its tile program: choices of a configuration that are no parameters of the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from attncc.ir.expr import Apply, Const, Expr, Read, walk
from attncc.tile.nodes import Dim, Dot, Init, Load, Map, Program, Reduce, Set, Stmt, TileLoop, statements

from .configs import Config
from .space import Setting

WIDEST = 64
"""Columns of a product that a thread computes itself, at most: it holds its part of both operands in registers."""

LANES = 8
"""Columns of a result of the tensor cores that four lanes hold together: sums over keys stay apart by column until the end."""


@dataclass(frozen=True, slots=True)
class Style:
    """descriptors: "" (pointers), "host" (arguments), or "inside" (made by the kernel). rest: stages of the loops over partial
    tiles, 0 as the others. lanes: whether sums over the keys of a row are kept by column (see `partial_sums`). special: warps of
    the form for lengths that fill their tiles, 0 for none. stored: results are written through descriptors.
    order, persistent, flat, early, fast_tanh: as in `Config`. widest: of a chunk of a feature axis, 0 for any."""

    descriptors: str = ""
    rest: int = 0
    lanes: bool = False
    special: int = 0
    order: int = 0
    stored: bool = False
    persistent: int = 0
    flat: bool = False
    early: bool = False
    fast_tanh: bool = False
    widest: int = 0


def style_of(config: Config, target: str, bits: int, descriptors: bool) -> Style:
    """The style of a configuration on a target. descriptors: the target has them and the tensors allow them."""
    kind = "" if not (descriptors and config.described) else "inside" if config.inside else "host"
    lanes = target == "interpreter" or (bits == 16 and target.startswith("cuda:") and int(target[5:]) < 100)
    special = config.special if kind or target == "interpreter" else 0
    fast = config.fast_tanh and not target.startswith("hip")
    stored = config.stored and descriptors
    widest = WIDEST if Setting(target, bits).multiplied else 0
    return Style(
        kind, config.rest, lanes, special, config.order, stored, config.persistent, config.flat, config.early, fast,
        widest,
    )  # fmt: skip


def partial_sums(program: Program) -> dict[str, Dim]:
    """Accumulators of the rows that may be kept as `LANES` sums a row, one a column of a tile modulo `LANES`, until the loops
    end: an exchange between lanes less in each iteration. By name, with the dim that they sum over.

    Such an accumulator starts as 0, and is set in loops alone, to itself (times a value of the rows) plus the sum of a tile that
    nothing else reads; nothing in a loop reads it otherwise. Only of programs whose loops are not inside others.
    """
    inits = {s.acc: s for s in program.body if isinstance(s, Init) and s.dims == (program.owner,)}
    zero = {n for n, s in inits.items() if isinstance(s.start, Const) and s.start.value == 0}
    rows = {s.out for s in statements(program.body) if isinstance(s, Load | Map | Dot) and s.dims[:1] == (program.owner,)}
    sums = {s.out: s for s in statements(program.body) if isinstance(s, Reduce) and s.op == "sum" and s.tile in rows}
    loops = [s for s in program.body if isinstance(s, TileLoop)]
    held = [s for loop in loops for s in statements(loop.body)]
    last = max((n for n, s in enumerate(program.body) if isinstance(s, TileLoop)), default=0)
    before = [s for s in program.body[:last] if not isinstance(s, TileLoop)]
    out: dict[str, Dim] = {}
    for name in zero:
        dims = {_added(s, name, sums) for s in held if isinstance(s, Set) and s.acc == name}
        read = [s for s in held if _reads(s, name) and not (isinstance(s, Set) and s.acc == name)]
        read += [s for s in statements(tuple(before)) if _reads(s, name) or (isinstance(s, Set) and s.acc == name)]
        nested = any(isinstance(s, TileLoop) for s in held) or len(loops) != sum(isinstance(s, TileLoop) for s in statements(program.body))
        if len(dims) == 1 and "" not in dims and not read and not nested:
            out[name] = program.dim(dims.pop())
    return out


def part_of(stmt: Set) -> str:
    """The name of what a partial sum adds."""
    assert isinstance(stmt.expr, Apply)
    read = stmt.expr.args[1]
    assert isinstance(read, Read)
    return read.source


def _added(stmt: Set, name: str, sums: dict[str, Reduce]) -> str:
    """The dim whose sum a statement adds to an accumulator; "" for any other statement."""
    match stmt.expr:
        case Apply("add", (before, Read(part, ()))) if part in sums:
            kept = before
            if isinstance(kept, Apply) and kept.op == "mul":
                kept, factor = kept.args
                if any(isinstance(e, Read) and e.source == name for e in walk(factor)):
                    return ""
            return sums[part].over if kept == Read(name, (), "float") else ""
    return ""


def _reads(stmt: Stmt, name: str) -> bool:
    def inside(expr: Expr) -> bool:
        return any(isinstance(e, Read) and e.source == name for e in walk(expr))

    match stmt:
        case Map(_, expr) | Set(_, expr):
            return inside(expr)
        case Reduce(_, _, tile):
            return tile == name
    return name in (getattr(stmt, "tile", ""), getattr(stmt, "a", ""), getattr(stmt, "b", ""))
