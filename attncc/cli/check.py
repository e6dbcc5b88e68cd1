"""`attncc check FILE ..`: parse, resolve and verify; every error is shown."""

from __future__ import annotations

import typer

from . import options
from .console import err, out, reporting, show_error


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(check)


@reporting
def check(
    file: list[str] = typer.Argument(..., metavar="FILE..", help="One or more .attn files, or names of shipped patterns."),
    pattern: str = options.PATTERN,
    param: list[str] = options.PARAM,
) -> None:
    """Parse and check files, without data. Every error is printed; exit code 1 when there is one."""
    from attncc.errors import AttnError
    from attncc.tools.checking import Findings, findings

    from .opening import source_of

    params = options.parse_params(param)
    bad = total = 0
    with err().status("checking") as status:
        for one in file:
            status.update(f"checking {one}")
            try:
                source, _ = source_of(one)
                found = findings(source, pattern, params)
            except AttnError as reason:
                found = Findings([reason])
            bad += bool(found.errors)
            total += len(found.errors)
            for error in found.errors:
                show_error(error)
            for note in found.notes:
                err().print(f"{one}: {note}", style="yellow", markup=False, soft_wrap=True)
    console = out()
    if total:
        console.print(f"{total} error{'s' * (total > 1)} in {bad} of {len(file)} file{'s' * (len(file) > 1)}", style="bold red")
        raise typer.Exit(1)
    console.print(f"{len(file)} file{'s' * (len(file) > 1)} checked", style="green")
