"""Making `chosen.json`: one search for each structure of kernel, width, target and element size.

Of the kernels of one structure, the one with the most pointwise work stands for all, so that what serves it serves the others.
The file does not depend on the order of the patterns or of the searches, and entries that are not searched again stay.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncc.ir.expr import Apply, walk
from attncc.ir.nodes import Program as Pattern
from attncc.tile.nodes import Map, Program, Set, statements
from attncc.tile.show import show

from .bounds import phases
from .chosen import FORMAT, installed, key_of
from .configs import Config
from .run import module_of
from .search import Compiler, Heard, found, measured
from .space import Setting
from .states import state_configs
from .traits import Traits, loops_of, traits

_ORDER = ("triton", "target", "bits", "kind", "width", "config")


@dataclass(frozen=True)
class Work:
    """One search to make."""

    program: Program
    features: Mapping[str, int]
    setting: Setting
    of: Traits
    name: str

    @property
    def label(self) -> str:
        return f"{self.name} {self.of.width} {self.setting.target} {self.setting.bits} bits"

    def entry(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """An entry of the table from the figures of a choice."""
        head = {
            "triton": installed(), "target": self.setting.target, "bits": self.setting.bits, "kind": self.of.key,
            "width": self.of.width,
        }  # fmt: skip
        if "config" in data:
            data = {**data, "config": Config.from_json(data["config"]).to_json()}
        return {**head, **data, "searched_on": self.name}


def kernels(
    patterns: Iterable[tuple[str, Pattern, list[str]]], backward: Sequence[str] = ("split",)
) -> dict[str, tuple[str, Program]]:
    """The kernel that stands for each structure, by structure. patterns: names, programs, outputs. backward: forms of the backward
    pass."""
    best: dict[str, tuple[tuple[int, str], str, Program]] = {}
    for name, pattern, outputs in patterns:
        for phase, made in phases(pattern, outputs, backward):
            for kernel in module_of(made, dict.fromkeys(made.features, 64), "interpreter", 32).kernels:
                program = kernel.program
                of = traits(program, dict.fromkeys(made.features, 64))
                if of is None or state_configs(program, dict.fromkeys(made.features, 64), 16):
                    continue
                rank = (-_amount(program), show(program))
                if of.key not in best or rank < best[of.key][0]:
                    best[of.key] = (rank, f"{name} {phase} {program.name}", program)
    return {kind: (name, program) for kind, (_, name, program) in sorted(best.items())}


def _features(program: Program) -> list[str]:
    return [d.axes[0] for d in program.dims if d.whole]


def _amount(program: Program) -> int:
    """Pointwise operations of the main loop."""
    body = statements(loops_of(program)[-1].body)
    return sum(isinstance(e, Apply) for s in body if isinstance(s, Map | Set) for e in walk(s.expr))


def works(of: Mapping[str, tuple[str, Program]], widths: Iterable[int], settings: Iterable[Setting]) -> Iterator[Work]:
    """Every search for these kernels."""
    widths = tuple(widths)
    for setting in settings:
        for width in widths:
            for name, program in of.values():
                features = dict.fromkeys(_features(program), width)
                known = traits(program, features)
                if known is not None:
                    yield Work(program, features, setting, known, name)


def searched(work: Work, compiler: Callable[[], Compiler], limit: int, heard: Heard | None = None) -> dict[str, Any] | None:
    """The entry of one search; None when no configuration compiles without spills."""
    data = found(work.program, work.features, work.setting, compiler, limit=limit, heard=heard)
    return work.entry(data) if data is not None and not data["spills"] else None


def nearest(work: Work, entries: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The entry for a search, else what another Triton has for the same kernel."""
    key = key_of(work.entry({}))
    same = [e for e in entries if key_of(e)[1:] == key[1:]]
    return min(same, key=lambda e: (key_of(e) != key, e["triton"]), default=None)


def checked(work: Work, entry: Mapping[str, Any], compiler: Compiler) -> dict[str, Any] | None:
    """The entry with the figures of today's printer; None when its configuration does not compile any more, or spills."""
    config = Config.from_json(entry["config"])
    trial = measured(work.program, dict(work.features), work.setting, config, compiler)
    if trial is None or trial.spills:
        return None
    kept = {"leanest": entry["leanest"]} if "leanest" in entry and entry["triton"] == installed() else {}
    return work.entry({**trial.figures(), **kept})


def read(path: Path) -> list[dict[str, Any]]:
    """The entries of a file; [] when it is not there."""
    return list(json.loads(path.read_text(encoding="utf-8"))["entries"]) if path.is_file() else []


def merged(path: Path, fresh: Iterable[Mapping[str, Any]]) -> str:
    """The text of the table with entries replaced or added: sorted, one entry a line."""
    rows = {key_of(e): e for e in [*read(path), *map(dict, fresh)]}
    lines = []
    for key in sorted(rows):
        row = rows[key]
        rest = sorted(k for k in row if k not in _ORDER)
        lines.append("  " + json.dumps({k: row[k] for k in (*_ORDER, *rest)}))
    return f'{{"format": {FORMAT}, "entries": [\n' + ",\n".join(lines) + "\n]}\n"
