"""How many programs of a kernel an SM holds at once, and what sets the limit.

The arithmetic is that of NVIDIA's occupancy calculator: registers are given to warps in steps, within the SM partition that
runs the warp; shared memory to programs in steps, plus what the system reserves.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from attncc.backends.triton.machine.units import Units


@dataclass(frozen=True, slots=True)
class Occupancy:
    """`programs` of `warps` warps fit on one SM; 0 when one does not fit at all. `limit` names what is used up first."""

    programs: int
    warps: int
    fraction: float
    limit: str


def occupancy(registers: int, shared: int, warps: int, units: Units, tensor_memory: int = 0) -> Occupancy:
    """Occupancy of a program of `warps` warps that takes `registers` a thread, `shared` bytes and tensor memory columns.

    `shared` is what the kernel asks for; the reserved part of each program is added here.
    """
    per_warp = _up(registers * units.warp_size, units.register_step)
    per_partition = units.registers // units.partitions
    by_registers = units.partitions * (per_partition // per_warp) if per_warp else units.warps
    taken = _up(shared + units.shared_reserved, units.shared_step)
    limits = {
        "warps": units.warps // warps,
        "programs": units.programs,
        "registers": 0 if registers > units.registers_per_thread else by_registers // warps,
        "shared memory": 0 if shared > units.shared_per_program else (units.shared // taken if taken else units.programs),
    }
    if tensor_memory:
        limits["tensor memory"] = units.tensor_memory // tensor_memory
    programs = min(limits.values())
    limit = next(name for name, count in limits.items() if count == programs)
    return Occupancy(programs, programs * warps, programs * warps / units.warps, limit)


def _up(value: int, step: int) -> int:
    return ceil(value / step) * step
