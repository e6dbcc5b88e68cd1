"""A run as a table: lines of cells from the results alone, for a terminal and for the README. `python -m attncc.bench.table FILE.json`
prints one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .results import Met, Results, Row, read

if TYPE_CHECKING:
    from rich.table import Table

HEADS = ("case", "attncc", "of the floor", "against", "attncc is faster by", "goal", "")
WIDTH = 150
"""Columns of a terminal below which the table is given as lines of text."""


def lines(found: Results) -> Iterator[tuple[str, ...]]:
    """Cells: case, own time, fraction of the floor, peer, ratio with quartiles, goal, verdict. One line a peer."""
    for row in found.rows:
        if row.kind == "time":
            yield from _times(row, found.kind == "dry")
        else:
            yield from (_memory if row.kind == "memory" else _first)(row)


def _times(row: Row, dry: bool) -> Iterator[tuple[str, ...]]:
    """dry: what ran is said instead of the numbers of a stub."""

    def median(name: str) -> str:
        return "ran" if dry else seconds(row.times[name]["median"])

    own = median("attncc") if "attncc" in row.times else "none"
    reached = f"{row.reached:.0%}" if row.reached is not None and not dry else ""
    lead = (row.name, own, reached)
    if "attncc" in row.absent:
        yield (*lead, "", row.absent["attncc"], "", "missed" if row.goals else "")
        lead = ("", "", "")
    goals = {g.against: g for g in row.goals}
    peers = [n for n in dict.fromkeys((*goals, *row.times, *row.absent)) if n != "attncc"]
    for name in peers:
        goal = goals.get(name)
        shown = name + (f" ({row.computes[name]})" if name in row.computes and row.computes[name] not in name else "")
        wanted = f"{goal.goal:g} x" if goal is not None else ""
        if name in row.ratios and not dry:
            cell = _spread(row.ratios[name])
        else:
            cell = row.absent.get(name) or (median(name) if name in row.times else "")
        yield (*lead, shown, cell, wanted, _verdict(goal))
        lead = ("", "", "")
    if not peers and "attncc" not in row.absent:
        yield (*lead, "", "", "", "")


def _memory(row: Row) -> Iterator[tuple[str, ...]]:
    lead = row.name
    goals = {g.against: g for g in row.goals}
    for name in dict.fromkeys((*row.extra, *row.absent)):
        goal = goals.get(name)
        value = f"{row.extra[name] / 2**20:.1f} MiB" if name in row.extra else row.absent[name]
        yield (lead, value if name == "attncc" else "", "", "" if name == "attncc" else name, "" if name == "attncc" else value,
               f"at most {goal.goal / 2**20:.1f} MiB" if goal else "", _verdict(goal))  # fmt: skip
        lead = ""


def _first(row: Row) -> Iterator[tuple[str, ...]]:
    lead = row.name
    for name in dict.fromkeys((*row.seconds, *row.absent)):
        for what in ("cold", "cached") if name in row.seconds else ("",):
            goal = next((g for g in row.goals if g.against == name and g.why == what), None)
            value = f"{what} {seconds(row.seconds[name][what])}" if name in row.seconds else row.absent[name]
            yield (lead, value if name == "attncc" else "", "", "" if name == "attncc" else name, "" if name == "attncc" else value,
                   f"at most {seconds(goal.goal)}" if goal else "", _verdict(goal))  # fmt: skip
            lead = ""


def seconds(value: float) -> str:
    """Seconds with a unit."""
    for scale, unit in ((1.0, "s"), (1e-3, "ms")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def _spread(value: dict[str, float]) -> str:
    return f"{value['median']:.2f} x ({value['low']:.2f} to {value['high']:.2f})"


def _verdict(goal: Met | None) -> str:
    return "" if goal is None else "not judged" if goal.met is None else "met" if goal.met else "missed"


def score(found: Results) -> str:
    """How many goals are met, in words."""
    goals = [g for row in found.rows for g in row.goals]
    met, unknown = sum(g.met is True for g in goals), sum(g.met is None for g in goals)
    rest = f", {unknown} not judged" if unknown else ""
    return f"{met} of {len(goals)} goals met{rest}"


def caption(found: Results) -> str:
    """The machine and its rates in one line."""
    where = found.device.get("gpu") or f"{found.device['processor']}, {found.device['threads']} threads"
    rates = ", ".join(f"{dtype} {value / 1e9:,.0f} GFLOP/s" for dtype, value in found.gemm.items())
    parts = [found.date, where, f"torch {found.versions['torch']}"]
    parts += [f"triton {found.versions['triton']}"] if found.device.get("gpu") and "triton" in found.versions else []
    parts += [f"matrix product {rates}"] if rates else []
    parts += [f"copy {found.bandwidth / 1e9:,.0f} GB/s"] if found.bandwidth else []
    return "; ".join(parts)


def title(found: Results) -> str:
    """The first line; it says when these are no results."""
    name = f"{found.suite} suite"
    if found.kind == "dry":
        return f"DRY RUN of the {name}: every line was run, nothing was measured"
    return f"{name}, tiny sizes: no results" if found.kind == "quick" else name


def table(found: Results) -> Table:
    """A table for a terminal."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for head in HEADS:
        grid.add_column(head, justify="right" if head in ("attncc", "of the floor", "goal") else "left", overflow="fold")
    styles = {"met": "green", "missed": "red", "not judged": "yellow"}
    for cells in lines(found):
        style = styles.get(cells[-1], "")
        grid.add_row(*cells[:-1], f"[{style}]{cells[-1]}[/{style}]" if style else cells[-1])
    return grid


def plain(found: Results) -> str:
    """The table as lines of text, short enough for a log."""
    out = [title(found), caption(found)]
    for cells in lines(found):
        name, own, reached, against, value, goal, verdict = cells
        if name:
            out.append(f"{name}: {own}{f', {reached} of the floor' if reached else ''}")
        if against or value or goal:
            out.append("    " + "  ".join(part for part in (against, value, f"goal {goal}" if goal else "", verdict) if part))
    return "\n".join([*out, score(found)])


if __name__ == "__main__":
    print(plain(read(Path(sys.argv[1]))))
