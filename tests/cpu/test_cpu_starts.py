"""Sums around a product, taken into the product."""

from __future__ import annotations

import pytest
import torch
from attncc.backends.cpu.printing import print_kernel

import attncc
from attncc.schedules.plan import Fused, plan
from attncc.testing.oracle import check_call

SOURCE = """
pattern f(q[h, i, d], k[h, j, d], v[h, j, e], a[h, i], b[h, j], c[h]) -> o[h, i, e], m[h, i]? {{
  attend o over j {{ score s = {score}   mask {mask}   normalize {normalize}   mix v   emit m = max(s) }}
}}
"""


def compiled(score: str, normalize: str = "sigmoid", mask: str = "true") -> attncc.Op:
    return attncc.compile(SOURCE.format(score=score, normalize=normalize, mask=mask))


def printed(op: attncc.Op, outputs: tuple[str, ...] = ("o",)) -> str:
    made = plan(op.ir, outputs)
    step = next(s for s in made.steps if isinstance(s, Fused) and s.stages)
    return print_kernel(step.kernels[-1], {"d": 8, "e": 5}, 32, 32).text


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    shapes = {"q": (2, 37, 8), "k": (2, 41, 8), "v": (2, 41, 5), "a": (2, 37), "b": (2, 41)}
    return {n: torch.randn(s) for n, s in shapes.items()} | {"c": torch.tensor([0.7, -1.3])}


STARTED = {
    "a number": ("dot(q, k) / 3 - 2.0", "sigmoid"),
    "of the key": ("0.5 - (dot(q, k) * c - b)", "sigmoid"),
    "a distance": ("-dist2(q, k) / c ^ 2", "softmax"),
    "masked": ("dot(q, k) / 3 + b", "sigmoid"),
}


@pytest.mark.parametrize("case", STARTED)
def test_no_arithmetic_is_left_on_the_score(case: str) -> None:
    score, normalize = STARTED[case]
    op = compiled(score, normalize, "j <= i" if case == "masked" else "true")
    text = printed(op)
    lines = [line for line in text.splitlines() if "load(qk" in line]
    assert lines and all(
        not {"- load(qk", "load(qk + x * STRIP + v) -", "load(qk + x * STRIP + v) +", "* load(qk"} & {line} for line in lines
    )
    scores = [line for line in lines if "vexp2" in line or "vrelu" in line]
    assert all("(load(qk + x * STRIP + v)" in line or "(load(qk + n * j_room + x)" in line for line in scores), scores
    if case in ("a distance", "masked"):
        report = check_call(op, tensors(), ("cpu",), gradients=False, outputs=("o",), self_check=False)
        assert not report.failures, report.text()


def test_infinities_of_what_it_starts_from() -> None:
    op, given = compiled("dot(q, k) / 3 + b"), tensors()
    given["b"][0, :3] = torch.tensor([float("-inf"), float("inf"), -1e38])
    have, want = (op(**given, backend=backend, outputs="o") for backend in ("cpu", "eager"))
    torch.testing.assert_close(have, want)


@pytest.mark.parametrize(
    ("score", "outputs"),
    [("dot(q, k) / 3 - 2.0", ("o", "m")), ("dot(q, k) + a + b", ("o",)), ("dot(q, k) - 0.1 * abs(i - j)", ("o",))],
)
def test_left_alone(score: str, outputs: tuple[str, ...]) -> None:
    """The greatest score of a row, which is the same in every kernel; a value of the row beside one of the key; positions."""
    assert "_start" not in printed(compiled(score), outputs)
