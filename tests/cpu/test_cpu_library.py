"""Building and loading: the cache, damaged and useless libraries, several processes, no compiler, a compiler that fails."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from attends import SCORE, attend, op, qkv
from attncc.backends.cpu import Cpu, compiler, library
from attncc.backends.cpu.run import Runner

from attncc.errors import AttnUnsupportedError
from attncc.runtime import backends

TEXT = attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v")
TINY = '__attribute__((visibility("default"))) int answer(void) { return 42; }\n'


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and nothing loaded yet."""
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(library, "_LOADED", {})
    return tmp_path


def entries(cache: Path) -> list[Path]:
    return sorted(p for p in (cache / "cpu").iterdir() if not p.name.startswith("."))


def test_a_text_is_compiled_once(apart: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    build = library.build
    monkeypatch.setattr(library, "build", lambda source, out, title: (calls.append(title), build(source, out, title)))
    for _ in range(3):
        assert library.load(TINY, "tiny").answer() == 42
        library._LOADED.clear()
    assert calls == ["tiny"] and len(entries(apart)) == 1
    library.load(TINY + "/* */", "tiny")
    assert len(entries(apart)) == 2


def test_the_name_of_an_entry_names_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = library.key_of(TINY)
    monkeypatch.setattr(library, "features", lambda: "another processor")
    assert library.key_of(TINY) != before
    monkeypatch.undo()
    monkeypatch.setenv("ATTNCC_CFLAGS", "-O1")
    assert library.key_of(TINY) != before


def test_a_library_that_does_not_load_is_built_again(apart: Path) -> None:
    from attncc import cache

    key = library.key_of(TINY)
    cache.fetch("cpu", key, lambda folder: (folder / "kernels.so").write_bytes(b"no library at all") and None)
    assert library.load(TINY, "tiny").answer() == 42


def test_a_damaged_library_is_built_again(apart: Path) -> None:
    library._built(library.key_of(TINY), TINY, "tiny")
    found = entries(apart)[0] / "kernels.so"
    found.write_bytes(found.read_bytes()[: found.stat().st_size // 2])
    assert library.load(TINY, "tiny").answer() == 42


def test_several_processes_at_once(apart: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from attends import attend, op, qkv, SCORE\n"
        f"import torch; print(op({TEXT!r})(**qkv(), backend='cpu').double().sum().item())"
    )
    here = str(Path(__file__).parent.parent)
    runs = [subprocess.Popen([sys.executable, "-c", script, here], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {run.communicate()[0] for run in runs}
    assert len(said) == 1 and all(run.returncode == 0 for run in runs)
    assert len(entries(apart)) == 1


def test_no_recompile_when_lengths_batch_and_heads_change(apart: Path) -> None:
    program = op(TEXT).specialise({"q": 4, "k": 4, "v": 4})
    runner = Runner(program, ["o"])
    for b, h, i, j in ((1, 1, 3, 4), (2, 3, 40, 50), (1, 1, 0, 0), (1, 2, 1, 1)):
        runner(qkv(b=b, h=h, i=i, j=j))
    assert len(entries(apart)) == 1


def test_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    made = op(TEXT)
    assert compiler.find() is None and "gcc" in compiler.missing()
    assert any("install" in reason for reason in Cpu().refuses(made.ir))
    backends._tell.cache_clear()
    with pytest.warns(UserWarning, match="install the package gcc or clang"):
        assert backends.choose(made.ir, "cpu").name == "eager"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert backends.choose(made.ir, "cpu").name == "eager"
    monkeypatch.undo()
    assert backends.choose(made.ir, "cpu").name == "cpu"


def test_a_name_in_cc_that_is_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = compiler.find()
    if usual is None:
        pytest.skip(compiler.missing())
    monkeypatch.setenv("CC", "nowhere-cc -O1")
    with pytest.warns(UserWarning, match=f"CC=nowhere-cc -O1 .*{usual.command[0]}"):
        assert compiler.find() == usual
    with warnings.catch_warnings(action="error"):
        assert compiler.find() == usual, "one warning"


def test_cc_is_honoured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapper = tmp_path / "my-compiler"
    real = compiler.find()
    assert real is not None
    wrapper.write_text(f'#!/bin/sh\ntouch {tmp_path}/used\nexec {real.command[0]} "$@"\n')
    wrapper.chmod(wrapper.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("CC", f"{wrapper} -DSOME=1")
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(library, "_LOADED", {})
    found = compiler.find()
    assert found is not None and found.command == (str(wrapper), "-DSOME=1")
    assert library.load(TINY, "tiny").answer() == 42 and (tmp_path / "used").exists()


def test_what_the_compiler_says_is_passed_on(apart: Path) -> None:
    with pytest.raises(AttnUnsupportedError, match="could not compile broken") as caught:
        library.load("int f(void) { return unknown_name; }\n", "broken")
    assert "unknown_name" in str(caught.value)
    assert not entries(apart)


def test_a_slow_compile_says_so(apart: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(compiler, "PATIENCE", 0.0)
    library.load(TINY, "tiny")
    assert not capfd.readouterr().err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    library.load(TINY + "/* */", "tiny")
    assert "attncc: compiling tiny" in capfd.readouterr().err


def test_the_source_is_there_to_read() -> None:
    text = op(TEXT).source("cpu", {"d": 32}, bits=16)
    assert "generated by attncc for bfloat16, d = 32, e = 64" in text and "online softmax" in text
    assert os.environ.get("HOME", "/root") not in text
