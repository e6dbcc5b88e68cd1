"""Parts of a tile that no row of a vector admits: bounds found in masks, and results that do not depend on what is left out."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, qkv
from attncc.backends.cpu.narrow import Bound, bounds, rises
from attncc.backends.cpu.printing import print_kernel
from cpu_cases import agree, agree_both

import attncc
from attncc.ir.expr import Apply, Const, Index, Read
from attncc.schedules.plan import Fused, plan

I, J, M = Index("i"), Index("j"), Index("m")
MASKS = {
    "window": "mask j <= i and i <= j + 20",
    "ahead": "mask j >= i + 3 and j < i + 30",
    "spread": "mask j <= 2 * i and j >= 2 * i - 25",
    "moved inside": "mask j >= max(i - 9, 0) and j <= max(i - 9, 0) + 18",
    "two windows": "mask abs(i - j) < 7 or abs(i - j - 40) < 5",
}


def le(a: object, b: object) -> Apply:
    return Apply("le", (a, b))


def test_bounds() -> None:
    def found(mask: Apply) -> list[Bound]:
        return bounds(mask, "j", lambda e: True)

    assert found(le(J, I)) == [Bound(False, I)]
    assert found(le(I, Apply("add", (J, Const(63))))) == [Bound(True, Apply("sub", (I, Const(63))))]
    assert found(Apply("lt", (Apply("sub", (I, J)), Const(5)))) == [Bound(True, Apply("sub", (I, Const(4))))]
    assert found(Apply("gt", (J, I))) == [Bound(True, Apply("add", (I, Const(1))))]
    assert {b.low for b in found(Apply("eq", (J, I)))} == {True, False}
    assert found(Apply("or", (le(J, I), le(I, J)))) == []
    assert found(le(Apply("mul", (Const(2), J)), I)) == []
    assert bounds(le(J, M), "j", lambda e: e != M) == []


def test_which_way_a_bound_goes() -> None:
    less = Apply("sub", (I, Const(9)))
    assert rises(I, "i") == 1 and rises(M, "i") == 0 and rises(Read("lo", (), "int"), "i") == 0
    assert rises(Apply("neg", (less,)), "i") == -1 and rises(Apply("mul", (Const(-2), less)), "i") == -1
    assert rises(Apply("max", (less, Const(0))), "i") == 1
    assert rises(Apply("sub", (less, I)), "i") is None and rises(Apply("abs", (less,)), "i") is None


def text(made: attncc.Op, out: str) -> str:
    """The forward kernel of an attend."""
    kernel = next(s for s in plan(made.ir, (out,)).steps if isinstance(s, Fused)).kernels[0]
    return print_kernel(kernel, {"d": 64, "e": 64}, 32, 32).text


def softmax(**params: object) -> str:
    return text(attncc.load("softmax", **params), "core")


def test_who_has_spans() -> None:
    assert "product_of_spans" not in softmax() and "_ask" not in softmax()
    for params in ({"causal": True}, {"causal": True, "window_left": 63}):
        made = softmax(**params)
        assert "product_of_spans" in made and "product_within" in made and "call.ask" in made
        assert "least_lane" not in made and "greatest_lane" not in made


@pytest.mark.parametrize(("mask", "sure"), [("window", True), ("moved inside", True), ("spread", True), ("two windows", False)])
def test_keys_that_all_rows_of_a_vector_admit_are_not_tested(mask: str, sure: bool) -> None:
    def made(mask: str) -> str:
        return text(op(attend(f"score s = dot(q, k) / 4\n{mask}\nnormalize softmax\nmix v")), "o")

    assert ("unsure" in made(MASKS[mask])) == sure
    assert "unsure" not in made(f"{MASKS[mask]} and (i + j) mod 3 != 0")


def test_rows_are_scaled_where_they_are_loaded() -> None:
    made = softmax(causal=True).split("#if LANES_COUNT")[0]  # few rows have a kernel of their own
    assert made.count("load_columns_by(") == 1 and "load_columns(" not in made


@pytest.mark.parametrize(("mask", "normalize"), [*((m, "softmax") for m in MASKS.values()), (MASKS["window"], "sigmoid")])
def test_windows(mask: str, normalize: str) -> None:
    made = op(attend(f"score s = dot(q, k) / 4\n{mask}\nnormalize {normalize}\nmix v"))
    inputs = {n: t.double() for n, t in qkv(i=101, j=131).items()}
    for i, j in ((48, 131), (96, 37), (16, 64)):
        agree(made, inputs, boxes=lambda *_, i=i, j=j: {"i": i, "j": j})


def test_gradients() -> None:
    for mask in ("window", "moved inside"):
        agree_both(op(attend(f"score s = dot(q, k) / 4\n{MASKS[mask]}\nnormalize softmax\nmix v")), qkv(i=101, j=131))


def test_more_owners_than_one_asks_for() -> None:
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, 3, 500, 8, generator=generator) for _ in range(3))
    agree(attncc.load("softmax", causal=True, window_left=12), {"q": q, "k": k, "v": v}, boxes=lambda *_: {"i": 16, "j": 28})
    wide = {n: torch.randn(1, 1, 240, 256, generator=generator, dtype=torch.float64) for n in ("q", "k", "v")}
    agree(attncc.load("softmax", causal=True, window_left=100), wide, boxes=lambda *_: {"i": 96, "j": 196})
    dilated = attncc.load("neighborhood2d", window=5, dilation=2)
    grid = {n: t[:, :, :440].unflatten(2, (20, 22)) for n, t in (("q", q), ("k", k), ("v", v))}
    agree(dilated, grid)
