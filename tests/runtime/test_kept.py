"""What is kept on disk: found again by what determines it alone, made again when damaged, never by an edited compiler."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kept_race import race

import attncc
from attncc import cache, kept
from attncc.errors import AttnSyntaxError, AttnTypeError, Source, Span
from attncc.passes.resolve import program as resolving
from attncc.runtime.op import Op

PATTERN = """
pattern kept(q[b, i, d], k[b, j, d], v[b, j, e]; scale: float = 1.5, causal: bool = false) -> o[b, i, e] {
  attend o over j {
    score     scale * dot(q, k)
    mask      not causal or j <= i
    normalize softmax
    mix       v
  }
}
"""
PRESENT = {"q": 3, "k": 3, "v": 3}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("ATTNCC_PLANS")
    return tmp_path / "plans"


def span(text: str = "abc", calls: list[str] | None = None, name: str = "x") -> Callable[[], Span]:
    def build() -> Span:
        if calls is not None:
            calls.append(text)
        return Span(Source(name, text), 0, 1)

    return build


def test_built_once_and_found_again(place: Path) -> None:
    calls: list[str] = []
    for _ in range(3):
        assert kept.kept(Span, ["a", 1], span("abc", calls)) == span()()
    assert calls == ["abc"] and len(list(place.iterdir())) == 1
    kept.kept(Span, ["a", 2], span("abc", calls))
    kept.kept(Source, ["a", 1], lambda: Source("x", calls.append("other") or "abc"))
    assert calls == ["abc", "abc", "other"]


def test_switched_off(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    kept.kept(Span, ["a"], span("abc", calls))
    monkeypatch.setenv("ATTNCC_PLANS", "off")
    for _ in range(2):
        kept.kept(Span, ["a"], span("abc", calls))
    kept.kept(Span, ["b"], span("abc", calls))
    assert len(calls) == 4 and len(list(place.iterdir())) == 1


class _Foreign:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("made by a pickle",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no pickle at all",
        pickle.dumps(span()())[:-9],
        pickle.dumps(Source("x", "of another class")),
        pickle.dumps(_Foreign()),
        pickle.dumps([1, 2]),
        pickle.dumps(_Foreign()).replace(b"\x8c\x05posix", b"\x8c\x0cattncc.cache").replace(b"\x8c\x05mkdir", b"\x8c\x08os.mkdir"),
    ],
    ids=["empty", "text", "cut", "class", "foreign", "list", "dotted"],
)
def test_what_cannot_be_used_is_built_again(place: Path, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.parent)
    kept.kept(Span, ["a"], span())
    (entry,) = place.iterdir()
    cache.write("plans", entry.name, data)
    calls: list[str] = []
    for _ in range(2):
        assert kept.kept(Span, ["a"], span("abc", calls)) == span()()
    assert calls == ["abc"] and not Path("made by a pickle").exists()


@pytest.mark.parametrize("damage", ["cut", "changed", "gone", "folder"])
def test_damaged_files_are_built_again(place: Path, damage: str) -> None:
    kept.kept(Span, ["a"], span())
    (entry,) = place.iterdir()
    data = entry.read_bytes()
    entry.unlink()
    if damage == "folder":
        entry.mkdir()
    elif damage != "gone":
        entry.write_bytes(data[:-3] if damage == "cut" else data.replace(b"abc", b"abd"))
    calls: list[str] = []
    assert kept.kept(Span, ["a"], span("abc", calls)) == span()() and calls == ["abc"]


def test_errors_are_passed_on_and_not_kept(place: Path) -> None:
    def fails() -> Span:
        raise AttnSyntaxError("wrong")

    for _ in range(2):
        with pytest.raises(AttnSyntaxError, match="wrong"):
            kept.kept(Span, ["a"], fails)
    assert not place.exists()


def test_a_disk_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(cache.tempfile, "mkstemp", full)
    assert kept.kept(Span, ["a"], span()) == span()()


def test_several_processes_at_once(place: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert all(pool.map(race, range(6)))
    assert len(list(place.iterdir())) == 3  # nothing half made is left


# The compiler.


def test_the_word_for_the_compiler_is_of_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def word(text: str, name: str = "a.py") -> str:
        folder = tmp_path / f"{time.monotonic_ns()}"
        folder.mkdir()
        (folder / name).write_text(text)
        monkeypatch.setattr(kept, "_state", lambda: tuple(kept._below(str(folder), "attncc")))
        return kept.compiler.__wrapped__()

    assert word("one") == word("one")
    assert len({word("one"), word("two"), word("one", "b.py")}) == 3


def test_every_file_of_the_compiler_counts() -> None:
    names = {f.name for f in kept._look()}
    assert {"attncc/kept.py", "attncc/schedules/flash.py", "attncc/ir/expr.py", "attncc/passes/resolve/program.py"} <= names
    assert {"backends/cpu/kernel.py", "backends/cpu/headers/product.h", "grammar/prelude.attn", "sympy/release.py"} <= names
    assert not any("__pycache__" in name or name.startswith("attncc/testing") for name in names)


def test_nothing_is_kept_by_a_process_whose_compiler_was_edited(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    kept.kept(Span, ["a"], span("abc", calls))
    newest = max(f.changed for f in kept._look())
    with monkeypatch.context() as edited:  # before the first look at the files
        edited.setattr(attncc, "_imported", newest)
        assert kept._look() == ()
        edited.setattr(kept, "_state", kept._look)
        assert kept.compiler.__wrapped__() == ""
        edited.setattr(kept, "compiler", kept.compiler.__wrapped__)
        kept.kept(Span, ["a"], span("abc", calls))
        kept.kept(Span, ["b"], span("abc", calls))
    assert len(calls) == 3 and len(list(place.iterdir())) == 1
    with monkeypatch.context() as edited:  # after it
        state = kept._state()
        edited.setattr(kept, "_look", lambda: state[1:])
        kept.kept(Span, ["b"], span("abc", calls))
    assert len(calls) == 4 and len(list(place.iterdir())) == 1


# Patterns.


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The patterns that were resolved."""
    calls: list[str] = []
    resolve = resolving.resolve
    monkeypatch.setattr(resolving, "resolve", lambda *a: (calls.append(a[1].name), resolve(*a))[1])
    return calls


