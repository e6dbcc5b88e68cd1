"""The comparison with the oracle finds what is wrong, and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import pytest
import torch

import attncc
from attncc.ir.nodes import Program
from attncc.runtime import backends
from attncc.testing import assert_matches_oracle, sample_inputs
from attncc.testing.calls import sample
from attncc.testing.oracle import check_call

PATTERNS = {
    "softmax": {"causal": True}, "sigmoid": {"heads": 2}, "linear": {}, "gaussian_kernel": {}, "neighborhood2d": {"window": 3},
    "halonet": {"heads": 1, "block": 2, "halo": 1}, "reversed": {"heads": 2}, "soft": {"height": 4, "width": 4, "ratio": 2, "heads": 2},
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_eager_is_right(name: str, dtype: torch.dtype) -> None:
    one = sample(attncc.load(name, **PATTERNS[name]), seed=1, dtype=dtype)
    report = check_call(one.op, one.tensors, ["eager"])
    assert not report.failures, report.text()
    assert not report.undecided or name == "soft", "only the matrix inverse of soft is ill-conditioned"
    kinds = {row.backend for row in report.rows}
    assert {"eager", "oracle in blocks"} <= kinds


def spoil(monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Let the eager backend in the dtype of the call give changed outputs; the float64 oracle too when `change` does so."""
    eager = backends.named("eager")
    kind = type(eager)
    prepare = kind.prepare

    def changed(
        self: object, program: Program, outputs: Sequence[str]
    ) -> Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]]:
        run = prepare(self, program, outputs)

        def wrapped(inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            out = run(inputs)
            change(out)
            return out

        return wrapped

    monkeypatch.setattr(kind, "prepare", changed)


_count = itertools.count()


def fresh() -> attncc.Op:
    """A new pattern each time: operators are kept by the text of their program."""
    return attncc.compile(f"pattern fresh{next(_count)}(q[i, d], k[j, d]) -> o[i, j] {{ o = exp(dot(q, k) / 4) }}")


def inputs_of(op: attncc.Op, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return sample_inputs(op, 0, dtype=dtype)


def test_a_wrong_backend_is_found(wrong_backend: str) -> None:
    op = attncc.load("softmax")
    with pytest.raises(AssertionError, match=r"wrong\d+ +core: error 1\.00e-02, allowed"):
        assert_matches_oracle(op, inputs_of(op), backends=[wrong_backend])


def test_a_wrong_gradient_is_found_with_eager_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eager and the oracle agree with each other, differences do not agree with them."""
    op = fresh()

    def half(out: dict[str, torch.Tensor]) -> None:
        out["o"] = out["o"] / 2 + out["o"].detach() / 2

    spoil(monkeypatch, half)
    with pytest.raises(AssertionError, match="gradient against differences"):
        assert_matches_oracle(op, inputs_of(op), backends=["eager"])


def test_wrong_rounding_is_found_with_eager_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(out: dict[str, torch.Tensor]) -> None:
        for name, t in out.items():
            if t.dtype == torch.float32:
                out[name] = t.bfloat16().float()

    spoil(monkeypatch, rounded)
    op = fresh()
    with pytest.raises(AssertionError, match=r"eager +o: error"):
        assert_matches_oracle(op, inputs_of(op), backends=["eager"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.double(), "dtype torch.float64"),
        (lambda t: t[..., :-1], "shape"),
        (lambda t: torch.where(torch.arange(t.numel()).reshape(t.shape) == 0, torch.nan, t), "NaN at 1 wrong places"),
    ],
)
def test_wrong_kind_of_result(monkeypatch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor], words: str) -> None:
    def apply(out: dict[str, torch.Tensor]) -> None:
        for name, t in out.items():
            if t.dtype == torch.float32:
                out[name] = change(t)

    spoil(monkeypatch, apply)
    op = fresh()
    with pytest.raises(AssertionError, match=words):
        assert_matches_oracle(op, inputs_of(op), backends=["eager"], gradients=False)


def test_a_backend_that_raises_is_a_finding(monkeypatch: pytest.MonkeyPatch, wrong_backend: str) -> None:
    def fail(self: object, program: Program, outputs: Sequence[str]) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr(type(backends.named(wrong_backend)), "prepare", fail)
    op = attncc.load("linear")
    with pytest.raises(AssertionError, match=r"wrong\d+ +call: ZeroDivisionError: boom"):
        assert_matches_oracle(op, inputs_of(op), backends=[wrong_backend])


def test_inputs_that_do_not_fit_are_the_callers_error() -> None:
    op = attncc.load("softmax")
    inputs = inputs_of(op)
    inputs["k"] = inputs["k"][..., :-1]
    with pytest.raises(attncc.AttnShapeError):
        assert_matches_oracle(op, inputs)


def test_positional_inputs_and_chosen_outputs() -> None:
    op = attncc.load("softmax")
    assert_matches_oracle(op, list(inputs_of(op).values()), outputs=["lse"], backends=["eager"])


def test_near_ties_are_set_aside(wrong_backend: str) -> None:
    """Two keys whose order is decided by the last bit: no verdict, rather than a wrong one."""
    op = attncc.compile("pattern a(x[n], y[n]) -> o[w] where w = 1 { p = topk[n -> w](x)\n o = y[n = p] }")
    tie = {"x": torch.tensor([1.0, 1.0 + 1e-7, -3.0]), "y": torch.tensor([5.0, -5.0, 0.0])}
    clear = {"x": torch.tensor([1.0, 2.0, -3.0]), "y": torch.tensor([5.0, -5.0, 0.0])}
    assert check_call(op, tie, [wrong_backend]).undecided == "near a tie"
    assert not check_call(op, clear, [wrong_backend]).undecided
    with pytest.raises(AssertionError, match="near a tie"):
        assert_matches_oracle(op, tie, backends=[wrong_backend])


def test_stopped_gradients_are_noted() -> None:
    op = attncc.compile("pattern a(x[n]) -> o[n] { o = x * stop_grad(x) }")
    report = check_call(op, inputs_of(op), ["eager"])
    assert not report.failures
    assert any("stops a gradient" in note for note in report.notes)


def test_const_inputs_get_no_gradient() -> None:
    op = attncc.compile("pattern a(x[n], t[n]: const) -> o[n] { o = x * t }")
    report = check_call(op, inputs_of(op), ["eager"])
    assert {row.array for row in report.rows} >= {"grad x"} and not any(row.array == "grad t" for row in report.rows)
    assert not report.failures


def test_ill_conditioned_calls_are_set_aside() -> None:
    """The inverse of a nearly singular matrix: in float32 the rounding of the matrix decides the digits."""
    one = sample(attncc.load("soft", **PATTERNS["soft"]), seed=2)
    report = check_call(one.op, one.tensors, ["eager"], self_check=False)
    assert any(row.error > row.allowed for row in report.rows)
    assert report.undecided == "ill-conditioned"


def test_cancellation_of_its_own_making_is_a_failure() -> None:
    """Digits that a formula throws away without need are not excused: the exact result does not depend on them."""
    op = attncc.compile("pattern a(x[n], y[n]) -> o[n] { o = (x * 1e6 + y) - x * 1e6 }")
    report = check_call(op, inputs_of(op), ["eager"], gradients=False)
    assert report.undecided == "" and report.failures
