"""Keyed sums in the flash schedule: what a stage adds, pair by pair, to an element that a key of the pair chooses.

    parts         rows are dealt out over shares; each share has an array of its own, which starts as 0
                  for each tile of rows of a share:  for each tile of keys:  array[share, key] += term
                  the caller sums the shares
    owner-band    a program owns a band of the elements, so there is one array and nothing to sum
                  for each tile of rows:  for each tile of keys with a pair in the band:  array[band, key - first of the band] += term
    atomic        tiles of rows run at once and add to one array atomically: `tile.bands.atomic`, which only a caller's wish chooses

In the first two the tiles of one program run one after the other, so nothing is added to at the same time: the result depends on
tile sizes and the number of programs, both functions of the shapes, and never on timing. The arrays of the shares together are at
most as large as the largest operand. `tile.bands` says which of the two runs for the sizes of a call.

Bands are legal where the mask analysis turns "the key lies in the band" into a range of keys for each tile of rows: keys that are
sums of positions and scalars, their absolute values, minima and maxima. Keys read from data have none, nor have stages with several
kinds of keys or with a list of tiles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from ..ir.expr import ZERO, Apply, Const, Expr, Index, Size, axes_of, conjoin
from ..ir.pairs import Keyed, PairStage, Term
from ..passes.masks import Search, analyse
from ..tile.bands import least, product
from ..tile.nodes import Arg, Bands, Bisect, If, Load, Map, Program, Stmt, Store, TileLoop
from ..tile.verify import verify
from .body import Body
from .dilate import inside_rows
from .flash import Flash
from .lists import by_data
from .place import Scope
from .ranges import Ranges, tile_ranges

SHARE, BAND = "share", "band"

Arrays = Mapping[str, tuple[str, ...]]


def lower_keyed(stage: PairStage, arrays: Arrays, acc: frozenset[str], sizes: Mapping[str, Expr]) -> Program:
    """The tile program of a stage with keyed sums by parts, and in its `banded` those by bands where they are legal."""
    parts = KeyedFlash(stage, arrays, acc, sizes).program()
    if why_no_bands(stage, sizes):
        return verify(parts)
    cut = [_banded(replace(stage, keyed=(k,)), arrays, sizes) for k in stage.keyed]
    return verify(
        replace(parts, banded=tuple(verify(KeyedFlash(s, arrays, acc, sizes, b, stage.keys[0].mask).program()) for s, b in cut))
    )


def why_no_bands(stage: PairStage, sizes: Mapping[str, Expr]) -> str:
    """Why programs cannot own bands of a stage's keyed sums, "" where they can."""
    keys = stage.keys[0]
    if len(stage.keys) != 1 or keys.repeat:
        return "there are several kinds of keys, or heads share one"
    if by_data(keys.mask, (*stage.rows, *keys.axes)):
        return "the mask reads data, so a list says which tiles are visited"
    for keyed in stage.keyed:
        if _cut(stage, keyed, sizes) is None:
            return f"no key of {keyed.name} turns a range of its elements into a range of {', '.join(keys.axes)}"
    return ""


def _banded(stage: PairStage, arrays: Arrays, sizes: Mapping[str, Expr]) -> tuple[PairStage, Bands]:
    """The stage of one band of its one keyed sum."""
    keys, keyed = stage.keys[0], stage.keyed[0]
    n = _cut(stage, keyed, sizes)
    assert n is not None
    taken = {a for axes in (*arrays.values(), stage.rows, stage.grid, keys.axes, keyed.axes) for a in axes}
    over, at = keyed.axes[n], keyed.index[n]
    band = _fresh(taken, BAND)
    inside = _fresh(taken | {band}, f"{over}_in_{band}")
    here, first = _in_band(at, band, inside)
    made = replace(
        stage,
        name=f"{stage.name}_{keyed.name}_bands",
        grid=(*stage.grid, band),
        keys=(replace(keys, mask=here if keys.mask is None else conjoin([keys.mask, here])),),
        keyed=(
            Keyed(
                keyed.sum,
                (*keyed.axes[:n], band, inside, *keyed.axes[n + 1 :]),
                (*keyed.index[:n], Index(band), Apply("sub", (at, first)), *keyed.index[n + 1 :]),
            ),
        ),
        notes=(*stage.notes, f"owner-band: a program owns a band of {over} and visits the tiles of pairs that may fall into it"),
    )
    return made, Bands(band, inside, over, least(len(keys.axes)))


