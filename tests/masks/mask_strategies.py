"""Random predicates: whole-number expressions of positions, sizes and scalars, atoms of them and of data, and/or/not."""

from __future__ import annotations

from hypothesis import strategies as st
from mask_families import add, block, causal, distance, eq, global_window, halo, le, mod, sub

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Size

SMALL = st.integers(-4, 9)


def _apply(op: str, *args: Expr) -> Expr:
    return Apply(op, args)


def whole(axes: tuple[str, ...]) -> st.SearchStrategy[Expr]:
    """Int expressions; divisors are positive numbers."""
    places = st.sampled_from([Index(a) for a in axes])
    scalars = st.sampled_from([Size(axes[0]), Size(axes[-1]), Read("len", (Index("b"),), "int")])
    leaf = st.one_of(places, places, SMALL.map(Const), scalars)
    number = st.integers(1, 5).map(Const)

    def larger(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        return st.one_of(
            st.builds(_apply, st.sampled_from(["add", "sub", "min", "max", "mul"]), inner, inner),
            st.builds(_apply, st.sampled_from(["mul", "floordiv", "mod", "cdiv"]), inner, number),
            st.builds(_apply, st.sampled_from(["abs", "neg", "sign"]), inner),
            st.builds(lambda x: Apply("pow", (x, Const(2))), inner),
            st.builds(lambda x: Apply("isqrt", (Apply("max", (x, Const(0))),)), inner),
            st.builds(lambda a, b, x, y: Apply("where", (le(a, b), x, y)), inner, inner, inner, inner),
        )

    return st.recursive(leaf, larger, max_leaves=5)


def predicates(rows: tuple[str, ...], keys: tuple[str, ...]) -> st.SearchStrategy[Expr]:
    """Bool expressions. They read len[b], flag[b], row[i], ids[i], ids[j], mask[i, j] and keep[i - j else false]."""
    axes, i, j = (*rows, *keys), rows[0], keys[0]
    numbers = whole(axes)
    ids = [Read("ids", (Index(a),), "int") for a in (i, j)]
    data: list[Expr] = [
        eq(*ids),
        Read("mask", (Index(i), Index(j)), "bool"),
        Read("row", (Index(i),), "bool"),
        Read("flag", (Index("b"),), "bool"),
        Read("keep", (sub(Index(i), Index(j)),), "bool", Const(False)),
    ]
    named = [block(i, j, 3), halo(i, j, 4, 1), causal(i, j), global_window(i, j, 2, 3)]
    atom = st.one_of(
        st.builds(_apply, st.sampled_from(["le", "lt", "ge", "gt", "eq", "ne"]), numbers, numbers),
        st.builds(_apply, st.sampled_from(["le", "lt", "ge"]), numbers, numbers),
        st.builds(lambda w: le(distance(i, j), w), st.integers(0, 8)),
        st.builds(lambda d, o: eq(mod(add(Index(i), o), d), mod(Index(j), d)), st.integers(2, 4), st.integers(0, 3)),
        st.sampled_from(data),
        st.sampled_from(named),
    )

    def larger(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        return st.one_of(
            st.builds(_apply, st.sampled_from(["and", "and", "or"]), inner, inner),
            st.builds(_apply, st.just("not"), inner),
            st.builds(_apply, st.just("where"), inner, inner, inner),
        )

    return st.recursive(atom, larger, max_leaves=5)
