"""Calls pass PyTorch's dispatcher by only where it would do nothing but autograd."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from attends import attend, op
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from attncc.runtime import dispatch
from attncc.runtime.operators import Operator

OP = op(attend("score dot(q, k)  mask j <= i + 1  normalize softmax  mix v"))


def tensors(*, grad: bool = False) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, 2, n, 4, requires_grad=grad) for n in (3, 5, 5)]


class Sub(torch.Tensor):
    """A subclass that says nothing."""


class Seen(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class Heard(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What calls of operators reached."""
    found: list[str] = []
    kept = dispatch.reached

    def reached(given: Any) -> str:
        found.append(kept(given))
        return found[-1]

    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "reached", reached)
        yield found


def test_a_plain_call_goes_straight_to_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    def overload(*_: Any) -> None:
        raise AssertionError("the dispatcher")

    call = Operator.__call__
    monkeypatch.setattr(Operator, "__call__", lambda self, given: call(_without(self, overload), given))
    for grad in (False, True):
        out = OP(*tensors(grad=grad))
        assert out.requires_grad == grad
        assert not OP(*(torch.nn.Parameter(t, requires_grad=False) for t in tensors())).requires_grad
        with torch.no_grad():
            assert not OP(*tensors(grad=grad)).requires_grad
        with torch.inference_mode():
            assert OP(*tensors(grad=grad)).is_inference()


def _without(made: Operator, overload: Callable[..., Any]) -> Operator:
    return Operator(made.facts, made.way, overload, made.kernels, made.taped)


def test_both_ways_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    grads = []
    for way in ("", "tape"):
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "reached", lambda _, way=way: way)
            given = tensors(grad=True)
            out = OP(*given)
            first = torch.autograd.grad(out.square().sum(), given, create_graph=True)
            second = torch.autograd.grad(sum(g.square().sum() for g in first), given)
            grads.append([out, *first, *second, *torch.autograd.grad(OP(*given).square().sum(), given)])
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


def test_modes_and_profilers_see_a_call() -> None:
    given = tensors()
    with Seen() as seen, Heard() as heard:
        OP(*given)
    assert any(n.startswith("attncc.") for n in seen.names) and any(n.startswith("attncc.") for n in heard.names)
    with torch.profiler.profile() as profile:
        OP(*given)
    assert any(e.name.startswith("attncc::") for e in profile.events())
    graph = make_fx(OP)(*given).graph
    assert any("attncc" in str(n.target) for n in graph.nodes)
    traced = torch.jit.trace(lambda *x: OP(*x), tuple(given), check_trace=False)
    assert "attncc::" in str(traced.graph)


def test_saved_tensors_go_through_hooks() -> None:
    packed: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t) or t, lambda t: t):
        out = OP(*tensors(grad=True))
    assert len(packed) >= 3
    out.sum().backward()


@pytest.mark.parametrize("kind", ["negative", "zero", "subclass", "fake", "vmap", "autocast", "functionalize"])
def test_what_is_not_plain_goes_the_whole_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = tensors()
    with counted(monkeypatch) as found:
        match kind:
            case "negative":
                torch.testing.assert_close(OP(torch.complex(k, k)[:, :, :3].conj().imag, k, v), OP(-k[:, :, :3], k, v))
            case "zero":
                zero = torch._efficientzerotensor(q.shape)
                torch.testing.assert_close(OP(zero, k, v), OP(torch.zeros_like(q), k, v))
            case "subclass":
                OP(q.as_subclass(Sub), k, v)
            case "fake":
                with FakeTensorMode() as mode:
                    assert OP(*(mode.from_tensor(t) for t in (q, k, v))).shape == (1, 2, 3, 4)
            case "vmap":
                torch.testing.assert_close(torch.vmap(OP, (0, None, None))(q[None], k, v)[0], OP(q, k, v))
            case "autocast":
                with torch.autocast("cpu"):
                    assert OP(q, k, v).dtype == torch.bfloat16
            case "functionalize":
                torch.testing.assert_close(torch.func.functionalize(OP)(q, k, v), OP(q, k, v))
    assert found[0] == ""


def test_below_autograd_nothing_is_taped() -> None:
    with torch._C._AutoDispatchBelowAutograd():
        assert not OP(*tensors(grad=True)).requires_grad
