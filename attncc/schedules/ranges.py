"""The tiles that a mask lets a loop visit, in names that a reader of the kernel understands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from ..ir.expr import TRUE, ZERO, Apply, Const, Expr, Read, Size, rebuild
from ..passes.masks import Cursor, Let, Search, analyse, loops
from ..passes.masks.plan import Statement, Walk
from ..tile.nodes import value
from .dilate import Dilation

_WORDS = (
    (r"\.piece(\d*)\.tiles$", r".full_tiles\1"),
    (r"\.piece(\d*)$", r".first_full\1"),
    (r"\.run(\d*)\.tiles$", r".tiles\1"),
    (r"\.run(\d*)\.start$", r".from\1"),
    (r"^(full|part)\.tile$", "tile.number"),
    (r"^part\.(skip0|number)$", "tile.at"),
)


@dataclass(frozen=True)
class Ranges:
    """heads: scalar statements before each loop, outermost first, the last before the two inner loops. outer: outer loops.

    full, part: the loops over tiles without and with a test (None: it never runs). test: asked for a tile of `part` (None: always
    holds). residual: asked for its pairs.
    """

    heads: tuple[tuple[Statement, ...], ...]
    outer: tuple[Cursor, ...]
    full: Cursor | None
    part: Cursor | None
    test: Expr | None
    residual: Expr
    notes: tuple[str, ...]


def tile_ranges(
    mask: Expr | None,
    rows: tuple[str, ...],
    keys: tuple[str, ...],
    sizes: Mapping[str, Expr],
    split: Dilation | None = None,
    whole: Expr | None = None,
) -> Ranges:
    """Which tiles of the keys a tile of rows visits. split: how the axes are split, which are then those that it was made from.
    whole: a condition on the tile of rows, without which no tile of keys counts as full."""
    plan = analyse(mask, rows, keys, sizes, split=False) if split is None else split.plan
    walk = plan.forward if whole is None else _only(plan.forward, whole)
    nest = loops(walk, {a: value(f"{a}.box", "int") for a in walk.loop})
    made: dict[str, Expr] = {}
    heads = [_simple(s, made) for s, _ in nest.outer]
    outer = [_cursor(c, made) for _, c in nest.outer]
    heads.append(_simple(nest.statements, made))
    full = _cursor(nest.full, made) if walk.can_be_full and walk.count else None
    part = _cursor(nest.part, made) if walk.count else None
    test = None if walk.test == TRUE else _named(walk.test, made)
    notes = plan.notes if mask is not None else ()
    out = Ranges(tuple(heads), tuple(outer), full, part, test, _named(walk.residual or TRUE, made), notes)
    return out if split is None else _in_ranks(out, split)


def _only(walk: Walk, whole: Expr) -> Walk:
    """The walk with no full tiles where a condition does not hold."""
    levels = []
    for level in walk.levels:
        statements, extents = list(level.statements), []
        for number, extent in enumerate(level.extents):
            if extent.full is not None:
                low, high = extent.full
                name = f"{level.axis}.whole_hi{number or ''}"
                statements.append(Let(name, Apply("where", (whole, high, Apply("sub", (low, Const(1)))))))
                extent = replace(extent, full=(low, value(name, "int")))
            extents.append(extent)
        levels.append(replace(level, statements=tuple(statements), extents=tuple(extents)))
    return replace(walk, levels=tuple(levels))


def _in_ranks(found: Ranges, of: Dilation) -> Ranges:
    """The same over ranks and groups."""

    def name(text: str) -> str:
        axis, _, rest = text.partition(".")
        return f"{of.axis(axis)}.{rest}" if rest else text

    def changed(statements: tuple[Statement, ...]) -> tuple[Statement, ...]:
        out: list[Statement] = []
        for s in statements:
            if isinstance(s, Search):
                low, high, cond = (of.renamed(e) for e in (s.low, s.high, s.cond))
                out.append(Search(name(s.name), of.axis(s.axis), low, high, cond))
            else:
                out.append(Let(name(s.name), of.renamed(s.expr)))
        return tuple(out)

    def cursor(c: Cursor) -> Cursor:
        starts = tuple(of.renamed(e) for e in c.starts)
        return Cursor(name(c.counter), of.renamed(c.count), changed(c.statements), tuple(map(of.axis, c.axes)), starts)

    return Ranges(
        tuple(changed(part) for part in found.heads),
        tuple(cursor(c) for c in found.outer),
        None if found.full is None else cursor(found.full),
        None if found.part is None else cursor(found.part),
        None if found.test is None else of.renamed(found.test),
        of.renamed(found.residual),
        found.notes,
    )


def _cursor(cursor: Cursor, made: dict[str, Expr]) -> Cursor:
    statements = _simple(cursor.statements, made)
    starts = tuple(_named(e, made) for e in cursor.starts)
    return Cursor(_word(cursor.counter), _named(cursor.count, made), statements, cursor.axes, starts)


def _simple(statements: tuple[Statement, ...], made: dict[str, Expr]) -> tuple[Statement, ...]:
    """Statements renamed; those that only name a constant, or another name, disappear into `made`."""
    out: list[Statement] = []
    for s in statements:
        if isinstance(s, Search):
            out.append(Search(_word(s.name), s.axis, _named(s.low, made), _named(s.high, made), _named(s.cond, made)))
            continue
        expr = _named(s.expr, made)
        if isinstance(expr, Const) or (isinstance(expr, Read) and not expr.index):
            made[s.name] = expr
        else:
            out.append(Let(_word(s.name), expr))
    return tuple(out)


def _named(expr: Expr, made: dict[str, Expr]) -> Expr:
    """The expression with new names and without what is plain: x + 0, max(0, 0), (b - 1) // b."""

    def visit(e: Expr) -> Expr:
        if isinstance(e, Read) and not e.index:
            return made.get(e.source, Read(_word(e.source), (), e.kind))
        return _folded(rebuild(e, visit))

    return visit(expr)


