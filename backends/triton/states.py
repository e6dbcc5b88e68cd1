"""Configurations of the programs of the state schedule: chunks of keys summed into states, and sums of those."""

from __future__ import annotations

from attncc.tile.nodes import Program

from .configs import Config


def state_configs(program: Program, features: dict[str, int], bits: int) -> tuple[Config, ...]:
    """For a program of kind `chunks` or `totals`, best first; none for another. features: the sizes of its feature axes.

    A state is a tile of at most 64 columns, so that it stays in the registers of four warps beside what is loaded.
    """
    if program.kind not in ("chunks", "totals"):
        return ()
    width = 16
    while width < min(64, features.get(program.owner, 64)):
        width *= 2
    if program.kind == "totals":
        return (Config(width, 16, 1, 1),)
    rows = max([features[d.axes[0]] for d in program.dims if d.whole], default=16)
    if bits > 16 or rows > 128:
        return (Config(min(width, 32), 32, 4, 1), Config(16, 32, 4, 1), Config(16, 16, 4, 1))
    return (Config(width, 64, 4, 2), Config(width, 32, 4, 1), Config(min(width, 32), 32, 4, 1), Config(16, 16, 4, 1))
