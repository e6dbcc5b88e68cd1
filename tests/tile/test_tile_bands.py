"""How sums by key are dealt out: where bands are legal, what they own, and when they are chosen."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attends import op
from keyed_cases import TABLES

from attncc.errors import AttnInternalError
from attncc.ir.expr import Index
from attncc.ir.pairs import PairStage
from attncc.ir.sizes import scalar
from attncc.schedules.backward import differentiated
from attncc.schedules.keyed import why_no_bands
from attncc.schedules.plan import Fused
from attncc.tile import bands
from attncc.tile.nodes import Program, Store, statements
from attncc.tile.show import show
from attncc.tile.verify import verify


def kernel(name: str) -> tuple[PairStage, Program]:
    """The stage of a case's table gradient, and its program."""
    text, inputs = TABLES[name]
    program = op(text).specialise({n: t.dim() for n, t in inputs.items()})
    made = differentiated(program, ["o"])
    assert made is not None
    plan = made.backward([n for n, t in inputs.items() if t.is_floating_point()], ["o"]).plan
    steps = [s for s in plan.steps if isinstance(s, Fused)]
    stage = next(s for step in steps for s in step.stages if s.keyed)
    return stage, next(k for step in steps for k in step.kernels if k.name == stage.name)


@pytest.mark.parametrize(
    ("name", "over"), [("difference", "c"), ("clamped", "c"), ("plane", "g"), ("dilated", "c"), ("products with a table", "i")]
)
def test_what_programs_own(name: str, over: str) -> None:
    stage, program = kernel(name)
    assert why_no_bands(stage, {}) == ""
    (cut,) = program.banded
    assert cut.bands is not None and cut.bands.over == over and cut.bands.axis in cut.grid
    (arg,) = [a for a in cut.args if a.role == "sum"]
    assert over not in arg.axes
    assert f"each owns a band of {over}" in show(cut)


@pytest.mark.parametrize(
    ("name", "why"), [("buckets", "no key of"), ("clusters", "no key of"), ("documents", "the mask reads data")]
)
def test_where_bands_are_not_legal(name: str, why: str) -> None:
    stage, program = kernel(name)
    assert why_no_bands(stage, {}).startswith(why) and not program.banded


def test_programs_of_two_groups_have_arrays_of_their_own() -> None:
    """Differences that are multiples of 3 occur in every group of a dilated axis, and groups run at once."""
    _, program = kernel("dilated")
    for one in (program, *program.banded):
        (arg,) = [a for a in one.args if a.role == "sum"]
        assert {a for a in one.grid if a not in ("b", "h")} <= set(arg.axes)
        assert bands.extra(one, arg) == 2


@pytest.mark.parametrize(
    ("sizes", "by_bands"),
    [
        ({"b": 1, "h": 1, "i": 4096, "d": 16}, True),  # memory allows 8 shares; 64 bands
        ({"b": 1, "h": 1, "i": 4096, "d": 64}, False),  # 32 shares
        ({"b": 4, "h": 8, "i": 4096, "d": 16}, False),  # 32 heads of 8 shares each
        ({"b": 1, "h": 1, "i": 4096, "d": 16, "c": 17}, False),  # a small table
        ({"b": 1, "h": 1, "i": 300, "d": 16}, False),  # few tiles
        ({"b": 0, "h": 1, "i": 4096, "d": 16}, False),  # nothing to do
    ],
)
def test_the_rule(sizes: dict[str, int], by_bands: bool) -> None:
    _, program = kernel("difference")
    full = {**sizes, "j": sizes["i"], "e": sizes["d"]}
    full.setdefault("c", 2 * full["i"] - 1)
    assert bool(scalar(bands.cheaper(program, bands.GPU), full)) == by_bands
    assert not scalar(bands.cheaper(program, 2), full), "two processors have enough with two shares"
    (cut,) = program.banded
    assert scalar(bands.count(cut, 64), {**full, "b": 1, "h": 1}) <= 64


def test_atomic_additions_have_one_array_and_no_shares() -> None:
    _, program = kernel("dilated")
    made = verify(bands.atomic(program))
    (arg,) = [a for a in made.args if a.role == "atomic"]
    assert arg.axes == ("b", "h", "c") and not made.shares and not made.banded
    stores = [s for s in statements(made.body) if isinstance(s, Store)]
    assert stores and all(s.index[:2] == (Index("b"), Index("h")) and len(s.index) == 3 for s in stores)
    assert bands.atomic(made) == made


def test_bands_need_axes_of_their_own() -> None:
    _, program = kernel("difference")
    (cut,) = program.banded
    assert cut.bands is not None
    with pytest.raises(AttnInternalError, match="deals out bands"):
        verify(replace(cut, bands=replace(cut.bands, inside="c")))
