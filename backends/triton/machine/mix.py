"""The instructions of a loop by the unit that takes them: for one tile of pairs, and for one score element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from attncc.backends.triton.machine.instructions import Kind
from attncc.backends.triton.machine.model import LoopReport, Report
from attncc.backends.triton.machine.opcodes import kind_of

_K = Kind
GROUPS: Mapping[str, tuple[Kind, ...]] = {
    "matrix": (_K.MATRIX,),
    "mufu": (_K.MUFU,),
    "fma pipe": (_K.FP32, _K.FP32X2, _K.HALF, _K.FP64),
    "compare, convert": (_K.COMPARE, _K.PACK, _K.CONVERT),
    "integer": (_K.INT, _K.IMAD, _K.SELECT, _K.MOVE, _K.BITS, _K.CONSTANT),
    "uniform": (_K.UNIFORM,),
    "loads": (_K.GLOBAL_LOAD, _K.SHARED_LOAD, _K.ASYNC_COPY, _K.TMA, _K.TENSOR_MEMORY),
    "stores": (_K.GLOBAL_STORE, _K.SHARED_STORE, _K.ATOMIC),
    "spills": (_K.LOCAL_LOAD, _K.LOCAL_STORE),
    "shuffles": (_K.SHUFFLE,),
    "barriers": (_K.BARRIER, _K.GROUP),
    "control": (_K.BRANCH, _K.NOP, _K.OTHER),
}
"""Every class of instruction, in the groups that the tables show."""


@dataclass(frozen=True, slots=True)
class Mix:
    """One loop. body: `full` (tiles of admitted pairs alone), `partial` (tested pair by pair), `only` (one loop for all tiles), or
    `other` (no products). tile: warp instructions of a program's iteration, by group. element: instructions a score element."""

    loop: LoopReport
    body: str
    tile: Mapping[str, int]
    element: Mapping[str, float]

    @property
    def products(self) -> dict[str, int]:
        """Matrix instructions of one warp by opcode and shape."""
        return {op: n for op, n in self.loop.opcodes.items() if _is_product(op)}


def mixes(report: Report) -> tuple[Mix, ...]:
    """Of each loop with work on pairs; all of a kernel's loops where none has products."""
    loops = list(report.loops)
    if report.steady is not None and report.steady not in loops:
        loops = [report.steady]  # specialised warps: their loops run together
    with_products = [x for x in loops if x.inner and x.total_flops]
    shown = with_products or [x for x in loops if x.inner]
    least = min(shown, key=lambda x: sum(x.lanes.values()) / (x.total_flops or 1.0), default=None)
    out = []
    for loop in shown:
        body = "other" if not loop.total_flops else "only" if len(shown) == 1 else "full" if loop is least else "partial"
        width = report.units.warp_size
        tile = {name: round(sum(loop.lanes.get(k, 0) for k in kinds) / width) for name, kinds in GROUPS.items()}
        element = {}
        if loop.elements:
            element = {name: sum(loop.lanes.get(k, 0) for k in kinds) / loop.elements for name, kinds in GROUPS.items()}
        out.append(Mix(loop, body, {n: c for n, c in tile.items() if c}, {n: c for n, c in element.items() if c}))
    return tuple(sorted(out, key=lambda m: ("full", "only", "partial", "other").index(m.body)))


def to_json(report: Report) -> dict[str, object]:
    """The report with the mix of its loops, as data; the compiler's metadata left out."""
    data = report.to_json()
    kernel = data.pop("kernel")
    for name in ("metadata", "seconds", "constants"):
        kernel.pop(name)
    loops = []
    for mix in mixes(report):
        one = mix.loop.to_json()
        one.pop("counts")
        clocks = {u: round(c / mix.loop.elements, 5) for u, c in mix.loop.clocks.items()} if mix.loop.elements else {}
        loops.append(
            {"body": mix.body, "products": mix.products, "per_tile": dict(mix.tile),
             "per_score_element": {n: round(c, 4) for n, c in mix.element.items()}, "clocks_per_score_element": clocks, **one}
        )  # fmt: skip
    data.pop("steady")
    return {**kernel, **data, "loops": loops}


def _is_product(opcode: str) -> bool:
    return opcode.startswith("v_mfma") or kind_of(opcode.split(".")[0]) is Kind.MATRIX
