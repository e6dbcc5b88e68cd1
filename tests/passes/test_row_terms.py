"""Terms of a softmax's score that the row alone has: where they go, and that nothing sees them leave."""

from __future__ import annotations

import pytest
import torch

import attncc
from attncc.ir.expr import Apply, walk
from attncc.ir.nodes import Attend
from attncc.ir.pairs import PairStage
from attncc.passes.fuse import fuse
from attncc.schedules.plan import Fused, only, plan
from attncc.testing.oracle import check_call

SOURCE = """
pattern f(q[h, i, d], k[h, j, d], v[h, j, e], a[h, i], b[h, j], c[h]) -> o[h, i, e], {emit}[h, i] {{
  attend o over j {{
    score s = {score}   mask {mask}   normalize {normalize}   mix v   emit {emit} = {value}
  }}
}}
"""


def compiled(score: str, normalize: str = "softmax", value: str = "lse(s)", mask: str = "true") -> attncc.Op:
    return attncc.compile(SOURCE.format(score=score, normalize=normalize, emit="more", value=value, mask=mask))


def stage(op: attncc.Op, *outputs: str) -> PairStage:
    node = next(n for n in op.ir.nodes if isinstance(n, Attend))
    return fuse(op.ir, only(node, set(outputs or ("o", "more")))).stages[-1]


def reads(stage: PairStage) -> str:
    assert stage.softmax is not None
    return repr((stage.softmax.score, stage.keys))


@pytest.mark.parametrize(
    "score", ["-dist2(q, k) / 2", "c * (-dist2(q, k))", "dot(q, k) - dist2(q, k) / c", "-dist2(q / c, k / c) / 2 + 3.0"]
)
def test_a_distance_is_a_product_and_the_norm_of_the_key(score: str) -> None:
    found = stage(compiled(score), "o")
    assert "q_sum" not in reads(found) and "k_sum" in reads(found)
    assert found.softmax is not None and found.softmax.guard is None
    assert not any(isinstance(e, Apply) and e.op == "max" for e in walk(found.softmax.score))


@pytest.mark.parametrize(
    ("score", "normalize", "value"),
    [
        ("-sqrt(dist2(q, k))", "softmax", ""),  # inside another function
        ("tanh(dist2(q, k))", "softmax", ""),
        ("-dist2(q, k) / 2", "exp", "sum(s)"),  # no normalizer
        ("-dist2(q, k) / 2", "softmax", "lse(s)"),  # seen by what is emitted
        ("-dist2(q, k) / 2", "softmax", "max(s)"),  # seen as an extreme
        ("-dist2(q, k) / 2", "p = softmax", "-sum(p * log(p))"),  # and in a sum
        ("-dist2(q, k) * b", "softmax", "lse(s)"),  # no term of the row
    ],
)
def test_the_clamp_stays_where_it_is_seen(score: str, normalize: str, value: str) -> None:
    op = compiled(score, normalize, value or "lse(s)")
    assert "max" in repr(stage(op, "o", *(("more",) if value else ())))


def test_norms_of_queries_are_not_computed_for_the_mixed_value_alone() -> None:
    op = compiled("-dist2(q, k) / 2")
    for outputs, needed in ((("o",), {"k_sum"}), (("o", "more"), {"k_sum", "q_sum"})):
        (step,) = (s for s in plan(op.ir, outputs).steps if isinstance(s, Fused))
        assert {d.name for d in step.definitions} == needed


def test_other_terms_are_guarded() -> None:
    found = stage(compiled("dot(q, k) + a + b"))
    assert "'a'" in repr(next(f for f in found.finals if f.name == "more").expr)
    assert "'a'" not in reads(found) and "'b'" in reads(found)
    assert found.softmax is not None and "'a'" in repr(found.softmax.guard)
    kept = stage(compiled("(dot(q, k) + a) * b"))
    assert "'a'" in reads(kept)


def tensors(n: int = 7, scale: float = 1.0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    made = {"q": (2, n, 8), "k": (2, n + 2, 8), "v": (2, n + 2, 5), "a": (2, n), "b": (2, n + 2)}
    return {name: torch.randn(shape) * (scale if name in "qk" else 1.0) for name, shape in made.items()} | {
        "c": torch.tensor([1.0, 2.0])
    }


def test_infinite_terms_and_rows_without_keys() -> None:
    op = compiled("dot(q, k) + a - c * b", mask="j > i - 1 and i != 5")
    given = tensors()
    given["a"][0, :4] = torch.tensor([float("-inf"), float("inf"), float("nan"), 10.0])
    given["a"][1, 5] = float("nan")  # a row without a key
    want = op(**{n: t.double() for n, t in given.items()}, backend="eager")
    have = op(**given, backend="cpu")
    for x, y in zip(have, want, strict=True):
        nan = y.isnan() | (y == float("inf"))  # inf - inf
        assert torch.equal(x.isnan(), nan)
        torch.testing.assert_close(x[~nan], y[~nan].float(), rtol=1e-5, atol=1e-5)


CASES = {"plain": (1.0, (1.0, 2.0)), "far": (30.0, (30.0, 90.0)), "narrow": (1.0, (0.2, 0.4))}


@pytest.mark.parametrize("case", [*CASES, "same"])
def test_distances_and_gradients(case: str) -> None:
    """Points far from 0, a narrow kernel, equal points: within the one rule, forward and backward."""
    op = attncc.load("gaussian_kernel", bandwidth="head")
    scale, sigma = CASES.get(case, (1.0, (1.0, 2.0)))
    given = {n: t[None] for n, t in tensors(9, scale).items() if n in "qkv"}
    if case == "same":
        given["k"] = torch.cat([given["q"], given["q"][:, :, :2]], 2)
    given["sigma"] = torch.tensor(sigma)
    report = check_call(op, given, ("cpu",), self_check=False)
    assert not report.failures, report.text()


@pytest.mark.parametrize(("scale", "sigma"), [(100.0, 1.0), (1.0, 0.01), (1e-3, 1.0)])
@pytest.mark.parametrize("same", [False, True])
def test_outputs_at_extremes(scale: float, sigma: float, same: bool) -> None:
    """Norms of 10^5 sigma: outputs within the one rule. Gradients are not better than the rounding of such scores, 10^-2."""
    op = attncc.load("gaussian_kernel")
    given = {n: t[None] for n, t in tensors(9, scale).items() if n in "qkv"} | {"sigma": torch.tensor([sigma])}
    if same:
        given["k"] = torch.cat([given["q"], given["q"][:, :, :2]], 2)
    report = check_call(op, given, ("cpu",), gradients=False, self_check=False)
    assert not report.failures, report.text()
