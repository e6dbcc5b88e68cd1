"""`attncc list`: the shipped patterns."""

from __future__ import annotations

import typer

from .console import out, reporting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("list")(list_patterns)


@reporting
def list_patterns(
    words: list[str] = typer.Argument(None, metavar="[WORD..]", help="Only patterns whose name or citation has all these words."),
    cite: bool = typer.Option(False, "--cite", help="Print the whole citation."),
) -> None:
    """List the shipped patterns with their titles."""
    from rich.table import Table

    from attncc.runtime.texts import patterns

    wanted = [w.lower() for w in words or []]
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for one in patterns():
        if all(w in f"{one.name} {one.citation}".lower() for w in wanted):
            table.add_row(one.name, _plain(one.citation if cite else one.title))
    out().print(table)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
