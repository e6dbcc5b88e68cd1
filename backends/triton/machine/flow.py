"""Basic blocks and natural loops of a function.

Loops are the classical ones (Aho, Sethi, Ullman: a back edge goes to a block that dominates its source; the loop is
every block that reaches the source without passing the target). Back edges to one header make one loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import networkx as nx
from attncc.backends.triton.machine.instructions import Function, Instruction, Kind

_WORK = frozenset(
    {
        Kind.MATRIX, Kind.MUFU, Kind.FP32, Kind.FP32X2, Kind.HALF, Kind.FP64, Kind.TMA, Kind.GLOBAL_LOAD, Kind.GLOBAL_STORE,
        Kind.SHARED_LOAD, Kind.SHARED_STORE, Kind.ASYNC_COPY, Kind.TENSOR_MEMORY,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions entered only at the first and left only at the last."""

    start: int
    instructions: tuple[Instruction, ...]


@dataclass(eq=False)
class Loop:
    """A natural loop.

    - `own`: what one iteration executes outside nested loops, in address order. Spin waits inside the loop count once;
      blocks that run only after a spin wait that is off the straight path do not count.
    - `conditional`: the part of `own` that some iterations or warps skip.
    - `waiting`: the loop only polls a barrier.
    """

    header: int
    blocks: frozenset[int]
    latches: tuple[int, ...]
    parent: Loop | None = None
    children: list[Loop] = field(default_factory=list)
    own: tuple[Instruction, ...] = ()
    conditional: tuple[Instruction, ...] = ()
    waiting: bool = False

    @property
    def depth(self) -> int:
        """1 for an outermost loop."""
        return 1 if self.parent is None else 1 + self.parent.depth

    @property
    def innermost(self) -> bool:
        """No nested loop other than spin waits."""
        return all(child.waiting for child in self.children)


class Flow:
    """The control-flow graph of one function: `blocks` by start address, `graph`, and `loops` in address order."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.blocks = _blocks(function)
        self.graph = _graph(function, self.blocks)
        self._dominators: dict[int, int] = {}
        for root in function.roots:
            above = nx.immediate_dominators(self.graph, root)
            for node in (root, *(n for n in above if n != root)):  # what networkx maps the root to depends on its version
                self._dominators.setdefault(node, root if node == root else above[node])
        self.reachable = frozenset(self._dominators)

    def dominates(self, above: int, below: int) -> bool:
        """Whether every path to block `below` passes block `above`."""
        while True:
            if below == above:
                return True
            parent = self._dominators.get(below, below)
            if parent == below:
                return False
            below = parent

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """All natural loops, outer before inner, in address order of their headers."""
        latches: dict[int, list[int]] = {}
        for source, target in self.graph.edges:
            if source in self.reachable and self.dominates(target, source):
                latches.setdefault(target, []).append(source)
        loops = [Loop(header, self._body(header, ends), tuple(sorted(ends))) for header, ends in sorted(latches.items())]
        loops.sort(key=lambda loop: (-len(loop.blocks), loop.header))
        for index, loop in enumerate(loops):
            holders = [outer for outer in loops[:index] if loop.header in outer.blocks and loop.blocks < outer.blocks]
            if holders:
                loop.parent = min(holders, key=lambda outer: len(outer.blocks))
                loop.parent.children.append(loop)
        for loop in reversed(loops):  # inner loops first: waiting is asked of the children
            self._fill(loop)
        return tuple(sorted(loops, key=lambda loop: (loop.header, loop.depth)))

    def _body(self, header: int, latches: list[int]) -> frozenset[int]:
        body = {header}
        work = list(latches)
        while work:
            block = work.pop()
            if block not in body:
                body.add(block)
                work.extend(p for p in self.graph.predecessors(block) if p in self.reachable)
        return frozenset(body)

    def _fill(self, loop: Loop) -> None:
        instructions = [i for block in loop.blocks for i in self.blocks[block].instructions]
        loop.waiting = loop.innermost and any(i.polls for i in instructions) and not any(i.kind in _WORK for i in instructions)
        nested: set[int] = set()
        cold: set[int] = set()
        for child in loop.children:
            if not child.waiting:
                nested |= child.blocks
            elif not self._certain(loop, child.header):
                cold |= {block for block in loop.blocks if self.dominates(child.header, block)}
        own: list[Instruction] = []
        conditional: list[Instruction] = []
        for block in sorted(loop.blocks - nested - cold):
            own.extend(self.blocks[block].instructions)
            if not self._certain(loop, block):
                conditional.extend(self.blocks[block].instructions)
        loop.own, loop.conditional = tuple(own), tuple(conditional)

    def _certain(self, loop: Loop, block: int) -> bool:
        return all(self.dominates(block, latch) for latch in loop.latches)


def _blocks(function: Function) -> dict[int, Block]:
    leaders = set(function.roots)
    after = False
    for instruction in function.instructions:
        if after:
            leaders.add(instruction.address)
        leaders.update(instruction.jumps)
        after = bool(instruction.jumps) or not instruction.falls
    blocks: dict[int, Block] = {}
    run: list[Instruction] = []
    for instruction in function.instructions:
        if run and instruction.address in leaders:
            blocks[run[0].address] = Block(run[0].address, tuple(run))
            run = []
        run.append(instruction)
    if run:
        blocks[run[0].address] = Block(run[0].address, tuple(run))
    return blocks


def _graph(function: Function, blocks: dict[int, Block]) -> nx.DiGraph:
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from(blocks)
    graph.add_edges_from(_edges(blocks))
    return graph


def _edges(blocks: dict[int, Block]) -> Iterator[tuple[int, int]]:
    order = sorted(blocks)
    for start, following in zip(order, [*order[1:], None], strict=True):
        last = blocks[start].instructions[-1]
        for target in last.jumps:
            if target in blocks:
                yield start, target
        if last.falls and following is not None:
            yield start, following