_FOLD: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "max": max, "min": min,
}  # fmt: skip


def _folded(e: Expr) -> Expr:
    match e:
        case Apply(op, (Const(int() as a), Const(int() as b))) if op in _FOLD:
            return Const(_FOLD[op](a, b))
        case Apply("add", (a, Const(0))) | Apply("add", (Const(0), a)) | Apply("sub", (a, Const(0))):
            return a
        case Apply("mul", (_, Const(0))) | Apply("mul", (Const(0), _)):
            return ZERO
        case Apply("floordiv", (Apply("sub", (a, Const(1))), b)) if a == b and _is_box(b):
            return ZERO
        case Apply("where", (_, a, b)) if a == b:
            return a
        case Apply("where", (Const(value), a, b)):
            return a if value else b
        case Apply("le", (Const(0), b)) if _counted(b):
            return TRUE
        case Apply("max", (Const(0), Apply("floordiv", (a, b)))) if _counted(b):
            return Apply("floordiv", (Apply("max", (ZERO, a)), b)) if not _counted(a) else Apply("floordiv", (a, b))
        case Apply("le", (a, Apply("sub", (b, Const(1))))):
            return Apply("lt", (a, b))
    return e


def _is_box(expr: Expr) -> bool:
    return isinstance(expr, Read) and expr.source.endswith(".box")


def _counted(expr: Expr) -> bool:
    """Whether a scalar is a size or a number of tiles: never below 0."""
    return isinstance(expr, Size) or (isinstance(expr, Read) and expr.source.endswith((".box", ".number", "tiles", "full")))


def _word(name: str) -> str:
    """A name as a reader of the kernel understands it: `j.piece.tiles` is `j.full_tiles`."""
    for pattern, new in _WORDS:
        name = re.sub(pattern, new, name)
    return name
