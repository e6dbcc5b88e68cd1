"""The statements of a body in the order in which they are printed: what does not touch the owner's positions first, once a
tile; then one loop over the strips of the owner for all that does.

A strip is as many positions of the owner as fit three vectors. Its tiles stay in the first-level cache from one product to
the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attncc.tile.nodes import Bisect, Dot, Init, Load, Map, Reduce, Set, Stmt, Store, defined

from .frame import Home
from .lanes import Item, Lanes, Rows
from .ready import changes, reads
from .sharing import Rescaled

_LEAVES = (Load, Init, Map, Set, Dot, Rescaled, Reduce, Store, Bisect)


@dataclass
class Run:
    """early: statements without the owner's positions. late: those with them."""

    early: list[Stmt]
    late: list[Stmt]


def runs(body: Sequence[Stmt], touches: set[int]) -> list[Run | Stmt]:
    """Leaf statements gathered in runs; others in between. touches: ids of the statements that touch the owner's positions."""
    out: list[Run | Stmt] = []
    run = Run([], [])

    def flush() -> None:
        nonlocal run
        if run.early or run.late:
            out.append(run)
        run = Run([], [])

    for stmt in body:
        if not isinstance(stmt, _LEAVES):
            flush()
            out.append(stmt)
        elif id(stmt) in touches:
            run.late.append(stmt)
        else:
            made = {defined(s) for s in run.late} | {changes(s) for s in run.late} - {""}
            read = {n for s in run.late for n in reads(s)}
            if reads(stmt) & made or changes(stmt) in read:
                flush()
            run.early.append(stmt)
    flush()
    return out


def _flat(items: Sequence[Item]) -> list[Stmt]:
    """The statements of a lane loop in the order in which they are printed."""
    return [s for item in items for s in (item.stmts if isinstance(item, Rows) else [item])]


