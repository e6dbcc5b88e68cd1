"""The tile IR: a loop nest over tiles, for any target, parametric in tile sizes.

A `Program` gives every tile of the owner's axes, at every grid position, to one owner (a Triton program, a thread's work item).
Values are tiles over dims. A dim is a box of positions of one or more axes, linearised row-major (`Dim.whole` false, its extents
are parameters), or all positions of one feature axis (`whole` true; a printer may cut it into chunks). A value without dims is
a scalar of the owner. Expressions are those of `ir.expr`: `Read(name, ())` is a tile value, `Index(axis)` a position,
`Size(axis)` a size. Staging in fast memory, packing, and tiling inside a product belong to the printers and have no node here.

    statement   meaning
    Load        out = arg at the positions of its dims, `fill` outside the array
    Init        an accumulator and its first value; it is carried through the loops that follow
    Map         out = pointwise expression
    Set         accumulator = pointwise expression
    Dot         out = sum over `over` of a * b, or added to an accumulator
    Reduce      out = max, min or sum of a tile along one dim
    Store       arg at the positions of its dims = value; positions outside the array are skipped
    Bisect      the last position along an axis for which a condition holds
    Block       some statements under one heading
    TileLoop    its body for a number of tiles of a dim
    If          its body where a scalar condition holds
    Repeat      its body for every position of one axis, the position being a scalar

Scalar expressions may read, as integers, `<axis>.first` and `<axis>.last`, the first and last position of the current tile
(the last one inside the array), and `<axis>.box`, the tile's extent along the axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..ir.expr import Expr, Read


def value(name: str, kind: str = "float") -> Read:
    """A read of a tile value."""
    return Read(name, (), kind)


@dataclass(frozen=True, slots=True)
class Dim:
    """An extent of tiles. whole: all positions of the one axis."""

    name: str
    axes: tuple[str, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Arg:
    """A strided array of the caller: one dim an axis. role: `in`, `out`, `scratch`, `sum` (added to by the owners of one share, one
    after the other), or `atomic` (added to by owners that run at once: the order of the sums is not fixed). acc: stored in the
    accumulation type."""

    name: str
    axes: tuple[str, ...]
    kind: str
    role: str = "in"
    acc: bool = False


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number the caller computes from sizes alone, in double precision."""

    name: str
    expr: Expr
    kind: str = "float"


@dataclass(frozen=True, slots=True)
class Load:
    """`out[dims] = arg[index]`. index: one expression per axis of the arg; a plain `Index` each makes it a box, anything else
    a gather.

    own: the tile keeps the arg's element type, to feed a product; else floats become the accumulation type.
    fill: the value outside the array (None: the caller promises that positions are inside, apart from the tile's overhang,
    where the value is 0).
    """

    out: str
    arg: str
    index: tuple[Expr, ...]
    dims: tuple[str, ...]
    own: bool = False
    fill: Expr | None = None


@dataclass(frozen=True, slots=True)
class Init:
    """`acc[dims] = start`, carried. kind: `float` (the accumulation type) or `int`."""

    acc: str
    dims: tuple[str, ...]
    start: Expr
    kind: str = "float"


@dataclass(frozen=True, slots=True)
class Map:
    """`out = expr`, over the dims of what it reads, in the order of `dims`."""

    out: str
    expr: Expr
    dims: tuple[str, ...]
    kind: str = "float"


@dataclass(frozen=True, slots=True)
class Set:
    """`acc = expr`, over the accumulator's own dims."""

    acc: str
    expr: Expr


@dataclass(frozen=True, slots=True)
class Dot:
    """`out[dims] = sum over the dim `over` of a * b`, in the accumulation type; with `into`, added to that accumulator. start: a value
    with fewer dims that `out` starts from instead of 0, where a printer puts one there.

    An operand in the accumulation type is rounded to the other's element type (b's when both are), as `cast` says.
    turned: `b` is what the rows of the attend bring, not `a`.
    """

    a: str
    b: str
    over: str
    dims: tuple[str, str]
    out: str = ""
    into: str = ""
    cast: str = ""
    start: str = ""
    turned: bool = False


@dataclass(frozen=True, slots=True)
class Reduce:
    """`out = op of tile along the dim `over``. op: `sum`, `max`, `min`."""

    out: str
    op: str
    tile: str
    over: str
    dims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """`arg[index] = tile`, rounded to the arg's element type. index as in `Load`. add: added to what is there, in an arg of role
    `sum` or `atomic`, which starts as 0.

    With add, positions may be computed (a key), and several elements of the tile may have the same: all of them are added, for role
    `sum` in an order that depends on tile sizes alone. Elements whose position is outside the array are skipped.
    """

    arg: str
    index: tuple[Expr, ...]
    tile: str
    dims: tuple[str, ...]
    add: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Statements with a heading. kind: `online` for an online normalizer's update, else ""."""

    title: str
    body: tuple[Stmt, ...]
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Bisect:
    """`out` is the greatest position of low .. high along `axis` for which cond holds, low - 1 when there is none.

    `Index(axis)` in cond is the position asked; cond never holds again after a position where it does not.
    """

    out: str
    axis: str
    low: Expr
    high: Expr
    cond: Expr


