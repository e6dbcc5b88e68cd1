"""Few queries: kernels whose vectors run along the keys instead of the queries."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, rand
from attncc.backends.cpu import boxes
from attncc.backends.cpu.few import takes_few
from cpu_cases import agree, agree_both

import attncc
from attncc.schedules.plan import Fused, plan
from attncc.testing.tolerances import tolerance

TEXT = attend("score dot(q, k) / sqrt(d)  mask j <= i + 70  normalize softmax  mix v  emit l = lse(s)", outputs=", l[b, h, i]")
PLAIN = attend("score dot(q, k)  normalize sigmoid  mix v")


def inputs(i: int, j: int, d: int, e: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"q": rand(1, 2, i, d).to(dtype), "k": rand(1, 2, j, d).to(dtype), "v": rand(1, 2, j, e).to(dtype)}


@pytest.mark.parametrize(("d", "e"), [(64, 64), (16, 80), (24, 48)])
def test_every_number_of_queries(d: int, e: int) -> None:
    for i in (1, 2, 3, 5, 7, 8, 9):
        for text, j in ((TEXT, 150), (PLAIN, 64), (TEXT, 3), (PLAIN, 17)):
            agree(op(text), inputs(i, j, d, e), boxes=boxes.choose)


FLAGS = ["-march=haswell", "-march=x86-64", "-mno-amx-bf16", ""]
TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def of_width(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if flags and not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        pytest.skip("for x86 processors")
    monkeypatch.setenv("ATTNCC_CFLAGS", flags)


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("dtype", TYPES)
def test_every_width_of_vectors(flags: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    of_width(flags, monkeypatch)
    for i in (1, 2, 3):
        agree(op(TEXT), inputs(i, 150, 64, 64, dtype), boxes=boxes.choose)


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("dtype", TYPES)
def test_scores_are_those_of_many_queries(flags: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the last bit: the greatest score of a row, and of a row with one key its log-sum-exp."""
    of_width(flags, monkeypatch)
    text = attend("score s = dot(q, k) / 7  normalize softmax  mix v  emit m = max[j](s)", outputs=", m[b, h, i]")
    for made, j in ((op(text), 83), (op(TEXT), 1)):
        given = inputs(64, j, 80, 16, dtype)
        given["q"] *= 30
        many = made(**given, backend="cpu")
        for i in (1, 2, 5):
            few = made(**{**given, "q": given["q"][:, :, :i]}, backend="cpu")
            assert torch.equal(few[1], many[1][:, :, :i])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("queries", [1, 3])
def test_all_weight_on_one_key(dtype: torch.dtype, queries: int) -> None:
    """The backward pass finds that weight to be 1, however great the score, of rows of several heads in a tile too."""
    text = "pattern t(q[b, (h r), i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, (h r), i, e] {"
    made = op(text + " attend o over j { score dot(q, k) / 8  normalize softmax  mix v } }")
    k = rand(1, 2, 300, 64).sign()
    chosen = torch.arange(2 * queries) * 37 % 300
    q = (k[:, :, chosen] * 53.7 + rand(1, 2, 2 * queries, 64)).reshape(1, 4, queries, 64)
    given = {"q": q.to(dtype), "k": k.to(dtype), "v": rand(1, 2, 300, 16).to(dtype).requires_grad_()}
    cotangent = rand(1, 4, queries, 16).to(dtype)
    (found,) = torch.autograd.grad(made(**given, backend="cpu"), given["v"], cotangent)
    want = torch.zeros_like(found).index_add(2, chosen, cotangent.reshape(1, 2, 2 * queries, 16))
    assert (found - want).abs().max() <= tolerance(dtype, 1, float(want.abs().max()))


