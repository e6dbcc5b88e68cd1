"""Recipes of calls: followed where a call is like one before, and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from attncc.backends.cpu import recipe
from torch.profiler import profile
from torch.utils._python_dispatch import TorchDispatchMode

import attncc
from attncc.errors import AttnError, AttnValueError
from attncc.runtime.op import Op

NEAR = """
pattern near(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {
  attend o over j { score -dist2(q, k)  normalize softmax  mix v }
}
"""
LOWER = """
pattern lower(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e], keep[j]: bool) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) - where(keep, 0, 1)  normalize softmax  mix v }
}
"""


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The kernels that recipes called."""
    names: list[str] = []
    real = recipe.called

    def called(name: str, *rest: Any) -> None:
        names.append(name)
        real(name, *rest)

    monkeypatch.setattr(recipe, "called", called)
    yield names


def qkv(n: int = 20, **options: Any) -> list[torch.Tensor]:
    return [torch.randn(1, 2, n, 8, **options) for _ in range(3)]


def taught(name: str = "softmax", **params: Any) -> Op:
    """An op that has recipes for calls with `qkv()`."""
    op = attncc.load(name, **params)
    for _ in range(2):
        op(*qkv(), backend="cpu")
    assert all(op._again.recipes.values())
    return op


def test_the_third_call_follows_the_first(followed: list[str]) -> None:
    op = attncc.compile(NEAR)
    for n in range(4):
        given = qkv()
        have = op(*given, backend="cpu")
        assert len(followed) == (0 if n < 2 else 2 * (n - 1)), "norms of keys, and the attend"
        assert torch.allclose(have, op(*given, backend="eager"), atol=1e-5)


def test_results_are_new(followed: list[str]) -> None:
    op, given = taught(), qkv()
    one, two = op(*given, backend="cpu").core, op(*given, backend="cpu").core
    assert followed and torch.equal(one, two) and one.data_ptr() != two.data_ptr()


@pytest.mark.parametrize("outputs", [None, "core", ("lse", "core"), ["lse"]])
def test_names_of_outputs_and_arguments(followed: list[str], outputs: Any) -> None:
    op = attncc.load("softmax")
    q, k, v = qkv(), qkv(), qkv()
    for t in zip(q, k, v, strict=True):
        have = op(t[0], v=t[2], k=t[1], outputs=outputs)
    want = op(t[0], t[1], t[2], outputs=outputs, backend="eager")
    assert followed and type(have) is type(want)
    for one, other in zip([have], [want], strict=True) if isinstance(have, torch.Tensor) else zip(have, want, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_calls_that_differ(followed: list[str]) -> None:
    """In the layout or the type of what they are given."""
    op, (q, k, v) = taught(), qkv()
    wide = torch.randn(1, 2, 20, 16)[..., ::2]
    others = [
        (wide, k, v),
        (q, wide, v),
        (q, k[:, :, :19], v[:, :, :19]),
        (q, k[:, :1], v[:, :1]),
        [t.double() for t in (q, k, v)],
    ]
    for given in others:
        assert torch.allclose(op(*given, backend="cpu").core, op(*given, backend="eager").core, atol=1e-5)
    assert not followed


def test_gradients_are_asked_for(followed: list[str]) -> None:
    op, given = taught(), qkv(requires_grad=True)
    op(*given, backend="cpu").core.sum().backward()
    assert not followed and all(t.grad is not None for t in given)
    with torch.no_grad():
        for _ in range(3):
            assert not op(*given, backend="cpu").core.requires_grad
    assert followed, "parameters of a model in use"
    followed.clear()
    assert op(*given, backend="cpu").core.requires_grad and not followed


def test_wrong_calls_stay_wrong() -> None:
    op, (q, k, v) = taught(), qkv()
    for args, options in (
        ((q, k), {}),
        ((q, k, v, q, q, q), {}),
        ((q, k, v), {"outputs": [["core"]]}),
        ((q, k, v), {"outputs": {"core": 1}}),
        ((q, k, v), {"outputs": 0}),
    ):
        for _ in range(3):
            with pytest.raises(AttnError):
                op(*args, backend="cpu", **options)
    with pytest.raises(AttnError):
        op(q, k, torch.randn(1, 2, 21, 8), backend="cpu")


def test_modes_transforms_and_traces(followed: list[str]) -> None:
    op, given = attncc.load("softmax"), qkv()
    want = op(*given, backend="eager").core

    def call(*t: torch.Tensor) -> torch.Tensor:
        return op(*t).core

    for _ in range(3):
        call(*given)
    assert followed
    followed.clear()
    with torch.autocast("cpu", torch.bfloat16):
        assert call(*given).dtype == torch.bfloat16
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch():
        call(*given)
    assert any("attncc" in name for name in seen)
    with profile() as watched:
        call(*given)
    assert any("attncc" in event.key for event in watched.key_averages())
    stacked = [torch.stack([t, t]) for t in given]
    assert torch.allclose(torch.vmap(call)(*stacked)[1], want, atol=1e-5)
    _, tangent = torch.func.jvp(call, tuple(given), tuple(map(torch.ones_like, given)))
    assert tangent.abs().max() > 0
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(given[0], torch.ones_like(given[0]))
        assert torch.autograd.forward_ad.unpack_dual(call(dual, *given[1:])).tangent is not None
    compiled = torch.compile(call, backend="eager", fullgraph=True)
    assert torch.allclose(compiled(*given), want, atol=1e-5)
    assert not followed
    with torch.inference_mode():
        for _ in range(3):
            assert torch.allclose(call(*given), want, atol=1e-5)
    assert followed


def test_what_needs_more_than_kernels_has_no_recipe(followed: list[str]) -> None:
    """Bytes for truth values are made truth values first; a tensor without numbers has no address."""
    op = attncc.compile(LOWER)
    keep = torch.arange(20) % 3 > 0
    for given in ([*qkv(), keep.to(torch.uint8)], [*qkv(0), keep[:0]]):
        for _ in range(3):
            assert torch.allclose(op(*given, backend="cpu"), op(*given, backend="eager"), atol=1e-5, equal_nan=True)
    assert not followed
    for _ in range(3):
        op(*qkv(), keep, backend="cpu")
    assert followed


def test_data_is_checked_at_each_call(followed: list[str]) -> None:
    op, given = attncc.load("gaussian_kernel"), qkv()
    for sigma in (1.0, 2.0, 3.0):
        have = op(*given, torch.tensor([sigma]), backend="cpu")
        assert torch.allclose(have.core, op(*given, torch.tensor([sigma]), backend="eager").core, atol=1e-5)
    assert followed
    followed.clear()
    for _ in range(2):
        with pytest.raises(AttnValueError, match="assumption"):
            op(*given, torch.tensor([-1.0]), backend="cpu")
    assert not followed


def test_what_is_remembered_is_bounded() -> None:
    op = attncc.load("softmax")
    for n in range(1, 300):
        for _ in range(2):
            op(*(torch.randn(1, 1, n % 290 + 1, 4) for _ in range(3)), backend="cpu")
    assert 0 < len(op._again.recipes) <= 256 and len(op._again.once) <= 256
