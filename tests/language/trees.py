"""Random syntax trees for the round-trip tests: every tree that a text can parse to, within small bounds."""

from __future__ import annotations

from hypothesis import strategies as st

from attncc.errors import Source, Span
from attncc.language import tree as T

AT = Span(Source("", ""), 0, 0)
WORDS = (
    "a", "b", "q_", "w_pw", "k2", "x1", "score", "mask", "normalize", "post", "mix", "emit", "order", "empty", "over", "where",
    "by", "for", "vjp", "true", "inf", "sum", "size", "layers_", "Inner", "attends", "iff", "div2", "e", "E5",
)  # fmt: skip
CLAUSE_WORDS = ("score", "mask", "normalize", "post", "mix", "emit", "order", "empty", "over")

idents = st.sampled_from(WORDS)
maybe = st.booleans()


def tuples(items: st.SearchStrategy, least: int = 1, most: int = 3) -> st.SearchStrategy:
    return st.lists(items, min_size=least, max_size=most).map(tuple)


def node(kind: type, *parts: st.SearchStrategy, **named: st.SearchStrategy) -> st.SearchStrategy:
    return st.builds(kind, st.just(AT), *parts, **named)


plain = node(T.Name, idents.map(lambda w: (w,)), st.integers(0, 2))
counter = st.sampled_from(("n", "m", "t"))
simple = st.one_of(
    node(T.Num, st.integers(0, 9)),
    node(T.Name, counter.map(lambda w: (w,))),
    node(T.Binary, st.sampled_from(("+", "-", "*", "div")), node(T.Name, st.just(("order",))), node(T.Num, st.integers(0, 9))),
    node(T.Attr, node(T.Name, st.just(("l",))), st.just("size")),
)
families = st.one_of(
    node(T.Index, simple),
    node(T.Family, counter, st.one_of(simple, node(T.Range, simple, simple), node(T.Tuple, tuples(node(T.Str, counter), 2)))),
)


@st.composite
def names(draw: st.DrawFn, first: st.SearchStrategy = idents) -> T.Name:
    parts: list[str | T.Index | T.Family] = [draw(first)]
    for family in draw(st.lists(families, max_size=2)):
        parts.append(family)
        if draw(maybe):
            parts.append(draw(st.sampled_from(("_w", "0", "c", "_1"))))
    return T.Name(AT, tuple(parts), draw(st.integers(0, 1)))


def _glob(name: T.Name) -> T.Glob:
    *parts, last = name.parts
    ending = (last.rstrip("_") + "_",) if isinstance(last, str) else (last, "_")
    return T.Glob(AT, T.Name(AT, (*parts, *ending)))


globs = names().map(_glob)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters='"\n\r\0'), max_size=5)
floats = st.floats(0, allow_nan=False, allow_infinity=False)
atoms = st.one_of(node(T.Num, st.integers(0, 2**63 - 1)), node(T.Num, floats), node(T.Str, texts), names(), names(), names())


def _grow(e: st.SearchStrategy) -> st.SearchStrategy:
    part = st.one_of(e, node(T.Product, tuples(names(), 2)), node(T.Pack, names()))
    axis = st.one_of(part, node(T.Concat, tuples(part, 2)))
    item = st.one_of(axis, node(T.Bind, e, e), node(T.Arrow, axis, axis))
    arg = node(T.Arg, st.none() | names(), st.one_of(e, e, e, globs, node(T.Rest)))
    operators = st.sampled_from(("+", "-", "*", "/", "div", "mod", "^", "and", "or", "??"))
    signs = st.sampled_from(("==", "!=", "<=", ">=", "<", ">", "in"))
    chain = st.integers(1, 3).flatmap(lambda n: node(T.Compare, tuples(signs, n, n), tuples(e, n + 1, n + 1)))
    return st.one_of(
        node(T.Binary, operators, e, e), node(T.Binary, operators, e, e), node(T.Unary, st.sampled_from(("-", "not")), e), chain,
        node(T.Tuple, tuples(e, 2)), node(T.List, tuples(e, 0)), node(T.Attr, e, idents),
        node(T.Bracket, e, tuples(item), st.none() | e, st.none() | e),
        node(T.Call, e, tuples(arg, 0), st.none() | e, tuples(arg, 0)),
    )  # fmt: skip


exprs = st.recursive(atoms, _grow, max_leaves=8)
_part = st.one_of(exprs, node(T.Product, tuples(names(), 2)), node(T.Pack, names()))
axis_exprs = st.one_of(_part, node(T.Concat, tuples(_part, 2)))
conds = st.none() | exprs

# ------------------------------------------------------------------------------------------------------------------------ dims

