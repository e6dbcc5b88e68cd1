"""`attncc bench FILE`: times of the backends here beside eager and peers. `attncc bench --suite cpu`: the benchmark suite."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from . import options
from .console import err, machine, out, reporting

if TYPE_CHECKING:
    from attncc.tools.timing import Time


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("bench")(bench)


@reporting
def bench(
    file: str = typer.Argument(None, metavar="[FILE]", help="An .attn file, or the name of a shipped pattern; none with --suite."),
    pattern: str = options.PATTERN,
    param: list[str] = options.PARAM,
    size: list[str] = options.SIZE,
    optional: list[str] = options.WITH,
    tokens: str = typer.Option("512,1024,2048", "--tokens", metavar="N,N,..", help="Rows and keys that --size leaves open."),
    features: int = typer.Option(64, "--features", help="Head dimension, where --size leaves it open."),
    dtype: str = typer.Option(None, "--dtype", help="float32 on a CPU, bfloat16 on a GPU when not given."),
    budget: float = typer.Option(None, "--budget", help="Seconds for each line of the table: 3, in a suite 5."),
    json: str = typer.Option(None, "--json", metavar="PATH", help="Write the times to a file as well."),
    suite: str = typer.Option(None, "--suite", metavar="cpu|gpu", help="Run a benchmark suite instead of one pattern."),
    png: str = typer.Option(None, "--png", metavar="PATH", help="Draw the ratios of a suite."),
    only: str = typer.Option("", "--only", metavar="TEXT", help="Only the rows of a suite whose names contain this."),
    limit: float = typer.Option(None, "--limit", help="Seconds after which a suite begins no further row."),
    quick: bool = typer.Option(False, "--quick", help="A suite at tiny sizes: whether it works, no results."),
    dry: bool = typer.Option(False, "--dry", help="The same without timing anything; the gpu suite then needs no GPU."),
    publish: bool = typer.Option(
        False, "--publish", help="In a checkout: write benchmarks/results/SUITE-DATE.json, SUITE.png and the README's table."
    ),
) -> None:
    """Interleaved medians, and ratios to eager and to peers such as scaled_dot_product_attention where they compute the same.

    A suite checks every result against the float64 oracle first, and says what it could not measure and why. Its exit code is 1 when
    attncc failed or was wrong in a row.
    """
    if suite is not None:
        if file is not None:
            raise typer.BadParameter("a suite has its own patterns: give FILE or --suite", param_hint="--suite")
        _suite(suite, "dry" if dry else "quick" if quick else "full", budget, json, png, only, limit, publish)
        return
    if file is None:
        raise typer.BadParameter("give a FILE, or --suite cpu", param_hint="FILE")
    if png or only or limit or quick or dry or publish:
        raise typer.BadParameter("--png, --only, --limit, --quick, --dry and --publish go with --suite")
    device = machine()
    from attncc.errors import AttnValueError
    from attncc.runtime import backends as table
    from attncc.testing.lengths import sensible
    from attncc.tools import runs
    from attncc.tools.peers import peers
    from attncc.tools.timing import interleaved

    from .opening import open_sample

    params, sizes = options.parse_params(param), options.parse_sizes(size)
    kind = options.parse_dtype(dtype or ("bfloat16" if device == "cuda" else "float32"))
    counts = options.parse_value(tokens)
    counts = counts if isinstance(counts, list) else [counts]
    if not all(isinstance(n, int) and n > 0 for n in counts):
        raise AttnValueError(f"--tokens takes whole numbers, found '{tokens}'")
    rows: list[dict[str, Any]] = []
    for n in counts:
        with err().status(f"{n} tokens"):
            opened, sample = open_sample(
                file, pattern, params, optional=optional, sizes=sizes, dtype=kind, device=device,
                wish=partial(sensible, tokens=n, features=features),
            )  # fmt: skip
            names = [b for b in table.present() if not table.named(b).refuses(sample.program)]
            names = [b for b in names if not (b == "triton" and device == "cpu")]
            others = peers(sample)
            plain = {b: runs.forward(sample, b) for b in names} | {p: runs.peer_forward(sample, f) for p, f in others.items()}
            full = {b: r for b in names if (r := runs.both(sample, b))}
            full |= {p: runs.peer_both(sample, f) for p, f in others.items()}
            for what, made in (("forward", plain), ("forward + backward", full)):
                found = interleaved(made, budget=3.0 if budget is None else budget, wait=runs.wait(device)) if made else {}
                rows.append({"tokens": n, "what": what, "times": found})
    console = out()
    console.print(f"[bold]{opened.op.name}[/bold], {str(kind).removeprefix('torch.')}, {device}")
    if opened.chosen:
        console.print(f"chosen here: {opened.line()}", style="dim", markup=False)
    _table(rows)
    if json:
        _write(json, opened.op.name, rows, str(kind), device)


def _suite(
    name: str, kind: str, budget: float | None, json: str | None, png: str | None, only: str, limit: float | None, publish: bool
) -> None:
    """Run a suite and show it."""
    from importlib.util import find_spec
    from pathlib import Path

    if name == "gpu" and kind == "dry":
        machine()  # Triton's interpreter has to be chosen before anything imports triton
    from attncc.bench import plot, readme, results, table
    from attncc.bench.run import run_suite
    from attncc.errors import AttnUnsupportedError

    path, picture = Path(json) if json else None, Path(png) if png else None
    if (png or publish) and find_spec("matplotlib") is None:
        raise AttnUnsupportedError("pictures need matplotlib", None, "pip install 'attncc[viz]'")
    if publish:
        import datetime

        if kind != "full" or only or limit or not Path("README.md").exists() or not Path("benchmarks").is_dir():
            raise AttnUnsupportedError("--publish takes a whole run at full size, in the root of a checkout")
        if readme.marked(Path("README.md").read_text(encoding="utf-8"), name) is None:
            raise AttnUnsupportedError(f"README.md has no place for the {name} suite", None, f"<!-- bench {name}: FILE -->")
        path = path or Path(f"benchmarks/results/{name}-{datetime.date.today().isoformat()}.json")
        picture = picture or Path(f"benchmarks/results/{name}.png")
    with err().status(f"{name} suite") as status:
        say = status.update if err().is_terminal else partial(print, file=sys.stderr, flush=True)
        found = run_suite(name, kind, budget=5.0 if budget is None else budget, path=path, only=only, limit=limit, say=say)
    console = out()
    if console.width < table.WIDTH:
        console.print(table.plain(found), markup=False, soft_wrap=True)
    else:
        console.print(f"[bold]{table.title(found)}[/bold]")
        console.print(table.caption(found), markup=False, soft_wrap=True)
        console.print(table.table(found))
        console.print(f"{table.score(found)}; {found.seconds:.0f} s")
    if path is not None:
        results.write(found, path)
    if picture is not None:
        plot.png(found, picture)
    if publish:
        assert path is not None
        readme.update(path, Path("README.md"))
    if found.failures():
        console.print(f"attncc failed in {len(found.failures())} rows", style="red")
        raise typer.Exit(1)


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    names = list(dict.fromkeys(name for row in rows for name in row["times"]))
    grid = Table(box=None, pad_edge=False, header_style="bold")
    grid.add_column("tokens", justify="right")
    grid.add_column("")
    for name in names:
        grid.add_column(name, justify="right")
        if name != "eager":
            grid.add_column("eager /", justify="right")
    for row in rows:
        times: dict[str, Time] = row["times"]
        cells = []
        for name in names:
            cells.append(times[name].words() if name in times else "")
            if name != "eager":
                cells.append(f"{times['eager'].median / times[name].median:.2f} x" if name in times else "")
        grid.add_row(str(row["tokens"]), row["what"], *cells)
    out().print(grid)


def _write(path: str, name: str, rows: list[dict[str, Any]], dtype: str, device: str) -> None:
    import json
    from dataclasses import asdict
    from pathlib import Path

    from attncc.errors import AttnUnsupportedError

    found = [{**row, "times": {n: asdict(t) for n, t in row["times"].items()}} for row in rows]
    try:
        Path(path).write_text(json.dumps({"pattern": name, "dtype": dtype, "device": device, "rows": found}, indent=2) + "\n")
    except OSError as error:
        raise AttnUnsupportedError(f"'{path}' cannot be written: {error}") from None
