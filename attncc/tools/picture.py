"""Which pairs an attend admits, as a picture: blocks of text for a terminal, or a PNG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import AttnUnsupportedError
from ..ir.expr import Index, Read
from ..ir.nodes import Assign, Attend, Output, Program, pair_values
from ..passes.classify import query_axes
from ..runtime.backends import named
from ..testing.calls import Sample

SHOWN = "admitted pairs"
"""The name of the value that is added to a program; no name of the language has a blank."""

SHADES = " ░▒▓█"


@dataclass(frozen=True)
class Picture:
    """The admitted pairs of one attend: a bool matrix of rows by keys. axes: what each side runs over; at: axes held at 0."""

    name: str
    rows: tuple[str, ...]
    keys: tuple[str, ...]
    at: tuple[str, ...]
    admitted: torch.Tensor

    def caption(self) -> str:
        """One line: axes, lengths, share of the pairs."""
        n, m = self.admitted.shape
        rows, keys = (", ".join(axes) or "one" for axes in (self.rows, self.keys))
        held = f", at {', '.join(f'{a} = 0' for a in self.at)}" if self.at else ""
        share = float(self.admitted.double().mean()) if self.admitted.numel() else 0.0
        return f"{self.name}: rows {rows} ({n}), keys {keys} ({m}), {share:.1%} of the pairs{held}"


def pictures(sample: Sample) -> Iterator[Picture]:
    """The picture of every attend of a program that stands outside loops, on the data of a sample."""
    program = sample.program
    for node in program.nodes:
        if isinstance(node, Attend):
            yield _picture(program, node, sample)


def _picture(program: Program, node: Attend, sample: Sample) -> Picture:
    known = pair_values(node)["admitted"]
    name = node.name or ", ".join(e.name for e in node.emits)
    emit = Assign(SHOWN, known.axes, "bool", Read("admitted", tuple(Index(a) for a in known.axes), "bool"))
    nodes = tuple(replace(n, emits=(*n.emits, emit)) if n is node else n for n in program.nodes)
    asked = Output(SHOWN, SHOWN, tuple((a,) for a in known.axes), "bool")
    shown = replace(program, nodes=nodes, outputs=(asked,))
    with torch.no_grad():
        found = named("eager").prepare(shown, [SHOWN])(sample.tensors)[SHOWN]
    keys = node.over
    queries = query_axes(node)
    at = tuple(a for a in known.axes if a not in keys and a not in queries)
    for axis in at:
        found = found.narrow(known.axes.index(axis), 0, 1)
    rows = tuple(a for a in known.axes if a in queries)
    order = [known.axes.index(a) for a in (*at, *rows, *keys)]
    count = 1
    for axis in keys:
        count *= sample.sizes[axis]
    matrix = found.permute(order).reshape(-1, count) if count else found.new_zeros((1, 0))
    missing = [a for a in queries if a not in rows]  # the mask does not depend on these rows: every one looks the same
    for axis in missing:
        matrix = matrix.repeat_interleave(sample.sizes[axis], 0) if not rows else matrix
    return Picture(name, rows or tuple(missing), keys, at, matrix.cpu())


def blocks(matrix: torch.Tensor, width: int) -> list[str]:
    """A bool matrix as lines of text at most `width` wide: half blocks where it fits, else shades of the share admitted."""
    n, m = matrix.shape
    if not n or not m:
        return []
    if m <= width:
        lines = []
        for top in range(0, n, 2):
            upper = matrix[top].tolist()
            lower = matrix[top + 1].tolist() if top + 1 < n else [False] * m
            lines.append("".join(" ▄▀█"[2 * a + b] for a, b in zip(upper, lower, strict=True)))
        return lines
    height = max(1, round(n * width / m / 2))
    small = torch.nn.functional.adaptive_avg_pool2d(matrix.double()[None, None], (min(height, n), width))[0, 0]
    return ["".join(_shade(x) for x in row) for row in small.tolist()]


def _shade(share: float) -> str:
    """A shade; only nothing is blank and only everything is solid."""
    if share in (0.0, 1.0):
        return SHADES[0] if share == 0 else SHADES[-1]
    return SHADES[1 + min(2, int(share * 3))]


def png(shown: Sequence[Picture], path: Path) -> None:
    """Write the pictures side by side. Raises AttnUnsupportedError without matplotlib, or when the file cannot be written."""
    try:
        import matplotlib
    except ImportError:
        raise AttnUnsupportedError("pictures need matplotlib", None, "pip install 'attncc[viz]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, plots = pyplot.subplots(1, len(shown), figsize=(4.5 * len(shown), 4.5), squeeze=False, layout="constrained")
    for plot, one in zip(plots[0], shown, strict=True):
        plot.imshow(one.admitted, cmap="Greys", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        plot.set_title(one.name)
        plot.set_xlabel(f"keys {', '.join(one.keys)}")
        plot.set_ylabel(f"rows {', '.join(one.rows)}")
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise AttnUnsupportedError(f"'{path}' cannot be written: {error}") from None
    finally:
        pyplot.close(figure)
