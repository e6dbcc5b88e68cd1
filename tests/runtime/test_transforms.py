"""Models with an op in them: pickled, copied, differentiated by torch.func and in forward mode."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.autograd import forward_ad
from torch.func import grad, jacfwd, jacrev, jvp, vmap

import attncc

TEXT = """
pattern causal(q[b, n, d], k[b, n, d], v[b, n, e]) -> o[b, n, e] {
  attend o over n' { score dot(q, k')   mask n' <= n   normalize softmax   mix v' }
}
"""


@attncc.jit
def traced(q: "b n d", k: "b n d", v: "b n e", *, slope: float = 0.5) -> "b n e":
    n, m = attncc.axes("n n'")
    return attncc.attend(attncc.dot(q, k.prime) - slope * (n - m), over=m, mask=m <= n, mix=v.prime)


def reference(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    later = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool).triu(1)
    return (q @ k.mT).masked_fill(later, float("-inf")).softmax(-1) @ v


def tensors() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, 3, dtype=torch.float64, generator=generator) for _ in range(3)]


class Model(torch.nn.Module):
    def __init__(self, op: attncc.Op) -> None:
        super().__init__()
        self.op = op
        self.scale = torch.nn.Parameter(torch.tensor(1.5, dtype=torch.float64))

    def forward(self, *x: torch.Tensor) -> Any:
        return self.op(x[0] * self.scale, *x[1:])


def _saved(model: Model) -> Model:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), _saved], ids=["copy", "pickle", "save"]
)
@pytest.mark.parametrize("make", [lambda: attncc.compile(TEXT), lambda: traced, lambda: attncc.load("softmax", causal=True)])
def test_copies_of_a_model_that_was_used(make: Callable[[], attncc.Op], copied: Callable[[Model], Model]) -> None:
    model = Model(make())
    x = tensors()
    if model.op.name == "softmax":
        x = [t[:, None] for t in x]
    want = model(*x)
    want = want if isinstance(want, torch.Tensor) else want[0]
    again = copied(model)
    got = again(*x)
    got = got if isinstance(got, torch.Tensor) else got[0]
    assert torch.equal(got, want) and again.op.params == model.op.params and repr(again.op) == repr(model.op)
    got.sum().backward()
    assert again.scale.grad is not None and model.scale.grad is None


def test_a_copy_of_a_traced_function_takes_parameters_at_the_call() -> None:
    x = tensors()
    copied = pickle.loads(pickle.dumps(traced))
    assert torch.equal(copied(*x, slope=1.0), traced(*x, slope=1.0)) and not torch.equal(copied(*x), traced(*x, slope=1.0))


def _loss(f: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    return lambda *x: f(*x).sin().sum()


TRANSFORMS: dict[str, Callable[[Callable[..., torch.Tensor]], Any]] = {
    "grad": lambda f: grad(_loss(f))(*tensors()),
    "grad of each": lambda f: vmap(grad(_loss(f)))(*(torch.stack([t, 2 * t]) for t in tensors())),
    "jacrev": lambda f: jacrev(f)(*tensors()),
    "jacfwd": lambda f: jacfwd(f)(*tensors()),
    "jvp": lambda f: jvp(f, tuple(tensors()), tuple(t.cos() for t in tensors()))[1],
    "vmap": lambda f: vmap(f)(*(torch.stack([t, 2 * t]) for t in tensors())),
    "second derivatives": lambda f: jacfwd(jacrev(_loss(f)))(*tensors()),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", TRANSFORMS)
def test_torch_func(name: str) -> None:
    torch.testing.assert_close(TRANSFORMS[name](attncc.compile(TEXT)), TRANSFORMS[name](reference))


def test_forward_mode() -> None:
    op = attncc.compile(TEXT)
    with forward_ad.dual_level():
        x = [forward_ad.make_dual(t, t.cos()) for t in tensors()]
        torch.testing.assert_close(forward_ad.unpack_dual(op(*x)).tangent, forward_ad.unpack_dual(reference(*x)).tangent)
        with pytest.raises(attncc.AttnUnsupportedError, match="forward-mode"):
            op(*x, backend="cpu")
        torch.testing.assert_close(op(*tensors(), backend="cpu"), reference(*tensors()))
