"""Tensors that no operator computes with: each is an error by name, whoever is asked and whichever backend is there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.masked import masked_tensor

import attncc
from attncc.errors import AttnError, AttnTypeError

TEXT = """pattern p(q[b, i, d], k[b, j, d], v[b, j, e], at[b]?: int) -> o[b, i, e] {
  attend o over j { score dot(q, k)   mask j <= at ?? true   normalize softmax   mix v }
}
"""
OP = attncc.compile(TEXT)
LOCAL = attncc.compile("pattern p(x[b, n, c], w[c]) -> o[b, n, c] { o = x * w / (1 + abs(x)) }")

KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "quantized": lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8),
    "quantized by channel": lambda x: torch.quantize_per_channel(
        x, torch.ones(len(x)), torch.zeros(len(x)).long(), 0, torch.qint8
    ),
    "sparse": lambda x: x.to_sparse(),
    "compressed": lambda x: x.to_sparse_csr(),
    "mkldnn": lambda x: x.to_mkldnn(),
    "nested": lambda x: torch.nested.nested_tensor(list(x)),
    "jagged": lambda x: torch.nested.nested_tensor(list(x), layout=torch.jagged),
    "masked": lambda x: masked_tensor(x, x > 0),
    "meta": lambda x: x.to("meta"),
    "fake": lambda x: FakeTensorMode().from_tensor(x),
    "complex": lambda x: x.to(torch.complex64),
    "int": lambda x: x.int(),
    "bool": lambda x: x > 0,
    "float8": lambda x: x.to(torch.float8_e4m3fn),
    "unsigned": lambda x: x.abs().to(torch.uint64),
}


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 4)


def gradient(q: Any, k: torch.Tensor, v: torch.Tensor, backend: str) -> Any:
    return torch.autograd.grad(OP(q, k.requires_grad_(), v, backend=backend).sum(), k)


def compiled(q: Any, k: torch.Tensor, v: torch.Tensor, backend: str) -> Any:
    torch._dynamo.reset()
    return torch.compile(lambda x: OP(x, k, v, backend=backend), backend="eager")(q)


def mapped(q: Any, k: torch.Tensor, v: torch.Tensor, backend: str) -> Any:
    return torch.vmap(lambda x: OP(q, x, v, backend=backend))(torch.stack([k, k]))


def differentiated(q: Any, k: torch.Tensor, v: torch.Tensor, backend: str) -> Any:
    return torch.func.grad(lambda x: OP(q, x, v, backend=backend).sum())(k)


CALLS: dict[str, Callable[..., Any]] = {
    "call": lambda q, k, v, backend: OP(q, k, v, backend=backend),
    "last": lambda q, k, v, backend: OP(v[:, :3], k, q, backend=backend),
    "without an attend": lambda q, k, v, backend: LOCAL(q, k[0, 0], backend=backend),
    "gradient": gradient,
    "mapped": mapped,
    "differentiated": differentiated,
}


@pytest.mark.parametrize("backend", ("eager", "cpu", "triton"))
@pytest.mark.parametrize("kind", KINDS)
def test_every_call_says_what_is_wrong(kind: str, backend: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # prototypes of PyTorch
        q, k, v = tensors()
        odd = KINDS[kind](q)
        for name, call in CALLS.items():
            if name == "last" and kind in ("nested", "jagged"):
                continue
            with pytest.raises(AttnError) as caught:
                call(odd, k, v, backend)
            assert caught.value.help or isinstance(caught.value, AttnTypeError), name


@pytest.mark.parametrize("kind", ("int", "complex", "float8", "masked", "meta"))
def test_in_a_graph(kind: str) -> None:
    with warnings.catch_warnings(), pytest.raises(AttnError):
        warnings.simplefilter("ignore")
        q, k, v = tensors()
        compiled(KINDS[kind](q), k, v, "cpu")


def test_the_reason_is_in_the_error_of_a_whole_graph() -> None:
    torch._dynamo.reset()
    q, k, v = tensors()
    whole = torch.compile(lambda x: OP(x, k, v), backend="eager", fullgraph=True)
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"'q' must be a tensor of kind float, found torch\.int32"):
        whole(q.int())


def test_autocast_makes_no_float_of_an_int() -> None:
    q, k, v = tensors()
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(AttnTypeError, match=r"kind float, found torch\.int32"):
        OP(q.int(), k, v)


def test_help() -> None:
    q, k, v = tensors()
    for kind, help in (
        ("quantized", "dequantize"),
        ("sparse", "to_dense"),
        ("float8", "float32, bfloat16, float16, float64"),
        ("fake", "FakeTensorMode"),
    ):
        with pytest.raises(AttnTypeError) as caught:
            OP(KINDS[kind](q), k, v)
        assert help in caught.value.help, kind
    fakes = [FakeTensorMode().from_tensor(t) for t in (q, k, v)]
    with pytest.raises(AttnTypeError, match="several modes"):
        OP(*fakes)


@pytest.mark.parametrize("backend", ("eager", "cpu"))
def test_what_is_right_is_computed(backend: str) -> None:
    q, k, v = tensors()
    want = OP(q, k, v, at=torch.tensor([3, 1]), backend="eager")
    for at in (torch.tensor([3, 1], dtype=t) for t in (torch.int32, torch.int8, torch.uint8, torch.uint16)):
        torch.testing.assert_close(OP(q, k, v, at=at, backend=backend), want)
    mode = FakeTensorMode()
    fakes = [mode.from_tensor(t) for t in (q, k, v)]
    with mode:
        assert OP(*fakes, backend=backend).shape == (2, 3, 4)
    assert OP(*(t.to("meta") for t in (q, k, v))).device.type == "meta"


def test_a_sparse_gradient_is_a_gradient() -> None:
    q, k, v = tensors()
    g = torch.randn(2, 3, 4) * (torch.rand(2, 3, 4) < 0.3)
    found = [torch.autograd.grad(OP(q.requires_grad_(), k, v, backend="cpu"), q, h)[0] for h in (g, g.to_sparse())]
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("backend", ("eager", "cpu", "triton"))
@pytest.mark.parametrize("number", (1, 2, 255))
def test_bytes_for_truth_values(number: int, backend: str) -> None:
    """What is not zero is true, in masks of pairs as well, of which tiles are listed."""
    op = attncc.compile(TEXT.replace("at[b]?: int", "off[b, i, j]: bool").replace("j <= at ?? true", "not off"))
    q, k, v = (torch.randn(2, n, 4) for n in (9, 40, 40))
    off = torch.rand(2, 9, 40) < 0.5
    off[:, :, 0] = False
    found = op(q, k, v, off.to(torch.uint8) * number, backend=backend)
    torch.testing.assert_close(found, op(q, k, v, off, backend="eager"))
    compiled = torch.compile(lambda *x: op(*x, backend=backend), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(q, k, v, off.to(torch.uint8) * number), found)
    if backend == "eager":
        attncc.testing.assert_matches_oracle(op, (q, k, v, off.to(torch.uint8) * number), backends=(backend,))
