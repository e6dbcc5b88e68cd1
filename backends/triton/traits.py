"""What a tile program is like, as far as the choice of its configuration goes: counts read off its main loop, no names.

Two kernels with the same traits need about the same registers and shared memory, whatever pattern they come from, so a
configuration found for one serves the other.
"""

from __future__ import annotations

from dataclasses import dataclass

from attncc.ir.expr import Apply, Const, Index, Read, walk
from attncc.tile.nodes import (
    Block,
    Dot,
    Init,
    Load,
    Map,
    Program,
    Reduce,
    Repeat,
    Set,
    Stmt,
    Store,
    TileLoop,
    defined,
    inner,
    statements,
)

_KEYED = 6
"""Values over pairs that a keyed store makes: positions, tests, what is gathered, what is summed."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Of the main loop, the last innermost one.

    - `products`: matrix products. `sums`: widths of the accumulators they add to. `width`: the widest feature dim, 16 at least.
    - `live`: most values over pairs that exist at one time. `vectors`: values over one side of the pairs loaded in the loop.
    - `online`: has an online normalizer. `owner_axes`, `loop_axes`: how many axes the two sides have.
    - `work`: pointwise operations on a pair, rounded up to a power of two. `masked`: there is no loop of tiles of admitted pairs alone.
    - `repeated`: the loop is inside another one, over positions of an axis (query heads of a group).
    - `held`, `moved`: feature widths of the operands that are loaded once, and in each iteration.
    """

    products: int
    sums: tuple[int, ...]
    width: int
    live: int
    work: int
    vectors: int
    online: bool
    owner_axes: int
    loop_axes: int
    masked: bool
    held: tuple[int, ...]
    moved: tuple[int, ...]
    repeated: bool = False

    @property
    def key(self) -> str:
        """The structure without widths: what the table of searched configurations is sorted by."""
        words = [f"products={self.products}", f"sums={len(self.sums)}", f"live={self.live}", f"work={self.work}"]
        words.append(f"axes={self.owner_axes}x{self.loop_axes}")
        words += ["online" if self.online else "plain", "masked" if self.masked else "full"]
        return " ".join([*words, f"vectors={self.vectors}", *(["repeated"] if self.repeated else [])])


def loops_of(program: Program) -> list[TileLoop]:
    """The innermost loops over tiles, in order."""
    loops = [s for s in statements(program.body) if isinstance(s, TileLoop)]
    return [s for s in loops if not any(isinstance(t, TileLoop) for t in statements(s.body))]


def traits(program: Program, features: dict[str, int]) -> Traits | None:
    """The traits of a program, None when it has no loop over tiles. features: the sizes of its feature axes."""
    loops = loops_of(program)
    if not loops:
        return None
    main = loops[-1]
    size = {d.name: features[d.axes[0]] for d in program.dims if d.whole}
    body = list(statements(main.body))
    dots = [s for s in body if isinstance(s, Dot)]
    fed = {n for s in dots for n in (s.a, s.b)}
    loads = [s for s in statements(program.body) if isinstance(s, Load) and s.own and s.out in fed]
    held = [size[d] for s in loads if main.dim not in s.dims for d in s.dims if d in size]
    moved = [size[d] for s in body if isinstance(s, Load) and s in loads and main.dim in s.dims for d in s.dims if d in size]
    sums = {s.into: size.get(s.dims[1], 0) for s in dots if s.into}
    return Traits(
        products=len(dots),
        sums=tuple(sorted(sums.values())),
        width=max([*size.values(), 16]),
        live=_live(program, main),
        work=_work(program, loops[0]),
        vectors=sum(isinstance(s, Load) and not any(d in size for d in s.dims) and bool(s.dims) for s in body),
        online=any(isinstance(s, Block) and s.kind == "online" for s in statements(program.body)),
        owner_axes=len(program.dim(program.owner).axes),
        loop_axes=len(program.dim(main.dim).axes),
        masked=all(s.masked for s in loops),
        held=tuple(sorted(held)),
        moved=tuple(sorted(moved)),
        repeated=any(isinstance(s, Repeat) and main in list(statements(s.body)) for s in statements(program.body)),
    )


def _work(program: Program, loop: TileLoop) -> int:
    both = {program.owner, loop.dim}
    exprs = [s.expr for s in statements(loop.body) if isinstance(s, Map) and both <= set(s.dims)]
    count = sum(isinstance(e, Apply) for x in exprs for e in walk(x))
    return 1 << max(2, (count - 1).bit_length())


def _live(program: Program, loop: TileLoop) -> int:
    """The most values over pairs that are alive after some statement of the body."""
    both = {program.owner, loop.dim}
    pairs: set[str] = set()
    order: list[Stmt] = [s for s in statements(loop.body) if not inner(s)]
    dims: dict[str, tuple[str, ...]] = {}
    for stmt in order:
        if isinstance(stmt, Load | Map | Reduce | Dot | Init) and (isinstance(stmt, Init) or not (isinstance(stmt, Dot) and stmt.into)):
            dims[defined(stmt)] = stmt.dims
    pairs = {name for name, of in dims.items() if both <= set(of)}
    alive: set[str] = set()
    most = 1
    for stmt in reversed(order):
        most = max(most, len(alive))
        alive.discard(defined(stmt))
        alive |= _reads(stmt) & pairs
        if isinstance(stmt, Store) and stmt.add and any(not isinstance(x, Index | Const) for x in stmt.index):
            most = max(most, len(alive) + _KEYED)
    return most


def _reads(stmt: Stmt) -> set[str]:
    match stmt:
        case Map(_, expr) | Set(_, expr):
            return {e.source for e in walk(expr) if isinstance(e, Read)}
        case Dot(a, b):
            return {a, b}
        case Reduce(_, _, tile):
            return {tile}
        case Store(_, index, tile):
            return {tile} | {e.source for x in index for e in walk(x) if isinstance(e, Read)}
        case Load(_, _, index):
            return {e.source for x in index for e in walk(x) if isinstance(e, Read)}
    return set()
