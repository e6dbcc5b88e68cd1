"""Atomic additions of a tile to a box of an array: by a tensor descriptor, which adds a tile at a time, or by pointers."""

from __future__ import annotations

from attncc.tile.nodes import Store

from .keyed import Keyed


class Sums(Keyed):
    """Prints a `Store` that adds at positions along the tile's own dims; `Keyed` prints those with a key."""

    def add(self, stmt: Store) -> None:
        arg = self.program.arg(stmt.arg)
        if arg.role != "atomic" or any(self._is_key(x) and self._ranks(x) is None for x in stmt.index):
            super().add(stmt)
            return
        dims = self.dims[stmt.tile]

        def one() -> None:
            if arg.name in self.described:
                self.line(self._added(stmt))
                return
            address, masks = self._address(arg, stmt.index, dims)
            test = f", mask={' & '.join(masks)}" if masks else ""
            self.line(f'tl.atomic_add({address}, {self.value(stmt.tile)}{test}, sem="relaxed")')

        self.each(dims, one)

    def _added(self, stmt: Store) -> str:
        """An addition by descriptor: positions outside the array are skipped."""
        at, block = self.corner(stmt), self.block(stmt.arg)
        tile = self.value(stmt.tile)
        tile = tile if len(at) == 2 else f"{tile}.reshape([{', '.join(block)}])"
        return f"{self.descriptor(stmt.arg)}.atomic_add([{', '.join(at)}], {tile})"
