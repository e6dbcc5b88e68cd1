"""The joint backward pass of the Triton backend: asked for, it is right; not asked for, or under deterministic algorithms, it is not
taken."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from attncc.backends.triton import forms
from attncc.backends.triton.backward import gradient
from attncc.backends.triton.configs import Config
from attncc.backends.triton.load import interpret, load
from attncc.backends.triton.pins import REGISTRY, Pin, Pins, key_of
from attncc.backends.triton.run import module_of
from attncc.backends.triton.space import Setting
from attncc.backends.triton.tune import tune
from backward_cases import CASES, SIZES, Case, agree, kernels
from triton_cases import DEVICE, attend, op, qkv, rand

import attncc
from attncc.errors import AttnValueError
from attncc.runtime.gradient import Gradient
from attncc.schedules.backward import differentiated
from attncc.testing.tolerances import reduction_length, tolerance
from attncc.tile.nodes import Repeat, statements

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
SMALL = Config(16, 16, 4, 1)


@pytest.fixture(autouse=True)
def _asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(forms.VARIABLE, "joint")


def _way(program: Any, outputs: tuple[str, ...]) -> Gradient | None:
    return gradient(program, outputs, SMALL)


def _close(have: torch.Tensor, want: torch.Tensor, inputs: dict[str, torch.Tensor]) -> None:
    limit = tolerance(torch.float32, reduction_length([t.shape for t in inputs.values()]), max(1.0, want.abs().max().item()))
    torch.testing.assert_close(have.double(), want.double(), rtol=0, atol=limit)


JOINED = {
    "normalizer: query axis": ["o_backward_lse", "o_backward"],
    "normalizer: softmax of a softmax": ["o_backward_lse", "o_backward"],
    "emit: entropy": ["o_backward_lse", "o_backward"],
    "score: Gaussian": ["o_backward"],
    "score: bias of a key and a head": ["o_backward", "o_backward_keys2"],
    "shape: rows without a key take the mean": ["o_backward"],
    "shape: heads in groups": ["o_backward"],
    "shape: kinds of keys": ["o_backward_rows", "o_backward_keys", "o_backward_keys2"],
}
"""Stages of the backward pass. Several kinds of keys stay split."""


@pytest.mark.parametrize("name", JOINED)
def test_gradients(name: str) -> None:
    tape = agree(CASES[name], _way, torch.float32, device=DEVICE)
    assert kernels(tape) == JOINED[name]


@pytest.mark.parametrize(
    ("needs", "ran"),
    [
        (("q", "k"), ["o_backward"]),
        (("q", "v"), ["o_backward"]),
        (("q",), ["o_backward_rows"]),
        (("k", "v"), ["o_backward_keys"]),
    ],
)
def test_some_inputs(needs: tuple[str, ...], ran: list[str]) -> None:
    """One side alone has nothing to join."""
    inputs = qkv(b=1, h=1, i=19, j=21, d=8, e=8)
    case = attend("score s = dot(q, k) / 2\nmask j <= i\nnormalize sigmoid\nmix v"), inputs
    assert kernels(agree(case, _way, torch.float32, needs, DEVICE)) == ran


MASKS = {
    "window": ("sigmoid", "abs(i - j) <= 6"),
    "dilated": ("softmax", "(i - j) mod 3 == 0 and j <= i"),
    "causal, rows without a key": ("exp(s / 4)", "j < i - 5"),
    "causal, rows without a key, softmax": ("softmax", "j < i - 5"),
    "nothing": ("softmax", "j < 0"),
}
"""Weights, and a mask."""


@pytest.mark.parametrize("mask", MASKS)
def test_masks(mask: str) -> None:
    weights, mask = MASKS[mask]
    agree(
        (attend(f"score s = dot(q, k) / 2\nmask {mask}\nnormalize {weights}\nmix v"), qkv(**SIZES)),
        _way,
        torch.float32,
        device=DEVICE,
    )


def test_documents() -> None:
    """A mask that reads data: tiles come from a list, and no part of a tile beyond the last key reaches a row."""
    text = "pattern t(q[b, i, d], k[b, j, d], v[b, j, e], u[b, j], m[b, i]: int, n[b, j]: int) -> o[b, i, e] {{\n{}\n}}"
    text = text.format("attend o over j { score dot(q, k) / 2 + u   mask m == n   normalize softmax   mix v }")
    documents = torch.arange(37) // 9
    inputs = {"q": rand(1, 37, 8), "k": rand(1, 37, 8), "v": rand(1, 37, 4), "u": rand(1, 37) - 100}
    inputs |= {"m": documents[None], "n": documents[None]}
    program = op(text).specialise({n: t.dim() for n, t in inputs.items()})
    made = _way(program, ("o",))
    assert made is not None
    found, saved = made.forward(inputs)
    have = made.backward(inputs, saved, {"o": torch.ones_like(found["o"])}, ["q", "k", "v"])
    leaves = {n: t.double().requires_grad_() if t.is_floating_point() else t for n, t in inputs.items()}
    want = torch.autograd.grad(op(text)(**leaves, backend="eager").sum(), [leaves[n] for n in "qkv"])
    for name, w in zip("qkv", want, strict=True):
        _close(have[name], w, inputs)


@pytest.mark.parametrize("mask", ["true", "abs(i - j) <= 6"])
def test_keys_beyond_the_last_give_nothing(mask: str) -> None:
    """Scores of a tile's overhang are far above those of every key: their weights would be infinite."""
    text = attend(f"score s = dot(q, k) / 2 + u\nmask {mask}\nnormalize softmax\nmix v", ", u[b, j]")
    agree((text, {**qkv(**SIZES), "u": rand(1, 23) - 100}), _way, torch.float32, device=DEVICE)


