"""Pinned configurations and tuning: the file, what does not fit, and measuring with a timer that is made up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from attends import SCORE, attend, qkv
from attncc.backends.triton import chosen, pins
from attncc.backends.triton.choice import candidates
from attncc.backends.triton.configs import Config
from attncc.backends.triton.pins import REGISTRY
from attncc.backends.triton.space import Setting
from typer.testing import CliRunner

import attncc
from attncc.errors import AttnUnsupportedError, AttnValueError
from attncc.schedules.plan import plan

TEXT = attend(f"{SCORE} normalize softmax mix v")
SIZES = {"d": 64, "e": 64}


@pytest.fixture(autouse=True)
def unpinned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("ATTNCC_PINNED", raising=False)
    monkeypatch.delenv("ATTNCC_AUTOTUNE", raising=False)
    REGISTRY.clear()
    yield
    REGISTRY.clear()


def kernel() -> Any:
    (step,) = plan(attncc.compile(TEXT).ir, ["o"]).steps
    return step.kernels[0]


def written(folder: Path, config: Config, **change: object) -> Path:
    """A file that pins the kernel for Hopper."""
    path = folder / "pins.json"
    setting = Setting("cuda:90", 16)
    pins.write(path, "cuda:90", "NVIDIA H200", [pins.Pin("t", pins.key_of(kernel(), SIZES, setting), config, 0.5, {"i": 64})])
    data = json.loads(path.read_text()) | change
    path.write_text(json.dumps(data))
    return path


def test_a_pinned_configuration_is_the_only_candidate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = Config(64, 32, 8, 3, described=False)
    path = written(tmp_path, config)
    assert pins.read(path).pins[0].config == config
    monkeypatch.setenv("ATTNCC_PINNED", str(path))
    assert candidates(kernel(), SIZES, "cuda:90", 16, True) == (config,)
    assert candidates(kernel(), {"d": 32, "e": 64}, "cuda:90", 16, True) != (config,)  # another head dimension
    assert candidates(kernel(), SIZES, "cuda:90", 16, False) != (config,)  # tensors that descriptors cannot read
    assert candidates(kernel(), SIZES, "interpreter", 32, False) != (config,)


def test_files_merge(tmp_path: Path) -> None:
    path = written(tmp_path, Config(64, 32, 8, 3))
    other = pins.Pin("t", pins.key_of(kernel(), {"d": 32, "e": 32}, Setting("cuda:90", 16)), Config(32, 32, 4, 1))
    pins.write(path, "cuda:90", "NVIDIA H200", [other])
    assert len(pins.read(path).pins) == 2
    pins.write(path, "cuda:80", "NVIDIA A100", [other])  # what was measured elsewhere does not mix
    assert pins.read(path).target == "cuda:80" and len(pins.read(path).pins) == 1


def test_another_device_is_refused(tmp_path: Path) -> None:
    attncc.compile(TEXT).pin(written(tmp_path, Config(64, 32, 8, 3)))
    with pytest.raises(AttnUnsupportedError, match=r"cuda:90 \(NVIDIA H200\), this is cuda:80") as error:
        candidates(kernel(), SIZES, "cuda:80", 16, True)
    assert "tune again" in error.value.help


def test_another_triton_is_refused(tmp_path: Path) -> None:
    attncc.compile(TEXT).pin(written(tmp_path, Config(64, 32, 8, 3), triton="2.0"))
    with pytest.raises(AttnUnsupportedError, match=r"Triton 2\.0"):
        candidates(kernel(), SIZES, "cuda:90", 16, True)


def test_tiles_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    attncc.compile(TEXT).pin(written(tmp_path, Config(512, 512, 8, 4)))
    with pytest.raises(AttnValueError, match=r"do not fit cuda:90"):
        candidates(kernel(), SIZES, "cuda:90", 16, True)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("no json", "not JSON"),
        ('{"format": 7}', "format 7"),
        ("[]", "format 'list'"),
        ('{"format": 1, "target": "cuda:90"}', "damaged"),
        ('{"format": 1, "target": "cuda:90", "device": "", "triton": "", "kernels": [{"kernel": "t"}]}', "damaged"),
    ],
)
def test_a_file_that_is_none(text: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    path.write_text(text)
    with pytest.raises(AttnValueError, match=what):
        attncc.compile(TEXT).pin(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AttnValueError, match="cannot read"):
        attncc.compile(TEXT).pin(tmp_path / "none.json")


def test_tuning_picks_the_fastest_and_pins_it(tmp_path: Path) -> None:
    """With a timer that likes 16 keys a tile, both passes take them, results stay right, and a new process may use the file."""
    asked: dict[str, list[Config]] = {}

    def timer(run: Callable[[], Any], kernel: str, config: Config) -> float:
        run()
        asked.setdefault(kernel, []).append(config)
        return 1.0 + abs(config.loop - 16) + config.owner / 1000

    op = attncc.compile(TEXT)
    inputs = qkv(b=1, h=1, i=20, j=24, d=16, e=16)
    path = tmp_path / "pins.json"
    found = op.tune(**inputs, timer=timer, path=path)
    assert found["target"] == "interpreter" and found["triton"] == chosen.installed()
    assert len(asked) == 3  # forward, dq, dk and dv; delta has nothing to choose
    assert all(len(set(configs)) == len(configs) > 2 for configs in asked.values())
    assert {k["config"]["loop"] for k in found["kernels"]} == {16}
    assert pins.read(path).pins == tuple(sorted(pins.read(path).pins, key=lambda p: (p.kernel, p.key)))
    assert json.loads(path.read_text())["kernels"] == sorted(found["kernels"], key=lambda k: (k["kernel"], k["digest"]))
    leaves = {n: t.clone().requires_grad_() for n, t in inputs.items()}
    out = op(**leaves, backend="triton")
    out.sum().backward()
    want = op(**{n: t.double() for n, t in inputs.items()}, backend="eager")
    torch.testing.assert_close(out.double(), want, rtol=1e-4, atol=1e-4)
    assert all(t.grad is not None for t in leaves.values())


def test_tuning_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(AttnUnsupportedError, match="CUDA device") as error:
        attncc.compile(TEXT).tune(**qkv())
    assert "static search" in error.value.help
    with pytest.raises(AttnUnsupportedError, match="CUDA device"):
        attncc.compile(TEXT, autotune=True)(**qkv())
    result = CliRunner().invoke(_app(), ["compile", "softmax", "--autotune", "--out", "/nonexistent"])
    assert result.exit_code == 1


def test_asked_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """ATTNCC_AUTOTUNE tunes where Triton runs an op; on a CPU calls go on as before."""
    monkeypatch.setenv("ATTNCC_AUTOTUNE", "1")
    op = attncc.compile(TEXT)
    assert op._measures and not op.autotune
    if not torch.cuda.is_available():
        assert op(**qkv(), backend="eager").shape == (2, 2, 37, 24)


def _app() -> Any:
    from attncc.cli import app

    return app


def test_a_device_with_too_little_memory_gets_smaller_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launch that asks for more than the device has is tried again with the next configuration."""
    from attncc.backends.triton import choice, run

    class OutOfResources(Exception):
        """As Triton's."""

    seen: list[tuple[Config, ...]] = []
    likely = (Config(64, 64, 4, 1), Config(32, 32, 4, 1), Config(16, 16, 4, 1))
    monkeypatch.setattr(run, "candidates", lambda *_: likely)
    original = run.Run.call

    def call(self: run.Run, step: Any) -> Any:
        loaded, name, given, rest = original(self, step)
        level = self.runner.retreats

        def launch(*args: Any, **more: Any) -> Any:
            seen.append((likely[level],))
            if level < 2:
                raise OutOfResources
            return getattr(loaded, name)(*args, **more)

        return type("Loaded", (), {name: staticmethod(launch)}), name, given, rest

    monkeypatch.setattr(run.Run, "call", call)
    inputs = qkv(b=1, h=1, i=20, j=24, d=16, e=16)
    op = attncc.compile(TEXT)
    runner = run.Runner(op.specialise({n: t.dim() for n, t in inputs.items()}), ["o"])
    found = runner(inputs)["o"]
    assert seen == [(c,) for c in likely] and runner.retreats == 2 and choice.candidates is not run.candidates
    want = op(**{n: t.double() for n, t in inputs.items()}, backend="eager")
    torch.testing.assert_close(found.double(), want, rtol=1e-4, atol=1e-4)
