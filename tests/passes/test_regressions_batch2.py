"""Regression tests of resolve, each on the smallest pattern that shows the point."""

from __future__ import annotations

import pytest
import torch

import attncc


def test_a_post_may_sum_an_axis_that_only_the_maps_have() -> None:
    """One softmax for each g, averaged: the rows of the attend hold g, the result does not."""
    op = attncc.compile("""
        pattern f(s[i, j], v[j, e]) -> o[i, e] where g = 2 {
          attend o over j { score s   normalize p = softmax(s | j >= g)   post sum[g](p) / g.size   mix v }
        }
    """)
    s, v = torch.randn(3, 4, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    expected = (s.softmax(-1) @ v + s[:, 1:].softmax(-1) @ v[1:]) / 2
    torch.testing.assert_close(op(s, v), expected)


def test_the_groups_of_a_partition_are_not_empty() -> None:
    source = "pattern f(x[a]; groups: int[][]) -> y[a] { require partition(groups, 3)  y = x }"
    x = torch.ones(2)
    assert torch.equal(attncc.compile(source, groups=[[0, 2], [1]])(x), x)
    for groups in ([[0, 1, 2], []], [[0], [1]], [[0, 1], [1, 2]]):
        with pytest.raises(attncc.AttnError):
            attncc.compile(source, groups=groups)(x)


def test_a_name_for_a_product_is_an_axis_wherever_it_is_used() -> None:
    """`n` stands nowhere but in `where`: the call binds it by name all the same."""
    op = attncc.compile("""
        pattern f(x[b, r, s]) -> y[b, r, s] where n = (r s) { y = x + total(x) }
        pattern total(x[b, n]) -> t[b] { t = sum[n](x) }
    """, pattern="f")
    x = torch.arange(12.0).reshape(2, 2, 3)
    torch.testing.assert_close(op(x), x + x.sum((1, 2), keepdim=True))


def test_pair_values_of_a_called_pattern_keep_clear_of_the_values_it_is_given() -> None:
    """The caller's `s` and `p` are read inside an attend that calls its own pair values so."""
    op = attncc.compile("""
        pattern f(x[i, d], v[j, e]) -> o[i, e] {
          s = 2 * sum[d](x)
          p = sum[d](x ^ 2)
          o = inner(s, p, v)
        }
        pattern inner(a[i], c[i], v[j, e]) -> o[i, e] {
          attend o {
            over j { score s = a * j    mix v }
            over j' { score s = c - j'   mix v' }
            normalize softmax
            post p * a
          }
        }
    """, pattern="f")
    x, v = torch.randn(3, 2, dtype=torch.float64), torch.randn(4, 2, dtype=torch.float64)
    s, c, at = 2 * x.sum(1), (x**2).sum(1), torch.arange(4)
    weights = torch.cat([s[:, None] * at, c[:, None] - at], 1).softmax(1) * s[:, None]
    torch.testing.assert_close(op(x, v), weights @ torch.cat([v, v]))


def test_a_pair_value_is_not_called_like_something_else() -> None:
    source = "pattern f(s[i, j], v[j, e]) -> o[i, e] { attend o over j { score s = 2 * s  normalize softmax  mix v } }"
    with pytest.raises(attncc.AttnNameError, match="already names"):
        attncc.compile(source)(torch.ones(2, 3), torch.ones(3, 1))


def test_a_primed_axis_of_a_called_patterns_output_is_bound_inside_it() -> None:
    """`inner` gives r x r'; its attend runs over that same r', also where the caller's axis has another name."""
    source = """
        pattern f(q[{0}, d]) -> o[{0}, d], m[{0}, {0}']: bool {{ o, m = inner(q) }}
        pattern inner(q[r, d]) -> o[r, d], m[r, r']: bool {{
          attend o over r' {{ score dot(q, q')  mask r' <= r  normalize softmax  mix q'  emit m = admitted }}
        }}
    """
    q = torch.randn(4, 2, dtype=torch.float64)
    seen = torch.ones(4, 4, dtype=torch.bool).tril()
    expected = (q @ q.T).masked_fill(~seen, -torch.inf).softmax(-1) @ q
    for axis in ("r", "n"):
        o, m = attncc.compile(source.format(axis), pattern="f")(q)
        torch.testing.assert_close(o, expected)
        assert torch.equal(m, seen)


def test_an_axis_bound_by_one_argument_is_bound_for_the_next() -> None:
    """q binds i to n, beside h and d; k has its keys in front of them, which are then all that is left for j."""
    op = attncc.compile("""
        pattern f(x[n, (u w)]; heads: int) -> o[n, (u w)] where u = heads {
          k = 2 * x
          o = core[h = u, d = w](x, k, k)
        }
        pattern core(q[i, h, d], k[h, j, d], v[h, j, d]) -> o[i, h, d] {
          attend o over j { score dot(q, k)  normalize softmax  mix v }
        }
    """, pattern="f", heads=2)
    x = torch.randn(5, 6, dtype=torch.float64)
    q = x.reshape(5, 2, 3).transpose(0, 1)
    expected = ((2 * q @ q.mT).softmax(-1) @ (2 * q)).transpose(0, 1).reshape(5, 6)
    torch.testing.assert_close(op(x), expected)


def test_an_axis_named_as_a_direct_sum_binds_to_one() -> None:
    """Formal r = a ++ (b c) meets the caller's direct sum, whatever the order of the argument's axes; its parts get their names."""
    op = attncc.compile("""
        pattern f(x[m, p], y[u, w, p]) -> o[p] { o = total(concat[m ++ (u w)](x, y)) }
        pattern total(z[p, r]) -> o[p] where r = a ++ (b c) {
          s, t = split(z)
          o = sum[a](s) + sum[b, c](t * b * c)
        }
    """, pattern="f")
    x, y = torch.randn(2, 4, dtype=torch.float64), torch.randn(3, 5, 4, dtype=torch.float64)
    weights = torch.arange(3.0)[:, None] * torch.arange(5.0)
    torch.testing.assert_close(op(x, y), x.sum(0) + (y * weights[..., None]).sum((0, 1)))


def test_a_linear_map_of_a_linear_map_with_square_weights() -> None:
    """Both weights are w[c, c']: the inner sum runs over c' too, and must not catch the index of the outer one."""
    op = attncc.compile("""
        pattern f(x[b, c], u[c, c'], w[c, c'], v[c]) -> y[b, c] { y = linear(linear(x, u, v), w, v) }
    """)
    x, u, w, v = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, 3), (3, 3), (3, 3), (3,)))
    torch.testing.assert_close(op(x, u, w, v), (x @ u.T + v) @ w.T + v)


