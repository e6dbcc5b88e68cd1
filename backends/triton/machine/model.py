"""What binds a compiled kernel: for each loop, the clocks that each unit of an SM needs for one iteration.

Per iteration of a loop that `warps` warps of a program execute:

- a unit that takes r lanes of a class per clock needs (instructions of the class) x warps x (warp size) / r clocks;
- the matrix unit needs FLOP / (FLOP per clock), by operand type;
- shared memory needs bytes / (bytes per clock): loads and stores, and the operands that matrix instructions read from it.

`overlapped` is the largest of these: every unit runs beside every other. `serial` is the matrix phase (the matrix unit, or
the shared memory that feeds it if that is slower) plus the largest need of the rest: while one runs the other waits, which is
what one group of warps alone does in attention, where the weights need the scores and the mix needs the weights. Traffic from
the L2 cache counts where the caller says how much there is. Latency, bank conflicts and DRAM are not modelled, so both are bounds.

Which configuration a kernel gets by default follows from these counts (`search.py`): no spills; then the least clocks a score
element, as `search.rank` puts units, turns, cache and the tail of a launch together; and of those within 3 % of the least
(`search.NEAR`), which the model cannot tell apart, the one with the fewest instruction slots. Issue slots are what perfect overlap
hides least: every unit's work goes through them, and the bounds above leave out what delays an issue.

A score element is what the caller says it is: either `flops_per_element`, the matrix FLOP that the algorithm spends on one
(4 d for a forward of equal head sizes, 10 d for a joint backward), from which each loop's elements follow, or `elements`,
how many an iteration of the program handles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from attncc.backends.triton.machine import gcn, sass
from attncc.backends.triton.machine.compile import Compiled, Json
from attncc.backends.triton.machine.flow import Flow, Loop
from attncc.backends.triton.machine.instructions import Function, Instruction, Kind, MatrixOp, Scope
from attncc.backends.triton.machine.occupancy import Occupancy, occupancy
from attncc.backends.triton.machine.toolchain import disassemble
from attncc.backends.triton.machine.units import Units, units_of

from attncc.errors import AttnUnsupportedError

GROUP_WARPS = 4  # warps that issue one wgmma together
_LANEWISE = frozenset({Kind.MUFU, Kind.FP32, Kind.FP32X2, Kind.HALF, Kind.COMPARE, Kind.PACK})
_SHARED = frozenset({Kind.SHARED_LOAD, Kind.SHARED_STORE, Kind.ASYNC_COPY})
_LOADS = frozenset({Kind.GLOBAL_LOAD, Kind.GLOBAL_STORE, Kind.ASYNC_COPY, Kind.LOCAL_LOAD, Kind.LOCAL_STORE, Kind.ATOMIC})
_LOCAL = frozenset({Kind.LOCAL_LOAD, Kind.LOCAL_STORE})
_ALIKE = 0.9  # loops with this part of the most lanewise work do the same work, one of them with tests
_APART = frozenset({Kind.MATRIX, Kind.MUFU, Kind.GROUP})  # what `others` leaves out


@dataclass(frozen=True, slots=True)
class LoopReport:
    """One loop, or several that run at the same time.

    - `label`: header address, or `together` for all loops of a warp-specialised kernel.
    - `depth`: 1 for an outermost loop. `inner`: no nested loop.
    - `warps`: how many warps of a program execute it. `counts`: instructions of one warp in one iteration, by class.
    - `opcodes`: the same by opcode. `conditional`: how many of them some iterations or warps skip.
    - `flops`: matrix FLOP of an iteration, by operand type. `elements`: score elements of an iteration, None if unknown.
    - `clocks`: by unit, for one iteration on one SM. `lanes`: instructions times lanes of an iteration, by class.
    - `ideal`: clocks of the matrix work at the published peak; more are needed where mma.sync does not reach it.
    - `phases`: clocks of the matrix phase and of the rest, each with its own part of the shared memory traffic.
    - `shared_bytes`, `load_bytes`: traffic of an iteration through shared memory and through L1.
    """

    label: str
    depth: int
    inner: bool
    warps: int
    counts: Mapping[Kind, int]
    opcodes: Mapping[str, int]
    conditional: int
    flops: Mapping[str, float]
    elements: float | None
    clocks: Mapping[str, float]
    lanes: Mapping[Kind, float]
    ideal: float
    phases: tuple[float, float]
    shared_bytes: float
    load_bytes: float

    @property
    def instructions(self) -> int:
        return sum(self.counts.values())

    @property
    def total_flops(self) -> float:
        return sum(self.flops.values())

    @property
    def binds(self) -> str:
        """The unit that needs the most clocks."""
        return max(self.clocks, key=lambda unit: self.clocks[unit]) if self.clocks else "none"

    @property
    def overlapped(self) -> float:
        """Clocks of an iteration when all units run beside each other."""
        return max(self.clocks.values(), default=0.0)

    @property
    def serial(self) -> float:
        """Clocks of an iteration when the matrix phase and the rest take turns."""
        return sum(self.phases)

    @property
    def peak_overlapped(self) -> float | None:
        """The part of the matrix peak that `overlapped` implies. None without matrix work."""
        return self.ideal / self.overlapped if self.ideal else None

    @property
    def peak_serial(self) -> float | None:
        """The part of the matrix peak that `serial` implies. None without matrix work."""
        return self.ideal / self.serial if self.ideal else None

    @property
    def local(self) -> int:
        """Local memory instructions of one warp in one iteration: spills, or arrays indexed at run time."""
        return sum(n for kind, n in self.counts.items() if kind in _LOCAL)

    def per_element(self, *kinds: Kind) -> float | None:
        """Instructions per score element, of all classes or of these. None when elements are not known."""
        if not self.elements:
            return None
        return sum(n for kind, n in self.lanes.items() if not kinds or kind in kinds) / self.elements

    @property
    def others(self) -> float | None:
        """Instructions per score element beside matrix products, their bookkeeping, and transcendentals."""
        return self.per_element(*(kind for kind in Kind if kind not in _APART))

    def to_json(self) -> Json:
        def share(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        return {
            "loop": self.label, "depth": self.depth, "warps": self.warps, "instructions": self.instructions,
            "conditional": self.conditional, "counts": {k.value: n for k, n in self.counts.items()},
            "opcodes": dict(self.opcodes), "flops": dict(self.flops), "elements": self.elements,
            "clocks": {u: round(c, 3) for u, c in self.clocks.items()}, "binds": self.binds,
            "overlapped": round(self.overlapped, 3), "serial": round(self.serial, 3),
            "peak_overlapped": share(self.peak_overlapped), "peak_serial": share(self.peak_serial), "local": self.local,
            "shared_bytes": self.shared_bytes, "load_bytes": self.load_bytes,
            "per_element": {
                "mufu": share(self.per_element(Kind.MUFU)), "matrix": share(self.per_element(Kind.MATRIX)),
                "others": share(self.others), "uniform": share(self.per_element(Kind.UNIFORM)),
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """A kernel: what it takes, what fits, and its loops in address order (spin waits left out).

    `steady` is the loop that counts: the innermost one with the most matrix work per instruction; where there is none, the
    deepest, of those with about the most lanewise work the shortest; of a warp-specialised kernel, all its innermost loops
    together, which run at the same time. `groups`: how many loops of a program do lanewise work at the same time.
    """

    compiled: Compiled
    units: Units
    occupancy: Occupancy
    loops: tuple[LoopReport, ...]
    steady: LoopReport | None
    groups: int
    notes: tuple[str, ...] = field(default=())

    @property
    def estimate(self) -> float | None:
        """Clocks of an SM per score element, a model: per iteration, or per element where elements are known.

        Each resident group of warps is serial in itself, and g groups fill each other's gaps up to what the units bear:
        max(overlapped, serial / g). None when no program fits or there is no loop.
        """
        if self.steady is None or not self.occupancy.programs:
            return None
        clocks = max(self.steady.overlapped, self.steady.serial / (self.groups * self.occupancy.programs))
        return clocks / (self.steady.elements or 1.0)

    @property
    def peak_estimate(self) -> float | None:
        """The part of the matrix peak that `estimate` implies."""
        if self.estimate is None or self.steady is None or not self.steady.ideal:
            return None
        return self.steady.ideal / (self.estimate * (self.steady.elements or 1.0))

    @property
    def rank(self) -> tuple[bool, float, float, float]:
        """A key that sorts configurations of one kernel, best first: fits, local memory in the loop, `estimate`, issue slots."""
        steady, estimate = self.steady, self.estimate
        if steady is None or estimate is None:
            return (True, 0.0, float("inf"), float("inf"))
        elements = steady.elements or 1.0
        local = sum(n for kind, n in steady.lanes.items() if kind in _LOCAL)
        return (False, local / elements, estimate, steady.clocks.get("issue", 0.0) / elements)

    def to_json(self) -> Json:
        taken = self.compiled.to_json()
        return {
            "kernel": taken, "units": self.units.name,
            "occupancy": {
                "programs": self.occupancy.programs, "warps": self.occupancy.warps,
                "fraction": round(self.occupancy.fraction, 4), "limit": self.occupancy.limit,
            },
            "loops": [loop.to_json() for loop in self.loops], "steady": self.steady.to_json() if self.steady else None,
            "estimate": self.estimate, "peak_estimate": self.peak_estimate, "notes": list(self.notes),
        }  # fmt: skip


def analyse(
    compiled: Compiled, *, flops_per_element: float | None = None, elements: float | None = None, units: Units | None = None,
    cached_per_element: float = 0.0,
) -> Report:  # fmt: skip
    """The static model of a compiled kernel. `units` defaults to the target's row of the table. `cached_per_element`: bytes that
    a loop fetches for a score element, which the machine code does not say of bulk copies.

    Raises `AttnUnsupportedError` for a target without a row, or when the disassembler is absent.
    """
    units = units or units_of(compiled.target)
    function = functions(compiled)[0]
    flow = Flow(function)
    special = compiled.total_warps > compiled.warps
    found = [_measure([(loop, _warps(loop, compiled, special))], units) for loop in flow.loops if not loop.waiting]
    inner = [loop for loop in flow.loops if loop.innermost and not loop.waiting]
    steady: LoopReport | None = None
    groups = 1
    if special and inner:
        steady = _measure([(loop, _warps(loop, compiled, special)) for loop in inner], units)
        work = [sum(i.kind in _LANEWISE for i in loop.own) for loop in inner]
        groups = sum(2 * count > max(work) for count in work) or 1
        steady = _with_elements(steady, flops_per_element, elements)
        steady = _with_traffic(steady, cached_per_element, units)
    together = steady.elements if steady is not None else elements
    found = [_with_traffic(_with_elements(loop, flops_per_element, together), cached_per_element, units) for loop in found]
    if steady is None:
        steady = _main([loop for loop in found if loop.inner])
    fits = occupancy(compiled.registers, compiled.shared, compiled.total_warps, units, compiled.tensor_memory)
    notes = tuple(_notes(function, compiled, units, steady, fits))
    return Report(compiled, units, fits, tuple(found), steady, groups, notes)


def functions(compiled: Compiled) -> tuple[Function, ...]:
    """The disassembled kernel, first, and whatever else the binary holds.

    Raises `AttnUnsupportedError` when the binary has no code or the disassembler is absent.
    """
    if compiled.target.backend == "cuda":
        found = sass.parse(disassemble(compiled.binary))
    else:
        found = gcn.parse(compiled.assembly)
    if not found:
        raise AttnUnsupportedError(f"no instructions found in the binary of '{compiled.name}' for {compiled.target}")
    return tuple(sorted(found, key=lambda f: f.name != compiled.name))


def _warps(loop: Loop, compiled: Compiled, special: bool) -> int:
    """Warps that execute a loop. Of specialised warps, those that only start copies or matrix products work alone."""
    if not special or any(i.kind in _LANEWISE or (i.matrix and i.matrix.scope is not Scope.PROGRAM) for i in loop.own):
        return compiled.warps
    return 1


def _measure(loops: Iterable[tuple[Loop, int]], units: Units) -> LoopReport:
    """Counts, traffic and clocks of one iteration of each of these loops."""
    loops = list(loops)
    counts: Counter[Kind] = Counter()
    opcodes: Counter[str] = Counter()
    lanes: Counter[Kind] = Counter()
    flops: dict[str, float] = {}
    ideal = held = fed = shared = loads = 0.0
    for loop, warps in loops:
        width = warps * units.warp_size
        for instruction in loop.own:
            counts[instruction.kind] += 1
            opcodes[instruction.opcode] += 1
            lanes[instruction.kind] += width
            shared += instruction.bytes * width if instruction.kind in _SHARED else 0
            loads += instruction.bytes * width if instruction.kind in _LOADS else 0
            if (product := instruction.matrix) is not None:
                times = _times(product, warps)
                flops[product.dtype] = flops.get(product.dtype, 0.0) + product.flops * times
                fed += product.shared_bytes * times
                clocks = product.flops * times / units.tensor.get(product.dtype, float("inf"))
                ideal += clocks
                held += clocks / (units.warp_matrix if product.scope is Scope.WARP else 1.0)
    need = {unit: sum(lanes[kind] / rate for kind, rate in rates.items()) for unit, rates in units.lanes.items()}
    need["issue"] = sum(lanes.values()) / units.issue
    need["loads"] = loads / units.load_bytes
    phases = (max(held, fed / units.shared_bytes), max(*need.values(), shared / units.shared_bytes))
    need["tensor"] = held
    need["shared"] = (shared + fed) / units.shared_bytes
    return LoopReport(
        label="together" if len(loops) > 1 else f"{loops[0][0].header:#x}",
        depth=max(loop.depth for loop, _ in loops),
        inner=all(loop.innermost for loop, _ in loops),
        warps=sum(warps for _, warps in loops),
        counts=dict(counts.most_common()),
        opcodes=dict(opcodes.most_common()),
        conditional=sum(len(loop.conditional) for loop, _ in loops),
        flops=flops,
        elements=None,
        clocks={unit: clocks for unit, clocks in need.items() if clocks},
        lanes=dict(lanes),
        ideal=ideal,
        phases=phases,
        shared_bytes=shared + fed,
        load_bytes=loads,
    )


def _times(product: MatrixOp, warps: int) -> float:
    """How often a program's iteration performs the product when each of `warps` warps executes the instruction once."""
    return {Scope.WARP: float(warps), Scope.GROUP: warps / GROUP_WARPS, Scope.PROGRAM: 1.0}[product.scope]


