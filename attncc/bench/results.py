"""The results of a run, as they are written to JSON and read again for tables and plots."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from attncc.errors import AttnUnsupportedError, AttnValueError

VERSION = 1


@dataclass
class Met:
    """A goal and what was found. found: None when it could not be judged, then `why` says so."""

    against: str
    goal: float
    found: float | None
    met: bool | None
    why: str = ""


@dataclass
class Row:
    """One row of a suite. kind: "time", "memory", "first call".

    times      by contestant: median, low, high (quartiles) in seconds, rounds
    ratios     by peer: how many times as fast attncc is: median, low, high
    absent     by contestant: why there is no time
    computes   by contestant: what it computes where that is not the form of the row
    notes      by contestant: how exact it is, how it was timed
    floor      the least seconds that the work takes at the rate of the matrix product in the same rounds; reached: floor / time
    extra      by contestant: bytes at the peak, beyond inputs and outputs
    seconds    of first calls: {"cold": .., "cached": ..} by contestant
    """

    name: str
    kind: str
    what: str = ""
    flops: int = 0
    bytes: int = 0
    gemm: float | None = None
    floor: float | None = None
    reached: float | None = None
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    ratios: dict[str, dict[str, float]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    computes: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    goals: list[Met] = field(default_factory=list)


@dataclass
class Results:
    """A whole run. kind: "full"; "quick", tiny sizes; "dry", tiny sizes and no times: the last two are no results."""

    suite: str
    kind: str
    date: str
    device: dict[str, Any]
    versions: dict[str, str]
    gemm: dict[str, float] = field(default_factory=dict)
    bandwidth: float | None = None
    seconds: float = 0.0
    complete: bool = False
    rows: list[Row] = field(default_factory=list)
    version: int = VERSION

    def failures(self) -> list[Row]:
        """Rows in which attncc failed or was wrong; those that were not run are none."""
        return [row for row in self.rows if not row.absent.get("attncc", "not run").startswith("not run")]


def write(found: Results, path: Path) -> None:
    """Write JSON; in a dry run without any time. Raises AttnUnsupportedError when the file cannot be written."""
    data = asdict(found)
    if found.kind == "dry":
        data |= {"gemm": {}, "bandwidth": None, "seconds": 0.0}
        for row in data["rows"]:
            row |= {"times": {}, "ratios": {}, "seconds": {}, "extra": {}, "gemm": None, "floor": None, "reached": None}
            row["goals"] = [{**g, "found": None, "met": None, "why": "a dry run"} for g in row["goals"]]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise AttnUnsupportedError(f"'{path}' cannot be written: {error}") from None


def read(path: Path) -> Results:
    """Read what `write` wrote. Raises AttnUnsupportedError, AttnValueError."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AttnUnsupportedError(f"'{path}' cannot be read: {error}") from None
    except ValueError as error:
        raise AttnValueError(f"'{path}' is no JSON: {error}") from None
    try:
        if data["version"] != VERSION:
            raise AttnValueError(f"'{path}' has version {data['version']}, this reads {VERSION}")
        rows = [Row(**{**row, "goals": [Met(**g) for g in row["goals"]]}) for row in data["rows"]]
        return Results(**{**data, "rows": rows})
    except (KeyError, TypeError) as error:
        raise AttnValueError(f"'{path}' holds no results of a suite: {error}", None, "attncc bench --suite cpu --json FILE") from None
