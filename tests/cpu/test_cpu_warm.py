"""A second process: the same results as the first, from what that one left on disk. What takes long is not done again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import warm_process

from attncc import kept

FIRST_CALL = 100_000
"""Calls of Python functions that the first calls of two ops may take, with their gradients. Planning them takes more than a million."""

LONG = (
    "attncc/language/parser.py:parse", "attncc/passes/resolve/program.py:resolve", "attncc/passes/pipeline.py:front",
    "attncc/ir/verify.py:verify", "attncc/schedules/plan.py:plan", "attncc/schedules/flash.py:lower", "attncc/tile/verify.py:verify",
    "attncc/schedules/backward.py:differentiated", "attncc/schedules/backward.py:tape", "attncc/schedules/joint.py:joint",
    "backends/cpu/module.py:print_module", "backends/cpu/compiler.py:build",
)  # fmt: skip
"""What a first process does, by file and function."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What a process does first here, and what the next one does."""
    place = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as set_to:
        set_to.setenv("ATTNCC_CACHE_DIR", str(place))
        set_to.delenv("ATTNCC_PLANS", raising=False)
        first = warm_process.watched()
        env = {**os.environ, "PYTHONHASHSEED": "1"}
        done = subprocess.run([sys.executable, warm_process.__file__], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if not kept.compiler() or kept._look() != kept._state():
        pytest.skip("the files of the compiler were edited while the test ran: nothing is kept then")
    yield first, json.loads(done.stdout)


def test_results_are_the_same_to_the_bit(runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, second = runs
    assert first["results"] == second["results"]


def test_nothing_that_takes_long_is_done_again(runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, second = runs
    unused = [name for name in LONG if name not in first["entered"]]
    assert not unused, "the names have changed"
    assert {name: second["entered"][name] for name in LONG if name in second["entered"]} == {}
    assert not [
        name for name in second["entered"] if name.startswith(("attncc/passes/", "attncc/language/", "attncc/tile/verify"))
    ]
    assert second["started"] == []


def test_a_first_call_stays_small(runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    first, second = (sum(run["entered"].values()) for run in runs)
    assert second < FIRST_CALL < first


def test_planners_and_printers_are_not_imported(runs: tuple[dict[str, Any], dict[str, Any]]) -> None:
    _, second = runs
    heavy = (
        "attncc.language.",
        "attncc.passes.",
        "attncc.schedules.",
        "attncc.tile.verify",
        "attncc.backends.cpu.kernel",
        "attncc.backends.cpu.groups",
    )
    light = {
        "attncc.passes.differentiate",
        "attncc.passes.differentiate.script",
        "attncc.schedules.steps",
        "attncc.schedules.tapes",
    }
    assert [name for name in second["imported"] if name.startswith(heavy) and name not in light] == []
