"""`attncc search [FILE ...]`: configurations of kernels by search under the static model. No GPU is needed."""

from __future__ import annotations

from typing import Any

import typer

from . import options
from .console import err, out, reporting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


@reporting
def search(
    files: list[str] = typer.Argument(None, metavar="[FILE]...", help="Patterns whose kernels are searched; all shipped ones."),
    target: list[str] = typer.Option(["cuda:90"], "--target", metavar="TARGET", help="Repeat for several."),
    dtype: list[str] = typer.Option(["bf16"], "--dtype", help="bf16 (fp16 alike), fp32. Repeat for several."),
    features: str = typer.Option("64,128", "--features", metavar="D,D,..", help="Head dimensions."),
    param: list[str] = options.PARAM,
    limit: int = typer.Option(14, "--limit", help="Compiles for each kernel, at most."),
    path: str = typer.Option(None, "--out", "-o", metavar="FILE", help="Merge the result into a table; the shipped one: --out shipped."),
    check: bool = typer.Option(False, "--check", help="Search only where the table has no entry that still compiles without spills."),
    backward: str = options.BACKWARD,
    only: str = typer.Option("", "--kind", metavar="TEXT", help="Only kernels whose structure has this text."),
) -> None:
    """Search tile sizes, warps, stages and loads of each structure of kernel, forward and backward, and print what was found.

    The shipped table, backends/triton/chosen.json, is made by `attncc search --out shipped` with several targets and dtypes.
    """
    from contextlib import ExitStack
    from pathlib import Path

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    import attncc.backends.triton.table as table
    from attncc.backends.triton import chosen
    from attncc.backends.triton.machine import Kept, parse_target
    from attncc.backends.triton.space import Setting
    from attncc.errors import AttnValueError

    settings = []
    for name in target:
        parse_target(name)
        for kind in dtype:
            settings.append(Setting(name, 32 if options.short_dtype(kind) == "fp32" else 16))
    widths = options.parse_value(features)
    widths = widths if isinstance(widths, list) else [widths]
    if not all(isinstance(n, int) and n > 0 for n in widths):
        raise AttnValueError(f"--features takes whole numbers, found '{features}'")
    programs = _programs(files or [], options.parse_params(param))
    kernels = {k: v for k, v in table.kernels(programs, options.parse_backward(backward)).items() if only in k}
    todo = list(table.works(kernels, widths, dict.fromkeys(settings)))
    where = chosen.PATH if path == "shipped" else Path(path) if path else None
    known = table.read(where) if where and check else []
    made: list[dict[str, Any]] = []
    with ExitStack() as stack:
        worker = stack.enter_context(Kept())
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=err(), disable=not err().is_terminal, transient=True))
        bar = progress.add_task("", total=len(todo))
        for work in todo:
            progress.update(bar, description=work.label)
            old = table.nearest(work, known)
            entry = table.checked(work, old, worker) if old else None
            entry = entry or table.searched(
                work, lambda: worker, limit,
                lambda n, config, _: progress.update(bar, description=f"{work.label}: {n}. {config}"),  # noqa: B023  (called before the loop goes on)
            )  # fmt: skip
            progress.advance(bar)
            if entry is None:
                err().print(f"{work.label}: no configuration without spills", style="yellow")
                continue
            made.append(entry)
            if where is not None:
                where.write_text(table.merged(where, [entry]), encoding="utf-8")
    _print(made)
    if where is not None:
        out().print(f"{len(made)} of {len(todo)} in {where}", style="dim", markup=False, soft_wrap=True)


def _programs(files: list[str], params: dict[str, Any]) -> list[tuple[str, Any, list[str]]]:
    """The programs of patterns, the plainest form of each."""
    from attncc.errors import AttnError
    from attncc.runtime.op import patterns

    from .opening import open_sample

    found = []
    for name in files or [p.name for p in patterns()]:
        try:
            _, sample = open_sample(name, None, params)
        except AttnError:
            if files:
                raise
            continue  # a shipped pattern that needs tensors of its own
        found.append((name, sample.program, [o.name for o in sample.program.outputs if not o.on_request]))
    return found


def _print(entries: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from attncc.backends.triton.configs import Config

    grid = Table(box=None, pad_edge=False, header_style="bold")
    columns = ("kernel", "D", "target", "bits", "configuration", "registers", "mufu", "others", "binds", "overlapped", "serial")
    for column in columns:
        grid.add_column(column, justify="left" if column in ("kernel", "target", "configuration", "binds") else "right")
    for entry in entries:
        cells = [entry["searched_on"], entry["width"], entry["target"], entry["bits"], Config.from_json(entry["config"])]
        rest = [entry.get(k) for k in ("registers", "mufu", "others", "binds", "overlapped", "serial")]
        grid.add_row(*("" if c is None else str(c) for c in [*cells, *rest]))
    out().print(grid, soft_wrap=True)
