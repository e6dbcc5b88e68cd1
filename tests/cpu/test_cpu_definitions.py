"""Definitions as generated C, forward and derivative, against eager in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attends import op
from attncc.backends.cpu.backward import gradient
from backward_cases import agree
from cpu_cases import agree as forward
from cpu_cases import small
from definition_cases import CASES

import attncc
from attncc.runtime.backends import named
from attncc.runtime.gradient import Gradient
from attncc.runtime.operators import operator
from attncc.schedules.backward import Launch, Pull, Tape
from attncc.testing.tolerances import tolerance


def _way(program: Any, outputs: tuple[str, ...]) -> Gradient | None:
    return gradient(program, outputs, small)


def _kernels(tape: Tape) -> set[str]:
    """Values whose gradients come from the kernel of a definition alone."""
    moves = [m for m in tape.moves if isinstance(m, Launch) and not any(phase.kernels for phase in m.phases)]
    return {n for m in moves for n in m.grads}


@pytest.mark.parametrize("name", CASES)
def test_gradients(name: str) -> None:
    tape = agree(CASES[name][:2], _way, torch.float64)
    by_autograd = {n for m in tape.moves if isinstance(m, Pull) for n in m.outs}
    assert by_autograd == ({"f"} if name == "greatest feature" else set())
    assert _kernels(tape) >= set(CASES[name][2]) - by_autograd


def test_half_precision() -> None:
    agree(CASES["feature map"][:2], _way, torch.bfloat16)


@pytest.mark.parametrize("needs", [("w",), ("g", "k")])
def test_some_inputs(needs: tuple[str, ...]) -> None:
    agree(CASES["gate of the result"][:2], _way, torch.float32, needs)


def test_layouts() -> None:
    """Operands with any strides, expanded ones among them."""
    text, inputs, _ = CASES["weights of features and of tokens"]
    given = {n: t.transpose(0, -1).contiguous().transpose(0, -1) for n, t in inputs.items()}
    given["u"] = given["u"][:, :1].expand(1, 2, 19)
    given["q"] = given["q"].flip(2)[:, :, ::2].repeat_interleave(2, 2)[:, :, :19]
    runner = forward(op(text), given)
    assert [k.name for s in runner.plan.steps for k in s.definitions] == ["f", "k_operand"]


EDGES = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-30, -1e-30, 88.0, -88.0, 3e38, -3e38, 1.0)


FUNCTIONS = ("elu(q) + 1", "sigmoid(q) * q", "softplus(q) - 1", "abs(q) + relu(q)", "exp(-q * q) + 2", "tanh(q) / (q + 3)")


def test_values_that_are_not_numbers() -> None:
    """Definitions as outputs: what PyTorch gives at the edges of the numbers."""
    names = [f"f{n}" for n in range(len(FUNCTIONS))]
    outputs = "".join(f", {n}[b, i, d]" for n in names)
    lines = "\n".join(f"  {n} = {function}" for n, function in zip(names, FUNCTIONS, strict=True))
    text = (
        f"pattern t(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e]{outputs} {{\n{lines}\n"
        "  attend o over j { score dot(f0, k)   normalize softmax   mix v }\n}\n"
    )
    made = op(text)
    q, k, v = torch.tensor(EDGES).repeat(8, 1).T[None], torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    assert f"{', '.join(names)}: forward fused: {names[-1]}" in str(made.explain(q, k, v))
    have = made(q, k, v, outputs=names, backend="cpu")
    want = made(q.double(), k.double(), v.double(), outputs=names, backend="eager")
    allowed = tolerance(torch.float32, 1, 1.0)
    for h, w in zip(have, want, strict=True):
        torch.testing.assert_close(h, w.float(), rtol=allowed, atol=allowed, equal_nan=True)


def test_an_operator() -> None:
    """Opcheck and second derivatives."""
    text, inputs, _ = CASES["feature map"]
    made = attncc.compile(text)
    tensors = [t.double().requires_grad_() for t in inputs.values()]
    found = operator(made.program(*tensors), named("cpu"), ("o",))
    torch.library.opcheck(found.overload, tuple(tensors))
    got = []
    for backend in ("cpu", "eager"):
        firsts = torch.autograd.grad(made(*tensors, backend=backend).sin().sum(), tensors, create_graph=True)
        got.append([*firsts, *torch.autograd.grad(sum(f.pow(2).sum() for f in firsts), tensors)])
    for have, want in zip(*got, strict=True):
        allowed = tolerance(torch.float64, 1000, max(1.0, want.abs().max().item()))
        torch.testing.assert_close(have, want, rtol=0, atol=allowed)


def test_a_cotangent_is_written_over_only_where_nothing_else_needs_it() -> None:
    """The caller's own, which a gate's derivative reads, stays; one that a kernel made is the memory of what follows."""
    text, inputs, _ = CASES["gate of the result"]
    given = {n: t.requires_grad_() for n, t in inputs.items()}
    out = op(text)(**given, backend="cpu")
    up = torch.randn_like(out)
    before = up.clone()
    firsts = torch.autograd.grad(out, list(given.values()), up, retain_graph=True)
    again = torch.autograd.grad(out, list(given.values()), up)
    assert torch.equal(up, before)
    for first, second in zip(firsts, again, strict=True):
        assert torch.equal(first, second)
    made = gradient(op(text).specialise({n: t.dim() for n, t in inputs.items()}), ("y",), small)
    assert made is not None
    steps = made.made.backward(["q", "k", "g"], ("y",)).plan.steps
    assert [bool(s.over) for s in steps if not s.kernels] == [False, True, True]


def test_cotangents_between_definitions_have_the_range_of_floats() -> None:
    """Of the scaled queries they are about 1e-9, which 16 bits round to 0; of the queries 1e4 times that."""
    made = op("""pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], w[d]) -> o[b, h, i, e] {
      scaled = q * w
      attend o over j { score dot(scaled, k) / 8   normalize softmax   mix v }
    }""")
    generator = torch.Generator().manual_seed(0)
    q, k, v, up = torch.randn(4, 1, 1, 40, 16, generator=generator)
    inputs = {n: x.half() for n, x in {"q": q * 1e-4, "k": k, "v": v * 1e-3, "w": torch.full((16,), 1e4)}.items()}
    cotangent, given = (up * 1e-3).half(), [x.requires_grad_() for x in inputs.values()]
    exact = [x.detach().double().requires_grad_() for x in given]
    (found,) = torch.autograd.grad(made(*given, backend="cpu"), given[:1], cotangent)
    (want,) = torch.autograd.grad(made(*exact, backend="eager"), exact[:1], cotangent.double())
    assert (found - want).abs().max() <= tolerance(torch.float16, 40, float(want.abs().max()))