@dataclass(frozen=True, slots=True)
class TileLoop:
    """`for counter in 0 .. count - 1`: after `lets`, the tile of `dim` starts at `starts` along `axes`, and `body` runs.

    axes: all axes of the dim, or, in an outer loop, some of them. masked: tiles may overhang the arrays or hold pairs that are
    not admitted; in a body that is not, every position is inside. admits: "" or the condition in its body that says which pairs count:
    the others add nothing to anything, so a printer may leave them out.
    """

    dim: str
    axes: tuple[str, ...]
    counter: str
    count: Expr
    lets: tuple[Stmt, ...]
    starts: tuple[Expr, ...]
    body: tuple[Stmt, ...]
    masked: bool
    title: str = ""
    admits: str = ""


@dataclass(frozen=True, slots=True)
class If:
    """`body` where a scalar condition holds."""

    cond: Expr
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """`body` for each position of `axis`, a scalar inside."""

    axis: str
    body: tuple[Stmt, ...]
    title: str = ""


Stmt = Load | Init | Map | Set | Dot | Reduce | Store | Bisect | Block | TileLoop | If | Repeat


@dataclass(frozen=True, slots=True)
class TileList:
    """A list that the caller makes before the kernel runs, from the data that a mask reads.

    `tiles[grid, n, m]`: for the n-th tile of the owner's dim, numbers of tiles of the dim `loop`, both row-major over the tiles of
    their axes: first those with every position inside and every pair admitted by `cond`, then others, all that hold an admitted
    pair among them. `counts[grid, n, 0]` is how many come first, `counts[grid, n, 1]` how many others there are.
    """

    tiles: str
    counts: str
    owner: str
    loop: str
    grid: tuple[str, ...]
    cond: Expr


@dataclass(frozen=True, slots=True)
class Bands:
    """Ranges of the axis `over` of sums: position n along the grid axis `axis` owns the elements from n * |inside| on, |inside| of them.
    Args of role `sum` have (axis, inside) in the place of `over`, the last band may overhang it. least: the
    width of two tiles; narrower ones visit tiles more than twice."""

    axis: str
    inside: str
    over: str
    least: int


@dataclass(frozen=True, slots=True)
class Program:
    """One kernel: `body` runs for every position of the grid axes and every tile of the dim `owner` ("": the grid alone).

    sweep: "" or `forward` or `reverse`: the owner's tiles at one grid position run one after the other in this order, and the
    accumulators that `carry` starts live from one tile to the next.
    made: axes that no array has, with their sizes.
    kind: "" or what a schedule made it for, for a target's table of tile sizes: `chunks`, `totals`, `apply`, `grouped`.
    notes: what was decided and why, one sentence each. shares: "" or the grid axis whose positions share out the owner's tiles; tiles
    of one share run one after the other, so what they add to is theirs alone: args of role `sum` have that axis. Beside it they have
    those of `made` in the grid: what they hold along both is summed by the caller. most: the most shares that memory allows (None: as
    many as a target likes).
    bands: of sums, one for each program; then there is one share. banded: programs for the same sums, one for each of them, that own bands.
    single: the same where the axes that loops are repeated for have one position each (`single.py`);
    those are its `ones`, axes of the grid whose position is 0.
    """

    name: str
    dims: tuple[Dim, ...]
    args: tuple[Arg, ...]
    scalars: tuple[Scalar, ...]
    grid: tuple[str, ...]
    owner: str
    body: tuple[Stmt, ...]
    notes: tuple[str, ...] = ()
    shares: str = ""
    kind: str = ""
    lists: tuple[TileList, ...] = ()
    made: tuple[tuple[str, Expr], ...] = ()
    sweep: str = ""
    carry: tuple[Init, ...] = ()
    most: Expr | None = None
    bands: Bands | None = None
    banded: tuple[Program, ...] = ()
    single: Program | None = None
    ones: tuple[str, ...] = ()

    def dim(self, name: str) -> Dim:
        for dim in self.dims:
            if dim.name == name:
                return dim
        raise KeyError(name)

    def arg(self, name: str) -> Arg:
        for arg in self.args:
            if arg.name == name:
                return arg
        raise KeyError(name)


def inner(stmt: Stmt) -> tuple[Stmt, ...]:
    """The statements inside a statement."""
    match stmt:
        case TileLoop(lets=lets, body=body):
            return (*lets, *body)
        case Block(body=body) | Repeat(body=body) | If(body=body):
            return body
    return ()


def defined(stmt: Stmt) -> str:
    """The value a statement defines, "" for none."""
    match stmt:
        case Load(out=name) | Map(out=name) | Reduce(out=name) | Dot(out=name) | Bisect(out=name) | Init(acc=name):
            return name
    return ""


def statements(body: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement, in order, outer ones before inner ones."""
    for stmt in body:
        yield stmt
        yield from statements(inner(stmt))
