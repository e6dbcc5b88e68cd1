"""The form of a kernel for lengths that fill their tiles: what it reads by descriptor, repeated loops, results; as the plain kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from attncc.backends.triton.configs import Config
from attncc.backends.triton.load import interpret, load
from attncc.backends.triton.module import Module
from attncc.backends.triton.run import module_of
from triton_cases import SMALL, attend, op, qkv, rand

from attncc.runtime.backends import named
from attncc.schedules.backward import differentiated
from attncc.schedules.plan import Plan, plan

HEADS = """pattern t(q[b, (g r), i, d], k[b, g, j, d], v[b, g, j, e]) -> o[b, (g r), i, e] {{
  attend o over j {{ score dot(q, k) / 4   {}   normalize softmax   mix v }} }}"""
SIZES = {"b": 2, "g": 2, "i": 64, "j": 64, "d": 16, "e": 16}
SPECIAL = replace(SMALL, inside=True, special=4)


def printed(made: Plan, config: Config, width: int = 16) -> Module:
    interpret()
    return module_of(made, {"d": 16, "e": width}, "cuda:90", 16, config, descriptors=True)


def backward(mask: str = "") -> Plan:
    made = differentiated(op(HEADS.format(mask)).ir, ["o"])
    assert made is not None
    return made.backward(["q", "k", "v"], ["o"]).plan


@pytest.mark.parametrize("config", [SPECIAL, replace(SPECIAL, stored=True, early=True, flat=True)], ids=["plain", "stored"])
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("length", [64, 45])
def test_gradients(heads: int, length: int, config: Config) -> None:
    """What the launching functions of a backward pass give, to the last bit or nearly, as without that form."""
    sizes = {**SIZES, "r": heads, "i": length, "j": length}
    made, wanted = (printed(backward(), c) for c in (config, SMALL))
    assert "warp_specialize=True" in made.text
    forms, plain = load(made.text), load(wanted.text)
    for launch, other in zip(made.launches, wanted.launches, strict=True):
        given = [rand(*(sizes[a] for a in arg.axes)) for arg in launch.inputs]
        found = getattr(forms, launch.name)(*given)
        for have, want in zip(found, getattr(plain, other.name)(*given), strict=True):
            torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-5)


def test_repeated_loops() -> None:
    """Loops that are repeated for the heads of a group have the form, as one loop; under a mask there is none."""
    text = printed(backward(), SPECIAL).text
    kernel = text[text.index("def o_backward_keys_kernel(") : text.index("def promoted")]
    assert "if WHOLE:" in kernel
    assert "tl.range(0, r_size * each, warp_specialize=True)" in kernel
    assert "warp_specialize" not in printed(backward("mask j <= i"), SPECIAL).text


def test_vectors_by_descriptor() -> None:
    """Vectors of the loop, in that form alone; what the owner holds too. Results wait for the loops' end."""
    text = printed(backward(), replace(SPECIAL, stored=True)).text
    kernel = text[text.index("def o_backward_keys_single_kernel(") : text.index("def o_backward_keys_kernel(")]
    start, whole, rest = kernel.index("if WHOLE:"), kernel.index("warp_specialize"), kernel.index("    else:")
    vector = kernel.index("tl.make_tensor_descriptor(delta_ptr")
    assert start < vector < whole < rest
    assert start < kernel.index("k = k_desc.load(") < whole
    assert rest < kernel.index("k = tl.load(")
    assert kernel.count("tl.make_tensor_descriptor(d_k_ptr") == 1
    assert kernel.rindex("# the other tiles") < kernel.index("d_k_ptr +=") < kernel.index("tl.make_tensor_descriptor(d_k_ptr")


def test_only_by_descriptor() -> None:
    """Where rows are not the last axis of a vector, no descriptor reads it along them, and there is no such form."""
    text = HEADS.format("").replace("(g r), i,", "i, (g r),")
    made = differentiated(op(text).ir, ["o"])
    assert made is not None
    both = printed(made.backward(["q", "k", "v"], ["o"]).plan, SPECIAL).text
    keys, rows = both.split("def o_backward_rows_kernel(")[0].split("def o_backward_keys_")[1:], both
    assert all("WHOLE" not in kernel for kernel in keys)
    assert "warp_specialize=True" in rows


@pytest.mark.parametrize("step", [1, 2])
def test_vectors_that_lie_badly(step: int) -> None:
    """A vector that no descriptor can read: the other form runs."""
    text = attend("score dot(q, k) / 4 + u\nnormalize softmax\nmix v", ", u[b, j]")
    made = printed(plan(op(text).ir, ["o"]), SPECIAL, 24)
    loaded, inputs = load(made.text), qkv(j=64, u=torch.randn(2, 64 * step)[:, ::step])
    assert "u_desc.load(" in made.text
    assert loaded.describable(inputs["u"]) is (step == 1)
    ran: list[bool] = []
    kernel = loaded.o_kernel

    class Heard:
        def __getitem__(self, grid: object) -> object:
            return lambda *args, **settings: (ran.append(settings["WHOLE"]), kernel[grid](*args, **settings))

    loaded.o_kernel = Heard()
    found = getattr(loaded, made.launches[-1].name)(inputs["q"], inputs["k"], inputs["u"], inputs["v"])[0]
    exact = named("eager").prepare(op(text).ir, ("o",))({n: t.double() for n, t in inputs.items()})["o"]
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-5)
    assert ran == [step == 1]


def test_copies_for_descriptors() -> None:
    """What lies badly is copied, a contiguous tensor that starts at an odd address too."""
    loaded = load(printed(backward(), SPECIAL).text)
    base = torch.randn(2 * 3 * 16 + 1)
    odd = base[1:].view(2, 3, 16)
    assert odd.is_contiguous()
    assert not loaded.describable(odd)
    assert loaded.describable(loaded.described(odd))
    torch.testing.assert_close(loaded.described(odd), odd, rtol=0, atol=0)
