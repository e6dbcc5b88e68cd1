"""The model's findings as tables for a terminal."""

from __future__ import annotations

from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.mix import GROUPS, Mix, mixes
from attncc.backends.triton.machine.model import LoopReport, Report
from rich.console import Group
from rich.table import Table
from rich.text import Text

_BODIES = {"full": "full tiles", "partial": "partial tiles", "only": "all tiles", "other": "no products"}


def table(report: Report, phase: str = "", config: str = "") -> Group:
    """A rich renderable: what the kernel takes, the instructions of its loops, the clocks of each unit, and notes."""
    parts: list[Table | Text] = [_kernel(report, phase, config)]
    found = mixes(report)
    if found:
        parts.append(_loops(found))
        parts.append(_mix(found))
        parts.append(_units(found))
    parts.extend(Text(f"note: {note}", style="yellow") for note in report.notes)
    return Group(*parts)


def _kernel(report: Report, phase: str, config: str) -> Table:
    made, fits = report.compiled, report.occupancy
    head = f"{made.name} for {made.target} ({report.units.name})" + (f", {phase}" if phase else "")
    grid = Table(title=head, show_header=False, title_justify="left", title_style="bold")
    grid.add_column(style="bold")
    grid.add_column()
    if config:
        grid.add_row("configuration", config)
    warps = str(made.warps) if made.warps == made.total_warps else f"{made.warps} asked, {made.total_warps} launched"
    grid.add_row("warps, stages", f"{warps}, {made.stages}")
    spills = Text(f"{made.registers}, {made.spills} bytes", style="" if not made.spills else "bold red")
    grid.add_row("registers, spills", spills)
    grid.add_row("shared memory", f"{made.shared / 1024:.1f} KiB")
    if made.tensor_memory:
        grid.add_row("tensor memory", f"{made.tensor_memory} columns")
    grid.add_row(
        "occupancy", f"{fits.programs} program(s), {fits.warps} warps, {fits.fraction:.0%} of an SM (limit: {fits.limit})"
    )
    if report.peak_estimate is not None:
        grid.add_row("matrix peak, at most", f"{report.peak_estimate:.0%} (no latency modelled)")
    return grid


def _loops(found: tuple[Mix, ...]) -> Table:
    grid = Table(title="loops", title_justify="left")
    for name in ("loop", "instr.", "cond.", "products", "mufu", "others", "binds", "overlapped", "serial"):
        left = name in ("loop", "products", "binds")
        grid.add_column(name, justify="left" if left else "right", no_wrap=name != "overlapped")
    for n, mix in enumerate(found):
        loop = mix.loop
        grid.add_row(
            _BODIES[mix.body],
            str(loop.instructions),
            str(loop.conditional),
            "\n".join(f"{count} {'.'.join(op.split('.')[:2])}" for op, count in mix.products.items()),
            _number(loop.per_element(Kind.MUFU)),
            _number(loop.others),
            loop.binds,
            _percent(loop.peak_overlapped),
            _percent(loop.peak_serial),
            style="bold" if n == 0 else "",
        )
    grid.caption = "mufu, others: a score element; overlapped, serial: part of the matrix peak when all units overlap, and when "
    grid.caption += "products and the rest take turns"
    grid.caption_justify = "left"
    return grid


def _mix(found: tuple[Mix, ...]) -> Table:
    grid = Table(title="warp instructions a tile; instructions a score element", title_justify="left")
    grid.add_column("class")
    for mix in found:
        grid.add_column(_BODIES[mix.body], justify="right")
        grid.add_column("", justify="right")
    for name in GROUPS:
        if not any(name in mix.tile for mix in found):
            continue
        cells: list[str] = []
        for mix in found:
            cells += [f"{mix.tile.get(name, 0):,}", f"{mix.element.get(name, 0.0):.2f}" if mix.element else ""]
        grid.add_row(name, *cells)
    return grid


def _units(found: tuple[Mix, ...]) -> Table:
    first = found[0].loop
    per = "score element" if first.elements else "iteration"
    grid = Table(title=f"clocks of each unit, a {per}", title_justify="left")
    grid.add_column("unit")
    for mix in found:
        grid.add_column(_BODIES[mix.body], justify="right")
        grid.add_column("of the longest", justify="right")
    for unit, _ in sorted(first.clocks.items(), key=lambda item: -item[1]):
        cells: list[str | Text] = []
        for mix in found:
            clocks = mix.loop.clocks.get(unit, 0.0)
            style = "bold" if unit == mix.loop.binds else ""
            cells += [Text(_clocks(mix.loop, clocks), style=style), Text(f"{clocks / mix.loop.overlapped:.0%}", style=style)]
        grid.add_row(unit, *cells)
    return grid


def _clocks(loop: LoopReport, clocks: float) -> str:
    return f"{clocks / (loop.elements or 1.0):.4g}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
