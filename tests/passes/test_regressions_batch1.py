"""Regression tests of resolve and of the eager backend, each on the smallest pattern that shows the point."""

from __future__ import annotations

import torch

import attncc


def test_an_axis_that_only_an_absent_input_has_is_absent() -> None:
    """A definition called over such an axis gives something absent, which ?? catches."""
    op = attncc.compile("""
        define twice[s -> t](x) = 2 * x[s = t]
        pattern f(x[a], m[c]?) -> y[a] { y = x + (twice[c -> a](m) ?? 1) + (sum[c](m) ?? 10) }
    """)
    x = torch.arange(3.0)
    assert torch.equal(op(x), x + 11)
    m = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(op(x, m), x + 2 * m + 6)


def test_a_such_that_with_something_absent_makes_the_reduction_absent() -> None:
    """The output is a float, whatever it is worked out from."""
    op = attncc.compile("pattern f(x[a], m[a]?: bool) -> y { y = count[a | m]() ?? 30 }")
    x = torch.zeros(3)
    assert op(x).item() == 30
    assert op(x, torch.tensor([True, False, True])).item() == 2


def test_an_axis_that_only_an_output_that_is_off_has_is_absent() -> None:
    op = {
        on: attncc.compile("""
            pattern f(x[a]; n: int?) -> y[a], top[r]: int if present(n) where r = n if present(n) {
              require r >= 1
              y = x
              top = topk[a -> r](x)
            }
        """, n=2 if on else None)
        for on in (True, False)
    }  # fmt: skip
    x = torch.tensor([1.0, 5.0, 3.0])
    assert op[True](x).top.tolist() == [1, 2]
    assert torch.equal(op[False](x), x)


def test_a_family_of_one_takes_the_one_part_of_a_split() -> None:
    text = """
        pattern f(x[s]; n: int) -> y[c{0}] where c{k in 0 .. n - 1} = 2, s = concat{k in 0 .. n - 1}(c{k}) {
          g{k in 0 .. n - 1} = split(x)
          y = 3 * g{0}
        }
    """
    for n in (1, 2):
        assert torch.equal(attncc.compile(text, n=n)(torch.arange(2.0 * n)), torch.tensor([0.0, 3.0]))


def test_a_call_of_several_outputs_stands_for_the_first_inside_an_expression() -> None:
    op = attncc.compile("""
        pattern f(x[a]) -> y[a], z { y = 2 * x   z = sum(x) }
        pattern g(x[a]) -> y[a] { y = 1 + f(x) + f(x)[a = 0] }
    """, pattern="g")  # fmt: skip
    assert torch.equal(op(torch.tensor([1.0, 5.0])), torch.tensor([5.0, 13.0]))


def test_the_signature_of_an_output_counts_as_its_brackets() -> None:
    """It binds the primed axes, and gives the order of the axes, so that dot contracts the last one."""
    op = attncc.compile("""
        pattern f(w[d, c], x[b, n, c]) -> y[b, n, d], gram[b, n, n'] {
          y = sum[c](w * x)
          gram = dot(y, y')
        }
    """)  # fmt: skip
    w, x = torch.randn(3, 4), torch.randn(2, 5, 4)
    y, gram = op(w, x)
    assert torch.allclose(y, x @ w.T)
    assert torch.allclose(gram, y @ y.mT)
