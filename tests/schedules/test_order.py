"""Separable stages, what both orders of mixing cost, and which one runs."""

from __future__ import annotations

import pytest
from attends import op
from state_cases import FEATURES, GROUPED, MASKS, NORMALIZERS, linear

import attncc
from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Const, Index, Read
from attncc.ir.nodes import Attend, Program
from attncc.ir.pairs import PairStage
from attncc.passes.fuse import fuse
from attncc.passes.separate import Causal, groups, separate
from attncc.schedules.mixing import Mixing, mixing
from attncc.schedules.plan import Fused, plan
from attncc.tile.show import show


def node_of(program: Program) -> Attend:
    return next(n for n in program.nodes if isinstance(n, Attend))


def stage_of(text: str) -> PairStage:
    program = op(text).ir
    return fuse(program, node_of(program)).stages[-1]


def order_of(text: str) -> Mixing:
    program = op(text).ir
    return mixing(program, node_of(program))


@pytest.mark.parametrize(
    "mask, offset, reverse",
    [
        ("causal", 0, False), ("strict", -1, False), ("reversed", 0, True), ("strictly reversed", 1, True), ("band above", 5, False),
        ("band below", -9, False), ("reversed, shifted", -3, True),
    ],
)  # fmt: skip
def test_one_order_of_keys_and_rows(mask: str, offset: int, reverse: bool) -> None:
    assert separate(stage_of(linear(MASKS[mask]))).causal == Causal("i", "j", Const(offset), reverse)


def test_factors_of_rows_and_of_keys() -> None:
    found = separate(stage_of(linear("mask j <= i and j < n", factor=" * (a + g)", more=", a[b, h, i], g[b, h, j], n[b]: int")))
    pieces = found.pieces["o"]
    assert len(pieces) == 2 and found.keys is not None and found.rows is None
    read = {name: Read(name, tuple(map(Index, ("b", "h", axis))), "float") for name, axis in (("a", "i"), ("g", "j"))}
    assert {(p.row, p.key) for p in pieces} == {(read["a"], Const(1)), (Const(1), read["g"])}
    assert all(p.product is not None and p.by is not None for p in pieces)


def test_a_state_as_wide_as_its_keys_has_a_twin_axis() -> None:
    assert separate(stage_of(GROUPED)).twins == {"d_in": "d"}
    assert separate(stage_of(linear())).twins == {}


@pytest.mark.parametrize(
    "mask, normalize, factor, why",
    [
        ("", "softmax", "", "share a softmax"),
        ("", "relu(s) ^ 2", "", "not linear in dot products"),
        ("", "identity", " * dot(q, k)", "not linear in one dot product"),
        ("", "identity", " * abs(i - j)", "depends on both row and key"),
        ("mask abs(i - j) < 8", "identity", "", "neither absent nor one order"),
        ("mask j <= i and i < j + 8", "identity", "", "neither absent nor one order"),
    ],
)
def test_what_is_not_separable(mask: str, normalize: str, factor: str, why: str) -> None:
    with pytest.raises(AttnUnsupportedError, match=why):
        separate(stage_of(linear(mask, normalize, factor)))
    found = order_of(linear(mask, normalize, factor))
    assert found.right is None and why in found.reason and found.choose({}) == "left"


def test_the_order_follows_from_the_sizes() -> None:
    sizes = {"b": 1, "h": 8, "d": 64, "e": 64}
    for mask, flip in (("", 128), ("mask j <= i", 384)):
        found = order_of(linear(mask, order="auto"))
        assert found.right is not None and found.right.flips_at(sizes, ("i", "j")) == flip + 1
        assert found.choose({**sizes, "i": flip, "j": flip}) == "left"
        assert found.choose({**sizes, "i": flip + 1, "j": flip + 1}) == "right"
    assert order_of(linear(order="left")).right is None
    assert order_of(linear(order="right")).choose({**sizes, "i": 1, "j": 1}) == "right"


def test_explain_and_headers_say_which_order_and_why() -> None:
    made = op(linear("mask j <= i", order="auto"))
    text = str(made.explain())
    assert "from 385 rows and keys on for d = 64, e = 64" in text and "causal: states in chunks" in text
    assert "costs less from 385 rows and keys on for d = 64, e = 64" in made.source()
    assert "as the pattern says" in str(op(linear(order="left")).explain())
    assert "from the right, (Q)(K V), as the pattern says" in str(op(linear()).explain())


def test_gradients_of_keys_share_one_state() -> None:
    from attncc.schedules.backward import differentiated

    made = differentiated(op(linear("mask j <= i")).ir, ["o"])
    assert made is not None
    steps = [s for s in made.backward(["q", "k", "v"], ["o"]).plan.steps if isinstance(s, Fused)]
    rights = [s.right for s in steps if s.right is not None]
    keys = next(f for r in rights for f in r.forms if len(f.stage.sums) == 2)
    assert len(keys.states) == 1 and keys.sep.causal is not None and keys.sep.causal.reverse
    assert len(groups(keys.stage)) == 2


@pytest.mark.parametrize("text", [linear(), linear("mask j > i", NORMALIZERS["row sum"]), GROUPED, FEATURES])
def test_programs_from_the_right(text: str) -> None:
    """Nothing is stored but outputs and states of chunks."""
    program = op(text).ir
    step = plan(program, [o.name for o in program.outputs]).steps[-1]
    assert isinstance(step, Fused) and step.right is not None
    chunk = {form.chunk for form in step.right.forms}
    for kernel in step.right.kernels:
        for arg in kernel.args:
            if arg.role != "in" and "i" in arg.axes:
                assert arg.name == "o"
            if arg.role != "in" and "j" in arg.axes:
                raise AssertionError(show(kernel))
    assert any(chunk & set(a.axes) for k in step.right.kernels for a in k.args)
    carried = [k for k in step.right.swept if k.sweep]
    assert all("carry" in show(k) and "one tile after the other" in show(k) for k in carried)
    assert bool(carried) == (node_of(program).segments[0].mask is not None)


def test_linear_runs_from_the_right() -> None:
    made = attncc.load("linear", causal=True)
    assert "the right where" in str(made.explain())