def test_windows_on_a_grid() -> None:
    """Boxes of keys that overhang along either axis."""
    made = attncc.load("neighborhood2d", window=(3, 5))
    inputs = {n: rand(1, 1, 7, 11, 8) * scale for n, scale in (("q", 1), ("k", 2), ("v", 3))}
    program = made.specialise({n: t.dim() for n, t in inputs.items()})
    way = _way(program, ("o",))
    assert way is not None
    found, saved = way.forward(inputs)
    have = way.backward(inputs, saved, {"o": torch.ones_like(found["o"])}, list(inputs))
    leaves = {n: t.double().requires_grad_() for n, t in inputs.items()}
    want = torch.autograd.grad(made(**leaves, backend="eager", outputs=("o",)).sum(), list(leaves.values()))
    for name, w in zip(inputs, want, strict=True):
        _close(have[name], w, inputs)


def test_a_group_of_heads_is_a_loop_of_its_key_head() -> None:
    program = op(CASES["shape: heads in groups"][0]).ir
    made = differentiated(program, ("o",), forms.rewrite("joint"))
    assert made is not None
    (kernel,) = forms.kernels(made.backward([i.name for i in program.inputs], ("o",)))
    assert any(isinstance(s, Repeat) for s in statements(kernel.body))


BOXES: Case = (
    attend("score s = dot(q, k) / 2\nmask j <= i + 4\nnormalize softmax\nmix v"),
    qkv(b=1, h=2, i=37, j=29, d=16, e=24),
)


@pytest.mark.parametrize(
    "config", [SMALL, replace(SMALL, inside=True), replace(SMALL, described=False)], ids=["host", "inside", "pointers"]
)
def test_descriptors(config: Config, reducing: None) -> None:
    """The module that a Hopper GPU runs: additions by descriptors of the caller's, of the kernel's, and by pointers."""
    interpret()
    made = differentiated(op(BOXES[0]).ir, ("o",), forms.rewrite("joint"))
    assert made is not None
    plan = made.backward(["q", "k", "v"], ("o",)).plan
    module = module_of(plan, {"d": 16, "e": 24}, "cuda:90", 16, config, descriptors=True)
    assert ("_desc.atomic_add(" in module.text) == config.described
    assert ("tl.atomic_add(" in module.text) != config.described
    assert ("tl.make_tensor_descriptor(d_q_sum_ptr" in module.text) == config.inside
    leaves = {n: t.double().requires_grad_() for n, t in BOXES[1].items()}
    want = torch.autograd.grad(op(BOXES[0])(**leaves, backend="eager").sum(), list(leaves.values()))
    loaded, (launch,) = load(module.text), module.launches
    out, lse = (x.detach().float() for x in _forward(BOXES[1]))
    values = {**BOXES[1], "d_o": torch.ones_like(out), "o": out, "lse_kept": lse}
    found = getattr(loaded, launch.name)(*(values[a.name] for a in launch.inputs), dtype=torch.float32)
    names = [a.name for a in launch.results]
    for name, w in zip(("d_q", "d_k", "d_v"), want, strict=True):
        _close(found[names.index(name)], w, BOXES[1])