_inner = st.recursive(
    st.one_of(names().map(lambda n: T.AxisDim(AT, n)), names().map(lambda n: T.PackDim(AT, n)),
              node(T.AxisDim, names(), st.one_of(node(T.Num, st.integers(0, 99)), names()))),
    lambda d: st.one_of(node(T.ProductDim, tuples(d, 2)), node(T.SumDim, tuples(d, 2))),
    max_leaves=4,
)  # fmt: skip
_product = node(T.ProductDim, tuples(_inner, 2))
_outer = st.one_of(node(T.AxisDim, names(), conds), node(T.OneDim), node(T.PackDim, names(), conds), _product)
dims = st.one_of(_outer, node(T.SumDim, tuples(_outer, 2)))
some_dims = tuples(dims, 0)

# ------------------------------------------------------------------------------------------------------------------- signatures

_lengths = conds | node(T.Pack, names())
types = st.recursive(
    st.one_of(
        node(T.Type, st.sampled_from(("int", "float", "bool", "string"))),
        node(T.Type, st.just("enum"), tuples(texts)),
        node(T.Type, st.just("bool"), st.sampled_from((("true",), ("false",)))),
    ),
    lambda t: st.one_of(
        node(T.Type, st.just("list"), items=tuples(t.filter(lambda x: not x.optional), 1, 1), length=_lengths),
        node(T.Type, st.just("tuple"), items=tuples(t, 2), optional=maybe),
        node(T.Type, st.just("record"), fields=tuples(st.tuples(idents, t))),
    ),
    max_leaves=4,
)
_kinds = st.sampled_from((None, "int", "bool", "const"))
_axis_names = st.sampled_from(("h", "w'", "c2"))
_renames = tuples(st.tuples(idents, dims | tuples(_axis_names)), 0, 2)
includes = node(T.Include, st.none() | globs.map(lambda g: g.prefix), idents, _renames)
inputs = tuples(st.one_of(node(T.Input, names(), some_dims, maybe, _kinds, conds), includes), 0)
params = tuples(st.one_of(node(T.Param, names(), types, conds), includes), 0)
outputs = node(T.Output, names(), some_dims, maybe, _kinds, conds)
binders = tuples(idents, 1, 3)
ranges = st.one_of(exprs, node(T.Range, exprs, exprs))
wheres = node(
    T.Where, st.one_of(names(), node(T.Call, names(), names().map(lambda n: (T.Arg(AT, None, n),)))), axis_exprs, conds
)

# ----------------------------------------------------------------------------------------------------- statements and clauses

targets = node(T.Target, names(), st.none() | tuples(dims))
named = node(T.Named, st.none() | names(), exprs)
axes = tuples(st.one_of(names(), node(T.Pack, names())))
_clause = st.one_of(
    node(T.Score, tuples(named)), node(T.Mask, exprs), node(T.Normalize, tuples(named)), node(T.Post, named), node(T.Mix, exprs),
    node(T.Emit, tuples(named)), node(T.Setting, st.sampled_from(("order", "empty")), idents),
    node(T.Local, names(idents.filter(lambda w: w not in CLAUSE_WORDS)), exprs),
)  # fmt: skip
clauses = st.recursive(
    _clause,
    lambda c: st.one_of(node(T.Over, axes, tuples(c, 0), conds), node(T.ClauseIf, exprs, tuples(c, 0), tuples(c, 0))),
    max_leaves=5,
)
_goal = node(T.Target, names(idents.filter(lambda w: w != "over")), st.none() | tuples(dims))
statements = st.recursive(
    st.one_of(
        node(T.Assign, tuples(targets), tuples(exprs)),
        node(T.Attend, st.none() | _goal, axes | st.just(()), tuples(clauses, 0)),
        node(T.Require, tuples(exprs)), node(T.Assume, tuples(exprs)),
    ),
    lambda s: st.one_of(
        node(T.Fold, binders, ranges, conds, tuples(s, 0)), node(T.If, exprs, tuples(s, 0), tuples(s, 0)),
    ),
    max_leaves=4,
)  # fmt: skip
bodies = tuples(statements, 0)

# ----------------------------------------------------------------------------------------------------------------- declarations

_families = node(T.OutputFamily, tuples(outputs), binders, ranges)
patterns = node(T.Pattern, idents, inputs, params, tuples(st.one_of(outputs, _families)), tuples(wheres, 0), bodies)
bundles = node(T.Bundle, idents, inputs, params, tuples(wheres, 0))
_axis = st.one_of(names(), node(T.Pack, names()))
_decl_axes = tuples(st.one_of(_axis, node(T.Arrow, _axis, _axis)), 0)
_returning = st.builds(lambda body, e: (*body, T.Return(AT, e)), bodies, exprs)
defines = st.one_of(
    node(T.Define, idents, _decl_axes, inputs, params, _returning),
    node(T.Define, idents, _decl_axes, inputs, params, _returning, idents, bodies),
)
files = st.builds(T.File, st.just(AT), tuples(st.one_of(patterns, bundles, defines), 0))
