"""The configurations that are worth compiling for a program on a target, likeliest first: bounds that need no compiler.

`floor_registers` and `shared_bytes` are lower bounds of what the compiler can do, so what they exclude cannot run without spills
or cannot be launched. `prior` orders the rest: the clocks of a score element as the model would see them if the compiler added
nothing, so that a search compiles few.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from attncc.errors import AttnUnsupportedError
from attncc.tile.nodes import Program

from .configs import Config
from .machine.instructions import Kind
from .machine.target import parse_target
from .machine.units import TABLE, Units, units_of
from .traits import Traits, traits

_OWNERS = (16, 32, 64, 128, 256)
_LOOPS = (16, 32, 64, 128, 256)
_WARPS = (4, 8)
_STAGES = (2, 1, 3)
_ITERATION = 115.0
"""Instructions a thread spends on an iteration of the loop beside those on its pairs, about."""

_SPARE = 24
"""Registers a thread that addresses, counters and vectors take at least."""

_OPERANDS = 6.0
"""Registers for operands of products that threads compute themselves, for each pair of a thread, about."""

_MOST_PAIRS = 32
"""Pairs a thread whose products the compiler can unroll at all: more spill in thousands and take a minute to compile."""

_WINDOW = 13
"""Nominal window along each of several axes, for the part of a tile of keys that no row of a box sees."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What a configuration is chosen for. bits: of an element. descriptors: the tensors allow descriptors."""

    target: str
    bits: int
    descriptors: bool = True

    @property
    def units(self) -> Units:
        """The figures of the target; of the nearest one in the table for a target without any."""
        try:
            return units_of(parse_target(self.target))
        except AttnUnsupportedError:
            if self.target.startswith("hip"):
                return TABLE["hip:gfx942"]
            arch = int(self.target.partition(":")[2])
            rows = sorted(int(name[5:]) for name in TABLE if name.startswith("cuda:"))
            return TABLE[f"cuda:{max([n for n in rows if n <= arch], default=rows[0])}"]

    @property
    def describes(self) -> bool:
        """Whether kernels read through tensor descriptors here: NVIDIA since Hopper, for 16-bit elements."""
        return self.descriptors and self.target.startswith("cuda:") and int(self.target[5:]) >= 90 and self.bits == 16

    @property
    def groups(self) -> bool:
        """Whether matrix instructions are issued by groups of four warps, with operands in shared memory."""
        return self.target == "cuda:90" and self.bits == 16

    @property
    def multiplied(self) -> bool:
        """Whether products are multiply-adds of the threads, which hold their operands in registers: fp32 on NVIDIA."""
        return self.bits == 32 and self.target.startswith("cuda:")

    @property
    def tensor_memory(self) -> bool:
        """Whether results of products are in a memory of their own."""
        return self.units.tensor_memory > 0 and self.bits == 16


def floor_registers(of: Traits, config: Config, setting: Setting) -> float:
    """Registers a thread that values alive at one time take at least."""
    threads = config.warps * setting.units.warp_size
    pairs = config.owner * config.loop * of.live
    sums = config.owner * sum(of.sums)
    if setting.tensor_memory:  # results of products stay there; a tile of pairs is worked on in registers
        return config.owner * config.loop / threads + _SPARE
    return (pairs + sums) / threads + _SPARE


def shared_bytes(of: Traits, config: Config, setting: Setting) -> float:
    """Bytes of shared memory that operands of products take at least, 0 where they may come from registers."""
    held = config.owner * sum(of.held) * setting.bits // 8
    moved = config.loop * sum(of.moved) * setting.bits // 8 * max(1, config.stages if setting.target != "cuda:80" else config.stages - 1)
    if setting.groups or setting.tensor_memory:
        return held + moved
    return moved if setting.target.startswith("cuda") else 0.0


