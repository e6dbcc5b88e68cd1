"""Starting up: --help is quick and loads nothing heavy."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable

import pytest

HEAVY = ("torch", "triton", "sympy", "networkx", "numpy", "lark", "hypothesis", "matplotlib")
LIMIT = 0.5
"""Seconds of a processor for `attncc --help`."""


def loaded_by(code: str) -> set[str]:
    """The heavy packages that some code loads in a fresh Python."""
    report = "import sys; print('LOADED', *(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("LOADED")[2].split()) & set(HEAVY)


def test_importing_is_light() -> None:
    assert loaded_by("import attncc; attncc.__version__; attncc.AttnError; dir(attncc)") == set()


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['attncc', '--help']\nfrom attncc.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nimport io; sys.stdout.flush()"
    )
    assert loaded_by(code) == set()


def test_help_is_quick() -> None:
    """The best of several, in processor time: the machine may be busy with something else."""
    code = "import sys; sys.argv = ['attncc', '--help']; from attncc.cli import main; main()"
    times = []
    for _ in range(8):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        if min(times) < LIMIT:
            break
    assert min(times) < LIMIT, f"attncc --help took {min(times):.2f} s at best"


@pytest.mark.parametrize("command", ["run", "check", "show", "explain", "compile", "test", "bench", "list", "fmt"])
def test_every_command_has_help(attncc: Callable[..., object], command: str) -> None:
    result = attncc(command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_version(attncc: Callable[..., object]) -> None:
    import attncc as package

    result = attncc("--version")
    assert (result.exit_code, result.output.strip()) == (0, f"attncc {package.__version__}")


def test_unknown_command(attncc: Callable[..., object]) -> None:
    result = attncc("frobnicate")
    assert result.exit_code == 2
    assert "frobnicate" in result.output
