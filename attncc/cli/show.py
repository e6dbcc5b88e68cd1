"""`attncc show FILE`: the IR, and which pairs each attend admits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from . import options
from .console import err, out, reporting

if TYPE_CHECKING:
    from attncc.tools.picture import Picture

TOKENS = 32
"""Rows and keys of a drawing without --size; a grid has about as many in all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show")(show)


@reporting
def show(
    file: str = options.FILE,
    pattern: str = options.PATTERN,
    param: list[str] = options.PARAM,
    size: list[str] = options.SIZE,
    optional: list[str] = options.WITH,
    seed: int = options.SEED,
    mask: bool = typer.Option(True, help="Draw the admitted pairs as blocks."),
    png: str = typer.Option(None, "--png", metavar="PATH", help="Draw them into a PNG file as well (needs matplotlib)."),
) -> None:
    """Print the IR of a pattern and draw its masks for given sizes: --size i=32 --param window=7."""
    from rich.syntax import Syntax

    from attncc.ir.printer import show as text
    from attncc.testing.lengths import sensible
    from attncc.tools import picture

    from .opening import open_sample

    params, sizes = options.parse_params(param), options.parse_sizes(size)
    opened, sample = open_sample(
        file, pattern, params, optional=optional, sizes=sizes, seed=seed, wish=partial(sensible, tokens=TOKENS, features=4)
    )
    console = out()
    if opened.chosen:
        console.print(f"chosen here: {opened.line()}", style="dim", markup=False)
    ir = text(sample.program)
    if console.is_terminal:
        console.print(Syntax(ir, "text", theme="ansi_dark", background_color="default", word_wrap=True))
    else:
        print(ir, end="")
    if not (mask or png):
        return
    with err().status("evaluating masks"):
        shown = list(picture.pictures(sample))
    if mask:
        for one in shown:
            _draw(one)
    if png and shown:
        from pathlib import Path

        picture.png(shown, Path(png))
        err().print(f"wrote {png}", markup=False)
    elif png:
        err().print("there is no attend to draw", style="yellow")


def _draw(one: Picture) -> None:
    from rich.text import Text

    from attncc.tools.picture import blocks

    console = out()
    console.print()
    console.print(one.caption(), markup=False, soft_wrap=True)
    if bool(one.admitted.all()):
        console.print("  every pair", style="dim")
        return
    lines = blocks(one.admitted, max(8, console.width - 4))
    edge = "─" * len(lines[0]) if lines else ""
    for line in [f"┌{edge}┐", *(f"│{line}│" for line in lines), f"└{edge}┘"]:
        console.print(Text(line), soft_wrap=True)
