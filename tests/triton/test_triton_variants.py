"""Variants of generated kernels: each computes what the plain kernel does, under the interpreter, by the text that a GPU runs."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pytest
import torch
from attncc.backends.triton.configs import Config
from attncc.backends.triton.load import interpret, load
from attncc.backends.triton.run import module_of
from triton_cases import SMALL, agree, attend, op, qkv

from attncc.runtime.backends import named
from attncc.schedules.plan import plan

SOFTMAX = "score dot(q, k) / 4\n{mask}\nnormalize softmax\nmix v"
SIGMOID = "score dot(q, k) / 4 - 1\n{mask}\nnormalize sigmoid\nmix v"
MASKS = {"all": "", "causal": "mask j <= i + 8"}


def module(text: str, config: Config, target: str = "cuda:90") -> tuple[str, ModuleType, str]:
    """The text of the module for a GPU, that module under the interpreter, and the name of its launching function."""
    interpret()
    made = plan(op(text).ir, ["o"])
    out = module_of(made, {"d": 16, "e": 24}, target, 16, config, descriptors=target == "cuda:90")
    return out.text, load(out.text), out.launches[-1].name


def run(loaded: ModuleType, name: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return getattr(loaded, name)(inputs["q"], inputs["k"], inputs["v"])[0]


def exact(text: str, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return named("eager").prepare(op(text).ir, ("o",))({n: t.double() for n, t in inputs.items()})["o"]


VARIANTS = {
    "inside": replace(SMALL, inside=True),
    "pointers": replace(SMALL, described=False),
    "one stage for the rest": replace(SMALL, rest=1),
    "longest tile first": replace(SMALL, order=1),
    "heads first": replace(SMALL, order=2, inside=True),
    "groups of heads": replace(SMALL, order=3),
    "stored": replace(SMALL, stored=True),
    "stored, descriptors inside": replace(SMALL, stored=True, inside=True),
    "stored, operands by pointers": replace(SMALL, stored=True, described=False),
    "persistent": replace(SMALL, persistent=1),
    "persistent, all of them": replace(SMALL, persistent=3, order=2, stored=True),
    "persistent, groups of heads": replace(SMALL, persistent=2, order=3, described=False),
    "special": replace(SMALL, special=4),
    "early": replace(SMALL, early=True),
    "early, special": replace(SMALL, early=True, inside=True, special=4),
    "stored, special": replace(SMALL, stored=True, inside=True, special=4),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS)
@pytest.mark.parametrize(("mask", "keys"), [("", 64), (MASKS["causal"], 45)], ids=["full tiles", "causal"])
def test_variants(config: Config, mask: str, keys: int) -> None:
    text = attend(SOFTMAX.format(mask=mask))
    inputs = qkv(j=keys)
    _, loaded, name = module(text, config)
    torch.testing.assert_close(run(loaded, name, inputs).double(), exact(text, inputs), rtol=0, atol=1e-5)


def test_special_is_for_full_tiles() -> None:
    """One warp-specialized loop where the lengths fill the tiles; no such form with a mask."""
    text, loaded, _ = module(attend(SOFTMAX.format(mask="")), VARIANTS["special"])
    assert text.count("warp_specialize=True") == 1
    assert loaded.CONFIG["o_kernel whole"]["WHOLE"] is True
    assert 'if j % config["TILE_J"] == 0:' in text
    text, loaded, _ = module(attend(SOFTMAX.format(mask=MASKS["causal"])), VARIANTS["special"])
    assert "warp_specialize" not in text
    assert list(loaded.CONFIG) == ["o_kernel"]


def test_early_reads_come_first() -> None:
    """Both reads of an iteration before its first product; elsewhere each where it is used. Reads by pointer stay."""

    def order(config: Config) -> str:
        text, _, _ = module(attend(SOFTMAX.format(mask="")), config)
        loop = text[text.index("# tiles of admitted") : text.index("# the other tiles")]
        return "".join("r" if "load(" in line else "p" for line in loop.splitlines() if "load(" in line or "tl.dot(" in line)

    # values are cut in two
    assert order(replace(SMALL, early=True)) == order(replace(SMALL, early=True, inside=True)) == "rrrppp"
    assert order(SMALL) == order(replace(SMALL, early=True, described=False)) == "rprrpp"


@pytest.mark.parametrize("wide", [False, True])
def test_positions_of_vectors(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """32 bits unless a stride says otherwise."""
    text = attend("score dot(q, k) / 4 + u\nnormalize softmax\nmix v", ", u[b, j]")
    _, loaded, name = module(text, SMALL)
    q = torch.empty_strided((2, 3), (3, 1))
    assert not loaded.far((q, 0), (q, 1))
    assert loaded.far((torch.empty((4, 1), device="meta").expand(4, 2).as_strided((4, 2), (2**29, 1)), 0))
    monkeypatch.setattr(loaded, "far", lambda *_: wide)
    inputs = qkv(u=torch.randn(2, 45))
    found = getattr(loaded, name)(inputs["q"], inputs["k"], inputs["u"], inputs["v"])[0]
    torch.testing.assert_close(found.double(), exact(text, inputs), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_fast_tanh(mask: str) -> None:
    """A sigmoid by the hardware's tanh is off by at most 2^-12, here with what the instruction loses put in."""
    text = attend(SIGMOID.format(mask=mask))
    source, loaded, name = module(text, replace(SMALL, fast_tanh=True))
    assert "tanh.approx.f32" in source
    assert "rcp(" not in source.split("def o_kernel")[1]
    inputs = qkv()
    inputs["v"] = torch.ones_like(inputs["v"])
    most = 2.0**-12 * inputs["k"].shape[2] + 1e-4
    error = (run(loaded, name, inputs).double() - exact(text, inputs)).abs().max().item()
    assert 1e-6 < error <= most


def test_fast_tanh_of_a_score() -> None:
    text = attend("score 2 * tanh(dot(q, k) / 8)\nnormalize softmax\nmix v")
    _, loaded, name = module(text, replace(SMALL, fast_tanh=True))
    inputs = qkv()
    torch.testing.assert_close(run(loaded, name, inputs).double(), exact(text, inputs), rtol=0, atol=4e-3)


def test_no_fast_tanh_elsewhere() -> None:
    """AMD has no such instruction."""
    source, _, _ = module(attend(SIGMOID.format(mask="")), replace(SMALL, fast_tanh=True), "hip:gfx942")
    assert "tanh" not in source


BOUNDED = {
    "tanh": ("2 * tanh(dot(q, k) / 8)", True),
    "sigmoid": ("3 - sigmoid(dot(q, k))", True),
    "cosine": ("where(j mod 2 == 0, sin(dot(q, k)), cos(dot(q, k)) / 2)", True),
    "too wide": ("30 * tanh(dot(q, k) / 8)", False),
    "not seen": ("tanh(dot(q, k)) * dot(q, k)", False),
}


@pytest.mark.parametrize(("score", "bounded"), BOUNDED.values(), ids=BOUNDED)
def test_bounded_scores(score: str, bounded: bool) -> None:
    """A bounded score takes a constant shift: no maximum, and the log-sum-exp is right, of rows without a key too."""
    made = op(attend(f"score s = {score}\nmask j < i - 5\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]"))
    runner = agree(made, qkv())
    text = module_of(runner.plan, {"d": 16, "e": 24}, "cuda:90", 16).text
    assert ("tl.max(" not in text) is bounded
    assert ("the scores are bounded" in text) is bounded
