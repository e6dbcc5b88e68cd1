"""The golden cases of every shipped operator on the eager backend, and the runner itself on a small operator of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import golden
import golden_bindings
import numpy as np
import pytest
import torch

DATA = Path(__file__).parent / "golden"
SHIPPED = [case for slug in sorted(golden.shipped()) for case in golden.cases(DATA, slug)]


@pytest.mark.parametrize("case", SHIPPED, ids=lambda case: f"{case.slug}/{case.name}")
def test_shipped_operator(case: golden.Case) -> None:
    results = [golden.run_level(case, level, "eager") for level in case.levels]
    assert all(result.status == "PASS" for result in results), "\n".join(result.line() for result in results)


def test_every_case_has_arrays_for_its_levels() -> None:
    keys = {"inputs": "in", "outputs": "out", "douts": "dout", "grads": "grad"}
    found = list(golden.cases(DATA))
    assert found
    for case in found:
        named = {f"{prefix}.{name}" for level in case.levels for part, prefix in keys.items() for name in level[part]}
        assert named <= case.arrays.keys(), f"{case.slug}/{case.name}"


def test_binding_table_speaks_of_levels_that_exist() -> None:
    for slug, rules in golden_bindings.OUTSIDE.items():
        levels = {level["name"] for case in golden.cases(DATA, slug) for level in case.levels}
        assert {rule.level for rule in rules} <= levels, slug


# A fake operator `toy`: y = gain * x w, top = argmax of y, total = sum of y with -inf where a row has no positive entry.
X = torch.tensor([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0], [-1.0, -1.0, -2.0], [0.5, 0.5, 2.0]], dtype=torch.float64)
W = torch.tensor([[0.5, 1.0], [1.5, 0.25], [-1.0, 2.0]], dtype=torch.float64)
GOOD: dict[str, Any] = {"gain": 2.0}


def toy(x: torch.Tensor, w: torch.Tensor, gain: float) -> dict[str, torch.Tensor]:
    y = gain * x @ w
    empty = (y <= 0).all(-1)
    return {"y": y, "top": y.argmax(-1), "total": torch.where(empty, -torch.inf, y.sum(-1))}


Change = Callable[[dict[str, torch.Tensor]], Mapping[str, torch.Tensor]]


def fake(change: Change = dict, accepts: tuple[str, ...] = ("gain",), only: str | None = None) -> SimpleNamespace:
    """An attncc whose every pattern is `toy`; `change` alters its outputs, on the backend `only` or on all."""

    def load(name: str, **params: Any) -> Any:
        if "boom" in params:
            raise ValueError("first line\nsecond line")

        class Op:
            signature = SimpleNamespace(params=accepts)

            def __call__(self, outputs: tuple[str, ...], backend: str, **tensors: torch.Tensor) -> Any:
                found = toy(**tensors, gain=params["gain"])
                if only in (None, backend):
                    found = dict(change(found))
                values = tuple(found[name] for name in outputs)
                return values[0] if len(values) == 1 else values

        return Op()

    return SimpleNamespace(load=load)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(golden, "shipped", lambda: {"toy"})
    monkeypatch.setattr(golden, "attncc", fake())
    monkeypatch.setattr(golden, "by_eager", lambda *about: "")
    return tmp_path


def write(folder: Path, attrs: dict[str, Any] = GOOD, slug: str = "toy", x: torch.Tensor = X, **about: Any) -> None:
    """A golden case of `toy` with right values."""
    x, w = x.clone().requires_grad_(), W.clone().requires_grad_()
    out = toy(x, w, attrs["gain"])
    dout = torch.linspace(-1, 1, out["y"].numel(), dtype=torch.float64).reshape(out["y"].shape)
    grad_x, grad_w = torch.autograd.grad(out["y"], (x, w), dout)
    arrays = {"in.x": x, "in.w": w, "dout.y": dout, "grad.x": grad_x, "grad.w": grad_w} | {f"out.{k}": v for k, v in out.items()}
    level = {"name": "module", "inputs": ["x", "w"], "outputs": ["y", "top", "total"], "douts": ["y"], "grads": ["x", "w"]}
    sidecar = {"attrs": attrs, "dtype": "float64", "levels": [level], "tolerance": {"abs": 1e-12, "rel": 1e-12}} | about
    (folder / slug).mkdir(exist_ok=True)
    stored = {key: value.detach().numpy() for key, value in arrays.items()}
    stored["compare.total"] = np.array([True, False, True, False])
    np.savez(folder / slug / "one.npz", **stored)
    (folder / slug / "one.json").write_text(json.dumps(sidecar))


def single(folder: Path, backend: str = "eager") -> golden.Result:
    (result,) = golden.run(folder, backend)
    return result


def altered(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Change:
    return lambda outputs: outputs | {name: change(outputs[name])}


def test_right_operator_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder)
    assert golden.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["toy", "one", "module", "PASS"]
    assert lines[-1] == "1 passed, 0 failed"


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad * (1 + 1e-9)


FAULTS = {
    "value": (altered("y", lambda y: y + 1e-10), "out.y: error"),
    "gradient": (altered("y", WrongGradient.apply), "grad."),
    "no gradient": (altered("y", torch.Tensor.detach), "grad."),
    "dtype": (altered("y", lambda y: y.float().requires_grad_()), "out.y: dtype torch.float32, expected torch.float64"),
    "integer as float": (altered("top", torch.Tensor.double), "out.top: dtype torch.float64, expected torch.int64"),
    "integer": (altered("top", lambda top: 1 - top), "out.top: 4 of 4 entries differ"),
    "shape": (altered("total", lambda total: total[:, None]), "out.total: shape [4, 1], expected [4]"),
    "NaN": (altered("total", lambda total: torch.where(total.isinf(), torch.nan, total)), "out.total: NaN at 1 wrong places"),
    "infinity": (altered("total", lambda total: total.nan_to_num(neginf=-1e300)), "out.total: -inf at 1 wrong places"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_fails(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    change, reason = FAULTS[fault]
    write(folder)
    monkeypatch.setattr(golden, "attncc", fake(change))
    result = single(folder)
    assert result.status == "FAIL"
    assert result.detail.startswith(reason), result.detail


def test_compare_mask_limits_an_output(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.tensor([True, False, True, False])
    monkeypatch.setattr(golden, "attncc", fake(altered("total", lambda total: torch.where(rows, total, torch.nan))))
    write(folder, compare_mask={"total": "compare.total"})
    assert single(folder).status == "PASS"
    monkeypatch.setattr(golden, "attncc", fake(altered("total", lambda total: torch.where(rows, torch.nan, total))))
    assert single(folder).status == "FAIL"


def test_unknown_attr_fails(folder: Path) -> None:
    write(folder, GOOD | {"colour": 3})
    assert single(folder).detail == "GoldenError: toy has no parameter colour, and the binding table does not say why"


def test_attr_outside_the_boundary_is_dropped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(golden_bindings.OUTSIDE, "toy", (golden_bindings.Outside("module", "colour", "a note"),))
    write(folder, GOOD | {"colour": 3})
    assert single(folder).status == "PASS"
    monkeypatch.setattr(golden, "attncc", fake(accepts=("gain", "colour")))
    assert single(folder).detail.startswith("GoldenError: the binding table drops colour at level module")


def test_exception_is_one_failure_with_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder, GOOD | {"boom": True})
    (folder / "toy" / "two.json").write_text("{")
    assert golden.main([str(folder)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("ValueError: first line")
    assert "JSONDecodeError" in lines[1]
    assert lines[-1] == "0 passed, 2 failed"
    golden.main([str(folder), "--verbose"])
    assert "second line" in capsys.readouterr().out


def test_missing_operator_is_listed_and_fails_only_when_strict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(folder)
    write(folder, slug="unheard")
    assert golden.main([str(folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["unheard", "one", "module", "MISSING"]
    assert lines[-2:] == ["missing (1 levels): unheard 1", "1 passed, 0 failed"]
    assert golden.main([str(folder), "--strict"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 passed, 1 failed"
    assert golden.main([str(folder), "--only", "toy", "--strict"]) == 0


def test_nothing_to_run_is_no_success(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert golden.main([str(folder)]) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "0 passed, 0 failed"


def test_other_backends_run_in_float32_within_its_rounding(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder)
    result = single(folder, "cpu")
    assert result.status == "PASS"
    monkeypatch.setattr(golden, "attncc", fake(altered("y", lambda y: y * (1 + 1e-4)), only="cpu"))
    assert single(folder, "cpu").status == "FAIL"
    assert single(folder).status == "PASS"


def test_float32_pick_may_differ_only_at_a_near_tie(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swap = altered("top", lambda top: torch.cat([1 - top[:1], top[1:]]))
    monkeypatch.setattr(golden, "attncc", fake(swap, only="cpu"))
    write(folder)
    assert single(folder, "cpu").detail == "out.top: 1 of 4 entries differ"
    tied = X.clone()
    tied[0] = torch.tensor([0.5, 0.2, 0.0])  # row 0 of y is (x0 + 3 x1, 2 x0 + x1 / 2): equal up to rounding
    write(folder, x=tied)
    result = single(folder, "cpu")
    assert (result.status, result.detail) == ("PASS", "near tie: out.top")
    monkeypatch.setattr(golden, "attncc", fake(swap))
    assert single(folder).status == "FAIL"


@pytest.mark.parametrize(("slug", "reason"), [("hornet", "there is no attend to fuse"), ("softmax", "")])
def test_what_goes_through_eager_says_so(slug: str, reason: str) -> None:
    case = next(golden.cases(DATA, slug))
    assert golden.by_eager(case, case.levels[0], "cpu") == reason
    assert golden.Result(slug, "c", "core", "PASS", "equal", eager=reason).line().endswith(f"; by eager: {reason}" if reason else "equal")