def test_a_primed_argument_keeps_its_own_sums() -> None:
    """A definition reads its argument at n'; the argument is a sum over n' itself."""
    op = attncc.compile("""
        define gap[n, m](t) = sum[m](t - t[n = m])
        pattern f(x[n], w[n, n']) -> y[n] { y = gap[n, n'](sum[n'](w * x')) }
    """)
    x, w = torch.randn(3, dtype=torch.float64), torch.randn(3, 3, dtype=torch.float64)
    t = w @ x
    torch.testing.assert_close(op(x, w), 3 * t - t.sum())


def test_renaming_the_axes_of_a_bundle() -> None:
    """Primes stay, sizes in `where` follow, a stored 1 may take an axis's place, nested bundles are renamed from the inside out."""
    op = attncc.compile("""
        bundle square(w[u, u'])
        bundle net(first[l1, u], *: square, out[o, u], rate[l]) where l1 = l + 1
        pattern f(a_*: net(o = 1), b_*: net(u = v, l = k, l1 = k1, o = t)) -> y[u, v, t] {
          a = sum[u', l1](a_w * a_first') * a_out * sum[l](a_rate)
          b = sum[v', k1](b_w * b_first') * b_out * sum[k](b_rate)
          y = a * b
        }
    """)
    given = {"first": (2, 3), "w": (3, 3), "out": (1, 3), "rate": (1,)}, {"first": (3, 2), "w": (2, 2), "out": (4, 2), "rate": (2,)}
    a, b = ({n: torch.randn(*s, dtype=torch.float64) for n, s in shapes.items()} for shapes in given)
    left, right = ((t["w"] @ t["first"].sum(0)) * t["out"] * t["rate"].sum() for t in (a, b))
    named = {f"{p}_{n}": t for p, ts in (("a", a), ("b", b)) for n, t in ts.items()}
    torch.testing.assert_close(op(**named), torch.einsum("u,tv->uvt", left[0], right))
    with pytest.raises(attncc.AttnError):
        op(**{**named, "b_first": b["first"][:2]})


def test_overloads_are_told_apart_by_what_an_enum_admits() -> None:
    """An enum of several values is a key too, and a literal truth value with a default need not be given."""
    source = """
        pattern f(x[a]; kind: "p" | "q") -> y[a] { y = where(kind == "p", x, 2 * x) }
        pattern f(x[a]; kind: "r", fast: false = false) -> y[a] { y = 3 * x }
        pattern f(x[a]; kind: "r", fast: true) -> y[a] { y = 4 * x }
    """
    x = torch.ones(2)
    for params, factor in (({"kind": "p"}, 1), ({"kind": "q"}, 2), ({"kind": "r"}, 3), ({"kind": "r", "fast": True}, 4)):
        assert torch.equal(attncc.compile(source, **params)(x), factor * x)
    with pytest.raises(attncc.AttnError, match=r"kind='p' \| 'q'"):
        attncc.compile(source, kind="s")


def test_an_axis_named_as_a_product_binds_factor_by_factor() -> None:
    """Formal n = (r s) meets the caller's n, whose factors have other names; without one, its factors bind by themselves."""
    op = attncc.compile("""
        pattern f(x[b, n], w[u, v]) -> y[b, n], z[b, u, v] where n = (u v) {
          y = weigh(x, w)
          z = weigh(2 * x, w)
        }
        pattern weigh(x[b, n], w[r, s]) -> y[b, n] where n = (r s) { y = x * w + r * s.size + s }
    """, pattern="f")
    x, w = torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    y, z = op(x, w)
    torch.testing.assert_close(y, x * w.reshape(6) + torch.arange(6))
    torch.testing.assert_close(z, (2 * x * w.reshape(6) + torch.arange(6)).reshape(2, 2, 3))
