"""How the axes of a called pattern meet the caller's: which one is which is never a guess."""

from __future__ import annotations

import pytest
import torch

import attncc

SHARES = "pattern shares(x[r, c]) -> y[r, c] { y = x / sum[c](x) }\n"
PAIRS = "pattern pairs(q[i, d], k[j, d]) -> o[i, j] { o = dot(q, k) }\n"


def compiled(text: str) -> attncc.Op:
    """The pattern f of a text."""
    return attncc.compile(text, pattern="f")


def x(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64) + 0.1


@pytest.mark.parametrize(
    ("dims", "call", "dim"),
    [
        ("c, r", "shares(x)", 0),  # by name, wherever they stand
        ("b, r", "shares(x)", 0),  # r by name, the one left over is c
        ("rows, cols", "shares(x)", 1),  # in order, the names agree
        ("u, w", "shares[r = u, c = w](x)", 1),
        ("u, w", "shares[c = u](x)", 0),  # one said, one left over
        ("w, r", "shares[c = r](x)", 1),  # what is said comes before the name
        ("c, r", "shares[r = c, c = r](x)", 1),
    ],
)
def test_each_axis_binds_to_the_one_that_is_meant(dims: str, call: str, dim: int) -> None:
    a = x(2, 3)
    got = compiled(f"pattern f(x[{dims}]) -> y[{dims}] {{ y = {call} }}\n" + SHARES)(a)
    torch.testing.assert_close(got, a / a.sum(dim, keepdim=True))


@pytest.mark.parametrize(
    ("head", "call", "words"),
    [
        ("x[u, w]", "shares(▸x)", "which axis of argument 'x' is 'r', 'c' of 'shares'? It has u, w left over"),
        ("x[cols, rows]", "shares(▸x)", "It has cols, rows left over"),  # the names speak against the order
        ("x[r0, w]", "shares(▸x)", "It has r0, w left over"),
        ("x[a, u, w]", "shares[r = a](▸x)", "is 'c' of 'shares'? It has u, w left over"),  # which of them is the batch?
        ("x[u]", "shares(▸x)", "lacks 1 of the axes 'r', 'c'"),
        ("x[r]", "shares(▸x)", "lacks the axis 'c' (it has r)"),
        ("x[u, w], z[n]", "shares[▸r = n](x)", "has no axis 'n', so it is not 'r'"),
        ("x[u, w]", "shares[r = u, ▸c = u](x)", "already binds axis 'u', so it is not 'c'"),
        ("x[u, w]", "shares[▸z = u](x)", "no axis 'z'"),
        ("x[u, w]", "shares[r = u, ▸r = w](x)", "bound twice"),
        ("x[u, w]", "shares[▸u, w](x)", "shares[i = n](..)"),
        ("x[u, w]", "shares[r = ▸z](x)", "unknown axis 'z'"),
        ("x[u, w]", "shares[r = u | ▸u < 2](x)", "hold axes alone"),
        ("x[u, w]", "shares[r = u else ▸0](x)", "hold axes alone"),
    ],
)
def test_an_axis_in_doubt_is_an_error_that_says_how_to_name_it(head: str, call: str, words: str) -> None:
    text = f"pattern f({head}) -> y {{ y = sum({call}) }}\n"
    with pytest.raises(attncc.AttnError) as found:
        _ = compiled(text.replace("▸", "") + SHARES).ir
    assert words in str(found.value)
    assert (found.value.line, found.value.column) == (1, text.index("▸") + 1)


def test_an_error_of_several_left_over_names_them_all_and_the_brackets_to_write() -> None:
    with pytest.raises(attncc.AttnTypeError) as found:
        _ = compiled("pattern f(x[u, w]) -> y[u, w] { y = shares(x) }\n" + SHARES).ir
    assert found.value.help == "say it in brackets, shares[r = .., c = ..](..), each one of u or w"


def test_axes_of_a_pack_bind_in_order() -> None:
    a = x(2, 3)
    for text in (
        "pattern f(x[*g]; n: int[*g] = 0) -> y[*g] { y = shares(x) }\n" + SHARES,
        "pattern f(x[u, w]) -> y[u, w] { y = any_rank(x) }\npattern any_rank(x[*g]) -> y[*g] { y = x / sum[*g](x) }\n",
    ):
        got = compiled(text)(a)
        torch.testing.assert_close(got, a / (a.sum(1, keepdim=True) if "shares" in text else a.sum()))