def _with_elements(loop: LoopReport, flops_per_element: float | None, elements: float | None) -> LoopReport:
    if flops_per_element and loop.total_flops:
        return replace(loop, elements=loop.total_flops / flops_per_element)
    return replace(loop, elements=elements)


def _with_traffic(loop: LoopReport, cached: float, units: Units) -> LoopReport:
    """With the clocks of what comes from the L2 cache."""
    if not cached or not loop.elements or not loop.inner:
        return loop
    return replace(loop, clocks={**loop.clocks, "cache": cached * loop.elements / units.cache_bytes})


def _main(loops: list[LoopReport]) -> LoopReport | None:
    matrix = [loop for loop in loops if loop.total_flops]
    if matrix:
        return max(matrix, key=lambda loop: loop.total_flops / sum(loop.lanes.values()))
    work = {loop.label: (loop.depth, sum(loop.counts.get(kind, 0) for kind in _LANEWISE)) for loop in loops}
    depth, most = max(work.values(), default=(0, 0))
    near = [loop for loop in loops if work[loop.label][0] == depth and work[loop.label][1] >= _ALIKE * most]
    return min(near, key=lambda loop: loop.instructions, default=None)


def _notes(function: Function, compiled: Compiled, units: Units, steady: LoopReport | None, fits: Occupancy) -> Iterable[str]:
    instructions = function.instructions
    if not fits.programs:
        yield f"no program fits on an SM: {fits.limit}"
    if compiled.spills:
        where = f", {steady.local} such instructions in the loop" if steady and steady.local else ", none in the loop"
        yield f"{compiled.spills} bytes of spill stores and loads{where}"
    if unread := sum(i.kind is Kind.MATRIX and i.matrix is None for i in instructions):
        yield f"{unread} matrix instructions of unknown shape: their work is not counted"
    if unknown := sorted({i.root for i in instructions if i.kind is Kind.OTHER}):
        yield f"instructions not in the table, counted as issue slots only: {', '.join(unknown)}"
    if missing := sorted({i.matrix.dtype for i in instructions if i.matrix} - set(units.tensor)):
        yield f"no matrix rate for {', '.join(missing)} on {units.name}"
    if units.warp_matrix < 1 and any(_is_warp_product(i) for i in instructions):
        yield f"matrix products by single warps (mma.sync): at most {units.warp_matrix:.0%} of the matrix peak here"
    if function.indirect:
        yield "an indirect branch with unnamed targets: loops around it may be too large"


def _is_warp_product(instruction: Instruction) -> bool:
    return instruction.matrix is not None and instruction.matrix.scope is Scope.WARP
