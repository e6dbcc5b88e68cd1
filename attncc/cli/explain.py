"""`attncc explain FILE`: the decisions, and with --target what binds the kernels there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from . import options
from .console import err, machine, out, reporting

if TYPE_CHECKING:
    from attncc.runtime.explain import Explanation


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("explain")(explain)


@reporting
def explain(
    file: str = options.FILE,
    pattern: str = options.PATTERN,
    param: list[str] = options.PARAM,
    size: list[str] = options.SIZE,
    optional: list[str] = options.WITH,
    target: str = options.TARGET,
    dtype: str = typer.Option("bf16", "--dtype", help="With --target: bf16, fp16, fp32."),
) -> None:
    """Say how each node runs and why: classes, masks, mixing order, such-that conditions, backends.

    --size settles what is open until the sizes are known. --target compiles the kernels for a GPU that need not be here and says
    what binds them.
    """
    machine()
    from rich.markup import escape

    from attncc.runtime import explain as decisions

    from .opening import open_sample

    params, sizes = options.parse_params(param), options.parse_sizes(size)
    opened, sample = open_sample(file, pattern, params, optional=optional, sizes=sizes)
    console = out()
    first = opened.op.title.splitlines()[0] if opened.op.title else ""
    console.print(f"[bold]{opened.op.name}[/bold]  {escape(first)}".rstrip(), soft_wrap=True)
    if opened.chosen:
        console.print(f"chosen here: {opened.line()}", style="dim", markup=False)
    _print(decisions.explain(sample.program, sample.sizes if sizes else None))
    if target:
        _model(opened.op, sample, target, dtype, sizes)


def _print(found: Explanation) -> None:
    from rich.table import Table
    from rich.text import Text

    for section in found.sections:
        table = Table(box=None, pad_edge=False, show_header=False, title=section.title, title_justify="left", title_style="bold")
        table.add_column(style="cyan")
        table.add_column()
        if any(row[2] for row in section.rows):
            table.add_column(style="dim")
        for what, decision, reason in section.rows:
            cells = [Text(what), Text(decision), Text(reason.replace("; ", "\n"))]
            table.add_row(*cells[: len(table.columns)])
        out().print()
        out().print(table)


def _model(op: object, sample: object, target: str, dtype: str, sizes: dict[str, int]) -> None:
    """The static model of the kernels for a target."""
    from attncc.backends.triton.bounds import reports
    from attncc.backends.triton.machine import table
    from attncc.testing.calls import Sample

    assert isinstance(sample, Sample)
    outputs = [o.name for o in sample.program.outputs if not o.on_request]
    console = out()
    with err().status(f"compiling for {target}"):
        found = list(reports(sample.program, outputs, target, options.short_dtype(dtype), sizes))
    for report in found:
        console.print()
        console.print(table(report))
