"""Definitions between kernels have the range and the digits that scores need, where the tensors of a call have 16 bits."""

from __future__ import annotations

import pytest
import torch
from attends import attend, op, rand
from ways import WAYS, agree, agree_both, both

from attncc.ir.expr import Apply, Const, Expr, Index, Read, Reduce
from attncc.passes.wide import steep, wide
from attncc.schedules.plan import plan

SIZES = {"q": (1, 2, 19, 8), "k": (1, 2, 23, 8), "v": (1, 2, 23, 12)}


def _inputs(dtype: torch.dtype, **scales: float) -> dict[str, torch.Tensor]:
    return {n: (rand(*shape) * scales.get(n, 1.0)).to(dtype) for n, shape in SIZES.items()}


@both
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_bias_keeps_its_digits(way: str, dtype: torch.dtype) -> None:
    """Softmax does not see 2000, but its 8 bits in bfloat16 leave nothing of w."""
    text = """pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], w[j], c[j]) -> o[b, h, i, e] {
      far = c + w * w
      attend o over j { score dot(q, k) / 8 - far   normalize softmax   mix v }
      attend again over j { score dot(q, k) / 8 - far / 2   normalize softmax   mix v }
    }"""
    inputs = _inputs(dtype) | {"w": rand(23).to(dtype), "c": torch.full((23,), 2000.0, dtype=dtype)}
    agree_both(way, op(text), inputs)


STEEP = {
    "both operands": ("score dot(q ^ 2, k ^ 2) / 1e9\nnormalize softmax\nmix v", {"q": 300.0, "k": 300.0}),
    "one operand": ("score dot(q, k ^ 2) / 4e4\nnormalize softmax\nmix v", {"k": 300.0}),
    "exponential": ("score dot(exp(q), k) / 1e4\nnormalize softmax\nmix v", {"q": 4.0}),
    "mixed": ("score dot(q, k) / 3\nnormalize softmax\nmix v ^ 2 / 1000", {"v": 300.0}),
    "summed": ("score dot(q, k) / 3\nnormalize identity\nmix v ^ 2 / 1e4", {"v": 300.0}),
}


@both
@pytest.mark.parametrize("name", STEEP)
def test_operands_that_outgrow_float16(way: str, name: str) -> None:
    clauses, scales = STEEP[name]
    agree(way, op(attend(clauses)), _inputs(torch.float16, **scales))


def test_their_gradients() -> None:
    clauses, scales = STEEP["both operands"]
    agree_both("cpu", op(attend(clauses)), _inputs(torch.float16, **scales))


@both
def test_a_definition_that_rows_and_keys_read(way: str) -> None:
    """Its cotangent, too, which is about 1e-8, has the range of floats."""
    text = """pattern t(q[b, h, i, d], v[b, h, i, e]) -> o[b, h, i, e] {
      s = q ^ 2
      attend o over i' { score dot(s, s') / 1e9   normalize softmax   mix v' }
    }"""
    inputs = {"q": (rand(1, 2, 19, 8) * 300).half(), "v": rand(1, 2, 19, 12).half()}
    agree_both(way, op(text), inputs)


def test_operands_of_products_stay_small() -> None:
    """A projection, a norm or a rotation feeds a product: it has the type of the elements, what follows from it has not."""
    made = op("""pattern t(x[b, n, c], w[d, c], v[b, n, d]) -> o[b, n, d], t[b, n] {
      q = linear(x, w)
      u = q / sqrt(mean[d](q ^ 2) + 1e-6)
      t = sum[d](q * v) + 1
      attend o over n' { score dot(u, u') - t' ^ 2   normalize softmax   mix v' }
    }""").specialise({"x": 3, "w": 2, "v": 3})
    assert wide(made) == {"q", "t"}
    assert wide(plan(made, ("t",)).program) == {"q"}  # nothing reads t, which is rounded anyway
    assert WAYS


def _read(name: str) -> Expr:
    return Read(name, (Index("n"),), "float")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (Apply("mul", (_read("x"), _read("y"))), False),
        (Apply("mul", (_read("x"), _read("x"))), True),
        (Apply("mul", (_read("x"), Apply("sigmoid", (_read("x"),)))), False),
        (Apply("pow", (_read("x"), Const(0.5))), False),
        (Apply("sqrt", (Apply("pow", (_read("x"), Const(2))),)), False),
        (Apply("pow", (Const(2.0), _read("x"))), True),
        (Apply("exp", (_read("x"),)), True),
        (Apply("exp", (Apply("tanh", (_read("x"),)),)), False),
        (Apply("exp", (Apply("min", (_read("x"), Const(0))),)), False),
        (Apply("exp", (Apply("neg", (Reduce("sum", ("n",), Apply("pow", (_read("x"), Const(2)))),)),)), False),
        (Apply("exp", (Apply("sub", (Const(1.0), Apply("min", (_read("x"), Const(0))))),)), True),
        (Apply("where", (Const(True), _read("y"), Apply("pow", (_read("x"), Const(3))))), True),
        (Reduce("sum", ("n",), Apply("mul", (_read("x"), _read("y")))), False),
        (Reduce("prod", ("n",), _read("x")), True),
    ],
    ids=str,
)
def test_what_is_steep(expr: Expr, expected: bool) -> None:
    assert steep(expr) is expected
