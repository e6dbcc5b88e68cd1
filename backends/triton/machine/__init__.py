"""The static model: from a compiled GPU binary, without a GPU, what binds a kernel.

    compiled = compile_kernel(kernel, signature, constants, parse_target("cuda:90"), warps=8, stages=2)
    report = analyse(compiled, flops_per_element=4 * d)
    report.steady.binds, report.steady.others, report.peak_estimate, report.to_json(), table(report)

A search compiles through `compile_isolated`, whose processes may crash or hang, and sorts by `Report.rank`.
"""

from attncc.backends.triton.machine.compile import Compiled, Request, compile_kernel, compile_request
from attncc.backends.triton.machine.isolated import Failed, Reason, Worker, compile_isolated
from attncc.backends.triton.machine.kept import Kept
from attncc.backends.triton.machine.model import LoopReport, Report, analyse
from attncc.backends.triton.machine.occupancy import Occupancy, occupancy
from attncc.backends.triton.machine.render import table
from attncc.backends.triton.machine.target import Target, parse_target
from attncc.backends.triton.machine.toolchain import available, disassemble, tool
from attncc.backends.triton.machine.units import TABLE, Units, units_of

__all__ = [
    "TABLE", "Compiled", "Failed", "Kept", "LoopReport", "Occupancy", "Reason", "Report", "Request", "Target", "Units", "Worker",
    "analyse", "available", "compile_isolated", "compile_kernel", "compile_request", "disassemble", "occupancy",
    "parse_target", "table", "tool", "units_of",
]  # fmt: skip