class Groups(Lanes):
    """What a strip keeps where. parted: memory of tiles of which a strip sees its own part."""

    parted: dict[str, str]

    def touches(self, stmt: Stmt) -> bool:
        """Whether a statement touches the owner's positions."""
        owner = self.owner.name
        names = reads(stmt) | {defined(stmt), changes(stmt)} - {""}
        if any(n in self.values and owner in self.values[n].dims for n in names):
            return True
        match stmt:
            case Load(_, _, index) | Store(_, index):
                return any(owner in self._dims(x) for x in index)
        return False

    def steps_of(self, stmts: Sequence[Stmt], lanes: str) -> list[Stmt | list[Item]]:
        """Lane loops, and the loads, products and stores between them."""
        parts: list[Stmt | list[Stmt]] = []
        for stmt in self.late(stmts):
            if not isinstance(stmt, Map | Set | Reduce | Init) or self.across(stmt):
                parts.append(stmt)
                continue
            held = self._loop_for(stmt, parts)
            if held is None:
                parts.append([stmt])
            else:
                held.append(stmt)
        return [self.items(part, lanes) if isinstance(part, list) else part for part in parts]

    def late(self, stmts: Sequence[Stmt]) -> list[Stmt]:
        """Statements in order, but a map of pairs from positions and rows alone, as of which pairs are admitted, goes where it is first
        read: a tile of it would be stored in between."""
        out = list(stmts)
        for stmt in stmts:
            if not (isinstance(stmt, Map) and len(self.values[stmt.out].dims) == 2):
                continue
            need = reads(stmt)
            if any(n in self.values and (len(self.values[n].dims) > 1 or self.values[n].carried) for n in need):
                continue
            here = out.index(stmt)
            there = next((n for n in range(here + 1, len(out)) if stmt.out in reads(out[n])), here)
            if not any(changes(s) in need for s in out[here:there]):
                out.insert(there - 1, out.pop(here))
        return out

    def _loop_for(self, stmt: Stmt, parts: Sequence[Stmt | list[Stmt]]) -> list[Stmt] | None:
        """The last lane loop, where a statement may join it: across products and loads that neither give nor take anything of it."""
        need, makes = reads(stmt), changes(stmt)
        for part in reversed(parts):
            if isinstance(part, list):
                return part
            if defined(part) in need or changes(part) in need or (makes and makes in reads(part) | {defined(part)}):
                return None
        return None

    def across(self, stmt: Stmt) -> bool:
        """Whether a reduction runs along the lanes."""
        return isinstance(stmt, Reduce) and stmt.over == self.lanes_of(self.values[stmt.tile].dims)

    def house(self, stmts: Sequence[Stmt], steps: Sequence[Stmt | list[Item]], strip: bool) -> dict[str, bool]:
        """Homes for the values of a group that are stored; which ones are. Tiles that die inside a strip share memory."""
        stored: dict[str, bool] = {}
        for step in steps:
            if isinstance(step, list):
                stored |= self.settle(step, self.owner.name if strip else self.lanes_in(step))
        inside = {id(s) for s in stmts}
        run = [s for step in steps for s in (_flat(step) if isinstance(step, list) else [step])]
        order = {id(s): n for n, s in enumerate(run)}
        pool: list[tuple[int, tuple[str, bool], str]] = []
        for number, stmt in enumerate(run):
            name = defined(stmt)
            if not name or not stored.get(name, True) or not self.values[name].dims or name in self.homes:
                continue
            if isinstance(stmt, Load) and self.lies_well(stmt):
                continue
            value, users = self.values[name], self.readers.get(name, [])
            local = strip and not value.carried and self.owner.name in value.dims and all(id(u) in inside for u in users)
            if not local:
                self._house_for_good(name)
                continue
            shape = self._shape(name, "STRIP")
            until = number + 1 if isinstance(stmt, Map) else number
            free = [x for x in pool if x[1] == (shape, value.wide) and x[0] < until]
            if free:
                pool.remove(free[0])
            memory = free[0][2] if free else self.allocate(name, value.wide, shape)
            pool.append((max((order[id(u)] for u in users), default=number), (shape, value.wide), memory))
            self._house(name, memory)
        for _, _, memory in pool:
            self.release(memory)
        return stored

    def _shape(self, name: str, owner: str) -> str:
        """How many elements a stored tile has, in C. owner: for the owner's dim."""
        value = self.values[name]
        if name in self.by_rows:
            return f"{owner} * {self.room(value.dims[1])}"
        owned = self.owner.name in value.dims
        sizes = [owner] if owned else []
        for dim in value.dims:
            if dim != self.owner.name:
                sizes.append(str(self.features[dim]) if owned and dim in self.features else self.room(dim))
        return " * ".join(sizes)

    def _house_for_good(self, name: str) -> None:
        """Memory that lasts for the owner. Of a tile with the owner's positions, a strip sees its own part."""
        value = self.values[name]
        memory = self.allocate(name, value.wide, self._shape(name, self.room(self.owner.name)))
        if self.owner.name in value.dims:
            self.parted[name] = memory
            memory = self.names.fresh(f"{name}_strip")
        self._house(name, memory)

    def _house(self, name: str, memory: str) -> None:
        value = self.values[name]
        code = memory if value.kind == "float" or value.wide else f"((lane *){memory})"
        steps = self.steps(value.dims, name in self.by_rows)
        self.homes[name] = self.stored_homes[name] = Home(code, "array", value.kind, value.wide, steps)

    def parts(self, stmts: Sequence[Stmt]) -> None:
        """Pointers to a strip's part of the tiles that last."""
        used = {n for s in stmts for n in reads(s) | {defined(s), changes(s)}}
        for name in [n for n in self.parted if n in used]:
            value = self.values[name]
            ctype = "long" if value.wide else "real"
            part = self.homes[name].code.removeprefix("((lane *)").removesuffix(")")
            self.line(f"{ctype} *const {part} = {self.parted[name]} + strip * {self._shape(name, 'STRIP')};")

    def lanes_in(self, items: Sequence[Item]) -> str:
        """The dim along the lanes of a plain loop."""
        for item in items:
            for stmt in item.stmts if isinstance(item, Rows) else [item]:
                name = defined(stmt) or changes(stmt)
                return self.lanes_of(self.values[name].dims) if name and self.values[name].dims else ""
        return ""
