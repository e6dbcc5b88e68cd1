"""Where output goes, and how an AttnError looks: file:line:col, the line with carets, the help, no traceback."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from attncc.errors import AttnError

P = ParamSpec("P")
R = TypeVar("R")


def out() -> Console:
    """The console of results."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def err() -> Console:
    """The console of errors and progress."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def machine() -> str:
    """The device of this machine.

    Without a GPU, Triton's kernels run under its interpreter, which has to be chosen before triton is first imported.
    """
    import os
    import warnings

    import torch

    if torch.cuda.is_available():
        return "cuda"
    os.environ.setdefault("TRITON_INTERPRET", "1")
    warnings.filterwarnings("ignore", category=RuntimeWarning, module="triton")  # numpy's, for infinities that are meant
    return "cpu"


def show_error(error: AttnError) -> None:
    """Print an error."""
    from rich.text import Text

    text = Text()
    if error.span is not None:
        text.append(f"{error.file}:{error.line}:{error.column}: ", style="bold")
    text.append("error: ", style="bold red")
    text.append(error.message, style="bold")
    if error.span is not None:
        line, _, carets = error.span.caret().partition("\n")
        text.append(f"\n{line}\n")
        text.append(carets, style="red")
    if error.help:
        text.append("\nhelp: ", style="cyan")
        text.append(error.help)
    err().print(text, soft_wrap=True)


def reporting(command: Callable[P, R]) -> Callable[P, R]:
    """A command whose AttnErrors are printed, with exit code 1. Other exceptions are defects and keep their traceback."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            from attncc.errors import AttnError

            if not isinstance(error, AttnError):
                raise
            show_error(error)
            raise typer.Exit(1) from None

    return wrapped
