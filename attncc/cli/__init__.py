"""The `attncc` command, one file a sub-command. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import sys

import typer

from . import bench, cache, check, compile, explain, fmt, list, run, search, show, test

app = typer.Typer(
    name="attncc",
    help="A compiler for attention operators: from the paper's equation to fused kernels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (run, check, show, explain, compile, search, test, bench, list, fmt, cache):
    _command.register(app)


@app.callback(invoke_without_command=True)
def _version(
    context: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    if version:
        from attncc import __version__

        typer.echo(f"attncc {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """The entry point. Exit code 0, 1 when something is wrong with a pattern, 2 for a wrong command line."""
    try:
        app()
    except BrokenPipeError:  # the reader went away, as in `attncc list | head`
        sys.stderr.close()
        sys.exit(141)


__all__ = ["app", "main"]
