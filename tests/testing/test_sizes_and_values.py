"""Sizes that fit a pattern, and data that it takes."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.ir.sizes import check, solve
from attncc.testing.calls import LAYOUTS, laid_out, program_of, sample, sample_inputs
from attncc.testing.lengths import choose_sizes, roles, sensible
from attncc.testing.values import bounds, decides_on_data, shapes

HEADS = """
pattern heads_of(x[b, n, c], w[(h d), c], rel[r: 2 * win - 1, d]; heads: int, win: int = 3) -> y[b, n, (h d)]
where h = heads, d = c / h {
  require n >= win, n mod win == 0, c > 3
  y = linear(x, w)
}
"""


@pytest.mark.parametrize("heads", [1, 2, 3, 5])
def test_equations_and_requirements_hold(heads: int) -> None:
    program = program_of(attncc.compile(HEADS, heads=heads))
    sizes = choose_sizes(program, lambda axis: 4)
    assert sizes["h"] == heads and sizes["d"] * heads == sizes["c"] > 3
    assert sizes["n"] % 3 == 0 and sizes["r"] == 5
    again = solve(program, shapes(program, sizes))
    assert {a: again[a] for a in sizes} == sizes
    check(program, again)


def test_wishes_are_kept_where_they_fit() -> None:
    program = program_of(attncc.compile(HEADS, heads=2))
    sizes = choose_sizes(program, lambda axis: {"n": 9, "c": 6, "b": 5}.get(axis, 1))
    assert (sizes["n"], sizes["c"], sizes["b"]) == (9, 6, 5)
    near = choose_sizes(program, lambda axis: {"n": 10, "c": 7}.get(axis, 1))
    assert near["n"] == 9 and near["c"] in (6, 8), "the nearest length that fits"


def test_fixed_sizes() -> None:
    program = program_of(attncc.compile(HEADS, heads=2))
    assert choose_sizes(program, lambda axis: 4, {"d": 5, "n": 6})["d"] == 5
    with pytest.raises(attncc.AttnShapeError, match=r"no sizes were found .* with n = 7"):
        choose_sizes(program, lambda axis: 4, {"n": 7})
    with pytest.raises(attncc.AttnNameError, match="no axis 'zz'"):
        choose_sizes(program, lambda axis: 4, {"zz": 7})


def test_what_can_not_be_satisfied_ends_soon() -> None:
    text = "pattern never(a[i, j, k, l, m, n]) -> o[i] { require j > 2 * j\n o = sum[j, k, l, m, n](a) }"
    with pytest.raises(attncc.AttnShapeError, match="must hold"):
        choose_sizes(program_of(attncc.compile(text)), lambda axis: 3)


def test_roles() -> None:
    program = program_of(attncc.load("softmax"))
    found = roles(program)
    assert found["i"] == "query" and found["j"] == "key" and found["d"] == found["e"] == "feature"
    assert not {"b", "g", "r"} & found.keys(), "batch and heads are neither, query heads in a group included"
    wish = sensible(program, 100, 16)
    assert [wish(a) for a in ("i", "j", "d", "b")] == [100, 100, 16, 2]
    grid = program_of(attncc.load("neighborhood2d"))
    assert sensible(grid, 100, 16)("y") == 10


def test_assumptions_bound_the_data() -> None:
    text = """pattern bounded(x[i], t[i], n[b]: int, keep[i]: bool) -> o[b, i] {
      assume x > 0.5, t >= 0, t < 1, n >= 2, n <= i.size
      o = x * t * where(keep, 1, 0) + n
    }"""
    made = sample(attncc.compile(text), sizes={"i": 50, "b": 40})
    found = bounds(made.program, made.sizes)
    assert (found["x"].low, found["t"].low, found["t"].high, found["n"].low, found["n"].high) == (0.5, 0, 1, 2, 50)
    x, t, n, keep = (made.tensors[k] for k in ("x", "t", "n", "keep"))
    assert (x > 0.5).all() and (t >= 0).all() and (t < 1).all() and (n >= 2).all() and (n <= 50).all()
    assert n.max() > 40 and keep.dtype == torch.bool and 0 < keep.double().mean() < 1


def test_positions_stay_inside() -> None:
    text = "pattern pick(x[t, d], at[n]: int) -> o[n, d] { o = x[t = at] }"
    made = sample(attncc.compile(text), sizes={"t": 7, "n": 500})
    assert made.tensors["at"].min() == 0 and made.tensors["at"].max() == 6
    moved = "pattern pick(x[t, d], at[n]: int) -> o[n, d] { o = x[t = at + 3] }"
    tensors = sample_inputs(attncc.compile(moved), sizes={"t": 7, "n": 50})
    attncc.compile(moved)(**tensors)


def test_no_data_is_an_error_that_says_why() -> None:
    text = "pattern bad(x[i]) -> o[i] { assume x > 0, x < 0\n o = x }"
    with pytest.raises(attncc.AttnValueError, match=r"no sample data were found .*does not hold"):
        sample_inputs(attncc.compile(text))


def test_equal_arguments_give_equal_tensors() -> None:
    op = attncc.load("softmax", mask_kind="bool")
    one, two, other = (sample_inputs(op, seed) for seed in (3, 3, 4))
    assert one.keys() == two.keys() == {"q", "k", "v", "mask"}
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert not torch.equal(one["q"], other["q"])
    wide, narrow = (sample_inputs(op, 3, dtype=d)["q"] for d in (torch.float64, torch.float32))
    assert torch.equal(wide.float(), narrow), "the same data in every dtype"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    t = torch.arange(24.0).reshape(2, 3, 4)
    moved = laid_out(t, layout)
    assert torch.equal(moved, t)
    assert moved.is_contiguous() == (layout in ("contiguous", "offset"))
    assert (moved.storage_offset() > 0) == (layout == "offset")


def test_optional_inputs() -> None:
    op = attncc.load("neighborhood", window=3)
    assert set(sample_inputs(op)) == {"q", "k", "v"}
    assert set(sample_inputs(op, optional=("extra_k", "extra_v"))) == {"q", "k", "v", "extra_k", "extra_v"}
    with pytest.raises(attncc.AttnNameError, match="no input 'extra'"):
        sample_inputs(op, optional=("extra",))
    with pytest.raises(attncc.AttnValueError):
        sample_inputs(op, optional=("extra_k",))
    assert sample_inputs(op, rank=1)["q"].dim() == 4 and sample_inputs(op, rank=3)["q"].dim() == 6


def test_which_programs_decide_on_data() -> None:
    assert decides_on_data(program_of(attncc.compile("pattern a(x[i]) -> o[i] { o = where(x > 0, x, 1) }")))
    assert decides_on_data(program_of(attncc.compile("pattern a(x[n]) -> o[w]: int where w = 2 { o = topk[n -> w](x) }")))
    assert not decides_on_data(program_of(attncc.load("softmax", causal=True)))
