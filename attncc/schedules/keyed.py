"""Keyed sums in the flash schedule: what a stage adds, pair by pair, to an element that a key of the pair chooses.

    rows are dealt out over shares; each share has an array of its own, which starts as 0
    for each tile of rows of a share:  for each tile of keys:  array[share, key] += term
    the caller sums the shares

The owners of one share run one after the other, so nothing is added to at the same time: the result depends on tile sizes and
the number of shares, both functions of the shapes, and never on timing. The arrays together are as large as the backend allows:
more shares keep more of the machine busy, one share is the least.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..ir.expr import Expr, Index
from ..ir.pairs import Keyed, PairStage, Term
from ..tile.nodes import Arg, Program, Store
from .body import Body
from .dilate import inside_rows
from .flash import Flash
from .place import Scope

SHARE = "share"


class KeyedFlash(Flash):
    """Lowers a stage with keyed sums."""

    def __init__(
        self, stage: PairStage, arrays: Mapping[str, tuple[str, ...]], acc: frozenset[str], sizes: Mapping[str, Expr]
    ) -> None:
        super().__init__(stage, arrays, acc, sizes, inside_rows(tuple(k.sum for k in stage.keyed), stage.rows))
        self.share = SHARE
        taken = {a for axes in arrays.values() for a in axes} | {a for k in stage.keyed for a in k.axes}
        while self.share in taken | {*stage.rows, *stage.grid}:
            self.share += "_"

    def fill(self, number: int, scope: Scope, mask: Expr | None) -> None:
        _Body(self, self.stage.keys[number], number, scope, mask).emit()

    def program(self) -> Program:
        made = super().program()
        sums = tuple(Arg(k.name, (self.share, *k.axes), "float", "sum", True) for k in self.stage.keyed)
        return replace(made, args=(*made.args, *sums), grid=(*made.grid, self.share), shares=self.share)


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
        index = (Index(self.flash.share), *(self.place.expr(x, self.scope) for x in keyed.index))
        self.scope.body.append(Store(keyed.name, index, tile, self.pair, add=True))
