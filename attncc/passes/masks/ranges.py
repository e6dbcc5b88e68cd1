"""Ranges of the loop axes for a tile of the owner axes, one `Extent` per conjunction and axis.

For one axis and one atom, the other positions are replaced by their interval (the owner's tile, the tiles of outer loop axes, the
whole of inner ones), at the value that makes the atom easiest to satisfy (any) or hardest (full); what is left is solved for the
axis: in closed form, else by bisection where it is monotone. An atom counts in `full` at its innermost loop axis alone, where
every other position of it is known. Both directions are this same computation with rows and keys exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...ir.expr import Const, Expr, axes_of, sources_of
from .algebra import Algebra
from .ask import tile_test
from .halflines import Half, direction, isolate
from .interval import Box, both, extreme, may, must, nonneg
from .linear import FAR, Linear, constant, is_plain, term, to_expr
from .normal import All, Any, Atom, Compare, Formula, atom_expr, formula_axes
from .plan import Extent, Let, Level, Search, Statement, Walk, first, last, scalar

Conjunction = tuple[Formula, ...]
NO_BOUND = "not at all"


@dataclass
class _Bounds:
    """What is collected for one extent: its lower and upper ends, conditions, and the bisections they need."""

    alg: Algebra
    axis: str
    prefix: str
    suffix: str
    lo: list[Linear] = field(default_factory=list)
    hi: list[Linear] = field(default_factory=list)
    guards: list[Expr] = field(default_factory=list)
    searches: list[Statement] = field(default_factory=list)

    def add(self, half: Half) -> None:
        self.lo += half.lo
        self.hi += half.hi
        self.guards.append(half.guard)

    def search(self, value: Linear) -> Half | None:
        """Where a sum of the axis and scalars is at least 0, if it is monotone."""
        way = direction(self.alg, value, self.axis)
        if not way:
            return None
        name = f"{self.prefix}at{len(self.searches)}{self.suffix}"
        cond = nonneg(self.alg, value if way < 0 else -value - 1)
        self.searches.append(Search(name, self.axis, to_expr(constant(0)), to_expr(self.alg.limit(self.axis)), cond))
        return Half(hi=(term(scalar(name)),)) if way < 0 else Half(lo=(term(scalar(name)) + 1,))

    def close(self, statements: list[Statement]) -> tuple[Expr, Expr]:
        """The two ends, named."""
        lo = self.alg.pick("max", [constant(0), *self.lo])
        hi = self.alg.pick("min", [self.alg.limit(self.axis), *self.hi])
        ends = {"lo": lo, "hi": self.alg.where(both(*self.guards), hi, constant(-1))}
        statements += self.searches
        for end, value in ends.items():
            if not is_plain(value):
                name = f"{self.prefix}{end}{self.suffix}"
                statements.append(Let(name, to_expr(value)))
                ends[end] = term(scalar(name))
        return to_expr(ends["lo"]), to_expr(ends["hi"])


@dataclass
class Solver:
    """One direction.

    outcomes: how each atom was used on an axis, where not in closed form. partial: the atoms that forbid full tiles. unused: the
    parts of each conjunction that give no range.
    """

    alg: Algebra
    owner: tuple[str, ...]
    loop: tuple[str, ...]
    outcomes: dict[tuple[Atom, str], str] = field(default_factory=dict)
    partial: set[Atom] = field(default_factory=set)
    unused: list[set[Formula]] = field(default_factory=list)

    def walk(self, found: list[Conjunction], residual: Expr | None) -> Walk:
        """The ranges of every loop axis."""
        self.unused = [set() for _ in found]
        levels = tuple(self._level(depth, found) for depth in range(len(self.loop)))
        limits = {axis: to_expr(self.alg.limit(axis)) for axis in (*self.owner, *self.loop)}
        box = Box(self.alg, {a: _tile(a) for a in (*self.owner, *self.loop)})
        test = tile_test(box, found, self.unused, levels)
        return Walk(self.owner, self.loop, levels, len(found), test, residual, limits)

    def implies_bounds(self, found: list[Conjunction], axis: str) -> bool:
        """Whether every admitted pair has its position of `axis` at or below the last one, wherever the others are."""
        limit = self.alg.limit(axis)
        box = Box(self.alg, {a: (constant(0), self.alg.limit(a)) for a in (*self.owner, *self.loop) if a != axis})

        def bounded(part: Formula) -> bool:
            value = extreme(box, part.linear, True) if isinstance(part, Compare) else None
            half = None if value is None else isolate(self.alg, value, axis)
            return half is not None and any(self.alg.nonneg(limit - end) for end in half.hi)

        return all(any(bounded(p) for p in conj) for conj in found)

    # -------------------------------------------------------------------------------------------------------- one axis

    def _level(self, depth: int, found: list[Conjunction]) -> Level:
        statements: list[Statement] = []
        extents = tuple(self._extent(depth, k, conj, len(found), statements) for k, conj in enumerate(found))
        exprs = [s.expr if isinstance(s, Let) else s.cond for s in statements]
        exprs += [end for e in extents for end in (e.lo, e.hi, *(e.full or ()))]
        read = {name for expr in exprs for name in sources_of(expr)}
        after = tuple(a for a in self.loop[:depth] if {first(a).source, last(a).source} & read)
        return Level(self.loop[depth], tuple(statements), extents, after)

    def _extent(self, depth: int, k: int, conj: Conjunction, count: int, statements: list[Statement]) -> Extent:
        axis = self.loop[depth]
        near = {a: _tile(a) for a in (*self.owner, *self.loop[:depth])}
        wide = near | {a: (constant(0), self.alg.limit(a)) for a in self.loop[depth + 1 :]}
        suffix = str(k) if count > 1 else ""
        reach, full = _Bounds(self.alg, axis, f"{axis}.", suffix), _Bounds(self.alg, axis, f"{axis}.full_", suffix)
        never = False
        for part in conj:
            mine = [a for a in self.loop if a in formula_axes(part)] or [self.loop[0]]
            if axis in mine:
                half = self._solve(part, Box(self.alg, wide), reach, True)
                if half is None:
                    self.unused[k].add(part)
                else:
                    reach.add(half)
            if axis == mine[-1]:
                half = self._solve(part, Box(self.alg, near), full, False)
                never = never or half is None
                full.add(half or Half())
        lo, hi = reach.close(statements)
        return Extent(lo, hi, None if never else full.close(statements))

    # -------------------------------------------------------------------------------------------------------- one part

    def _solve(self, part: Formula, box: Box, bounds: _Bounds, some: bool) -> Half | None:
        """Where a part may hold for a position of the box (`some`), or does for all of them. None: nothing is known."""
        match part:
            case All(parts):
                halves = [self._solve(p, box, bounds, some) for p in parts]
                known = [h for h in halves if h is not None]
                if not known or (not some and len(known) < len(halves)):
                    return None
                lo, hi = tuple(x for h in known for x in h.lo), tuple(x for h in known for x in h.hi)
                return Half(lo, hi, both(*(h.guard for h in known)))
            case Any(parts):
                return self._hull([self._solve(p, box, bounds, some) for p in parts]) if some else None
        half = self._solve_atom(part, box, bounds, some)
        if half is None:
            if some:
                self.outcomes[part, bounds.axis] = NO_BOUND
            else:
                self.partial.add(part)
        return half

    def _solve_atom(self, atom: Atom, box: Box, bounds: _Bounds, some: bool) -> Half | None:
        if bounds.axis not in axes_of(atom_expr(atom)):
            cond = may(box, atom) if some else must(box, atom)
            return None if cond == Const(some) else Half(guard=cond)
        if not isinstance(atom, Compare):
            return None
        value = extreme(box, atom.linear, some)
        if value is None:
            return None
        half = isolate(self.alg, value, bounds.axis)
        if half is not None:
            return half
        half = bounds.search(value)
        if half is not None:
            self.outcomes[atom, bounds.axis] = "by bisection"
            return half
        value = extreme(Box(self.alg, box.at, bounds.axis), atom.linear, some)
        if value is None:
            return None
        half = isolate(self.alg, value, bounds.axis) or bounds.search(value)
        if half is not None:
            self.outcomes[atom, bounds.axis] = "by an interval around it"
        return half

    def _hull(self, halves: list[Half | None]) -> Half | None:
        """One interval around several ranges."""
        alg = self.alg
        los, his = [], []
        for half in halves:
            if half is None:
                return None
            lo = alg.pick("max", [*half.lo, constant(0)])
            hi = alg.pick("min", [*half.hi, constant(FAR)])
            los.append(alg.where(half.guard, lo, constant(FAR)))
            his.append(alg.where(half.guard, hi, constant(-FAR)))
        return Half((alg.pick("min", los),), (alg.pick("max", his),))


def _tile(axis: str) -> tuple[Linear, Linear]:
    return term(first(axis)), term(last(axis))
