"""How sums by key (gradients of tables, histograms) are dealt out to programs, in words."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ..ir.expr import ONE
from ..ir.printer import show_expr
from ..ir.sizes import Unknown, scalar
from ..schedules.keyed import why_no_bands
from ..schedules.plan import Fused, Plan, equal_sizes
from ..tile import bands
from ..tile.nodes import Program as Tiles


def dealing(plan: Plan, sizes: Mapping[str, int] | None = None) -> Iterator[tuple[str, str, str]]:
    """For each kernel of a plan with keyed sums: what it sums, how, and why. sizes: those that are known."""
    for step in plan.steps:
        if not isinstance(step, Fused):
            continue
        stages = {s.name: s for s in step.stages if s.keyed}
        for kernel in step.kernels:
            if kernel.name in stages:
                stage = stages[kernel.name]
                known = plan.extended(sizes) if sizes else {}
                why = why_no_bands(stage, equal_sizes(plan.program))
                yield ", ".join(k.name for k in stage.keyed), *_told(kernel, why, known)


def _told(kernel: Tiles, why: str, sizes: Mapping[str, int]) -> tuple[str, str]:
    from attncc.backends.triton import wishes

    processors = os.cpu_count() or 1
    wish = wishes.asked()
    atomic = "atomic" if wish and not wishes.forbidden() else ""
    told = f"; {wishes.WHY if atomic else wishes.FORBIDDEN}" if wish else ""
    end = f"{told}; the CPU, of few processors, never adds atomically"
    if not kernel.banded:
        parts = "parts: each share of the rows has an array of its own"
        return f"on a GPU atomic; on a CPU {parts}" if atomic else parts, f"no bands: {why}{end}"
    over = ", ".join(b.over for p in kernel.banded if (b := p.bands) is not None)
    most = show_expr(kernel.most or ONE)
    reason = f"memory allows {most} shares; bands where the tiles they visit again cost less than idle processors{end}"
    try:
        here, there = (_way(kernel, over, n, sizes) for n in (processors, bands.GPU))
    except Unknown:
        either = f"parts, or owner-band over {over}: the sizes say which is cheaper"
        return f"on a GPU atomic; on a CPU {either}" if atomic else either, reason
    return f"on a GPU {atomic or there}; on {processors} processors of a CPU {here}", reason


def _way(kernel: Tiles, over: str, processors: int, sizes: Mapping[str, int]) -> str:
    """What runs for known sizes."""
    if scalar(bands.cheaper(kernel, processors), sizes):
        number = ", ".join(str(scalar(bands.count(p, processors), sizes)) for p in kernel.banded)
        return f"owner-band: {number} bands of {over}"
    return f"parts: memory allows {max(1, scalar(kernel.most or ONE, sizes))} shares of the rows"
