"""`attncc test FILE`: many calls drawn from the signature, on every backend here, against the float64 oracle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from . import options
from .console import err, machine, out, reporting

if TYPE_CHECKING:
    from attncc.testing.search import Found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("test")(test)


@reporting
def test(
    file: str = options.FILE,
    pattern: str = options.PATTERN,
    param: list[str] = options.PARAM,
    size: list[str] = options.SIZE,
    examples: int = typer.Option(50, "--examples", "-n", min=1, help="How many calls."),
    seed: int = typer.Option(None, "--seed", help="Other calls; the same seed gives the same ones."),
    backend: list[str] = typer.Option([], "--backend", "-b", metavar="NAME", help="Only these backends."),
    dtype: list[str] = typer.Option([], "--dtype", help="Of the float inputs; float32 and float64 when not given."),
    vary: bool = typer.Option(True, help="Draw parameters that have a default, too."),
    gradients: bool = typer.Option(True, help="Check gradients, too."),
) -> None:
    """Test any pattern with property-based testing: parameters, optional inputs, sizes, memory layouts and masks are drawn from
    its signature. A failure is shrunk to the smallest call and printed as a snippet that runs. Exit code 1 when there is one.
    """
    device = machine()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from attncc.runtime import backends as table
    from attncc.testing.search import search

    from .opening import open_sample

    params, sizes = options.parse_params(param), options.parse_sizes(size)
    kinds = [options.parse_dtype(d) for d in dtype]
    for name in backend:
        table.named(name)
    names = tuple(backend) or table.present()
    opened, _ = open_sample(file, pattern, params, sizes=sizes)
    op = opened.op
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True) as progress:
        task = progress.add_task(f"{op.name} on {', '.join(names)}", total=examples)
        found = search(
            op, backends=names, examples=examples, seed=seed, gradients=gradients, sizes=sizes, vary=vary, device=device,
            progress=lambda n: progress.update(task, completed=min(n, examples)), **({"dtypes": kinds} if kinds else {}),
        )  # fmt: skip
    if opened.chosen:
        out().print(f"chosen here: {opened.line()}", style="dim", markup=False)
    _report(op.name, found)
    if found.failure is not None:
        raise typer.Exit(1)


def _report(name: str, found: Found) -> None:
    console = out()
    if found.failure is not None:
        console.print(found.text(), markup=False, soft_wrap=True)
        return
    ran = ", ".join(f"{backend} {count}" for backend, count in found.ran.items())
    console.print(f"{name}: {found.examples} calls agree with the float64 oracle ({ran})", style="bold green", soft_wrap=True)
    for why, count in found.undecided.items():
        console.print(f"{count} more were {why}, where rounding decides, and were set aside", style="dim")
    for note, count in sorted(found.notes.items(), key=lambda item: -item[1])[:5]:
        console.print(f"{count} x {note}", style="dim", markup=False, soft_wrap=True)
