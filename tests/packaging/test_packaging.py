"""The package: every folder is listed, it imports from the checkout and from elsewhere, installed as links and as a wheel."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from layout import BESIDE, ROOT, linked, mypy

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
USE = """
import sys
import attncc, attncc.grammar, attncc.backends.eager, attncc.backends.triton, attncc.patterns, attncc.cli
import torch
op = attncc.load("softmax", causal=True)
q = torch.randn(1, 2, 5, 4)
out = op(q, q, q, outputs="core", backend="eager")
assert out.shape == q.shape
assert [p.name for p in attncc.patterns()]
print(attncc.__file__, attncc.grammar.__file__)
"""


def folders() -> set[str]:
    """Every folder of the package that holds Python files, by its installed name."""
    out = set()
    for top in ("attncc", *BESIDE):
        for path in (ROOT / top).rglob("*.py"):
            parts = path.parent.relative_to(ROOT).parts
            out.add(".".join(parts if top == "attncc" else ("attncc", *parts)))
    return out


def test_every_folder_is_listed() -> None:
    listed = PROJECT["tool"]["setuptools"]["packages"]
    assert len(listed) == len(set(listed))
    assert set(listed) == folders()


def test_every_folder_is_a_package() -> None:
    for name in folders():
        parts = name.split(".")
        path = ROOT.joinpath(*(parts[1:] if len(parts) > 1 and parts[1] in BESIDE else parts))
        assert (path / "__init__.py").is_file(), name


def run(code: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    full = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "TRITON_INTERPRET": "1", **env}
    return subprocess.run([sys.executable, "-c", code], cwd=folder, env=full, capture_output=True, text=True, check=False, timeout=300)


def test_import_from_the_root() -> None:
    """Python started in the checkout finds ./attncc first, which lacks three folders: its path is extended."""
    done = run(USE, ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(ROOT / "attncc" / "__init__.py"), str(ROOT / "grammar" / "__init__.py")]


def test_import_from_elsewhere(tmp_path: Path) -> None:
    done = run(USE, tmp_path)
    assert done.returncode == 0, done.stderr


def test_import_by_path_alone(tmp_path: Path) -> None:
    """Without any installation, but for the backends, which entry points name."""
    done = run("import attncc.grammar, attncc.patterns, attncc.backends.eager; print(attncc.__file__)", tmp_path, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(ROOT / "attncc" / "__init__.py")


def test_typed() -> None:
    assert (ROOT / "attncc" / "py.typed").is_file()
    assert PROJECT["tool"]["setuptools"]["package-data"]["attncc"] == ["py.typed"]


def test_ruff() -> None:
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_mypy(tmp_path: Path) -> None:
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    done = mypy(linked(tmp_path))
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the checkout. Skipped where setuptools is missing, because building would have to fetch it."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed")
    import shutil

    source = tmp_path_factory.mktemp("source")
    for name in ("attncc", *BESIDE):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    build = f"import setuptools.build_meta as b; print(b.build_wheel({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    (found,) = out.glob("*.whl")
    return found


def test_wheel_holds_everything(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {"attncc/py.typed", "attncc/grammar/attn.lark", "attncc/grammar/ir.lark", "attncc/grammar/prelude.attn"}
    expected |= {f"attncc/patterns/{p.name}" for p in (ROOT / "patterns").glob("*.attn")}
    for top in ("attncc", *BESIDE):
        for path in (ROOT / top).rglob("*.py"):
            inside = path.relative_to(ROOT).as_posix()
            expected.add(inside if top == "attncc" else f"attncc/{inside}")
    assert expected <= names, sorted(expected - names)
    assert not any(n.startswith(("tests/", "grammar/", "backends/", "patterns/")) for n in names)


def test_wheel_installs_and_runs(wheel: Path, tmp_path: Path) -> None:
    """A normal installation: imported from elsewhere, from the checkout's root, and as a command. Its dependencies come from here."""
    place = tmp_path / "venv"
    venv.create(place, with_pip=False)
    (site,) = place.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    here = [p for p in sys.path if p.endswith("site-packages")]
    (site / "dependencies.pth").write_text("\n".join(here) + "\n")
    python = place / "bin" / "python"
    env = {**{k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": ""}
    finder = "import sys; sys.meta_path[:] = [m for m in sys.meta_path if 'editable' not in repr(m)]\n"

    def used(folder: Path) -> str:
        done = subprocess.run([python, "-c", finder + USE], cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[0]

    assert used(tmp_path) == str(site / "attncc" / "__init__.py")
    assert used(ROOT) == str(ROOT / "attncc" / "__init__.py"), "the checkout comes first, and is whole"
    code = finder + "from attncc.cli import main; import sys; sys.argv = ['attncc', 'list']; main()"
    listed = subprocess.run([python, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=300)
    assert listed.returncode == 0 and "softmax" in listed.stdout