def _cut(stage: PairStage, keyed: Keyed, sizes: Mapping[str, Expr]) -> int | None:
    """The first axis of a keyed sum whose bands are met by fewer tiles than all of them, in closed form."""
    band = _fresh({a for axes in (stage.rows, stage.grid, stage.keys[0].axes, keyed.axes) for a in axes}, BAND)
    for n, (over, at) in enumerate(zip(keyed.axes, keyed.index, strict=True)):
        plan = analyse(_in_band(at, band, f"{over}_in_{band}")[0], stage.rows, stage.keys[0].axes, sizes, split=False)
        ends: list[Expr] = []
        for level in plan.forward.levels:
            ends += [e for x in level.extents for e in (x.lo, x.hi)]
            ends += [e for s in level.statements for e in ((s.low, s.high, s.cond) if isinstance(s, Search) else (s.expr,))]
        if over not in stage.grid and not plan.opaque and any(band in axes_of(e) for e in ends):
            return n
    return None


def _in_band(at: Expr, band: str, inside: str) -> tuple[Expr, Expr]:
    """That a position lies in the band, and the first position of the band."""
    first = Apply("mul", (Index(band), Size(inside)))
    return Apply("and", (Apply("le", (first, at)), Apply("lt", (at, Apply("add", (first, Size(inside))))))), first


class KeyedFlash(Flash):
    """Lowers a stage with keyed sums. bands: what a program owns of the one sum, else by parts. mask: without the
    band, whose ends need no test: an element outside is not stored."""

    def __init__(
        self,
        stage: PairStage,
        arrays: Arrays,
        acc: frozenset[str],
        sizes: Mapping[str, Expr],
        bands: Bands | None = None,
        mask: Expr | None = None,
    ) -> None:
        super().__init__(stage, arrays, acc, sizes, inside_rows(tuple(k.sum for k in stage.keyed), stage.rows))
        self.mask = mask
        taken = {a for axes in arrays.values() for a in axes} | {a for k in stage.keyed for a in k.axes}
        self.bands = bands
        self.share = _fresh(taken | {*stage.rows, *stage.grid}, SHARE)
        self.extra = (self.share, *(() if self.split is None else self.split.groups.values()))
        """Axes along which a sum has an array of its own: programs of different groups of a dilated axis meet in an element."""

    def residual(self, number: int, ranges: Ranges) -> Expr:
        if self.bands is None or self.split is not None:
            return ranges.residual
        return tile_ranges(self.mask, self.stage.rows, self.stage.keys[number].axes, self.sizes).residual

    def fill(self, number: int, scope: Scope, mask: Expr | None) -> None:
        _Body(self, self.stage.keys[number], number, scope, mask).emit()

    def program(self) -> Program:
        made = super().program()
        sums = tuple(Arg(k.name, (*self.extra, *k.axes), "float", "sum", True) for k in self.stage.keyed)
        made = replace(made, args=(*made.args, *sums), body=_where_visited(made.body) if self.bands is not None else made.body)
        most = Apply("floordiv", (_largest(made), Apply("max", (Const(1), reduce(_plus, (product(a.axes[1:]) for a in sums))))))
        return replace(made, grid=(*made.grid, self.share), shares=self.share, most=most, bands=self.bands)


class _Body(Body):
    flash: KeyedFlash

    def _terms(self) -> None:
        super()._terms()
        for s, keyed in zip(self.flash.more, self.stage.keyed, strict=True):
            for term in s.terms:
                if term.keys == self.number:
                    self._give(term, keyed)

    def _give(self, term: Term, keyed: Keyed) -> None:
        """Every pair of a tile added to its element."""
        tile = self._tile(term, "sum")
        index = (*(Index(a) for a in self.flash.extra), *(self.place.expr(x, self.scope) for x in keyed.index))
        self.scope.body.append(Store(keyed.name, index, tile, self.pair, add=True))


def _where_visited(body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """The body with all that is not scalar left to tiles of rows that meet some tile of keys."""
    scalars = tuple(s for s in body if isinstance(s, Bisect) or (isinstance(s, Load | Map) and not s.dims))
    count = reduce(_plus, (s.count for s in body if isinstance(s, TileLoop)))
    return (*scalars, If(Apply("lt", (ZERO, count)), tuple(s for s in body if s not in scalars)))


def _fresh(taken: set[str], name: str) -> str:
    while name in taken:
        name += "_"
    return name


def _largest(program: Program) -> Expr:
    """The number of elements of the largest operand."""
    axes = dict.fromkeys(a.axes for a in program.args if a.role == "in" and a.kind == "float")
    kept = [product(a) for a in axes if not any(set(a) < set(b) for b in axes)]
    return Apply("max", (*kept,)) if len(kept) > 1 else kept[0] if kept else ZERO


def _plus(a: Expr, b: Expr) -> Expr:
    match b:
        case Apply("sub", (whole, part)) if part == a:
            return whole
    return Apply("add", (a, b))
