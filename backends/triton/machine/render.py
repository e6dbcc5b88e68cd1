"""The model's findings as tables for a terminal."""

from __future__ import annotations

from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.model import LoopReport, Report
from rich.console import Group
from rich.table import Table
from rich.text import Text


def table(report: Report) -> Group:
    """A rich renderable: what the kernel takes, the loops, the clocks of each unit in the steady loop, and notes."""
    parts: list[Table | Text] = [_kernel(report)]
    if report.loops:
        parts.append(_loops(report))
    if report.steady is not None:
        parts.append(_units(report, report.steady))
    parts.extend(Text(f"note: {note}", style="yellow") for note in report.notes)
    return Group(*parts)


def _kernel(report: Report) -> Table:
    made, fits = report.compiled, report.occupancy
    grid = Table(title=f"{made.name} for {made.target} ({report.units.name})", show_header=False, title_justify="left")
    grid.add_column(style="bold")
    grid.add_column()
    warps = str(made.warps) if made.warps == made.total_warps else f"{made.warps} asked, {made.total_warps} launched"
    grid.add_row("warps, stages", f"{warps}, {made.stages}")
    grid.add_row("registers, spills", f"{made.registers}, {made.spills} bytes")
    grid.add_row("shared memory", f"{made.shared / 1024:.1f} KiB")
    if made.tensor_memory:
        grid.add_row("tensor memory", f"{made.tensor_memory} columns")
    grid.add_row(
        "occupancy", f"{fits.programs} program(s), {fits.warps} warps, {fits.fraction:.0%} of an SM (limit: {fits.limit})"
    )
    if report.peak_estimate is not None:
        grid.add_row("matrix peak, at most", f"{report.peak_estimate:.0%} (no latency modelled)")
    return grid


def _loops(report: Report) -> Table:
    grid = Table(title="loops, instructions per score element", title_justify="left")
    for name in ("loop", "instr.", "cond.", "matrix FLOP", "mufu", "others", "uniform", "binds", "overlapped", "serial"):
        grid.add_column(name, justify="left" if name in ("loop", "binds") else "right")
    rows = list(report.loops)
    if report.steady is not None and report.steady not in rows:
        rows.append(report.steady)
    for loop in rows:
        chosen = loop is report.steady
        grid.add_row(
            f"{'  ' * (loop.depth - 1)}{loop.label}{' *' if chosen else ''}",
            str(loop.instructions),
            str(loop.conditional),
            f"{loop.total_flops:,.0f}",
            _number(loop.per_element(Kind.MUFU)),
            _number(loop.others),
            _number(loop.per_element(Kind.UNIFORM)),
            loop.binds,
            _percent(loop.peak_overlapped),
            _percent(loop.peak_serial),
            style="bold" if chosen else "",
        )
    grid.caption = "overlapped, serial: part of the matrix peak when all units overlap; when matrix work and the rest take turns"
    return grid


def _units(report: Report, loop: LoopReport) -> Table:
    per = "score element" if loop.elements else "iteration"
    scale = loop.elements or 1.0
    grid = Table(title=f"clocks per {per} in loop {loop.label}", title_justify="left")
    grid.add_column("unit")
    grid.add_column("clocks", justify="right")
    grid.add_column("of the longest", justify="right")
    for unit, clocks in sorted(loop.clocks.items(), key=lambda item: -item[1]):
        share = f"{clocks / loop.overlapped:.0%}"
        grid.add_row(unit, f"{clocks / scale:.4g}", share, style="bold" if unit == loop.binds else "")
    return grid


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