PAIRS = {
    "window": ("score s = dot(q, k) / 4  mask abs(i + 140 - j) <= 33  normalize softmax  mix v", {}),
    "bias of pairs": ("score s = dot(q, k) / 4 + w  normalize softmax  mix v", {"w": ("w[h, i, j]", (2, 3, 150))}),
    "bias of keys": ("score s = dot(q, k) / 4 + w  normalize softmax(s; sink = 0.5)  mix v", {"w": ("w[h, j]", (2, 150))}),
    "documents": (
        "score s = dot(q, k) / 4  mask a == c  normalize softmax  mix v",
        {"a": ("a[i]: int", (3,)), "c": ("c[j]: int", (150,))},
    ),
    "kept keys": ("score s = dot(q, k) / 4  mask c  normalize softmax  mix v", {"c": ("c[j]: bool", (150,))}),
    "sums": ("score s = dot(q, k) / 4  normalize relu(s) ^ 2 / (sum[j](relu(s) ^ 2) + 1e-6)  mix v", {}),
    "slope": ("score s = dot(q, k) / 4 - 0.1 * abs(i - j)  mask (i + j) mod 3 < 2  normalize sigmoid  mix v", {}),
    "distance": ("score s = -dist2(q, k) / 8  normalize softmax  mix v", {}),
}


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_pairs(case: str, dtype: torch.dtype) -> None:
    """What pairs have beside their products, forward and backward."""
    clauses, more = PAIRS[case]
    given = inputs(3, 150, 48, 32)
    for name, (_, shape) in more.items():
        given[name] = rand(*shape) if "int" not in more[name][0] and "bool" not in more[name][0] else (rand(*shape) * 2).round()
        given[name] = (
            given[name].bool() if "bool" in more[name][0] else given[name].long() if "int" in more[name][0] else given[name]
        )
    made = op(attend(clauses, "".join(f", {text}" for text, _ in more.values())))
    agree_both(made, given, dtype)


def test_which_programs() -> None:
    """Those that sum over keys alone; not backward passes, whose owners are the keys."""
    (step,) = [
        s for s in plan(attncc.load("softmax").specialise({"q": 4, "k": 4, "v": 4}), ("core",)).steps if isinstance(s, Fused)
    ]
    assert step.grouped is not None and all(map(takes_few, (*step.kernels, *step.grouped.kernels)))
    tape = agree_both(op(TEXT), inputs(2, 40, 16, 16))
    assert not any(takes_few(k) for s in tape.plan.steps if isinstance(s, Fused) for k in s.kernels)


@pytest.mark.parametrize("heads", ["h", "(h r)"])
def test_extremes_of_scores_are_found_again(heads: str) -> None:
    """Gradients of extremes go to the pairs that reach them: their scores, of terms that cancel, are the same in every kernel."""
    text = f"pattern t(q[b, {heads}, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, {heads}, i, e], m[b, {heads}, i]"
    text += " { attend o over j { score s = dot(q, k)  normalize softmax  mix v  emit m = max[j](s) } }"
    share = 3 if "r" in heads else 1
    q, k, v = 100 * rand(200, 2 * share, 1, 64), rand(200, 2, 1, 64).flip(-1), rand(200, 2, 1, 16)
    every = k.repeat_interleave(share, 1)
    q -= (q * every).sum(-1, keepdim=True) / every.square().sum(-1, keepdim=True) * every
    q.requires_grad_()
    k.requires_grad_()
    of_q, of_k = torch.autograd.grad(op(text)(q, k, v, backend="cpu").m.sum(), (q, k))
    assert torch.equal(of_q, every) and (of_k != 0).all(), "the one key of a row is its extreme"


def test_keys_that_lie_otherwise() -> None:
    given = inputs(2, 90, 32, 32)
    given["k"] = given["k"].transpose(2, 3).contiguous().transpose(2, 3)
    given["v"] = given["v"].transpose(2, 3).contiguous().transpose(2, 3)
    agree(op(TEXT), given, boxes=boxes.choose)
    given = {n: torch.cat([t, t], -1)[..., ::2] for n, t in inputs(3, 90, 32, 32).items()}
    agree(op(TEXT), given, boxes=boxes.choose)


def test_a_row_is_its_own() -> None:
    """What one query holds, NaN or infinite, reaches no other."""
    given = inputs(3, 90, 64, 64)
    given["q"][:, :, 1] = torch.nan
    found = op(TEXT)(**given, backend="cpu")
    given["q"][:, :, 1] = 0
    want = op(TEXT)(**given, backend="cpu")
    for row in (0, 2):
        assert torch.equal(found.o[:, :, row], want.o[:, :, row]) and torch.equal(found.l[:, :, row], want.l[:, :, row])
    assert found.o[:, :, 1].isnan().all()


@pytest.mark.parametrize("dtype", TYPES)
def test_an_array_read_along_twins_of_its_axis(dtype: torch.dtype) -> None:
    """As keys along their features, as values along another axis of that size."""
    text = "pattern t(q[b, i, d], x[b, j, d]) -> o[b, i, d'] { attend o over j { score dot(q, x) / 4  normalize softmax  mix x[d = d'] } }"
    given = {"q": rand(2, 2, 32).to(dtype), "x": rand(2, 150, 32).to(dtype)}
    agree(op(text), given, boxes=boxes.choose)
    agree(op(text), {**given, "x": given["x"].mT.contiguous().mT}, boxes=boxes.choose)
