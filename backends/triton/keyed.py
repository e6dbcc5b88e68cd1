"""Keyed stores: every element of a tile added to the element of an array that its key says.

The array belongs to this program alone (a share or a band has one of its own), so additions meet only those of the same program:
each instruction adds to distinct elements, and a barrier stands between two of them. The order of all additions is thus the order
of the loops, the same on every run. An array of role `atomic` belongs to all programs: no barrier, and no order.

    shear     a key that steps with every position of the loop's dim, r = c + i - j: for one row each key is met once at most, so
              the row is gathered along r, and rows are summed
    look up   any other key: for each value between the least and the greatest key of the tile, the sum where it is met
"""

from __future__ import annotations

from attncc.ir.expr import Apply, Const, Expr, Index
from attncc.tile.nodes import Arg, Dim, Store

from .expressions import broadcast
from .memory import Memory


class Keyed(Memory):
    """Prints a `Store` that adds."""

    def add(self, stmt: Store) -> None:
        arg, dims = self.program.arg(stmt.arg), self.dims[stmt.tile]
        if arg.role != "atomic":
            self.line("tl.debug_barrier()")
        keys = [(a, x) for a, x in zip(arg.axes, stmt.index, strict=True) if self._is_key(x)]
        steps = self._steps(keys, dims) if len(keys) + len(self._fixed(stmt)) == len(arg.axes) and len(dims) == 2 else None
        if steps is not None:
            self._shear(stmt, arg, keys, steps, dims)
        else:
            self._look_up(stmt, arg, keys, dims)

    def _is_key(self, at: Expr) -> bool:
        return not isinstance(at, Index | Const) and bool(self.printer.dims(at))

    def _fixed(self, stmt: Store) -> list[Expr]:
        """Positions that are one number for the whole tile."""
        return [x for x in stmt.index if not self.printer.dims(x)]

    def _base(self, stmt: Store, arg: Arg) -> tuple[str, list[str]]:
        """The pointer at the fixed positions, and the tests that computed ones are inside."""
        parts, tests = [self.pointer(arg.name)], []
        for axis, at in zip(arg.axes, stmt.index, strict=True):
            if axis in self.moved[arg.name] or self.printer.dims(at):
                continue
            text = self.printer.text(at, ())
            parts.append(f"{self._wide(text)} * {self.stride(arg.name, axis)}")
            if not isinstance(at, Index):
                tests += [f"({text} >= 0)", f"({text} < {self.size(axis)})"]
        return " + ".join(parts), tests

    # Keys that step with the loop.

    def _steps(self, keys: list[tuple[str, Expr]], dims: tuple[str, ...]) -> list[dict[str, int]] | None:
        """For each key its step along each tiled axis, where every axis of the second dim is met by one key with a step of 1 or
        -1."""
        first, second = (self.program.dim(d) for d in dims)
        out: list[dict[str, int]] = []
        for _, at in keys:
            found = self._linear(at)
            inner = [a for a in found or {} if a in second.axes]
            if found is None or len(inner) != 1 or any(abs(c) != 1 for c in found.values()) or len(found) > 2:
                return None
            if any(inner[0] in other for other in out):
                return None
            out.append(found)
        covered = {a for found in out for a in found}
        return out if covered >= set(second.axes) and not first.whole and not second.whole else None

    def _linear(self, expr: Expr) -> dict[str, int] | None:
        """The whole steps of an expression along tiled axes, None where it is not a sum of such and of scalars."""
        if not self.printer.dims(expr):
            return {}
        match expr:
            case Index(axis):
                return {axis: 1}
            case Apply("add" | "sub" as op, (a, b)):
                left, right = self._linear(a), self._linear(b)
                if left is None or right is None:
                    return None
                sign = 1 if op == "add" else -1
                both = {x: left.get(x, 0) + sign * right.get(x, 0) for x in (*left, *right)}
                return {x: c for x, c in both.items() if c}
            case Apply("neg", (a,)):
                inner = self._linear(a)
                return None if inner is None else {x: -c for x, c in inner.items()}
        return None

    def _shear(
        self, stmt: Store, arg: Arg, keys: list[tuple[str, Expr]], steps: list[dict[str, int]], dims: tuple[str, ...]
    ) -> None:
        first, second = (self.program.dim(d) for d in dims)
        widths: list[str] = []
        passes = 1
        for (axis, _), found in zip(keys, steps, strict=True):
            width = self.names.fresh(f"{axis}_WIDTH".upper())
            a, *more = [self.tile(x) for x in found]
            text = f"2 * {a} if {a} > {more[0]} else 2 * {more[0]}" if more else a
            self.line(f"{width}: tl.constexpr = {text}")
            widths.append(width)
            passes *= 2 if more else 1
        at, whole = self.names.fresh("at_key"), " * ".join(widths)
        if passes > 1:  # as wide as the tile at a time
            part = self.names.fresh("part")
            self.line(f"for {part} in tl.static_range({passes}):")
            self.depth += 1
            whole = f"{whole} // {passes}"
            self.line(f"{at} = {part} * ({whole}) + tl.arange(0, {whole})")
        else:
            self.line(f"{at} = tl.arange(0, {whole})")
        base, fixed = self._base(stmt, arg)
        pointer, places, inside, tests = [base], [], [], []
        for number, ((axis, key), found) in enumerate(zip(keys, steps, strict=True)):
            offset = self._digit(at, widths, number)
            name = self.names.fresh(f"{axis}_key")
            self.line(f"{name} = {self._least(key, found)} + {offset}")
            tests += [f"({name} >= 0)", f"({name} < {self.size(axis)})"]
            pointer.append(f"{name}.to(tl.int64) * {self.stride(arg.name, axis)}")
            inner = next(a for a in found if a in second.axes)
            place = self.names.fresh(f"{inner}_met")
            self.line(f"{place} = {self._met(offset, found, inner, first)}")
            inside += [f"({place} >= 0)", f"({place} < {self.tile(inner)})"]
            below = [self.tile(a) for a in second.axes[second.axes.index(inner) + 1 :]]
            places.append(" * ".join([place, *below]))
        met, line = self.names.fresh("met"), self.names.fresh("along_key")
        self.line(f"{met} = {' & '.join(inside)}")
        self.line(f"{line} = tl.gather({self.value(stmt.tile)}, tl.where({met}, {' + '.join(places)}, 0), 1)")
        total = f"tl.sum(tl.where({met}, {line}, 0.0), 0)"
        self.line(f'tl.atomic_add({" + ".join(pointer)}, {total}{_mask(fixed, tests)}, sem="relaxed")')
        self.depth -= passes > 1

    def _digit(self, at: str, widths: list[str], number: int) -> str:
        """The offset along one key, of a position over all keys."""
        below = widths[number + 1 :]
        text = f"{at} // ({' * '.join(below)})" if below else at
        return f"({text} % {widths[number]})" if number else f"({text})" if below else text

    def _least(self, key: Expr, found: dict[str, int]) -> str:
        """The least key of the tile, overhang included."""
        corners = {a: f"{self.start(a)}" if c > 0 else f"({self.start(a)} + {self.tile(a)} - 1)" for a, c in found.items()}
        rest = self.printer.text(_at_zero(key, set(found)), ())
        return " ".join([rest, *(f"{'+' if c > 0 else '-'} {corners[a]}" for a, c in found.items())])

    def _met(self, offset: str, found: dict[str, int], inner: str, first: Dim) -> str:
        """Where in the tile a row meets the key at an offset from the least: over [rows, keys]."""
        text = f"{offset}[None, :]"
        outer = next((a for a in found if a in first.axes), "")
        if outer:
            own = f"{self.inside(outer)}[:, None]"
            text += f" - {own}" if found[outer] > 0 else f" + {own} - ({self.tile(outer)} - 1)"
        else:
            text += f" + 0 * {self.inside(first.axes[0])}[:, None]"
        return text if found[inner] > 0 else f"{self.tile(inner)} - 1 - ({text})"

    # Any key.

    def _look_up(self, stmt: Store, arg: Arg, keys: list[tuple[str, Expr]], dims: tuple[str, ...]) -> None:
        base, fixed = self._base(stmt, arg)
        pointer, hits, counters, tests = [base], [], [], []
        left = tuple(d for d in dims if any(isinstance(x, Index) and d in self.printer.dims(x) for x in stmt.index))
        for axis, x in zip(arg.axes, stmt.index, strict=True):
            if isinstance(x, Index) and self.printer.dims(x):
                dim = self.tiled[x.axis]
                pointer.append(f"{self._wide(self.start(x.axis))} * {self.stride(arg.name, axis)}")
                pointer.append(f"{broadcast(self.inside(x.axis), (dim.name,), left)} * {self.stride(arg.name, axis)}")
                tests.append(broadcast(f"({self.position(x.axis)} < {self.size(x.axis)})", (dim.name,), left))
        for axis, key in keys:
            own = tuple(d for d in dims if d in self.printer.dims(key))
            name, at, end = (self.names.fresh(f"{axis}_{w}") for w in ("of_pair", "at", "last"))
            self.line(f"{name} = {self.printer.text(key, own)}")
            least, most = name, name
            for _ in own:
                least, most = f"tl.min({least}, 0)", f"tl.max({most}, 0)"
            self.line(f"{at} = tl.maximum({least}, 0)")
            self.line(f"{end} = tl.minimum({most}, {self.size(axis)} - 1)")
            self.line(f"while {at} <= {end}:")
            self.depth += 1
            counters.append(at)
            hits.append(f"({broadcast(name, own, dims)} == {at})")
            pointer.append(f"{self._wide(at)} * {self.stride(arg.name, axis)}")
        text = self.value(stmt.tile)
        if hits:
            text = f"tl.where({' & '.join(hits)}, {text}, 0.0)"
        for number in range(len(dims) - 1, -1, -1):
            if dims[number] not in left:
                text = f"tl.sum({text}, {number})"
        self.line(f'tl.atomic_add({" + ".join(pointer)}, {text}{_mask(fixed, tests)}, sem="relaxed")')
        for counter in reversed(counters):
            self.line(f"{counter} += 1")
            self.depth -= 1


def _mask(fixed: list[str], tests: list[str]) -> str:
    """The argument of an atomic addition for tests of scalars and of tiles, nothing where there are none.

    (The interpreter makes integers of a scalar that `&` spreads over a tile.)
    """
    once, pairs = " & ".join(fixed), " & ".join(tests)
    both = f"tl.where({once}, {pairs}, False)" if fixed and tests else once or pairs
    return f", mask={both}" if both else ""


def _at_zero(expr: Expr, axes: set[str]) -> Expr:
    """A sum with the positions along some axes left out."""
    match expr:
        case Index(axis) if axis in axes:
            return Const(0)
        case Apply("add" | "sub" as op, (a, b)):
            left, right = _at_zero(a, axes), _at_zero(b, axes)
            if right == Const(0):
                return left
            return right if left == Const(0) and op == "add" else Apply(op, (left, right))
        case Apply("neg", (a,)):
            inner = _at_zero(a, axes)
            return inner if inner == Const(0) else Apply("neg", (inner,))
    return expr
