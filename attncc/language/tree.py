"""The syntax tree: what an `.attn` file says, each node with its span. The parser only builds it; nothing here is resolved.

Spans never take part in comparison, so two texts that differ in layout alone give equal trees. Expressions have a file of their
own; they are names of the tree all the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from .tree_expr import (
    Arg,
    Arrow,
    Attr,
    Binary,
    Bind,
    Bracket,
    Call,
    Compare,
    Concat,
    Expr,
    Family,
    Glob,
    Index,
    List,
    Name,
    Node,
    Num,
    Pack,
    Product,
    Range,
    Rest,
    Str,
    Tuple,
    Unary,
)  # fmt: skip

__all__ = (
    "Arg", "Arrow", "Assign", "Assume", "Attend", "Attr", "AxisDim", "Binary", "Bind", "Bracket", "Bundle", "Call", "Clause",
    "ClauseIf", "Compare", "Concat", "Define", "Dim", "Emit", "Expr", "Family", "File", "Fold", "Glob", "If", "Include",
    "Index", "Input", "List", "Local", "Mask", "Mix", "Name", "Named", "Node", "Normalize", "Num", "OneDim", "Output",
    "OutputFamily", "Over", "Pack", "PackDim", "Param", "Pattern", "Post", "Product", "ProductDim", "Range", "Require", "Rest",
    "Return", "Score", "Setting", "Stmt", "Str", "SumDim", "Target", "Tuple", "Type", "Unary", "Where",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------------------------- dims


@dataclass(frozen=True, slots=True)
class AxisDim(Node):
    """`n`, `n'`, `z: 3`, `o: 2 * w - 1`."""

    name: Name
    size: Expr | None = None


@dataclass(frozen=True, slots=True)
class OneDim(Node):
    """`1`: a stored dim of size one that has no axis."""


@dataclass(frozen=True, slots=True)
class PackDim(Node):
    """`*g`, `*o: 2 * window - 1`."""

    name: Name
    size: Expr | None = None


@dataclass(frozen=True, slots=True)
class ProductDim(Node):
    """`(h d)`, row-major."""

    factors: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class SumDim(Node):
    """`a ++ b`: rows of a, then rows of b."""

    parts: tuple[Dim, ...]


Dim = AxisDim | OneDim | PackDim | ProductDim | SumDim


# ------------------------------------------------------------------------------------------------------------- signatures


@dataclass(frozen=True, slots=True)
class Type(Node):
    """A parameter type. kind is `int`, `float`, `bool`, `string`, `enum`, `list`, `tuple`, `record`.

    enum: `values` are the allowed strings (a single one is an overload key). bool: `values` is `("true",)` or `("false",)` for
    the literal types `true` and `false`, also overload keys. list: `items[0]` is the element type and `length` an int expression,
    a Pack, or None for any length. tuple: `items`. record: `fields` are (name, type). `optional` is the trailing `?`.
    """

    kind: str
    values: tuple[str, ...] = ()
    items: tuple[Type, ...] = ()
    length: Expr | None = None
    fields: tuple[tuple[str, Type], ...] = ()
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Input(Node):
    """`x[dims]? : type if cond`. type is None (float), `int`, `bool` or `const` (no gradient)."""

    name: Name
    dims: tuple[Dim, ...] = ()
    optional: bool = False
    type: str | None = None
    cond: Expr | None = None


@dataclass(frozen=True, slots=True)
class Param(Node):
    """`name: type = default`."""

    name: Name
    type: Type
    default: Expr | None = None


@dataclass(frozen=True, slots=True)
class Include(Node):
    """`*: bundle`, `s_*: bundle(g = (h, w), o = c)`: prefix is None for `*`, else a Name that keeps its underscore.

    A rename to a list of axes, one or more (`g = (h, w)`, `g = (c)`), is a tuple of their names.
    """

    prefix: Name | None
    bundle: str
    renames: tuple[tuple[str, Dim | tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Output(Node):
    """`name[dims]? : type if cond`; optional means on request only."""

    name: Name
    dims: tuple[Dim, ...] = ()
    optional: bool = False
    type: str | None = None
    cond: Expr | None = None


@dataclass(frozen=True, slots=True)
class OutputFamily(Node):
    """`(loss_{l}, row_{l}[n]) for (l, w) in relations`."""

    outputs: tuple[Output, ...]
    vars: tuple[str, ...]
    range: Expr


@dataclass(frozen=True, slots=True)
class Where(Node):
    """`left = right (twin) if cond` after a signature. left may be `rank(g)`."""

    left: Expr
    right: Expr
    cond: Expr | None = None


# ------------------------------------------------------------------------------------------------------------- statements


@dataclass(frozen=True, slots=True)
class Target(Node):
    """A name on the left of `=`, with the axes it is declared over or None."""

    name: Name
    dims: tuple[Dim, ...] | None = None


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """`a, b = e` (one value of several parts) or `a, b = e, f`."""

    targets: tuple[Target, ...]
    values: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Named(Node):
    """`name = e` in a clause; name is None when left out."""

    name: Name | None
    value: Expr


@dataclass(frozen=True, slots=True)
class Score(Node):
    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Mask(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class Normalize(Node):
    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Post(Node):
    item: Named


@dataclass(frozen=True, slots=True)
class Mix(Node):
    value: Expr


@dataclass(frozen=True, slots=True)
class Emit(Node):
    items: tuple[Named, ...]


@dataclass(frozen=True, slots=True)
class Setting(Node):
    """`order auto`, `empty zero`."""

    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Local(Node):
    """`name = e` between the clauses of an attend."""

    name: Name
    value: Expr


@dataclass(frozen=True, slots=True)
class Over(Node):
    """A key segment: `over m if cond { score .. mask .. mix .. }`. axes are Names and Packs."""

    axes: tuple[Expr, ...]
    clauses: tuple[Clause, ...]
    cond: Expr | None = None


@dataclass(frozen=True, slots=True)
class ClauseIf(Node):
    cond: Expr
    then: tuple[Clause, ...]
    orelse: tuple[Clause, ...] = ()


Clause = Score | Mask | Normalize | Post | Mix | Emit | Setting | Local | Over | ClauseIf


@dataclass(frozen=True, slots=True)
class Attend(Node):
    """`attend o[dims] over axes { clauses }`; axes is () when the segments carry them."""

    target: Target | None
    axes: tuple[Expr, ...]
    clauses: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Fold(Node):
    """`fold n in range by step { .. }`."""

    vars: tuple[str, ...]
    range: Expr
    step: Expr | None
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class If(Node):
    """A static `if`: only the taken branch is checked."""

    cond: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True, slots=True)
class Require(Node):
    """`require a, b`: conditions on parameters and sizes, checked at each call."""

    conds: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Assume(Node):
    """`assume a, b`: conditions on data, checked by the eager backend only."""

    conds: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Return(Node):
    value: Expr


Stmt = Assign | Attend | Fold | If | Require | Assume | Return


# ----------------------------------------------------------------------------------------------------------- declarations


@dataclass(frozen=True, slots=True)
class Pattern(Node):
    """One `pattern`. title is the comment block directly above it."""

    name: str
    inputs: tuple[Input | Include, ...]
    params: tuple[Param | Include, ...]
    outputs: tuple[Output | OutputFamily, ...]
    where: tuple[Where, ...]
    body: tuple[Stmt, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Bundle(Node):
    """A named list of inputs and parameters."""

    name: str
    inputs: tuple[Input | Include, ...]
    params: tuple[Param | Include, ...]
    where: tuple[Where, ...] = ()


@dataclass(frozen=True, slots=True)
class Define(Node):
    """`define f[axes](inputs; params) = e`, or a body with `return`, and optionally its own `vjp (g) { input = e }`.

    axes items are Names, Packs or Arrows, as in the bracket of a call.
    """

    name: str
    axes: tuple[Expr, ...]
    inputs: tuple[Input | Include, ...]
    params: tuple[Param | Include, ...]
    body: tuple[Stmt, ...]
    vjp_grad: str | None = None
    vjp: tuple[Stmt, ...] = ()


@dataclass(frozen=True, slots=True)
class File(Node):
    """A whole file. title is its leading comment block."""

    decls: tuple[Pattern | Bundle | Define, ...]
    title: str = ""