def test_programs_are_found_by_text_parameters_and_inputs(resolved: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def program(text: str = PATTERN, **params: object) -> object:
        return attncc.compile(text, **params).specialise(PRESENT)

    first = program()
    assert program() == first and len(resolved) == 1
    assert program(causal=True) != first and len(resolved) == 2
    assert program(scale=2.0) != first and program(scale=2) is not None and len(resolved) == 4
    assert program(PATTERN.replace("1.5", "2.5")) != first and len(resolved) == 5
    moved = program("# a line above\n" + PATTERN)
    assert moved == first and moved.inputs[0].span != first.inputs[0].span and len(resolved) == 6  # errors point at the text
    monkeypatch.setattr(kept, "compiler", lambda: "another version")
    assert program() == first and len(resolved) == 7
    assert program() == first and len(resolved) == 7


def test_parameters_that_a_text_does_not_tell_apart_are_not_kept(resolved: list[str], place: Path) -> None:
    class Odd(float):
        def __repr__(self) -> str:
            return "2.5"

    assert kept.plain({"a": [1, (2.0, "x", None)]}) and not kept.plain({"a": Odd(1)}) and not kept.plain((1, object()))
    for value in (2.5, 3.5):
        attncc.compile(PATTERN, scale=Odd(value)).specialise(PRESENT)
    assert len(resolved) == 2 and not place.exists()


def test_heads_and_errors_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from attncc.runtime import library

    fresh, found = attncc.compile(PATTERN), attncc.compile(PATTERN)
    assert (found.signature, found.title, found.name, found.params) == (fresh.signature, fresh.title, fresh.name, fresh.params)
    said = []
    for _ in range(2):
        op = attncc.load("softmax")
        with pytest.raises(AttnTypeError) as caught:
            op.bind((), {"slopes": None})
        said.append(str(caught.value))
        for wrong in ({"scale": "x"}, {"missing": 1}):
            with pytest.raises(attncc.AttnError) as caught:
                attncc.load("softmax", **wrong)
            said.append(str(caught.value))
    assert said[:3] == said[3:] and "alibi" in said[0]
    assert isinstance(found, Op) and found._specs.types.keys() == fresh._specs.types.keys()
    monkeypatch.setattr(library, "parsed", lambda _: pytest.fail("a text is read"))
    assert attncc.load("softmax").signature.inputs[:3] == ("q", "k", "v")