def overhang(of: Traits, config: Config) -> float:
    """Pairs visited for each one admitted, in windows along several axes; 1 for other programs."""
    if max(of.owner_axes, of.loop_axes) < 2:
        return 1.0
    out = 1.0
    for box, step in zip(_box(config.owner, of.owner_axes), _box(config.loop, of.loop_axes), strict=False):
        out *= -(-(box + _WINDOW - 1) // step) * step / _WINDOW
    return out


def _box(extent: int, axes: int) -> list[int]:
    """The extents of a box, as `configs.tiles` cuts it."""
    out: list[int] = []
    left = extent
    for at in range(axes):
        share = 1
        while share ** (axes - at) < left:
            share *= 2
        out.append(min(share, left))
        left //= out[-1]
    return out


def moved_bytes(of: Traits, config: Config, setting: Setting) -> float:
    """Bytes that reach an SM for each score element: what the loop loads, over the pairs of its tile."""
    return (sum(of.moved) * setting.bits / 8 + 4 * of.vectors) / config.owner


def prior(of: Traits, config: Config, setting: Setting) -> float:
    """A guess of what `search.rank` calls clocks: units at their rates, the cost of an iteration spread over its pairs, and how
    many programs registers and shared memory leave room for."""
    units, pairs = setting.units, config.owner * config.loop
    each = pairs / (config.warps * units.warp_size)
    element = setting.bits / 8
    plain = units.lanes.get("fma", units.lanes.get("valu", {})).get(Kind.FP32, 64.0)
    rate = units.tensor["bf16"] if setting.bits == 16 else 2 * plain
    matrix = 2 * of.products * of.width / rate
    if setting.target == "cuda:90" and config.owner < 64:
        matrix /= units.warp_matrix
    first = of.products - len(of.sums)  # their left side is in shared memory too
    fed = element * of.width * (first * (1 / config.loop + 1 / 64) + len(of.sums) / 64) / units.shared_bytes
    work = 2.5 + 2 * of.products + (sum(of.sums) / config.loop if of.online else 0.0) + _ITERATION / each
    rest = max(work / units.issue, 1 / 16)
    need = floor_registers(of, config, setting) + 0.15 * of.live * each + (16 if setting.groups or setting.tensor_memory else 56)
    if setting.multiplied:
        need += _OPERANDS * each * min(config.stages, 2)  # what is fetched ahead is read ahead too
    spill = max(0.0, need - units.registers_per_thread) / units.registers_per_thread
    taken = min(need, units.registers_per_thread) * config.warps * units.warp_size
    fit = max(1, min(int(units.registers / taken), int(units.shared / (shared_bytes(of, config, setting) + 2048))))
    used = (matrix, fed, work / units.issue, 1 / 16, moved_bytes(of, config, setting) / units.cache_bytes)
    busy = sum(clocks**3 for clocks in used) ** (1 / 3)
    turns = (max(matrix, fed) + rest / max(1, config.warps // 4)) / fit
    return (max(busy, turns) + exposed(config, setting, fit)) * (1 + 4 * spill) * overhang(of, config)


def exposed(config: Config, setting: Setting, programs: int) -> float:
    """Clocks a score element that loads are waited for when nothing is fetched ahead and that many programs share an SM."""
    if config.stages > 1:
        return 0.0
    return setting.units.cache_latency / (config.owner * config.loop) / max(1, programs)


def allowed(of: Traits, config: Config, setting: Setting) -> bool:
    """Whether a configuration may run at all without spills."""
    units = setting.units
    if floor_registers(of, config, setting) > units.registers_per_thread:
        return False
    if shared_bytes(of, config, setting) > units.shared_per_program:
        return False
    if setting.tensor_memory and config.loop * (of.products - len(of.sums)) + sum(of.sums) > units.tensor_memory:
        return False
    if setting.multiplied and config.owner * config.loop > _MOST_PAIRS * 32 * config.warps:
        return False
    return config.owner * config.loop >= 32 * config.warps


@lru_cache(maxsize=4096)
def _ordered(of: Traits, setting: Setting) -> tuple[Config, ...]:
    """Every configuration that may run, likeliest first."""
    several = max(of.owner_axes, of.loop_axes) > 1
    found = []
    for owner, loop, warps, stages in product(_OWNERS, _LOOPS, _WARPS, _STAGES):
        if several and (owner > 64 or loop > 128):
            continue
        for described in (True, False) if setting.describes else (True,):
            config = Config(owner, loop, warps, stages, described)
            if allowed(of, config, setting):
                found.append(config)
    return tuple(sorted(found, key=lambda c: (round(prior(of, c, setting), 7), not c.described, _STAGES.index(c.stages), c)))


def ordered(program: Program, features: dict[str, int], setting: Setting) -> tuple[Config, ...]:
    """Configurations for a program, likeliest first. features: the sizes of its feature axes."""
    if setting.target == "interpreter":
        return (Config(32, 32, 4, 1),)
    of = traits(program, features)
    if of is None:
        return (Config(64, 64, 4, 1), Config(16, 16, 4, 1))
    found = _ordered(of, setting)
    return found or (Config(16, 16, 4, 1),)


def neighbours(config: Config, setting: Setting) -> Iterator[Config]:
    """Configurations that differ in one choice: how operands are loaded, the stages, the warps, a side of the tile."""
    if setting.describes and config.described:
        yield replace(config, inside=not config.inside)
    if setting.describes:
        yield replace(config, described=not config.described, inside=False)
    if config.stages > 1:
        yield replace(config, rest=1 - min(config.rest, 1))
    for stages in (config.stages - 1, config.stages + 1):
        if 1 <= stages <= 4:
            yield replace(config, stages=stages)
    for warps in _WARPS:
        if warps != config.warps:
            yield replace(config, warps=warps)
    for owner, loop in ((2, 1), (1, 2), (0.5, 1), (1, 0.5), (2, 0.5), (0.5, 2)):
        made = replace(config, owner=int(config.owner * owner), loop=int(config.loop * loop))
        if made.owner in _OWNERS and made.loop in _LOOPS:
            yield made
