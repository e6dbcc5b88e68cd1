"""`attncc fmt FILE ..`: the canonical layout."""

from __future__ import annotations

import typer

from .console import err, out, reporting, show_error


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fmt")(fmt)


@reporting
def fmt(
    file: list[str] = typer.Argument(..., metavar="FILE..", help="Files to format in place; - reads stdin and writes stdout."),
    check: bool = typer.Option(False, "--check", help="Change nothing; exit code 1 when a file is not in canonical layout."),
    diff: bool = typer.Option(False, "--diff", help="Print what would change, and change nothing."),
) -> None:
    """Format files in place. Comments, parentheses and numbers stay as written; only the layout changes."""
    import sys
    from pathlib import Path

    from attncc.errors import AttnError
    from attncc.language.format import fmt as formatted
    from attncc.runtime.texts import read

    changed = failed = 0
    for name in file:
        try:
            if name == "-":
                text, label = sys.stdin.read(), "<stdin>"
            else:
                source = read(Path(name))
                text, label = source.text, source.name
            result = formatted(text, label)
        except AttnError as error:
            show_error(error)
            failed += 1
            continue
        if name == "-" and not (check or diff):
            sys.stdout.write(result)
            continue
        if result == text:
            continue
        changed += 1
        if diff:
            _diff(text, result, label)
        elif check:
            err().print(f"{label} would change", markup=False)
        else:
            Path(name).write_text(result, encoding="utf-8")
            err().print(f"{label} formatted", markup=False)
    if failed or (changed and (check or diff)):
        raise typer.Exit(1)


def _diff(old: str, new: str, label: str) -> None:
    import difflib

    from rich.text import Text

    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), label, f"{label} (formatted)", lineterm="")
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        out().print(Text(line, style=styles.get(line[:1], "")), soft_wrap=True)