def _forward(inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """The output, and the log-sum-exp in base 2, infinite for rows without a key."""
    score = torch.einsum("bhid,bhjd->bhij", inputs["q"].double(), inputs["k"].double()) / 2
    i, j = torch.arange(score.shape[2])[:, None], torch.arange(score.shape[3])
    score = score.masked_fill(j > i + 4, float("-inf"))
    lse = torch.logsumexp(score, -1) / torch.log(torch.tensor(2.0))
    return op(BOXES[0])(**{n: t.double() for n, t in inputs.items()}, backend="eager"), lse


@pytest.fixture
def reducing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The interpreter with additions by descriptor, which it lacks."""
    from triton._C.libtriton import ir
    from triton.runtime import interpreter

    def reduce(self: Any, kind: Any, desc: Any, value: Any, indices: Any) -> Any:
        assert kind == ir.DESCRIPTOR_REDUCE_KIND.ADD
        pointers, mask = desc.materialize_pointers(indices)
        return self.create_atomic_rmw(ir.ATOMIC_OP.FADD, pointers, value, mask, ir.MEM_SEMANTIC.RELAXED, None)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_descriptor_reduce", reduce, raising=False)
    yield


# Who chooses.


def _call() -> attncc.Op:
    return op(attend("score s = dot(q, k) / 2\nnormalize sigmoid\nmix v"))


def _gradients(inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    leaves = {n: t.to(DEVICE).requires_grad_() for n, t in inputs.items()}
    return list(torch.autograd.grad(_call()(**leaves, backend="triton").square().sum(), list(leaves.values())))


def _taken(inputs: dict[str, torch.Tensor]) -> bool:
    """Whether a call takes the joint form."""
    made = gradient(_call().ir, ("o",))
    assert made is not None
    return bool(forms.kernels(made.tape(inputs, ["q", "k", "v"], ("o",))))


def test_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = qkv(1, 1, 9, 11)
    assert _taken(inputs)
    joint = _gradients(inputs)
    monkeypatch.delenv(forms.VARIABLE)
    assert not _taken(inputs)
    for a, b in zip(joint, _gradients(inputs), strict=True):
        _close(a, b, inputs)
    monkeypatch.setenv(forms.VARIABLE, "both")
    with pytest.raises(AttnValueError, match="ATTNCC_BACKWARD must be one of split, joint, found 'both'"):
        _taken(inputs)


def test_deterministic_algorithms_keep_it_split() -> None:
    inputs = qkv(1, 1, 9, 11)
    torch.use_deterministic_algorithms(True)
    try:
        with pytest.warns(UserWarning, match=r"joint backward pass of 't' adds atomically.*the split one runs instead"):
            assert not _taken(inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first, second = _gradients(inputs), _gradients(inputs)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_pinned_joint_kernel_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = {n: t.to(DEVICE) for n, t in qkv(1, 1, 9, 11).items()}
    made = gradient(_call().ir, ("o",))
    assert made is not None
    (kernel,) = forms.kernels(made.tape(inputs, ["q", "k", "v"], ("o",)))
    monkeypatch.delenv(forms.VARIABLE)
    target = "interpreter" if DEVICE == "cpu" else "cuda:90"
    REGISTRY.clear()
    try:
        key = key_of(kernel, {"d": 16, "e": 24}, Setting(target, 32))
        REGISTRY.add(Pins(target, "", "", (Pin(kernel.name, key, SMALL),)))
        assert _taken(inputs)
        REGISTRY.add(Pins(target, "", "", ()))
        REGISTRY.clear()
        assert not _taken(inputs)
    finally:
        REGISTRY.clear()


def test_tuning_measures_the_form_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it pins then asks for the joint form by itself."""
    inputs = {n: t.to(DEVICE) for n, t in qkv(1, 1, 9, 11).items()}
    REGISTRY.clear()
    try:
        found = tune(_call().ir, ("o",), inputs, timer=lambda _call, _kernel, _config: 1.0, limit=2)
        assert "o_backward" in [p.kernel for p in found.pins]
        monkeypatch.delenv(forms.VARIABLE)
        assert _taken(inputs)
    finally:
        REGISTRY.clear()
