"""A program whose stored values are rounded: each one is multiplied by a tensor of its own that is given beside the inputs.

Run in float64 with factors near 1, it says how far rounding alone can move the results: what an ill-conditioned step, such as the
inverse of a nearly singular matrix, makes of the rounding of its operand.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from ..ir.expr import Apply, Index, Read
from ..ir.nodes import Assign, Attend, Call, Input, Node, Program


def rounded(program: Program) -> Program:
    """The program with an input `<value> factor` for every float value that a node outside loops stores."""
    nodes: list[Node] = []
    factors: list[Input] = []
    grads = {name for n in program.nodes if isinstance(n, Call) and n.op == "grad" for name in n.inputs}
    for node in program.nodes:
        made = _renamed(node, grads)
        nodes.append(made)
        for raw, name, axes, kind in _values(made, node):
            factors.append(Input(f"{name} factor", tuple((a,) for a in axes), "float", True))
            plain = tuple(Index(a) for a in axes)
            expr = Apply("mul", (Read(raw, plain, kind), Read(f"{name} factor", plain, "float")))
            nodes.append(Assign(name, axes, kind, expr))
    return replace(program, inputs=(*program.inputs, *factors), nodes=tuple(nodes))


def _renamed(node: Node, keep: set[str]) -> Node:
    """The node under another name, where it stores one float value (those in `keep` stay)."""
    if isinstance(node, Assign | Attend | Call) and node.kind == "float" and node.name and node.name not in keep:
        return replace(node, name=f"{node.name} exact")
    return node


def _values(made: Node, node: Node) -> Iterator[tuple[str, str, tuple[str, ...], str]]:
    if made is not node:
        assert isinstance(made, Assign | Attend | Call) and isinstance(node, Assign | Attend | Call)
        yield made.name, node.name, node.axes, node.kind


def factors(program: Program, sizes: Mapping[str, int], relative: float, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Factors 1 + relative * (-1 .. 1) for the extra inputs of `rounded`."""
    out = {}
    for item in program.inputs:
        if item.name.endswith(" factor"):
            noise = torch.rand([sizes[d[0]] for d in item.dims], generator=generator, dtype=torch.float64) * 2 - 1
            out[item.name] = 1 + relative * noise
    return out
