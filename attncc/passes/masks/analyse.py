"""Mask analysis: a predicate on rows and keys to a `MaskPlan`.

    normal form -> at most 4 conjunctions -> split of dilated axes -> ranges forward and transposed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ...ir.expr import TRUE, Along, Apply, Expr, Index, axes_of, conjoin, conjuncts, walk
from .algebra import Algebra
from .halflines import direction, isolate
from .linear import Linear, term, to_expr
from .normal import (
    LIMIT,
    YES,
    All,
    Atom,
    Compare,
    Formula,
    Opaque,
    alternatives,
    atom_expr,
    atoms_of,
    conjunctions,
    consistent,
    every,
    formula_axes,
    formula_expr,
    normal,
    rewrite,
)
from .plan import MaskPlan, Split, Walk, words
from .ranges import NO_BOUND, Solver
from .split import find_splits, split_algebra, split_mask


@dataclass
class _Solved:
    """A mask in normal form and as conjunctions. told_apart: they are atoms; otherwise there is one, of formulas."""

    alg: Algebra
    formula: Formula
    found: list[tuple[Formula, ...]]
    told_apart: bool


def analyse(
    mask: Expr | None,
    rows: tuple[str, ...],
    keys: tuple[str, ...],
    sizes: Mapping[str, Expr] | None = None,
    tables: Mapping[str, tuple[str, ...]] | None = None,
    split: bool = True,
) -> MaskPlan:
    """Tile ranges of a mask.

    mask: a bool expression over row axes, key axes and axes that are single positions for a tile (batch, heads); None admits
    all pairs. rows, keys: the axes that tiles extend over, outermost loop first. sizes: sizes known to equal other expressions,
    as of twin axes `{"j": Size("i")}`. tables: the axes of stored values by name, for the extent of a table that is false
    outside. split: whether dilated axes may be walked in ranks and groups; without it a test is left per tile.
    """
    cond = mask if mask is not None else TRUE
    alg = Algebra(frozenset((*rows, *keys)), dict(tables or {}), dict(sizes or {}))
    solved = _solve(alg, cond)
    splits: tuple[Split, ...] = ()
    if split and solved.told_apart and not any(isinstance(e, Along) for e in walk(cond)):
        splits = find_splits(alg, solved.found, rows, keys)
    if splits:
        solved = _solve(split_algebra(alg, splits), split_mask(cond, splits))
    forward, transposed = Solver(solved.alg, rows, keys), Solver(solved.alg, keys, rows)
    walks = [s.walk(solved.found, _residual(s, solved, keys)) for s in (forward, transposed)]
    opaque = tuple(dict.fromkeys((a.expr, a.why) for c in solved.found for p in c for a in atoms_of(p) if isinstance(a, Opaque)))
    plan = MaskPlan(mask, rows, keys, splits, walks[0], walks[1], opaque, ())
    notes = _notes(plan, solved, forward, transposed)
    return MaskPlan(mask, rows, keys, splits, walks[0], walks[1], opaque, notes)


def _solve(alg: Algebra, cond: Expr) -> _Solved:
    plain = normal(alg, cond)
    for formula in (rewrite(plain, lambda atom: _opened(alg, atom)), plain):
        found = conjunctions(formula)
        if found is not None:
            kept = [consistent(alg, atoms) for atoms in found]
            return _Solved(alg, plain, [atoms for atoms in kept if atoms is not None], True)
    return _Solved(alg, plain, [plain.parts if isinstance(plain, All) else (plain,)], False)


def _opened(alg: Algebra, atom: Atom) -> Formula:
    """An atom that some tiled axis cannot be solved for, as an or of simpler ones where there is one."""
    if not isinstance(atom, Compare):
        return atom
    axes = formula_axes(atom) & alg.tile
    if all(isolate(alg, atom.linear, a) is not None or direction(alg, atom.linear, a) is not None for a in sorted(axes)):
        return atom
    other = alternatives(alg, atom)
    return atom if other is None else rewrite(other, lambda inner: _opened(alg, inner))


def _residual(solver: Solver, solved: _Solved, keys: tuple[str, ...]) -> Expr | None:
    """What a pair of a partial tile must satisfy: all ends of one key axis that depend on rows alone make two comparisons."""
    alg = solved.alg
    parts = [] if solved.formula == YES else list(solved.formula.parts) if isinstance(solved.formula, All) else [solved.formula]
    parts += [Compare(alg.limit(a) - term(Index(a))) for a in solver.loop if not solver.implies_bounds(solved.found, a)]
    conds: list[Expr] = []
    for axis in keys:
        for sign, op in ((1, "max"), (-1, "min")):
            mine = [p for p in parts if isinstance(p, Compare) and _bounds(p.linear, axis, sign, keys)]
            if len(mine) > 1:
                parts = [p for p in parts if p not in mine]
                end = to_expr(alg.pick(op, [(term(Index(axis)) - p.linear * sign) for p in mine]))
                conds.append(Apply("le", (end, Index(axis)) if sign > 0 else (Index(axis), end)))
    return conjoin(conds + conjuncts(formula_expr(every(parts))))


def _bounds(lin: Linear, axis: str, sign: int, keys: tuple[str, ...]) -> bool:
    """Whether lin >= 0 is an end of one key axis that no other key axis moves: sign 1 for a lower end, -1 for an upper one."""
    own = [(t, c) for t, c in lin.terms if not set(axes_of(t)).isdisjoint(keys)]
    return own == [(Index(axis), sign)]


# ------------------------------------------------------------------------------------------------------------ words


def _notes(plan: MaskPlan, solved: _Solved, forward: Solver, transposed: Solver) -> tuple[str, ...]:
    notes = [_count(solved)]
    for s in plan.splits:
        notes.append(f"{s.row} and {s.key} are walked in ranks within {s.modulus} groups, where a dilated window is an interval")
    for solver, way, tile in ((forward, plan.forward, "rows"), (transposed, plan.transposed, "keys")):
        notes += [f"a tile of {tile} {text}" for text in _way(solver, way)]
    notes += [f"{words(expr)} is asked of every pair: {why}" for expr, why in plan.opaque]
    return tuple(dict.fromkeys(notes))


def _way(solver: Solver, way: Walk) -> Iterator[str]:
    """What one direction does, and what keeps it from doing better."""
    if way.count == 0:
        return
    many = way.count > 1
    yield f"visits {way.count} range{'s' * many} of {', '.join(way.loop)}" + ", merged where they touch" * many
    for level in way.levels:
        if level.after:
            yield f"finds the range of {level.axis} for each tile of {', '.join(level.after)}"
    for (atom, axis), how in solver.outcomes.items():
        text = words(atom_expr(atom))
        yield f"gets no bound on {axis} from {text}" if how == NO_BOUND else f"bounds {axis} {how}: {text}"
    if way.test != TRUE:
        yield f"asks each tile of the ranges whether {words(way.test)}"
    if not way.can_be_full:
        never = [words(atom_expr(a)) for a in sorted(solver.partial, key=repr)]
        yield "tests every pair" + (f", because of {' and '.join(never)}" if never else "")


def _count(solved: _Solved) -> str:
    if not solved.told_apart:
        return f"more than {LIMIT} ways to hold: one interval around them, and no tile is known to be full"
    if not solved.found:
        return "never holds"
    ways = [" and ".join(words(atom_expr(a)) for p in conj for a in atoms_of(p)) or "always" for conj in solved.found]
    return "holds " + ("where " * (ways != ["always"])) + "; or ".join(ways)
