"""Generated C on inputs of all kinds, beside those of tests/compiled: sizes from 0, NaN, starts, widths of vector, whole outputs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from attends import SCORE, attend, op, qkv
from cpu_cases import agree, choose, small
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=60, deadline=None)
@given(
    i=st.integers(0, 130),
    j=st.integers(0, 130),
    d=st.sampled_from([1, 3, 16, 44]),
    window=st.sampled_from([0, 5, 80]),
    normalizer=st.sampled_from(["softmax", "sigmoid"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    boxes=st.sampled_from([small, choose, lambda p, s, n: dict.fromkeys((a for d in p.dims for a in d.axes), 1)]),
)
def test_sizes(i: int, j: int, d: int, window: int, normalizer: str, dtype: torch.dtype, boxes: Callable) -> None:
    text = attend(f"{SCORE}\nmask i - j <= {window} and j <= i + 5\nnormalize {normalizer}\nmix v")
    inputs = {n: t.abs().to(dtype) for n, t in qkv(b=1, h=1, i=i, j=j, d=d, e=20).items()}  # so that nothing cancels
    agree(op(text), inputs, boxes=boxes)


@pytest.mark.parametrize("place", ["q", "k"])
def test_nan_stays_where_it_belongs(place: str) -> None:
    inputs = qkv()
    inputs[place][0, 1, 3] = float("nan")
    found = agree(op(attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")), inputs)(inputs)["o"]
    clean = agree(op(attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")), qkv())(qkv())["o"]
    rows = found.isnan().any(-1)
    assert rows[0, 1].tolist() == [i == 3 if place == "q" else i >= 3 for i in range(37)]
    assert torch.equal(found[~rows], clean[~rows])


def test_unaligned_starts() -> None:
    inputs = {}
    for name, t in qkv().items():
        inputs[name] = torch.empty(t.numel() + 3)[3:].reshape(t.shape).copy_(t)
    agree(op(attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")), inputs)


X86 = sys.platform.startswith("linux") and torch.backends.cpu.get_cpu_capability().startswith("AVX")


@pytest.mark.parametrize("flags", ["-march=haswell", "-march=x86-64"])
@pytest.mark.skipif(not X86, reason="x86")
def test_narrower_vectors(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CFLAGS", flags)
    text = attend(f"{SCORE}\nmask j <= i + 4\nnormalize softmax\npost tanh(p) + erf(p) + log(1 + p)\nmix v")
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        agree(op(text), {n: t.to(dtype) for n, t in qkv(i=70).items()})


@pytest.mark.parametrize("flags", ["", *(["-march=haswell", "-march=x86-64"] if X86 else [])])
def test_every_half_is_read_and_written(flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those below the smallest normal one too: as queries, keys, values, outputs and numbers of a row."""
    monkeypatch.setenv("ATTNCC_CFLAGS", flags)
    made = op(
        "pattern p(q[i, d], k[j, d], v[j, e], w[i]) -> o[i, e] { attend o over j { score dot(q, k) * w   normalize identity   mix v } }"
    )
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    halves = halves[halves.isfinite()]
    rows, unit = halves.view(-1, 16), torch.eye(16).half()
    ones = torch.ones(len(halves)).half()
    assert torch.equal(made(rows, unit, unit, ones[: len(rows)], backend="cpu"), rows)
    assert torch.equal(made(unit, rows, torch.eye(len(rows)).half(), ones[:16], backend="cpu"), rows.T)
    assert torch.equal(made(unit, unit, rows.T, ones[:16], backend="cpu"), rows.T)
    assert torch.equal(made(ones[:, None], ones[:1, None], ones[:1, None], halves, backend="cpu")[:, 0], halves)


def test_outputs_are_written_whole() -> None:
    text = attend(f"{SCORE}\nmask j <= i - 3\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")
    torch.use_deterministic_algorithms(True)
    try:
        for i, j in ((0, 3), (1, 1), (37, 45), (97, 0)):
            agree(op(text), qkv(i=i, j=j))
    finally:
        torch.use_deterministic_algorithms(False)


SANITIZED = """
import torch, sys
sys.path[:0] = {paths!r}
from attends import SCORE, GRIDS, attend, op, qkv, rand
from cpu_cases import agree, choose, small
plain = attend(f"{{SCORE}}\\nmask j <= i + 4 and (i - j) mod 3 < 2\\nnormalize softmax\\nmix v\\nemit l = lse(s)", outputs=", l[b, h, i]")
shared = "pattern t(q[b, (g r), i, d], k[b, g, j, d], v[b, g, j, e]) -> o[b, (g r), i, e] {{ attend o over j {{ score dot(q, k) / 4 mask j <= i + 30 normalize softmax mix v }} }}"
table = attend("score dot(q, k) / 4 + r[c = j - i + 8 else -1]\\nnormalize sigmoid\\nmix v", ", r[h, c: 17]")
grid = GRIDS[2] + " score dot(q, k') / 4  mask abs(y - y') <= 2 and abs(x - x') <= 3  normalize softmax  mix v' }} }}"
for boxes in (small, choose):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for i, j in ((0, 5), (1, 1), (37, 45), (64, 48), (131, 67)):
            inputs = {{n: t.to(dtype) for n, t in qkv(b=1, i=i, j=j, d=20, e=20).items()}}
            agree(op(plain), inputs, boxes=boxes)
            agree(op(table), {{**inputs, "r": rand(2, 17).to(dtype)}}, boxes=boxes)
        for i, j, e in ((1, 17, 64), (3, 45, 16)):  # few rows
            agree(op(plain), {{n: t.to(dtype) for n, t in qkv(b=1, i=i, j=j, d=48, e=e).items()}}, boxes=boxes)
    agree(op(shared), {{"q": rand(1, 6, 5, 32), "k": rand(1, 2, 45, 32), "v": rand(1, 2, 45, 16)}}, boxes=boxes)
    agree(op(grid), {{"q": rand(1, 9, 13, 8), "k": rand(1, 9, 13, 8), "v": rand(1, 9, 13, 16)}}, boxes=boxes)
for text in (plain, attend(f"{{SCORE}}\\nmask abs(i - j) <= 20\\nnormalize sigmoid\\nmix v")):
    for dtype in (torch.float32, torch.bfloat16):
        for i, j in ((0, 5), (1, 1), (37, 45), (131, 67)):
            inputs = {{n: t.to(dtype).requires_grad_() for n, t in qkv(b=1, i=i, j=j, d=20, e=36).items()}}
            found = op(text)(**inputs, backend="cpu")
            (found if isinstance(found, torch.Tensor) else found.o).sum().backward()
            assert all(torch.isfinite(t.grad).all() for t in inputs.values())
print("clean")
"""


def test_sanitizers(tmp_path) -> None:
    """Address and undefined-behaviour sanitizers over odd sizes, in a process that loads their runtime first."""
    found = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=False).stdout.strip()
    if "/" not in found:
        pytest.skip("gcc has no address sanitizer here")
    import os
    from pathlib import Path

    here = Path(__file__).parent
    flags = "-O1 -g -fsanitize=address,undefined -fno-sanitize=alignment,float-cast-overflow -fno-sanitize-recover=undefined"
    env = {
        **os.environ, "CC": "gcc", "ATTNCC_CFLAGS": flags, "LD_PRELOAD": found, "ATTNCC_CACHE_DIR": str(tmp_path),
        "ASAN_OPTIONS": "detect_leaks=0", "OMP_NUM_THREADS": "2",
    }  # fmt: skip
    script = SANITIZED.format(paths=[str(here), str(here.parent)])
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.strip() == "clean", done.stderr[-3000:]
