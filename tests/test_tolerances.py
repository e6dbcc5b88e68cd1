"""The tolerance rule: its limits, and float32 sums inside it."""

from __future__ import annotations

import pytest
import torch

from attncc.testing.tolerances import FACTOR, YARDSTICK, allowed_error, reduction_length, tolerance


def test_reduction_length_is_the_two_largest_extents() -> None:
    assert reduction_length([(2, 3, 40, 8), (3, 5, 7)]) == 320
    assert reduction_length([(6,), ()]) == 6
    assert reduction_length([]) == 1


def test_tolerance_follows_dtype_length_and_scale() -> None:
    eps = torch.finfo(torch.float32).eps
    assert tolerance(torch.float32, 9, 2.0) == pytest.approx(FACTOR * 4 * eps * 2)
    assert tolerance(torch.bfloat16, 9, 1.0) == pytest.approx(FACTOR * (2**-7 + 3 * eps))
    assert tolerance(torch.float32, 9, 0.0) == 0.0


def test_yardstick_counts_where_terms_cancel_and_stays_within_the_group() -> None:
    plain, group = tolerance(torch.float32, 9, 1e-6), tolerance(torch.float32, 9, 1.0)
    assert allowed_error(torch.float32, 9, 1e-6, 1.0, eager_error=0.0) == plain
    assert allowed_error(torch.float32, 9, 1e-6, 1.0, eager_error=group / 100) == pytest.approx(YARDSTICK * group / 100)
    assert allowed_error(torch.float32, 9, 1e-6, 1.0, eager_error=1.0) == group


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_softmax_attention_lies_inside_the_rule(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 130, 32, dtype=torch.float64) for _ in range(3))
    expected = torch.softmax(q @ k.mT / 32**0.5, -1) @ v
    error = (torch.softmax(q.to(dtype) @ k.to(dtype).mT / 32**0.5, -1) @ v.to(dtype) - expected).abs().max()
    allowed = tolerance(dtype, reduction_length([q.shape]), float(expected.abs().max()))
    assert allowed / 100 < error <= allowed
