"""Which tile of which head a program takes: the lines that make positions of a number.

`pid` counts tiles of the whole launch. Orders are those of `Config.order`; `longest_last` says from which end they start. A
program that takes several tiles takes every n-th of n programs; of the order that goes through all heads tile by tile, from the
longest to the shortest, every second turn goes backwards, so that who had the longest of one turn gets the shortest of the next.
"""

from __future__ import annotations

from collections.abc import Mapping

from .balance import HEADS
from .frame import Frame


def turn_lines(frame: Frame, tiles: Mapping[str, str]) -> list[str]:
    """Lines that set the start of the owner's tile and the grid position. tiles: names of counts of tiles, the last axis first."""
    lines = [] if frame.persistent else ["    pid = tl.program_id(0)"]
    grid = frame.grid
    if frame.program.shares:
        return [*lines, *_grid(frame, "pid", whole=True)]
    if frame.style.order < 2 or not grid:
        for axis, count in tiles.items():
            lines.append(f"    {frame.start(axis)} = {_tile(frame, count)} * {frame.tile(axis)}")
            if grid or axis != frame.owner.axes[0]:
                lines.append(f"    pid = pid // {count}")
        return [*lines, *_grid(frame, "pid", whole=True)]
    if frame.style.order == 2:
        lines += _grid(frame, "pid", whole=False)
    else:
        heads, each, first, width, head = (
            frame.names.fresh(n) for n in ("heads", "group_tiles", "first_head", "group_heads", "head")
        )
        lines += [
            f"    {heads} = {' * '.join(frame.size(a) for a in grid)}",
            f"    {each} = {' * '.join(tiles.values())} * {HEADS}  # tiles of a group of heads",
            f"    {first} = pid // {each} * {HEADS}",
            f"    {width} = tl.minimum({heads} - {first}, {HEADS})",
            f"    {head} = {first} + pid % {each} % {width}",
            f"    pid = pid % {each} // {width}",
            *_grid(frame, head, whole=True),
        ]
    for axis, count in tiles.items():
        lines.append(f"    {frame.start(axis)} = {_tile(frame, count)} * {frame.tile(axis)}")
        if axis != frame.owner.axes[0]:
            lines.append(f"    pid = pid // {count}")
    return lines


def _tile(frame: Frame, count: str) -> str:
    return f"({count} - 1 - pid % {count})" if frame.style.order and frame.backwards else f"pid % {count}"


def _grid(frame: Frame, number: str, whole: bool) -> list[str]:
    """Grid positions of a number. whole: nothing but the grid is left in it."""
    lines: list[str] = []
    grid = frame.grid
    for axis in reversed(grid):
        if axis == grid[0] and whole:
            lines.append(f"    {frame.position(axis)} = {number}")
        else:
            lines.append(f"    {frame.position(axis)} = {number} % {frame.size(axis)}")
            lines.append(f"    {number} = {number} // {frame.size(axis)}")
    return lines


def persistent_lines(frame: Frame, tiles: Mapping[str, str]) -> list[str]:
    """The head of a loop over tiles, `pid` the number of each."""
    item, items, programs = (frame.names.fresh(n) for n in ("item", "items", "programs"))
    count = [*tiles.values(), *(frame.size(a) for a in frame.grid)]
    lines = [
        f"    {items} = {' * '.join(count)}",
        f"    {programs} = tl.num_programs(0)",
        f"    for {item} in tl.range(tl.program_id(0), {items}, {programs}, num_stages=1):",
    ]
    if frame.style.order != 2:
        return [*lines, f"        pid = {item}"]
    turn = frame.names.fresh("turn")
    back = f"({turn} % 2 == 1) & (({turn} + 1) * {programs} <= {items})"
    return [
        *lines,
        f"        {turn} = {item} // {programs}  # every second one backwards",
        f"        pid = tl.where({back}, (2 * {turn} + 1) * {programs} - 1 - {item}, {item})",
    ]
