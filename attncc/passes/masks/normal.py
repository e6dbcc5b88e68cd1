"""Predicates in normal form: negations pushed into integer atoms, then at most `LIMIT` conjunctions of atoms.

    Compare     linear >= 0                 not a <= b becomes a >= b + 1, an equality becomes two of them
    Congruent   linear = 0 (mod modulus)    from i mod D == j mod D, (i - j) mod D == 0, j mod D == c
    Opaque      anything else: data, floats, what the algebra does not follow; only its truth on whole tiles may be known
    All, Any    and, or; `YES` and `NO` are the empty ones
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from itertools import product
from math import gcd

from ...ir.expr import FALSE, TRUE, Apply, Const, Expr, Read, Size, axes_of, kind_of
from .algebra import COMPARISONS, Algebra
from .linear import Linear, NotWhole, constant, to_expr

LIMIT = 4
"""More conjunctions than this are not told apart."""


@dataclass(frozen=True, slots=True)
class Compare:
    """linear >= 0."""

    linear: Linear


@dataclass(frozen=True, slots=True)
class Congruent:
    """linear is a multiple of modulus (at least 2)."""

    linear: Linear
    modulus: int


@dataclass(frozen=True, slots=True)
class Opaque:
    """A condition as it stands, and why it is not solved."""

    expr: Expr
    why: str


@dataclass(frozen=True, slots=True)
class All:
    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class Any:
    parts: tuple[Formula, ...]


Atom = Compare | Congruent | Opaque
Formula = Atom | All | Any

YES, NO = All(()), Any(())


def every(parts: Iterable[Formula]) -> Formula:
    """The and of some formulas."""
    flat = tuple(dict.fromkeys(q for p in parts for q in (p.parts if isinstance(p, All) else (p,))))
    return NO if NO in flat else flat[0] if len(flat) == 1 else All(flat)


def some(parts: Iterable[Formula]) -> Formula:
    """The or of some formulas."""
    flat = tuple(dict.fromkeys(q for p in parts for q in (p.parts if isinstance(p, Any) else (p,))))
    return YES if YES in flat else flat[0] if len(flat) == 1 else Any(flat)


def normal(alg: Algebra, expr: Expr, holds: bool = True) -> Formula:
    """The negation normal form of a bool expression, or of its negation when `holds` is false."""
    match expr:
        case Const(value):
            return YES if bool(value) == holds else NO
        case Apply("not", (x,)):
            return normal(alg, x, not holds)
        case Apply("and" | "or" as op, args):
            return (every if (op == "and") == holds else some)(normal(alg, x, holds) for x in args)
        case Apply("where", (cond, a, b)):
            taken = every([normal(alg, cond), normal(alg, a, holds)])
            return some([taken, every([normal(alg, cond, False), normal(alg, b, holds)])])
        case Apply("eq" | "ne" as op, (a, b)) if kind_of(a) == "bool" and kind_of(b) == "bool":
            same = holds == (op == "eq")
            return some([every([normal(alg, a), normal(alg, b, same)]), every([normal(alg, a, False), normal(alg, b, not same)])])
        case Apply("eq" | "ne", _) if alg.reads_data(expr):
            return _data(expr, holds)
        case Apply(op, (a, b)) if op in COMPARISONS:
            try:
                gap = alg.linear(a) - alg.linear(b)
            except NotWhole as error:
                return _opaque(expr, holds, error.why)
            return _compared(alg, op, gap, expr, holds)
        case Read(source, index, "bool", fill) if holds and fill == FALSE and len(index) == len(alg.tables.get(source, ())):
            places = [_inside(alg, at, axis) for at, axis in zip(index, alg.tables[source], strict=True)]
            return every([*places, _data(expr, holds)])
    return _data(expr, holds)


def _inside(alg: Algebra, at: Expr, axis: str) -> Formula:
    """That a position lies inside an axis; outside a table filled with false nothing is admitted."""
    try:
        place = alg.linear(at)
    except NotWhole:
        return YES
    return every([compare(alg, place), compare(alg, alg.linear(Size(axis)) - 1 - place)])


def _data(expr: Expr, holds: bool) -> Formula:
    return _opaque(expr, holds, "it is read from data")


def _opaque(expr: Expr, holds: bool, why: str) -> Formula:
    return Opaque(expr if holds else Apply("not", (expr,)), why)


_NEGATED = {"eq": "ne", "ne": "eq", "le": "gt", "gt": "le", "lt": "ge", "ge": "lt"}


def _compared(alg: Algebra, op: str, gap: Linear, expr: Expr, holds: bool) -> Formula:
    """gap op 0."""
    op = op if holds else _NEGATED[op]
    match op:
        case "ge":
            return compare(alg, gap)
        case "gt":
            return compare(alg, gap - 1)
        case "le":
            return compare(alg, -gap)
        case "lt":
            return compare(alg, -gap - 1)
    found = _congruence(alg, gap)
    if found is None:
        if op == "eq":
            return every([compare(alg, gap), compare(alg, -gap)])
        return some([compare(alg, gap - 1), compare(alg, -gap - 1)])
    if op == "eq":
        return found
    match found:
        case Congruent(lin, 2):
            return congruent(alg, lin + 1, 2)
        case Congruent():
            return _opaque(expr, holds, "everything but one residue is no interval")
        case Any(()) | All(()):
            return YES if found == NO else NO
    return some([compare(alg, gap - 1), compare(alg, -gap - 1)])


def _congruence(alg: Algebra, gap: Linear) -> Formula | None:
    """gap == 0 as a congruence: one `mod` term against a sum without any, or two of one modulus."""
    mods = [(t, c) for t, c in gap.terms if isinstance(t, Apply) and t.op == "mod" and isinstance(t.args[1], Const)]
    rest = Linear(tuple(p for p in gap.terms if p not in mods), gap.const)
    match mods:
        case [(Apply("mod", (x, Const(int() as d))), 1 | -1 as c)] if d > 1:
            value = rest * -c  # x mod d == value
            inside = every([compare(alg, value), compare(alg, -value + (d - 1))])
            return every([congruent(alg, alg.linear(x) - value, d), inside])
        case [(Apply("mod", (x, Const(int() as d))), 1 | -1 as c), (Apply("mod", (y, e)), other)]:
            if e == Const(d) and c == -other and rest == constant(0):
                return congruent(alg, alg.linear(x) - alg.linear(y), d)
    return None


def congruent(alg: Algebra, lin: Linear, modulus: int) -> Formula:
    """lin = 0 (mod modulus)."""
    inside = alg.mod(lin, constant(modulus))
    if not inside.terms:
        return YES if inside.const == 0 else NO
    match inside.terms:
        case ((Apply("mod", (x, Const(int() as d))), 1),) if inside.const == 0:
            return Congruent(_signed(lin, alg.linear(x), d), d)
    return Congruent(inside, modulus)


def _signed(lin: Linear, reduced: Linear, modulus: int) -> Linear:
    """`lin` with its constant reduced, where only multiples of the modulus were dropped from it; else the reduced sum."""
    kept = Linear(tuple((t, c) for t, c in lin.terms if c % modulus), lin.const % modulus)
    return kept if all(any(t == s for s, _ in reduced.terms) for t, _ in kept.terms) else reduced


def compare(alg: Algebra, lin: Linear) -> Formula:
    """lin >= 0; a min that must be large, or a max that must be small, becomes an and."""
    if lin.terms:
        common = gcd(*(c for _, c in lin.terms))
        lin = Linear(tuple((t, c // common) for t, c in lin.terms), lin.const // common)
    if alg.nonneg(lin):
        return YES
    if alg.nonneg(-lin - 1):
        return NO
    for t, c in lin.terms:
        match t:
            case Apply("min" | "max" as op, args) if (op == "min") == (c > 0):
                return every(compare(alg, _put(alg, lin, t, c, arg)) for arg in args)
    return Compare(lin)


def _put(alg: Algebra, lin: Linear, t: Expr, c: int, arg: Expr) -> Linear:
    return lin - Linear(((t, c),)) + alg.linear(arg) * c


def alternatives(alg: Algebra, atom: Compare) -> Formula | None:
    """The comparison as an or of simpler ones, or None: |t| or a max that must be large, a min that must be small, a `where`."""
    lin = atom.linear
    for t, c in lin.terms:
        match t:
            case Apply("abs", (x,)) if c > 0:
                return some(compare(alg, lin - Linear(((t, c),)) + alg.linear(x) * (c * sign)) for sign in (1, -1))
            case Apply("min" | "max" as op, args) if (op == "max") == (c > 0):
                return some(compare(alg, _put(alg, lin, t, c, arg)) for arg in args)
            case Apply("where", (cond, a, b)):
                taken = every([normal(alg, cond), compare(alg, _put(alg, lin, t, c, a))])
                return some([taken, every([normal(alg, cond, False), compare(alg, _put(alg, lin, t, c, b))])])
    return None


def atoms_of(formula: Formula) -> list[Atom]:
    """Every atom, in order."""
    if isinstance(formula, All | Any):
        return [atom for part in formula.parts for atom in atoms_of(part)]
    return [formula]


def rewrite(formula: Formula, new: Callable[[Atom], Formula]) -> Formula:
    """The formula with `new` in place of each atom."""
    match formula:
        case All(parts):
            return every(rewrite(p, new) for p in parts)
        case Any(parts):
            return some(rewrite(p, new) for p in parts)
    return new(formula)


def conjunctions(formula: Formula, limit: int = LIMIT) -> list[tuple[Atom, ...]] | None:
    """The disjunctive form: every way to hold, as atoms; None when there are more than `limit`."""
    match formula:
        case All(parts):
            options = [conjunctions(p, limit) for p in parts]
            found: list[tuple[Atom, ...]] = [()]
            for option in options:
                if option is None:
                    return None
                found = _absorbed([tuple(dict.fromkeys(a + b)) for a, b in product(found, option)])
                if len(found) > 4 * limit:
                    return None
        case Any(parts):
            found = []
            for p in parts:
                option = conjunctions(p, limit)
                if option is None:
                    return None
                found = _absorbed(found + option)
        case _:
            found = [(formula,)]
    return found if len(found) <= limit else None


def consistent(alg: Algebra, atoms: tuple[Atom, ...]) -> tuple[Atom, ...] | None:
    """A conjunction without the comparisons that others imply; None when two of them exclude each other.

    Where the positions of two comparisons cancel, as in g <= j and j <= g + w, what must hold of the scalars (w >= 0) is added.
    """
    kept: list[Atom] = []
    terms = {atom: {t for t, _ in atom.linear.terms} for atom in atoms if isinstance(atom, Compare)}
    for atom in atoms:
        if isinstance(atom, Compare):
            known = [k for k in kept if isinstance(k, Compare) and k in terms and not terms[k].isdisjoint(terms[atom])]
            for k in known:
                between = k.linear + atom.linear
                if alg.nonneg(-between - 1):
                    return None
                if not alg.moves(to_expr(between)) and not alg.nonneg(between):
                    kept.append(Compare(between))
            if any(alg.nonneg(atom.linear - k.linear) for k in known):
                continue
            kept = [k for k in kept if not (k in known and isinstance(k, Compare) and alg.nonneg(k.linear - atom.linear))]
        kept.append(atom)
    return tuple(kept)


def _absorbed(found: list[tuple[Atom, ...]]) -> list[tuple[Atom, ...]]:
    """Without the conjunctions that another one contains."""
    sets = [frozenset(atoms) for atoms in found]
    return [
        atoms
        for k, atoms in enumerate(found)
        if not any(sets[m] < sets[k] or (sets[m] == sets[k] and m < k) for m in range(len(found)))
    ]


def atom_expr(atom: Atom) -> Expr:
    """The condition an atom stands for, as a person would write it."""
    match atom:
        case Opaque(expr, _):
            return expr
        case Congruent(lin, modulus):
            return Apply("eq", (Apply("mod", (to_expr(lin), Const(modulus))), Const(0)))
        case Compare(lin):
            return at_least_zero(lin)
    return TRUE


def formula_expr(formula: Formula) -> Expr:
    """The condition a formula stands for; two comparisons that make an equality are written as one."""
    match formula:
        case All(()):
            return TRUE
        case Any(()):
            return FALSE
        case Any(parts):
            return reduce(lambda a, b: Apply("or", (a, b)), map(formula_expr, parts))
        case All(parts):
            conds: list[Expr] = []
            for p in parts:
                opposite = Compare(-p.linear) if isinstance(p, Compare) else None
                if opposite not in parts:
                    conds.append(formula_expr(p))
                elif parts.index(opposite) > parts.index(p):
                    conds.append(Apply("eq", sides(opposite.linear)))
            return reduce(lambda a, b: Apply("and", (a, b)), conds)
    return atom_expr(formula)


def at_least_zero(lin: Linear) -> Expr:
    """lin >= 0, with what is subtracted on the other side."""
    return Apply("lt", sides(lin + 1)) if lin.const == -1 else Apply("le", sides(lin))


def sides(lin: Linear) -> tuple[Expr, Expr]:
    """What a sum subtracts, and what it adds."""
    left = Linear(tuple((t, -c) for t, c in lin.terms if c < 0), max(-lin.const, 0))
    right = Linear(tuple((t, c) for t, c in lin.terms if c > 0), max(lin.const, 0))
    return to_expr(left), to_expr(right)


def formula_axes(formula: Formula) -> frozenset[str]:
    """The axes whose positions a formula reads."""
    return frozenset(axis for atom in atoms_of(formula) for axis in axes_of(atom_expr(atom)))
