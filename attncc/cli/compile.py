"""`attncc compile FILE --target cuda:90 --out DIR`: kernels without a GPU, as files that need no attncc."""

from __future__ import annotations

from typing import Any

import typer

from . import options
from .console import err, out, reporting


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compile")(compile_file)


@reporting
def compile_file(
    file: str = options.FILE,
    pattern: str = options.PATTERN,
    target: str = typer.Option("cuda:90", "--target", metavar="TARGET", help="cuda:80, cuda:90, cuda:100, hip:gfx942, ..."),
    dtype: str = typer.Option("bf16", "--dtype", help="bf16, fp16, fp32."),
    param: list[str] = options.PARAM,
    size: list[str] = options.SIZE,
    optional: list[str] = options.WITH,
    outputs: list[str] = typer.Option([], "--output", metavar="NAME", help="Only these outputs."),
    folder: str = typer.Option(".", "--out", "-o", metavar="DIR", help="Where the files go."),
    backward: str = typer.Option(
        "", "--backward", metavar="FORM", help="Write the backward pass too: split, or joint (adds atomically, in no fixed order)."
    ),
    autotune: bool = typer.Option(False, "--autotune", help="Measure configurations on this machine's GPU first, at the given sizes."),
    pinned: str = typer.Option(None, "--pin", metavar="FILE", help="Use measured configurations; with --autotune, write them there."),
) -> None:
    """Write the kernels of a pattern for a GPU that need not be here: a module that needs torch and triton alone, the machine
    code and manifest.json. With --backward the module has two functions, <pattern>_forward, which also gives what is kept, and
    <pattern>_backward.

    Head dimensions are fixed (--size d=128, 64 where not given); lengths, batch and strides stay free. Configurations come from the
    static search, or from measurements: --autotune makes them here, --pin FILE keeps them for other runs (also ATTNCC_PINNED=FILE).
    """
    from pathlib import Path

    from attncc.backends.triton.artifact import write
    from attncc.backends.triton.machine import parse_target
    from attncc.errors import AttnUnsupportedError

    from .opening import open_sample

    params, sizes = options.parse_params(param), options.parse_sizes(size)
    kind = options.short_dtype(dtype)
    parse_target(target)
    opened, sample = open_sample(file, pattern, params, optional=optional, sizes=sizes)
    op = opened.op
    wanted = op._wanted(sample.program, outputs or None)
    where = Path(folder)
    if where.exists() and not where.is_dir():
        raise AttnUnsupportedError(f"'{folder}' is a file, not a folder", None, "pass --out DIR")
    if opened.chosen:
        err().print(f"chosen here: {opened.line()}", style="dim", markup=False)
    if autotune:
        _tune(file, pattern, params, optional, sizes, outputs, target, kind, pinned)
    elif pinned:
        op.pin(pinned)
    with err().status(f"compiling {op.name} for {target}"):
        manifest = write(sample.program, wanted, where, target, kind, sizes, title=op.title, name=op.name, backward=backward)
    _summary(manifest, where)


def _tune(
    file: str, pattern: str | None, params: dict[str, Any], optional: list[str], sizes: dict[str, int], outputs: list[str],
    target: str, dtype: str, path: str | None,
) -> None:  # fmt: skip
    """Measure on this machine's GPU, on random data: 4096 rows and keys where --size says nothing else."""
    from functools import partial

    import torch

    from attncc.errors import AttnUnsupportedError
    from attncc.testing.lengths import sensible

    from .opening import open_sample

    if not torch.cuda.is_available():
        raise AttnUnsupportedError(
            "--autotune measures on a CUDA device, and there is none here",
            None,
            "without it the static search chooses (`attncc search`, `attncc explain --target`), or --pin FILE",
        )
    from attncc.backends.triton.run import target_of

    here = target_of(torch.device("cuda"))
    if here != target:
        raise AttnUnsupportedError(f"--autotune measures on this machine, {here}, not for {target}", None, f"--target {here}")
    opened, made = open_sample(
        file, pattern, params, optional=optional, sizes=sizes, wish=partial(sensible, tokens=4096, features=64),
        dtype=options.parse_dtype(dtype), device="cuda",
    )  # fmt: skip
    tensors: dict[str, Any] = dict(made.tensors)
    opened.op.tune(**tensors, outputs=outputs or None, path=path)


def _summary(manifest: dict[str, Any], where: Any) -> None:
    from rich.table import Table

    console = out()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("kernel", "tiles", "warps", "stages", "registers", "spills", "shared"):
        table.add_column(column, justify="left" if column in ("kernel", "tiles") else "right")
    for kernel in manifest["kernels"]:
        tiles = ", ".join(f"{a} {n}" for a, n in kernel["tiles"].items())
        figures = (kernel[key] for key in ("warps", "stages", "registers", "spills", "shared_memory"))
        table.add_row(kernel["name"], tiles, *map(str, figures))
    console.print(table)
    for path in sorted(p for p in where.iterdir() if p.is_file() and p.name.startswith((manifest["pattern"], "manifest"))):
        console.print(f"  {path}", style="dim", markup=False, soft_wrap=True)
