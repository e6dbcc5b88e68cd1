"""`attncc explain FILE`: the decisions, and with --target what binds the kernels there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from . import options
from .console import err, machine, out, reporting

if TYPE_CHECKING:
    from attncc.runtime.explain import Explanation
    from attncc.testing.calls import Sample


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
    backward: str = options.BACKWARD,
    json: bool = typer.Option(False, "--json", help="Everything as JSON."),
) -> None:
    """Say how each node runs and why: classes, masks, mixing order, such-that conditions, backends.

    --size settles what is open until the sizes are known. --target compiles the kernels, forward and backward, for a GPU that need
    not be here, and says what they take, what their loops consist of and which unit of the machine binds them. --backward says of
    which forms of the backward pass.
    """
    machine()
    from rich.markup import escape

    from attncc.runtime import explain as decisions

    from .opening import open_sample

    params, sizes = options.parse_params(param), options.parse_sizes(size)
    kind, forms = options.short_dtype(dtype), options.parse_backward(backward)
    opened, sample = open_sample(file, pattern, params, optional=optional, sizes=sizes)
    found = decisions.explain(sample.program, sample.sizes if sizes else None)
    if json:
        _json(opened.op.name, found, _bounds(sample, target, kind, sizes, forms) if target else [], target, kind)
        return
    console = out()
    first = opened.op.title.splitlines()[0] if opened.op.title else ""
    console.print(f"[bold]{opened.op.name}[/bold]  {escape(first)}".rstrip(), soft_wrap=True)
    if opened.chosen:
        console.print(f"chosen here: {opened.line()}", style="dim", markup=False)
    _print(found)
    if target:
        from attncc.backends.triton.machine.render import table

        for bound in _bounds(sample, target, kind, sizes, forms):
            console.print()
            console.print(table(bound.report, bound.phase, str(bound.config)))
            if bound.whole is not None:
                console.print(table(bound.whole, bound.phase, f"{bound.config}: lengths that fill their tiles"))


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


def _bounds(sample: Sample, target: str, dtype: str, sizes: dict[str, int], backward: tuple[str, ...]) -> list[Any]:
    """The static model of the kernels for a target."""
    from attncc.backends.triton.bounds import reports

    outputs = [o.name for o in sample.program.outputs if not o.on_request]
    with err().status(f"compiling for {target}") as status:
        return reports(
            sample.program, outputs, target, dtype, sizes,
            heard=lambda p: status.update(f"compiling for {target}: {p}"), backward=backward,
        )  # fmt: skip


def _json(name: str, found: Explanation, bounds: list[Any], target: str | None, dtype: str) -> None:
    import json

    data: dict[str, Any] = {
        "pattern": name,
        "decisions": {s.title: [{"what": w, "decision": d, "reason": r} for w, d, r in s.rows] for s in found.sections},
    }
    if target:
        data |= {"target": target, "dtype": dtype, "kernels": [b.to_json() for b in bounds]}
    typer.echo(json.dumps(data, indent=2))
