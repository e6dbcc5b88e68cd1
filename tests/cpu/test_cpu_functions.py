"""The vector functions against double precision (32 bits, over all magnitudes) and against mpmath (64 bits), on each width of vector."""

from __future__ import annotations

import ctypes
import math
import platform
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from attncc.backends.cpu.library import load

SOURCE = Path(__file__).with_name("vector_functions.c").read_text()
WIDTHS = {"native": "", **({"AVX2": "-march=haswell", "SSE2": "-march=x86-64"} if platform.machine() == "x86_64" else {})}

BOUNDS = {
    "exp2": 1.6, "logistic": 2.6, "exp": 2.1, "log": 1.5, "log2": 2.0, "tanh": 2.0, "sigmoid": 2.6, "erf": 1.9, "log1p": 2.0, "expm1": 2.0,
    "softplus": 3.0, "logsigmoid": 3.0, "sqrt": 0.51, "rsqrt": 1.6,
}  # fmt: skip
"""Greatest errors in units of the last place, for results in the normal range."""


def library(bits: int, flags: str, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    monkeypatch.setenv("ATTNCC_CFLAGS", flags)
    return load(f"#define REAL_BITS {bits}\n{SOURCE}", "vector functions")


def over(lib: ctypes.CDLL, name: str, x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    function = getattr(lib, f"over_{name}")
    function(x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_long(len(x)))
    return out


def exact(name: str, x: torch.Tensor) -> torch.Tensor:
    """In double precision."""
    functional: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "logistic": lambda t: 1 / (1 + torch.exp2(t)),
        "softplus": lambda t: t.clamp(min=0) + torch.log1p(torch.exp(-t.abs())),
        "logsigmoid": lambda t: t.clamp(max=0) - torch.log1p(torch.exp(-t.abs())),
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "gelu_tanh": lambda t: torch.nn.functional.gelu(t, approximate="tanh"),
        "elu": torch.nn.functional.elu,
        "relu": torch.relu,
    }
    return functional.get(name, getattr(torch, name, torch.relu))(x)


@pytest.mark.parametrize("width", WIDTHS)
def test_single_precision(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = library(32, WIDTHS[width], monkeypatch)
    bits = np.arange(0, 2**32, 4999, dtype=np.uint64).astype(np.uint32)
    edges = np.array(
        [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 88.7, -87.3, 127.999, -125.9, -149, 1e-45, 0.625], dtype=np.float32
    )
    x = np.concatenate([bits.view(np.float32), np.linspace(-20, 20, 200_000, dtype=np.float32), edges])
    x = np.concatenate([x, np.zeros(-len(x) % 16, dtype=np.float32)])
    for name, bound in BOUNDS.items():
        have = over(lib, name, x).astype(np.float64)
        want = exact(name, torch.from_numpy(x.astype(np.float64))).numpy()
        nearest = torch.from_numpy(want).float().numpy()
        assert np.array_equal(np.isnan(have), np.isnan(want)), f"{name}: {x[np.isnan(have) != np.isnan(want)][:5]}"
        infinite = np.isinf(nearest)
        assert np.array_equal(have[infinite], nearest[infinite].astype(np.float64)), name
        normal = np.isfinite(nearest) & (np.abs(want) >= 2.0**-126)
        error = np.abs(have - want)[normal] / np.spacing(np.abs(nearest[normal])).astype(np.float64)
        worst = error.argmax()
        assert error[worst] <= bound, f"{name}({x[normal][worst]!r}): {error[worst]:.2f} units"
        tiny = np.isfinite(nearest) & ~normal
        assert np.abs(have - want)[tiny].max(initial=0.0) <= 2.0**-126, name


@pytest.mark.parametrize("width", WIDTHS)
def test_double_precision(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = library(64, WIDTHS[width], monkeypatch)
    rng = np.random.default_rng(0)
    scales = (1e-300, 1e-12, 1e-3, 0.3, 1, 3, 10, 100, 700)
    x = np.concatenate([rng.normal(size=80) * s for s in scales] + [np.linspace(0.9, 1.1, 80)])
    x = x[: len(x) // 8 * 8]
    with mpmath.workdps(40):
        truth: dict[str, Callable[[mpmath.mpf], mpmath.mpf]] = {
            "exp2": lambda t: mpmath.power(2, t), "exp": mpmath.exp, "log": mpmath.log, "log2": lambda t: mpmath.log(t, 2),
            "tanh": mpmath.tanh, "sigmoid": lambda t: 1 / (1 + mpmath.exp(-t)), "erf": mpmath.erf, "log1p": mpmath.log1p,
            "expm1": mpmath.expm1,
        }  # fmt: skip
        for name, function in truth.items():
            at = np.abs(x) if name.startswith("log") else x
            for value, have in zip(at, over(lib, name, at.copy()), strict=True):
                want = function(mpmath.mpf(float(value)))
                near = float(want)
                if math.isinf(near) or abs(near) < 2.3e-308:
                    assert have == near or abs(have - near) <= 2.3e-308, (name, value)
                else:
                    error = float(abs(mpmath.mpf(float(have)) - want) / np.spacing(abs(near)))
                    assert error <= BOUNDS[name] + 0.4, f"{name}({value!r}): {error:.2f} units"


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_rest(bits: int, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = library(bits, WIDTHS[width], monkeypatch)
    dtype = np.float32 if bits == 32 else np.float64
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, -2.5, 1e9, -1e-30]
    x = np.concatenate([np.linspace(-30, 30, 4086), edges]).astype(dtype)
    x = np.concatenate([x, np.zeros(-len(x) % 16, dtype=dtype)])
    for name in ("silu", "gelu", "gelu_tanh", "elu", "relu", "round", "floor", "ceil", "sign"):
        have, want = over(lib, name, x), exact(name, torch.from_numpy(x.astype(np.float64))).numpy()
        if name in ("silu", "gelu", "gelu_tanh"):  # PyTorch gives NaN, the limit is 0
            want = np.where(np.isneginf(x), 0.0, want)
            have = np.where(np.isneginf(x), 0.0, have)
        if name == "sign":
            want = np.where(np.isnan(x), 0.0, want)
        np.testing.assert_allclose(
            have, want, rtol=2e-6 if bits == 32 else 1e-14, atol=1e-6 if bits == 32 else 1e-15, err_msg=name
        )


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("width", WIDTHS)
def test_transpose(bits: int, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = library(bits, WIDTHS[width], monkeypatch)
    lanes = ctypes.c_long.in_dll(lib, "lanes").value
    x = np.arange(lanes * lanes, dtype=np.float32 if bits == 32 else np.float64).reshape(lanes, lanes)
    turned = x.copy()
    lib.turn(turned.ctypes.data_as(ctypes.c_void_p))
    assert np.array_equal(turned, x.T)


@pytest.mark.parametrize("width", WIDTHS)
def test_inverse(width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 / (1 + x) from 0 on: every magnitude, the largest number, infinity, not a number."""
    lib = library(32, WIDTHS[width], monkeypatch)
    x = np.arange(0, 0x7F800000, 977, dtype=np.uint32).view(np.float32)
    x = np.concatenate([x, np.array([1, np.nextafter(np.float32(1), np.float32(0)), 3.4028235e38, np.inf, np.nan], dtype=np.float32)])
    x = np.concatenate([x, np.ones(-len(x) % 16, dtype=np.float32)])
    have, want = over(lib, "inverse_above_one", x).astype(np.float64), 1 / (1 + x.astype(np.float64))
    assert np.array_equal(np.isnan(have), np.isnan(x))
    normal = want > 2.0**-126
    error = np.abs(have - want)[normal] / np.spacing(want[normal].astype(np.float32)).astype(np.float64)
    assert error.max() <= (1.0 if ctypes.c_long.in_dll(lib, "lanes").value == 16 else 1.5)
    rest = ~normal & ~np.isnan(x)
    assert np.all(have[rest] >= 0) and np.all(np.abs(have - want)[rest] <= 2.0**-126)
    assert have[np.isinf(x)].max() <= 2.0**-126
