"""`attncc cache`: what is kept on disk, and its removal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from .console import out, reporting

if TYPE_CHECKING:
    from attncc.eviction import Entry


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("cache")(cache)


@reporting
def cache(
    clear: bool = typer.Option(False, "--clear", help="Remove every entry. Running programs keep what they have loaded."),
) -> None:
    """Show what is kept on disk: compiled libraries, plans, parsed texts. ATTNCC_CACHE_DIR names the place, ATTNCC_CACHE_MB its bound."""
    from rich.table import Table

    from attncc import eviction
    from attncc.cache import root

    home, console = root(), out()
    kinds: dict[str, list[Entry]] = {}
    for entry in eviction.entries(home):
        kinds.setdefault(entry.path.parent.name, []).append(entry)
    most = eviction.bound()
    table = Table(box=None, pad_edge=False)
    for title in ("kind", "entries", "MB"):
        table.add_column(title, justify="left" if title == "kind" else "right")
    for kind, found in sorted(kinds.items()):
        table.add_row(kind, str(len(found)), _megabytes(found))
    everything = [e for found in kinds.values() for e in found]
    table.add_row("all", str(len(everything)), _megabytes(everything), style="bold")
    console.print(table)
    console.print(f"{home}, {f'at most {most // eviction.MEGABYTE} MB' if most else 'without a bound'}", soft_wrap=True)
    if clear:
        for entry in everything:
            eviction.remove(entry.path)
        console.print("removed")


def _megabytes(found: list[Entry]) -> str:
    return f"{sum(e.size for e in found) / (1 << 20):.1f}"
