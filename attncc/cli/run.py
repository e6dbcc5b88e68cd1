"""`attncc run FILE`: compile for this machine, run on sample data, compare with the float64 oracle, time against eager."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from . import options
from .console import err, machine, out, reporting

if TYPE_CHECKING:
    from attncc.testing.calls import Sample
    from attncc.testing.oracle import Report

CHECK_TOKENS, CHECK_FEATURES = 128, 32
TIME_TOKENS, TIME_FEATURES = 1024, 64
SEEDS = 5
"""Samples tried when one can not be judged."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


@reporting
def run(
    file: str = options.FILE,
    pattern: str = options.PATTERN,
    param: list[str] = options.PARAM,
    size: list[str] = options.SIZE,
    optional: list[str] = options.WITH,
    dtype: str = options.DTYPE,
    seed: int = options.SEED,
    backend: list[str] = typer.Option([], "--backend", "-b", metavar="NAME", help="Only these backends."),
    time: bool = typer.Option(True, help="Time against eager as well."),
) -> None:
    """Check a pattern on this machine against the float64 oracle, and time it against eager.

    The sizes are for a demonstration; --size sets lengths of axes for both the check and the times. Exit code 1 when an array is
    outside its tolerance.
    """
    device = machine()

    from attncc.runtime import backends as table
    from attncc.testing.lengths import sensible

    from .opening import open_sample

    params, sizes, kind = options.parse_params(param), options.parse_sizes(size), options.parse_dtype(dtype)
    for name in backend:
        table.named(name)
    names = tuple(backend) or table.present()
    with err().status("sample data"):
        opened, sample = open_sample(
            file, pattern, params, optional=optional, sizes=sizes, seed=seed, dtype=kind, device=device,
            wish=partial(sensible, tokens=CHECK_TOKENS, features=CHECK_FEATURES),
        )  # fmt: skip
    console = out()
    _head(opened.op.title, opened.op.name, opened.line(), sample)
    for name in sorted(set(table.installed()) - set(names)):
        reason = table.missing(name)
        console.print(f"{name}: not on this machine ({reason})" if reason else f"{name}: not asked for", style="dim")
    usable = [n for n in names if not table.named(n).refuses(sample.program)]
    for name in names:
        if name not in usable:
            why = table.named(name).refuses(sample.program)[0]
            console.print(f"{name}: does not take this pattern: {why}", style="yellow", soft_wrap=True)
    if backend and not usable:
        raise typer.Exit(1)
    with err().status(f"running on {', '.join(usable)}, and in float64"):
        report = _checked(sample, usable)
    failed = _table(report, device)
    if time:
        _times(sample, usable, sizes, device)
    if failed:
        raise typer.Exit(1)


def _head(title: str, name: str, chosen: str, sample: Sample) -> None:
    console = out()
    first = title.splitlines()[0] if title else ""
    console.print(f"[bold]{name}[/bold]  {_escape(first)}".rstrip(), soft_wrap=True)
    if chosen:
        console.print(f"chosen here: {chosen}", style="dim")
    shapes = "  ".join(f"{n}{list(t.shape)}" for n, t in sample.tensors.items())
    kind = str(sample.dtype).removeprefix("torch.")
    console.print(f"on {shapes}, {kind}, {sample.device}", style="dim", markup=False, soft_wrap=True)


def _checked(sample: Sample, names: list[str]) -> Report:
    """The comparison, on the first sample that can be judged."""
    from dataclasses import replace

    from attncc.testing.oracle import check_call

    for n in range(SEEDS):
        one = replace(sample, seed=sample.seed + n)
        report = check_call(one.op, one.tensors, names, seed=one.seed)
        if not report.undecided:
            break
    return report


def _table(report: Report, device: str) -> bool:
    """Print errors against tolerances; whether one is outside."""
    from rich.table import Table

    console = out()
    if report.undecided:
        console.print(f"every sample is {report.undecided}, where rounding decides: nothing is judged", style="yellow")
        return True
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("backend", "array"):
        table.add_column(column)
    for column in ("error", "allowed"):
        table.add_column(column, justify="right")
    table.add_column("")
    for row in report.rows:
        name = f"{row.backend} (interpreted)" if row.backend == "triton" and device == "cpu" else row.backend
        if row.reason:
            table.add_row(name, row.array, "", "", f"[red]{_escape(row.reason)}[/red]")
        else:
            mark = "[green]ok[/green]" if row.ok else "[red]outside[/red]"
            table.add_row(name, row.array, f"{row.error:.1e}", f"{row.allowed:.1e}", mark)
    console.print(table)
    for note in report.notes:
        console.print(note, style="dim", soft_wrap=True)
    if report.failures:
        console.print(f"{len(report.failures)} of {len(report.rows)} outside the tolerance", style="bold red")
        return True
    console.print(f"{len(report.rows)} comparisons with the float64 oracle, all within tolerance", style="bold green")
    return False


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _times(sample: Sample, usable: list[str], sizes: dict[str, int], device: str) -> None:
    """Print times of the backends that run natively here, interleaved with eager."""
    from rich.table import Table

    from attncc.errors import AttnError
    from attncc.testing.calls import sample as make
    from attncc.testing.lengths import pair_count, sensible
    from attncc.tools import runs
    from attncc.tools.timing import interleaved

    console = out()
    timed = [n for n in dict.fromkeys(["eager", *usable]) if not (n == "triton" and device == "cpu")]
    try:
        for tokens in (TIME_TOKENS, 256, CHECK_TOKENS):
            big = make(
                sample.op, sample.seed, sizes, dtype=sample.dtype, optional=sample.optional or None, device=device,
                wish=partial(sensible, tokens=tokens, features=TIME_FEATURES),
            )  # fmt: skip
            if pair_count(big.program, big.sizes) <= 2**24:
                break
        _ = big.tensors  # drawn now, so that what refuses them is caught here
    except AttnError:
        big = sample
    shapes = "  ".join(f"{n}{list(t.shape)}" for n, t in big.tensors.items())
    console.print(f"\ntimes on {shapes}", style="dim", markup=False, soft_wrap=True)
    with err().status(f"timing {', '.join(timed)}"):
        rows = {
            "forward": {n: runs.forward(big, n) for n in timed},
            "forward and backward": {n: r for n in timed if (r := runs.both(big, n)) is not None},
        }
        found = {what: interleaved(made, wait=runs.wait(device)) for what, made in rows.items() if made}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for name in timed:
        table.add_column(name, justify="right")
    table.add_column("eager / best", justify="right")
    for what, times in found.items():
        best = min(t.median for t in times.values())
        table.add_row(what, *(times[n].words() for n in timed), f"{times['eager'].median / best:.2f} x" if len(timed) > 1 else "")
    console.print(table)
    if len(timed) == 1:
        why = "Triton kernels need a GPU and were only interpreted here" if "triton" in usable else "no other backend runs here"
        console.print(f"nothing to compare eager with: {why}", style="dim")
