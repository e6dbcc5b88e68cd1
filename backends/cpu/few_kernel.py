"""Kernels for owners of few rows, as in decoding: one beside that of a program, with vectors along the keys.

A vector of the owner's positions would be almost empty. So what pairs have is stored with the keys along the lanes, a row for each
position of the owner; products read keys and values where they lie, elements of 16 bits too; and pointwise work on pairs goes along the
keys. What rows of the owner have alone is as it is elsewhere. Products are those of few.h; scores are the same to the last bit as those
of every other kernel.
"""

from __future__ import annotations

from attncc.tile.nodes import Arg, Dot, Load, Reduce, TileLoop, defined

from .frame import Home
from .kernel import KernelPrinter
from .lanes import Rows, expressions, type_of
from .memory import Place
from .narrow import Narrow
from .ready import Ready, reads


def pairs_of(ready: Ready) -> frozenset[str] | None:
    """Values of pairs of a program that takes few rows; None where one does not fit a lane."""
    program = ready.program
    whole = {d.name for d in program.dims if d.whole}
    found = {n: v for n, v in ready.values.items() if len(v.dims) == 2 and v.dims[0] == program.owner and v.dims[1] not in whole}
    return None if any(v.wide or v.carried for v in found.values()) else frozenset(found)


class FewPrinter(KernelPrinter):
    """Prints such a kernel. unit: names of strides that have to be 1; deep: numbers of features that have to be whole vectors."""

    unit: dict[str, None]
    deep: dict[int, None]

    def printed(self) -> list[str]:
        self.unit, self.deep = {}, {}
        return super().printed()

    def beside(self) -> list[str]:
        """Lines of the entry that put it in the place of the other, where an owner is a few rows and all lies well."""
        rows = " * ".join(f"boxes[{list(self.tiled).index(a)}]" for a in self.owner.axes)
        every = [self.stride(a.name, axis) for a in self.program.args for axis in a.axes]
        tests = [
            f"few({rows})",
            *(f"{n} % LANES == 0" for n in self.deep),
            *(f"strides[{every.index(x)}] == 1" for x in self.unit),
        ]
        return [
            "#if LANES_COUNT >= 4",
            f"    if ({' && '.join(tests)}) {{",
            f"        call.bytes = {self.name}_bytes(&call);",
            f"        call.owner = {self.name}_owner;",
            "        call.ask = 0;",
            "    }",
            "#endif",
        ]

    # Nothing is asked from memory ahead, and all keys of a tile are visited.

    def soon(self) -> dict[str, tuple[TileLoop, Load]]:
        return {}

    def narrowed(self, loop: TileLoop) -> Narrow | None:
        return None

    def _ahead(self, loop: TileLoop, counter: str, count: str) -> dict[str, str]:
        return {}

    # Products.

    def in_place(self, stmt: Load, arg: Arg) -> bool:
        return self.owner.name not in stmt.dims

    def _view(self, stmt: Load, place: Place) -> None:
        super()._view(stmt, place)
        other = next(d for d in stmt.dims if d in self.features)
        ((_, stride),) = place.along[other]
        self.unit[stride] = None

    def _dot(self, stmt: Dot, by: str = "0") -> None:
        owner = self.owner.name
        rows, other = (stmt.b, stmt.a) if owner in self.values[stmt.b].dims else (stmt.a, stmt.b)
        one, two, three = self.homes[other], self.homes[rows], self.homes[stmt.out or stmt.into]
        keys, feature = self.values[other].dims
        kind = "elements" if one.kind == "element" else "numbers"
        self.deep[self.features[feature]] = None
        parts = [one.code, one.steps[keys], two.code]
        counts = [self.count(keys), "lanes", self.count(feature)]
        if stmt.out:
            parts += [two.steps[feature], three.code, three.steps[owner], *counts, *self._start(stmt.start, keys)]
            self.line(f"few_scores_{kind}({', '.join(parts)});")
        else:
            parts += [two.steps[owner], three.code, three.steps[feature], *counts, by]
            self.line(f"few_mix_{kind}({', '.join(parts)});")

    # Pointwise work on pairs.

    def _rows(self, rows: Rows, stored: dict[str, bool]) -> None:
        owner, keys = self.owner.name, rows.dim
        if self.lane_dim != owner or self.dims[keys].whole:
            super()._rows(rows, stored)
            return
        kept = dict(self.homes)
        made = {defined(s) for s in rows.stmts}
        for name in sorted({n for s in rows.stmts for n in reads(s)} - made):
            home = self.homes.get(name)
            if home is not None and home.form == "lanes":
                self.homes[name] = self._apart(name, home.code)
        sums = {s.out: self._apart(s.out, "") for s in rows.stmts if isinstance(s, Reduce)}
        lane_dim, lane_at, exprs = self.lane_dim, self.lane_at, [x for s in rows.stmts for x in expressions(s)]
        self.lane_dim, self.lane_at = keys, "x"
        with self.inside(), self.block("for (long n = 0; n < lanes; ++n)"):
            self.at = {k: v for k, v in self.at.items() if k != keys} | {owner: "n"}
            self.show(exprs, owner, vector=False)
            for stmt in rows.stmts:
                if isinstance(stmt, Reduce):
                    self.line(f"{type_of(self.values[stmt.out])} {self.names.of('value', stmt.out)} = {self.start(stmt)};")
            with self.inside(), self.block(f"for (long x = 0; x < {self.count(keys)}; x += LANES)"):
                self.show(exprs, keys, vector=True)
                if sums:
                    self.line(f"const vint here = count_up(x) < isplat({self.count(keys)});")
                for stmt in rows.stmts:
                    if isinstance(stmt, Reduce):
                        self._step(stmt)
                    else:
                        self._statement(stmt, stored)
            for stmt in rows.stmts:
                if isinstance(stmt, Reduce):
                    self.line(f"{sums[stmt.out].code}[n] = {self._all_lanes(stmt)}({self.names.of('value', stmt.out)});")
        self.lane_dim, self.lane_at = lane_dim, lane_at
        self.homes = kept
        for stmt in rows.stmts:
            name = defined(stmt)
            if isinstance(stmt, Reduce):
                value = self.values[name]
                load = "load" if value.kind == "float" else "iload"
                self.line(f"const {type_of(value)} {self.names.of('value', name)} = {load}({sums[name].code});")
                self._reduced(stmt, stored)
            elif name and stored[name]:
                self.homes[name] = self.stored_homes[name]

    def inside_tile(self, stmt: Reduce, code: str) -> str:
        if self.lane_dim == self.owner.name:
            return code
        return f"{'pick' if self.values[stmt.out].kind == 'float' else 'ipick'}(here, {code}, {self.start(stmt)})"

    def _apart(self, name: str, code: str) -> Home:
        """Memory for a value of the owner's rows, to be read one at a time. code: the vector that it holds, or nothing yet."""
        value, made = self.values[name], self.names.fresh(f"{name}_each")
        real = value.kind == "float"
        self.line(f"{'real' if real else 'lane'} {made}[LANES] __attribute__((aligned(VECTOR))) = {{0}};")
        if code:
            self.line(f"{'store' if real else 'istore'}({made}, {code});")
        return Home(made, "array", value.kind, steps={self.owner.name: "1"})

    def _all_lanes(self, stmt: Reduce) -> str:
        """The function that takes all lanes of a reduction together."""
        if self.values[stmt.out].kind == "float":
            return f"{stmt.op}_lanes"
        return {"sum": "whole_lanes", "max": "greatest_lane", "min": "least_lane"}[stmt.op]
