"""The text of a kernel from its tile program: what is rewritten first, and which functions are printed."""

from __future__ import annotations

from attncc.tile.nodes import Program

from .factors import fold
from .few import takes_few
from .few_kernel import FewPrinter, pairs_of
from .kernel import KernelPrinter
from .memory import BFLOAT16
from .printed import Kernel
from .ready import prepare, scaled
from .sharing import split
from .starts import start


def print_kernel(program: Program, features: dict[str, int], bits: int, element: int, name: str = "") -> Kernel:
    """The kernel of a program.

    features: sizes of its feature axes. bits: of the accumulation type, 32 or 64. element: of the arrays, as in memory.h.
    Raises AttnUnsupportedError for what the printer cannot do.
    """
    program, by_rows = split(program)
    program = program if element == BFLOAT16 else fold(start(program))  # a folded factor would be rounded
    ready, name = prepare(program), name or program.name
    printer = KernelPrinter(scaled(ready, by_rows), features, bits, element, name, by_rows)
    text, beside = printer.printed(), []
    pairs = pairs_of(ready) if takes_few(ready.program) else None
    if pairs is not None:
        few = FewPrinter(ready, features, bits, element, f"{name}_few", by_rows | pairs)
        few.sizes = printer.sizes
        text += ["#if LANES_COUNT >= 4", *few.printed(), "#endif", ""]
        beside = few.beside()
    text += printer.entry(beside)
    return Kernel(name, "\n".join(text) + "\n", ready.program, ready.program.args, tuple(printer.sizes), tuple(printer.tiled))
