"""Linear attends from the right by Triton kernels, both passes, and compiled for sm_90."""

from __future__ import annotations

from dataclasses import replace

import pytest
from attends import op
from attncc.backends.triton.bounds import feature_sizes, phases
from attncc.backends.triton.machine import Worker
from attncc.backends.triton.settle import settle
from state_cases import FEATURES, MASKS, NORMALIZERS, featured, grouped, linear, qkv
from state_cases import GROUPED as _GROUPED
from triton_cases import agree
from triton_cases import agree_both as both_agree

from attncc.schedules.plan import Fused

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
GROUPED = _GROUPED.replace(", keep[b, j]: bool", "").replace(" and keep", "")


@pytest.mark.parametrize("mask", ["none", "causal", "strictly reversed", "band below"])
def test_masks(mask: str) -> None:
    made = op(linear(MASKS[mask], NORMALIZERS["row sum"]))
    for i, j in ((150, 150), (37, 70), (1, 0)):
        runner = agree(made, qkv(i, j, b=1, h=1))
    text = next(iter(runner._modules.values()))[0].text
    assert "launch_o_from_the_right" in text and "from the right, (Q)(K^T V)" in text


def test_groups_with_keys_left_out() -> None:
    agree(op(_GROUPED), grouped(70, 70))


@pytest.mark.parametrize("mask", ["none", "causal"])
def test_gradients(mask: str) -> None:
    both_agree(op(linear(MASKS[mask])), qkv(70, 70, h=1))


def test_gradients_of_groups_and_features() -> None:
    inputs = grouped(40, 40)
    del inputs["keep"]
    both_agree(op(GROUPED), inputs)
    both_agree(op(FEATURES), featured(70, 70), needs=("q", "k", "v"))


@pytest.mark.parametrize("head", [64, 128])
def test_no_register_is_spilled_on_sm90(head: int) -> None:
    """Causal, both passes, bf16: no spill, every product of tiles a wgmma, and no sum of pairs that is not from the right."""
    made = op(linear(MASKS["causal"]))
    seen = 0
    with Worker() as worker:
        for _, plan in phases(made.ir, ["o"]):
            steps = tuple(replace(s, kernels=s.right.kernels, right=None) for s in plan.steps if isinstance(s, Fused) and s.right)
            sizes = feature_sizes(plan, {"d": head, "e": head})
            done = settle(replace(plan, steps=steps), sizes, "cuda:90", "bf16", worker)
            for kernel in done.module.kernels:
                seen += 1
                compiled = done.compiled[kernel.name]
                assert compiled.spills == 0, kernel.name
                if "tl.dot" in kernel.text:
                    assert "wgmma.mma_async" in compiled.assembly and "mma.sync" not in compiled.assembly, kernel.name
    assert seen == 10
