"""Configurations: as data, from the structure of a tile program, by bounds, by search with a compiler that is made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attends import SCORE, attend, op
from attncc.backends.triton import chosen, search, table
from attncc.backends.triton.bounds import phases
from attncc.backends.triton.choice import candidates
from attncc.backends.triton.configs import Config
from attncc.backends.triton.machine import Compiled, Failed, Request
from attncc.backends.triton.machine.isolated import Reason
from attncc.backends.triton.search import single
from attncc.backends.triton.space import Setting, allowed, floor_registers, neighbours, ordered, overhang, shared_bytes
from attncc.backends.triton.traits import traits

from attncc.errors import AttnValueError
from attncc.tile.nodes import Program

HOPPER = Setting("cuda:90", 16)


def kernels(body: str) -> dict[str, Program]:
    """Tile programs of a softmax, forward and backward, by name."""
    program = op(attend(f"{body} normalize softmax mix v")).ir
    plans = [made for _, made in phases(program, [o.name for o in program.outputs])]
    return {k.name: k for made in plans for s in made.steps for k in s.kernels}


@pytest.fixture(scope="module")
def softmax() -> dict[str, Program]:
    return kernels(SCORE)


WIDE = {"d": 64, "e": 64}


def test_config_as_data() -> None:
    config = Config(128, 64, 8, 2)
    assert config.to_json() == {"owner": 128, "loop": 64, "warps": 8, "stages": 2}
    assert Config.from_json(config.to_json()) == config
    other = Config(128, 64, 8, 1, described=False)
    assert Config.from_json(json.loads(json.dumps(other.to_json()))) == other
    assert str(other) == "128 x 64, 8 warps, 1 stage, no described"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"owner": 96}, "power of two"),
        ({"warps": 0}, "power of two"),
        ({"stages": 0}, "at least 1"),
        ({"loop": "64"}, "must be int"),
        ({"described": 1}, "must be bool"),
        ({"wide": 3}, "no part of a configuration"),
        ({"owner": None}, "must be int"),
    ],
)
def test_config_from_wrong_data(change: dict[str, object], what: str) -> None:
    with pytest.raises(AttnValueError, match=what):
        Config.from_json({"owner": 128, "loop": 64, "warps": 8, "stages": 2} | change)


def test_config_from_too_little() -> None:
    with pytest.raises(AttnValueError, match="needs 'stages'"):
        Config.from_json({"owner": 128, "loop": 64, "warps": 8})


def test_traits_say_structure_not_names(softmax: dict[str, Program]) -> None:
    found = {name: traits(program, WIDE) for name, program in softmax.items()}
    keys = {name: of.key for name, of in found.items() if of is not None}
    renamed = kernels("score dot(q, k) * 3")
    assert set(keys.values()) == {of.key for p in renamed.values() if (of := traits(p, WIDE)) is not None}
    by = sorted((of.products, len(of.sums), of.online) for of in found.values() if of is not None)  # all have loops but delta
    assert by == [(2, 1, True), (3, 1, False), (4, 2, False)]  # forward, dq, dk and dv
    forward = next(of for of in found.values() if of is not None and of.online)
    assert forward.held == (64,) and forward.moved == (64, 64) and forward.width == 64 and not forward.masked


def test_bounds_rule_out_what_cannot_run(softmax: dict[str, Program]) -> None:
    wide = {"d": 128, "e": 128}
    keys = next(p for p in softmax.values() if (of := traits(p, wide)) is not None and of.products == 4)
    of = traits(keys, wide)
    assert of is not None
    # two accumulators and two tiles of pairs of 128 x 128 floats: 256 registers in 256 threads, beside all else
    assert floor_registers(of, Config(128, 128, 8, 2), HOPPER) > 255
    assert not allowed(of, Config(128, 128, 8, 2), HOPPER) and allowed(of, Config(64, 128, 8, 2), HOPPER)
    # k and v held, q and d_o twice: 2 x 128 x 128 + 2 x 2 x 128 x 128 elements of 2 bytes
    assert shared_bytes(of, Config(128, 128, 8, 2), HOPPER) == 6 * 128 * 128 * 2
    for program in softmax.values():
        found = traits(program, wide)
        if found is not None:
            assert all(allowed(found, c, HOPPER) for c in ordered(program, wide, HOPPER))


def test_products_of_threads_are_small(softmax: dict[str, Program]) -> None:
    """fp32 on NVIDIA: threads multiply, so a search starts with few pairs a thread, and features are cut where 16 bits are not."""
    features, program = {"d": 128, "e": 128}, next(iter(softmax.values()))
    for target, bits, multiplied in (("cuda:90", 32, True), ("cuda:90", 16, False), ("hip:gfx942", 32, False)):
        setting = Setting(target, bits)
        assert setting.multiplied is multiplied
        found = ordered(program, features, setting)
        assert any(c.owner * c.loop > 32 * 32 * c.warps for c in found) is not multiplied
        text = single(program, features, setting, found[0]).text
        assert ("tl.arange(0, 128)" not in text and "64 + tl.arange(0, 64)" in text) is multiplied


def test_windows_along_two_axes_take_small_boxes() -> None:
    program = op(
        """pattern p(q[b, y, x, d], k[b, y, x, d], v[b, y, x, e]) -> o[b, y, x, e] {
  attend o over (y', x') { score dot(q, k') mask abs(y - y') <= 3 and abs(x - x') <= 3 normalize softmax mix v' }
}"""
    ).ir
    kernel = next(k for _, made in phases(program, ["o"]) for s in made.steps for k in s.kernels)
    of = traits(kernel, WIDE)
    assert of is not None and (of.owner_axes, of.loop_axes) == (2, 2)
    assert all(c.owner <= 64 for c in ordered(kernel, WIDE, HOPPER))
    assert overhang(of, Config(64, 64, 4, 2)) > overhang(of, Config(64, 16, 4, 2)) > 1


class Made:
    """A compiler that is made up: it refuses everything but remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    def compile(self, request: Request, time_limit: float = 60.0) -> Compiled | Failed:
        self.asked.append(request)
        return Failed(request, Reason.REFUSED, "made up", 0.0)


def test_search_is_capped_and_starts_alike(softmax: dict[str, Program]) -> None:
    program = next(p for p in softmax.values() if (of := traits(p, WIDE)) is not None and of.online)
    runs = []
    for _ in range(2):
        compiler = Made()
        assert search.search(program, WIDE, HOPPER, compiler, limit=7) is None
        runs.append([(r.constants, r.warps, r.stages) for r in compiler.asked])
    assert runs[0] == runs[1] and 7 <= len(runs[0]) <= 14  # nothing compiles, so it goes on to smaller ones
    assert len({str(r) for r in runs[0]}) == len(runs[0])


def test_neighbours_differ_in_one_choice() -> None:
    config = Config(128, 64, 8, 2)
    near = list(neighbours(config, HOPPER))
    assert Config(128, 64, 8, 2, described=False) in near and Config(128, 128, 8, 2) in near and Config(128, 64, 4, 2) in near
    assert config not in near and len(set(near)) == len(near)
    assert all(c.described for c in neighbours(config, Setting("cuda:80", 16)))


def test_the_table_comes_first_and_is_independent_of_order(
    softmax: dict[str, Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = next(p for p in softmax.values() if (of := traits(p, WIDE)) is not None and of.online)
    of = traits(program, WIDE)
    assert of is not None
    config = Config(64, 32, 4, 3)

    def entry(width: int, target: str, made: Config) -> dict[str, object]:
        return {"triton": chosen.installed(), "target": target, "bits": 16, "kind": of.key, "width": width, "config": made.to_json()}

    rows = [entry(64, "cuda:90", config), entry(128, "cuda:90", Config(64, 64, 4, 2)), entry(64, "cuda:80", Config(128, 64, 4, 2))]
    first = table.merged(tmp_path / "none.json", rows)
    assert first == table.merged(tmp_path / "none.json", rows[::-1])
    path = tmp_path / "chosen.json"
    path.write_text(first)
    assert table.merged(path, []) == first
    assert table.merged(path, [rows[0]]) == first
    monkeypatch.setattr(chosen, "PATH", path)
    chosen.entries.cache_clear()
    try:
        assert candidates(program, WIDE, "cuda:90", 16, True)[0] == config
        # a width between two rows takes the wider one's
        assert candidates(program, {"d": 96, "e": 80}, "cuda:90", 16, True)[0] == Config(64, 64, 4, 2)
        assert candidates(program, WIDE, "cuda:80", 16, True)[0] == Config(128, 64, 4, 2)
        other = candidates(program, WIDE, "hip:gfx942", 16, True)
        assert other and len(set(other)) == len(other)
    finally:
        chosen.entries.cache_clear()


def test_the_shipped_table_is_sound() -> None:
    """Every entry is a configuration without spills, and the text is what the merge writes."""
    rows = table.read(chosen.PATH)
    assert rows and len({chosen.key_of(r) for r in rows}) == len(rows)
    for row in rows:
        Config.from_json(row["config"])
        assert row["spills"] == 0 and row["registers"] <= 255
    assert table.merged(chosen.PATH, []) == chosen.PATH.read_text(encoding="utf-8")
    assert {r["target"] for r in rows} >= {"cuda:80", "cuda:90", "cuda:100"}
