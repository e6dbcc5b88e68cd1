"""Plans from disk are those that the schedules make, and belong to one program, one way of running it and one source."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from attncc.backends import derived, plans
from attncc.backends.cpu import Cpu

import attncc
from attncc.errors import Source
from attncc.ir.nodes import Program
from attncc.runtime.op import Op
from attncc.schedules import backward, joint, plan, tapes
from attncc.schedules.joint_atomic import joint_atomic

TEXT = """
pattern planned(q[b, y, x, d], k[b, y, x, d], v[b, y, x, e], gain[b, y]) -> o[b, y, x, e] {
  attend o over (y', x') {
    score     gain * dot(q, k')
    mask      abs(y - y') <= 2 and abs(x - x') <= 1
    normalize softmax
    mix       v'
  }
}
"""
INPUTS = ("q", "k", "v", "gain")


def program(text: str = TEXT, name: str = "<string>") -> Program:
    return Op.written(Source(name, text), None, {}).specialise({"q": 4, "k": 4, "v": 4, "gain": 2})


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ATTNCC_PLANS")
    return tmp_path / "plans"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the schedules were asked for."""
    found: list[str] = []

    def counted(module: Any, name: str) -> Callable[..., Any]:
        original = getattr(module, name)
        return lambda *a, **k: (found.append(name), original(*a, **k))[1]

    for module, name in ((plan, "plan"), (backward, "differentiated"), (backward, "_tape")):
        monkeypatch.setattr(module, name, counted(module, name))
    return found


def said(made: tapes.Passes) -> tuple[object, ...]:
    tape = made.backward(INPUTS, ("o",))
    return text(made.forward), made.saved, made.acc, text(tape.plan), text(tape.moves), tape.axes


def text(x: object) -> str:
    """Its `repr`, without the addresses of objects, and names of sets in order."""
    sets = re.sub(r"frozenset\(\{([^{}]*)\}\)", lambda found: f"frozenset({sorted(found[1].split(', '))})", repr(x))
    return re.sub(r" at 0x[0-9a-f]+", "", sets)


def test_both_passes_are_those_of_the_schedules(calls: list[str]) -> None:
    fresh = said(backward.differentiated(program(), ["o"], joint.joint, capped=True))
    del calls[:]
    for _ in range(2):
        derived._tape.cache_clear()
        made = derived.differentiated(program(), ["o"], joint.joint, capped=True)
        assert made is not None and made.rewrite is joint.joint and said(made) == fresh
    assert calls == ["differentiated", "_tape"]
    derived.differentiated(program(), ["o"])
    derived.differentiated(program(), ["o"], joint.joint)
    assert calls.count("differentiated") == 3


def test_what_calls_need_of_both_passes(calls: list[str]) -> None:
    """The same, from disk without what they were made from; made again where a tape is asked for that is not there."""
    made = backward.differentiated(program(), ["o"], joint.joint, capped=True)
    assert made is not None
    tape = made.backward(INPUTS, ("o",))
    fresh = text(plans.bare(made.forward)), made.saved, made.acc, text(tape.plan), text(tape.moves), tape.axes
    del calls[:]
    for _ in range(2):
        derived._tape.cache_clear()
        found = plans.both(program(), ["o"], "attncc.schedules.joint.joint", capped=True)
        assert (
            found is not None and said(found) == fresh and found.backward(INPUTS, ("o",)) is found.backward(INPUTS[::-1], ("o",))
        )
    assert calls == ["differentiated", "_tape"]
    assert found.backward(("q",), ("o",)).moves and calls == ["differentiated", "_tape", "_tape"]
    plain = Op.written(Source("<string>", "pattern plain(x[i]) -> y[i] {\n  y = 2 * x\n}\n"), None, {}).specialise({"x": 1})
    assert [plans.both(plain, ["y"], "attncc.schedules.joint.joint") for _ in range(2)] == [None, None]


def test_a_plan_is_that_of_the_schedules(calls: list[str]) -> None:
    fresh = plan.plan(program(), ["o"])
    found = [plans.plan(program(), ["o"]) for _ in range(2)]
    assert text(found[0]) == text(found[1]) == text(plans.bare(fresh)) and calls == ["plan", "plan"]


def test_passes_that_are_not_there_are_kept_too(calls: list[str]) -> None:
    plain = Op.written(Source("<string>", "pattern plain(x[i]) -> y[i] {\n  y = 2 * x\n}\n"), None, {}).specialise({"x": 1})
    assert [derived.differentiated(plain, ["y"]) for _ in range(2)] == [None, None]
    assert calls.count("differentiated") == 1


def test_a_copy_with_another_way_to_run_a_phase_makes_its_own_tapes() -> None:
    made = derived.differentiated(program(), ["o"])
    assert made is not None
    names = [[k.name for s in tape.plan.steps for k in s.kernels] for tape in _tapes(made, replace(made, rewrite=joint_atomic))]
    assert names[0] != names[1] and names[1] == names[3] and names[0] == names[2]


def _tapes(*made: backward.Differentiated) -> list[tapes.Tape]:
    found = [m.backward(INPUTS, ("o",)) for m in made]
    derived._tape.cache_clear()
    return found + [m.backward(INPUTS, ("o",)) for m in made]


def test_a_function_without_a_name_is_no_part_of_one(place: Path) -> None:
    before = len(list(place.iterdir())) if place.exists() else 0
    made = derived.differentiated(program(), ["o"], lambda *a: joint.joint(*a), capped=True)
    assert type(made) is backward.Differentiated
    assert len(list(place.iterdir())) == before + 2  # the head and the program


def test_equal_programs_of_two_sources_are_told_apart() -> None:
    one, moved, named = program(), program("# a line\n" + TEXT), program(name="b.attn")
    assert one == moved == named
    assert len({plans.about(p) for p in (one, moved, named)}) == 3 and plans.about(program()) == plans.about(one)


def test_notes_are_the_same(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Cpu().notes(program()) for _ in range(2)]
    assert calls == ["plan"]
    monkeypatch.setenv("ATTNCC_PLANS", "off")
    assert [*found, Cpu().notes(program())] == [found[0]] * 3 and found[0][0][:2] == ("o", "fused")


def test_plans_follow_from_programs_alone() -> None:
    """What plans are made by asks for nothing that an entry's name leaves out: the environment, the machine, the time."""
    root = Path(attncc.__file__).parent
    asks = re.compile(r"^\s*(import|from) (os|platform|random|socket|time|torch|multiprocessing)\b", re.MULTILINE)
    for folder in ("language", "ir", "passes", "schedules", "tile"):
        for path in (root / folder).rglob("*.py"):
            assert not asks.search(path.read_text()), path
