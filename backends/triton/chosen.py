"""The table of searched configurations, `chosen.json`: for kernels of a structure, at a width, on a target, with a Triton.

    {"format": 1, "entries": [{"triton": "3.9", "target": "cuda:90", "bits": 16, "kind": "<traits>", "width": 64,
                               "config": {"owner": 128, ...}, "registers": 157, ...}, ...]}

`attncc search` writes it. Only `config` is used; what else is beside it are the model's figures, for people.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .configs import Config
from .space import Setting, allowed
from .traits import Traits

PATH = Path(__file__).with_name("chosen.json")
FORMAT = 1

Key = tuple[str, str, int, str, int]
"""Triton's version, target, bits, structure, width."""


def key_of(entry: dict[str, Any]) -> Key:
    return entry["triton"], entry["target"], entry["bits"], entry["kind"], entry["width"]


@cache
def entries() -> dict[Key, Config]:
    """The configurations of the table; {} when it is not there."""
    if not PATH.is_file():
        return {}
    data = json.loads(PATH.read_text(encoding="utf-8"))
    return {key_of(e): Config.from_json(e["config"]) for e in data["entries"]}


@cache
def installed() -> str:
    """The installed Triton, as `3.6`; "" without one."""
    try:
        return ".".join(version("triton").split(".")[:2])
    except PackageNotFoundError:
        return ""


def lookup(of: Traits, setting: Setting) -> list[Config]:
    """Entries for a kernel, the nearest first: its own structure, then the same inside a loop or not, then with other pointwise
    work, more before less, then with other vectors; of those its own width, then wider ones, then narrower ones that still fit."""
    kinds = {of.key: 0} | {replace(of, work=of.work << n if n > 0 else of.work >> -n).key: (n < 0) * 4 + abs(n) for n in (1, 2, -1, -2)}
    kinds |= {replace(of, vectors=n).key: 8 + abs(n - of.vectors) for n in range(8) if n != of.vectors}
    other = replace(of, repeated=not of.repeated).key
    kinds = {kind: 2 * n for kind, n in kinds.items()} | {other: 1}
    rows = [(k, c) for k, c in entries().items() if k[1] == setting.target and k[2] == setting.bits and k[3] in kinds]
    here = installed()

    def distance(item: tuple[Key, Config]) -> tuple[int, bool, bool, int, str]:
        key, _ = item
        return kinds[key[3]], key[4] < of.width, key[0] != here, abs(key[4] - of.width), key[0]

    return list(dict.fromkeys(c for _, c in sorted(rows, key=distance) if allowed(of, c, setting)))[:3]
