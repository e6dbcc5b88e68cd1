"""Gradients that a normalizer makes 0: the passes find them, and find no others. The measure is autograd of the oracle in float64."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import pytest
import torch
from attends import op
from hypothesis import given, settings
from hypothesis import strategies as st

from attncc.ir.nodes import Program
from attncc.runtime.backends import named
from attncc.schedules.backward import Launch, differentiated
from attncc.testing.tolerances import reduction_length, tolerance

INPUTS = {
    "x": "b, i, c", "y": "b, j, c", "wq": "c, d", "wk": "c, d", "bq": "d", "bk": "d", "v": "b, j, d", "ui": "b, i", "uj": "b, j", "t": "b",
}  # fmt: skip
SIZES = {"b": 2, "i": 5, "j": 6, "c": 3, "d": 4}


@dataclass(frozen=True)
class Case:
    """Clauses of an attend. queries, keys: biased projections of x and y. more: definitions that outputs read beside the attend."""

    score: str = "dot(q, k) / 2"
    normalize: str = "p = softmax"
    mask: str = "true"
    post: str = ""
    mix: str = "v"
    emit: str = ""
    more: str = ""
    keys: str = "sum[c](y * wk) + bk"

    @property
    def text(self) -> str:
        lines = [f"score s = {self.score}", f"mask {self.mask}", f"normalize {self.normalize}", self.post, f"mix {self.mix}"]
        lines += [f"emit l = {self.emit}"] if self.emit else []
        outputs = "o[b, i, d]" + (", l[b, i]" if self.emit else "") + (", z[b, d]" if self.more else "")
        body = "".join(f"    {line}\n" for line in lines if line)
        inputs = ", ".join(f"{name}[{axes}]" for name, axes in INPUTS.items())
        return (
            f"pattern t({inputs}) -> {outputs} {{\n  q[b, i, d] = sum[c](x * wq) + bq\n  k[b, j, d] = {self.keys}\n"
            f"  attend o over j {{\n{body}  }}\n{self.more}\n}}\n"
        )


def unreached(program: Program, outputs: Collection[str]) -> set[str] | None:
    """Inputs to which the backward pass sends nothing; None where no kernel differentiates the program."""
    made = differentiated(program, [o.name for o in program.outputs])
    if made is None:
        return None
    names = [i.name for i in program.inputs]
    moves = made.backward(names, tuple(outputs)).moves
    reached = {n for m in moves for n in ([p.source for p in m.parts] if isinstance(m, Launch) else m.wrt)}
    return set(names) - reached


def without_gradient(program: Program, outputs: Collection[str]) -> set[str]:
    """Inputs whose gradient is 0, up to the rounding of float64, for cotangents drawn at random."""
    generator = torch.Generator().manual_seed(3)

    def drawn(axes: str) -> torch.Tensor:
        return torch.randn([SIZES[a] for a in axes.split(", ")], generator=generator, dtype=torch.float64)

    leaves = {name: drawn(axes).requires_grad_() for name, axes in INPUTS.items()}
    found = named("eager").prepare(program, [o.name for o in program.outputs])(leaves)
    total = torch.stack(
        [(found[o].nan_to_num(0, 0, 0) * torch.randn(found[o].shape, generator=generator)).sum() for o in outputs]
    )
    grads = torch.autograd.grad(total.sum(), list(leaves.values()), allow_unused=True)
    sizes = [0.0 if g is None else g.abs().max().item() for g in grads]
    allowed = tolerance(torch.float64, reduction_length(t.shape for t in leaves.values()), max(1.0, *sizes))
    return {name for name, size in zip(leaves, sizes, strict=True) if size <= allowed}


ROWS = "dot(q, k) / 2 + ui"
CASES = {
    "bias of the keys": Case(),
    "masked": Case(mask="j < i - 1"),
    "of another temperature": Case(normalize="softmax(s * exp(t) / 3)"),
    "scaled by row": Case("dot(q, k) * ui"),
    "bias of rows": Case(ROWS),
    "bias of rows, scaled": Case("(dot(q, k) + ui) * t / 2 - t"),
    "bias of keys stays": Case("dot(q, k) / 2 + uj"),
    "bias of rows by keys": Case("dot(q, k) / 2 + ui * uj"),
    "bias inside the product": Case("dot(q, k + ui)"),
    "offset of distances": Case("dot(q, k) / 2 + t * (i - j)"),
    "squared distance": Case("-dist2(q, k) / 4"),
    "weights changed after": Case(post="post p ^ 2 + p * uj"),
    "sharpened again": Case(post="post w = p ^ 2\npost w / sum[j](w)"),
    "entropy": Case(emit="-sum[j](p * log(p))"),
    "greatest, relative": Case(normalize="s - max[j](s)"),
    "exponential below the greatest": Case(normalize="exp(s - max[j](s)) * ui"),
    "greatest below the sum": Case(emit="max[j](s) - lse(s)"),
    "query axis": Case(normalize="softmax[i](s)"),
    "query axis, bias of keys": Case("dot(q, k) / 2 + ui + uj", "softmax[i](s)"),
    "one axis after the other": Case("dot(q, k) / 2 + ui + uj + t", "w = softmax[i](s)\nnormalize softmax[j](w)"),
    "two axes of one score": Case("dot(q, k) / 2 + ui + uj + t", "w = softmax[i](s)\nnormalize softmax[j](s) * w"),
    "both axes at once": Case("dot(q, k) / 2 + ui + uj + t", "w = exp(s)\nnormalize w / sqrt(sum[j](w)) / sqrt(sum[i](w))"),
    "sink": Case(ROWS, "softmax(s; sink = 0.5)"),
    "sink that moves along": Case(ROWS, "softmax(s; sink = ui)"),
    "plus one": Case(ROWS, "softmax(s; plus_one = true)"),
    "sigmoid": Case(ROWS, "sigmoid"),
    "relu by its sum": Case(ROWS, "relu(s) / (sum[j](relu(s)) + 1)"),
    "l1": Case(ROWS, "l1"),
    "l2": Case(ROWS, "l2"),
    "by the greatest": Case(ROWS, "s / max[j](abs(s))"),
    "less the mean": Case(ROWS, "s - sum[j](s) / j.size", mask="j <= i"),
    "soft cap": Case("3 * tanh(dot(q, k) / 3)"),
    "soft cap and a bias of rows": Case("3 * tanh(dot(q, k) / 3) + ui"),
    "log-sum-exp": Case(ROWS, emit="lse(s)"),
    "greatest": Case(ROWS, emit="max[j](s)"),
    "weights times scores": Case(ROWS, post="post p * s"),
    "keys are values": Case(ROWS, mix="k"),
    "keys weigh values": Case(mix="v * k"),
    "keys are read elsewhere": Case(ROWS, more="  z[b, d] = sum[j](k)"),
    "rotated keys": Case(keys="(sum[c](y * wk) + bk) * cos(j * 0.5)"),
    "normalized keys": Case(keys="unit[d](sum[c](y * wk) + bk)"),
    "bias by position": Case(keys="sum[c](y * wk) + bk * uj"),
    "scaled bias": Case(keys="(sum[c](y * wk) + bk * t) / 3"),
    "reversed keys": Case("dot(q, k[j = j.size - 1 - j]) / 2"),
    "reversed keys, padded": Case("dot(q, k[j = j - 1 else 0]) / 2"),
    "one key beside": Case("dot(q, k) / 2 + dot(q, k[j = 0])"),
}
PAPER = {"both axes at once": {"t"}, "sink that moves along": {"ui"}}
"""Gradients that are 0 by sums that cancel on paper alone, which stay as they are computed."""


def _program(case: Case) -> Program:
    return op(case.text).specialise({n: axes.count(",") + 1 for n, axes in INPUTS.items()})


@pytest.mark.parametrize("name", CASES)
def test_those_that_are_0_are_found_and_no_others(name: str) -> None:
    program = _program(CASES[name])
    outputs = [o.name for o in program.outputs]
    found, want = unreached(program, outputs), without_gradient(program, outputs)
    assert found == want - PAPER.get(name, set()) and want >= PAPER.get(name, set()), (found, want)


def test_an_output_without_a_cotangent_is_none() -> None:
    """What a log-sum-exp would stop where it is differentiated."""
    program = _program(CASES["log-sum-exp"])
    assert (unreached(program, ["o"]) or set()) >= {"bk", "ui"}
    assert not (unreached(program, ["l"]) or set()) & {"bk", "ui"}


PIECES = {
    "score": ["dot(q, k) / 2", ROWS, "dot(q, k) / 2 + ui + uj", "(dot(q, k) + ui * t) / 2", "-dist2(q, k) / 4 + uj", "2 * tanh(dot(q, k) / 4) + ui",
              "dot(q, k + ui) + dot(q, bk)", "dot(q + ui, k) + dot(bk, k)", "where(t > 0, dot(q, k), ui)"],
    "normalize": ["p = softmax", "p = softmax(s / 3 + ui)", "p = softmax(s * uj)", "p = softmax[i](s)", "p = softmax(s; sink = 0.5)", "p = s - max[j](s)",
                  "p = exp(s - lse[j](s))", "w = softmax[i](s)\n normalize p = softmax[j](w)", "p = sigmoid", "p = s / (1 + max[j](abs(s)))"],
    "mask": ["true", "j <= i", "abs(i - j) <= 1"],
    "post": ["", "post p ^ 2", "post p * ui", "post p + s"],
    "mix": ["v", "v", "k", "v * uj"],
    "emit": ["", "", "-sum[j](p ^ 2)", "max[j](s) - min[j](s)", "lse(s)", "max[j](s) * ui"],
    "more": ["", "", "  z[b, d] = sum[j](k)", "  z[b, d] = sum[i](q * bq)"],
    "keys": ["sum[c](y * wk) + bk", "sum[c](y * wk) * t + bk * t", "sum[c](y * wk + bk)", "sum[c](y * wk) + bk * uj", "tanh(sum[c](y * wk) + bk)"],
}  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.fixed_dictionaries({name: st.sampled_from(texts) for name, texts in PIECES.items()}), st.integers(0, 3))
def test_what_is_found_is_0(pieces: dict[str, str], which: int) -> None:
    program = _program(Case(**pieces))
    outputs = [o.name for o in program.outputs]
    given_cotangents = outputs[which % len(outputs) :] or outputs
    found = unreached(program, given_cotangents)
    assert found is None or found <= without_gradient(program, given_cotangents)


def test_a_choice_has_no_gradient() -> None:
    """Keys that a choice of keys reads are chosen alike in the derivative, wherever they are shifted to."""
    chosen = "  best = topk[j -> r](sum[d](k))\n  attend z[b, d] over r { score g = dot(bq, k[j = best])   normalize softmax   mix v[j = best] }"
    text = Case(more=chosen).text.replace("z[b, d] {", "z[b, d] where r = 2 {")
    program = op(text).specialise({n: axes.count(",") + 1 for n, axes in INPUTS.items()})
    assert unreached(program, ["o", "z"]) == without_gradient(program, ["o", "z"]) >= {"bk"}