def test_a_primed_axis_follows_its_axis() -> None:
    """The map of n and n' is one of r and r', also where its dims stand the other way round."""
    source = """
        pattern f(p[n, n']) -> y[n, n'] {{ y = {} }}
        pattern rows(p[r, r']) -> y[r, r'] {{ y = p / sum[r'](p) }}
    """
    a = x(3, 3)
    torch.testing.assert_close(compiled(source.format("rows(p)"))(a), a / a.sum(1, keepdim=True))
    turned = compiled(source.format("rows(p[n = n', n' = n])"))(a)
    torch.testing.assert_close(turned, a.mT / a.sum(0)[:, None])


def test_an_axis_of_the_same_name_further_out_is_another_one() -> None:
    """`mid` calls b and n what `f` calls c and r: inside it, the c of `shares` is n, the axis left over."""
    a = x(2, 3)
    got = compiled(
        "pattern f(x[c, d]) -> y[c, d] { y = mid(x) }\npattern mid(x[c, n]) -> y[c, n] { y = shares[r = n](x) }\n" + SHARES
    )
    torch.testing.assert_close(got(a), a / a.sum(0))
    inner = "pattern mid(x[b, n]) -> y[b, n] { y = last(x) }\npattern last(x[d, n]) -> y[d, n] { y = x / sum[n](x) }\n"
    got = compiled("pattern f(x[b, d]) -> y[b, d] { y = mid(x) }\n" + inner)
    torch.testing.assert_close(got(a), a / a.sum(1, keepdim=True))


def test_a_batch_axis_of_the_caller_stays_a_batch_axis() -> None:
    """`mid` runs once for each c of `f`; the c of `shares` is never that one."""
    text = "pattern f(x[c, i, k]) -> y[c, i, k] { y = mid[r = i](x) }\npattern mid(x[r, k]) -> y[r, k] { y = shares(x) }\n"
    a = x(2, 3, 4)
    torch.testing.assert_close(compiled(text + SHARES)(a), a / a.sum(2, keepdim=True))


def test_two_axes_bound_to_one_must_have_one_size() -> None:
    op = compiled("pattern f(q[i, d], k[j, e]) -> o[i, j] { o = pairs(q, k) }\n" + PAIRS)
    q, k = x(2, 4), x(3, 4)
    torch.testing.assert_close(op(q, k), q @ k.mT)
    for size in (3, 5):
        with pytest.raises(attncc.AttnValueError, match="axes d, e both are 'd' of 'pairs', and differ in size"):
            op(q, x(3, size))


def test_one_axis_bound_to_two_is_copied() -> None:
    a = x(3, 4)
    for call in ("pairs(x, x)", "pairs[i = n, j = n](x, x)"):
        text = f"pattern f(x[n, d]) -> o {{ o = sum({call} ^ 2) }}\n" + PAIRS
        torch.testing.assert_close(compiled(text)(a), ((a @ a.mT) ** 2).sum())


def test_an_earlier_argument_binds_an_axis_for_the_next() -> None:
    """x makes i a u; in y, where i stands last, only w is left for j."""
    text = """
        pattern f(x[u, d], y[w, u]) -> o[u, w] { o = scaled(x, y) }
        pattern scaled(x[i, d], y[i, j]) -> o[i, j] { o = y * sum[d](x) }
    """
    a, b = x(2, 4), x(3, 2)
    torch.testing.assert_close(compiled(text)(a, b), b.mT * a.sum(1)[:, None])


def test_a_pattern_takes_no_pair_values() -> None:
    """Its statements are no part of the attend; a definition is inlined and may."""
    text = "pattern f(q[i, d], k[j, d]) -> o[i, d] {{ attend o over j {{ score dot(q, k)   normalize w(s)   mix k }} }}\n{}"
    with pytest.raises(attncc.AttnTypeError, match="takes no pair values of an attend"):
        _ = compiled(text.format("pattern w(s[j]) -> p[j] { p = exp(s) }")).ir
    a, b = x(2, 4), x(3, 4)
    torch.testing.assert_close(compiled(text.format("define w(s) = exp(s)"))(a, b), (a @ b.mT).exp() @ b)
