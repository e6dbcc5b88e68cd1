"""Configurations of the programs of the state schedule: chunks of keys summed into states, and sums of those."""

from __future__ import annotations

from attncc.tile.nodes import Program

from .configs import Config

_WIDE = (Config(128, 64, 8, 2), Config(64, 64, 4, 2), Config(64, 32, 4, 1))
"""For states applied to heads of more than 64 features."""


def state_configs(program: Program, features: dict[str, int], bits: int) -> tuple[Config, ...]:
    """For a program of a kind of the state schedule, best first; none for another. features: the sizes of its feature axes.

    A state is a tile of at most 64 columns, so that it stays in the registers of four warps beside what is loaded. Tiles of rows
    are no longer than a chunk of keys: past its last state a tile of rows meets as many keys as it has rows, and a chunk more.
    """
    if program.kind == "apply":
        wide = max(features[d.axes[0]] for d in program.dims if d.whole)
        if bits > 16 or wide > 128:
            return ()
        return (Config(128, 64, 4, 2), Config(64, 64, 4, 2)) if wide <= 64 else _WIDE
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
