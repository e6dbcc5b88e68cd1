"""How many pairs a tile program visits for given tile sizes: its scalar statements worked out for an owner, without data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size
from attncc.ir.sizes import WHOLE
from attncc.tile.nodes import Bisect, Block, If, Map, Program, Repeat, Stmt, TileLoop

_LIMIT = 4096


class Unknown(Exception):
    """The visits depend on data, or are too many to count here."""


@dataclass
class Visits:
    """tiles: of the loops, in all. rows: positions of the loops' dims in them, counted whole. tested: those in tested tiles."""

    tiles: float = 0.0
    rows: float = 0.0
    tested: float = 0.0


def visits(program: Program, sizes: Mapping[str, int], boxes: Mapping[str, int], first: Mapping[str, int]) -> Visits:
    """What the owner whose tile starts at `first` visits. Raises Unknown."""
    known: dict[str, int] = {}
    for axis, box in boxes.items():
        known[f"{axis}.box"] = box
    for axis, start in first.items():
        known[f"{axis}.first"] = start
        known[f"{axis}.last"] = min(start + boxes[axis], sizes[axis]) - 1
    out = Visits()
    _Walk(program, sizes, boxes, known, out).body(program.body, 1.0)
    return out


@dataclass
class _Walk:
    program: Program
    sizes: Mapping[str, int]
    boxes: Mapping[str, int]
    known: dict[str, int]
    out: Visits
    steps: int = 0

    def body(self, body: Sequence[Stmt], times: float) -> None:
        for stmt in body:
            self.steps += 1
            if self.steps > _LIMIT:
                raise Unknown
            match stmt:
                case Map(name, expr, (), kind) if kind != "float":
                    try:
                        self.known[name] = self.value(expr)
                    except Unknown:
                        self.known.pop(name, None)
                case Bisect():
                    self.known[stmt.out] = self.bisected(stmt)
                case Block(_, inner):
                    self.body(inner, times)
                case If(_, inner):
                    self.body(inner, times)
                case Repeat(axis, inner):
                    self.body(inner, times * self.sizes[axis])
                case TileLoop():
                    self.loop(stmt, times)

    def loop(self, loop: TileLoop, times: float) -> None:
        count = max(0, self.value(loop.count))
        dim = self.program.dim(loop.dim)
        if loop.axes[-1] == dim.axes[-1]:
            volume = 1
            for axis in dim.axes:
                volume *= min(self.boxes[axis], max(self.sizes[axis], 1))
            self.out.tiles += times * count
            self.out.rows += times * count * volume
            self.out.tested += times * count * volume if loop.masked else 0
            return
        for number in range(count):
            self.known[loop.counter] = number
            self.body(loop.lets, times)
            for axis, start in zip(loop.axes, loop.starts, strict=True):
                at = self.value(start)
                self.known[f"{axis}.first"] = at
                self.known[f"{axis}.last"] = min(at + self.boxes[axis], self.sizes[axis]) - 1
            self.body(loop.body, times)

    def bisected(self, stmt: Bisect) -> int:
        good, bad = self.value(stmt.low) - 1, self.value(stmt.high) + 1
        while bad - good > 1:
            self.known[f"{stmt.axis}.here"] = middle = (good + bad) // 2
            if self.value(stmt.cond):
                good = middle
            else:
                bad = middle
        return good

    def value(self, expr: Expr) -> int:
        match expr:
            case Const(value):
                return int(value)
            case Size(axis):
                return self.sizes[axis]
            case Index(axis) if f"{axis}.here" in self.known:
                return self.known[f"{axis}.here"]
            case Index(axis) if axis in self.program.grid:
                return self.sizes[axis] // 2
            case Read(name, ()) if name in self.known:
                return self.known[name]
            case Apply("where", (cond, a, b)):
                return self.value(a if self.value(cond) else b)
            case Apply(op, args) if op in _PLAIN:
                return _PLAIN[op](*(self.value(a) for a in args))
        raise Unknown


_PLAIN: dict[str, Callable[..., int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a, "min": min, "max": max,
    **WHOLE, "exact": WHOLE["floordiv"], "le": lambda a, b: a <= b, "lt": lambda a, b: a < b, "ge": lambda a, b: a >= b,
    "gt": lambda a, b: a > b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "and": lambda a, b: bool(a and b),
    "or": lambda a, b: bool(a or b), "not": lambda a: not a, "abs": abs,
}  # fmt: skip
