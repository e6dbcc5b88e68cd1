"""The dependencies of a program as a networkx graph, its order, and the part of it that some outputs need.

graph(program)      who reads what
ordered(program)    the nodes in dependency order, whatever order they came in
live(program, ..)   without what the asked outputs do not need
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import AttnInternalError, AttnNameError
from .expr import Expr, sources_of
from .nodes import Attend, Fold, Node, Program, Segment, used_by, values_of

if TYPE_CHECKING:
    import networkx as nx

Key = str | tuple[str, str]
"""A vertex: the name of an input or value, or `("output", name)`."""


def graph(program: Program) -> nx.DiGraph:
    """A directed graph with a vertex for each input, value and output, and an edge from each to those that need it.

    Vertex attribute `by`: the Input, node or Output that defines it. Values of one node share their predecessors.
    Names that nothing defines are left out: they are the verifier's business.
    """
    import networkx as nx

    found: nx.DiGraph = nx.DiGraph(name=program.name)
    for given in program.inputs:
        found.add_node(given.name, by=given)
    for node in program.nodes:
        for value in values_of(node):
            found.add_node(value.name, by=node)
    for node in program.nodes:
        used = sorted(used_by(node) & found.nodes)
        found.add_edges_from((source, value.name) for value in values_of(node) for source in used)
    for output in program.outputs:
        key = ("output", output.name)
        found.add_node(key, by=output)
        if output.value in found:
            found.add_edge(output.value, key)
    return found


def order(program: Program) -> list[Key]:
    """Inputs, values and outputs so that each comes after what it needs; ties keep the order of the program.

    Raises: AttnInternalError naming the values of a cycle.
    """
    import networkx as nx

    whole = graph(program)
    place = {key: n for n, key in enumerate(whole.nodes)}
    try:
        return list(nx.lexicographical_topological_sort(whole, key=place.__getitem__))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(whole)]
        first = cycle.index(min(cycle, key=place.__getitem__))
        cycle = [*cycle[first:], *cycle[: first + 1]]
        node = whole.nodes[cycle[0]]["by"]
        text = " -> ".join(map(str, cycle))
        help = "each value needs the one before it"
        raise AttnInternalError(f"values depend on one another: {text}", node.span, help) from None


def ordered(program: Program) -> Program:
    """The program with its nodes in dependency order. Raises: AttnInternalError for a cycle."""
    by = {value.name: n for n, node in enumerate(program.nodes) for value in values_of(node)}
    first = dict.fromkeys(by[key] for key in order(program) if key in by)
    bare = [n for n, node in enumerate(program.nodes) if n not in first]
    return program.with_nodes(tuple(program.nodes[n] for n in (*first, *bare)))


def live(program: Program, outputs: Iterable[str] | None = None) -> Program:
    """The program that computes just these outputs (None: those not on request), in the order of the signature.

    Nodes that nothing needs are dropped, and of the nodes that stay the emits, the mix, the named pair values and the carried
    values that nothing needs. Axes, inputs and checks are the signature and stay. Raises: AttnNameError for an unknown output.
    """
    asked = {o.name for o in program.outputs if not o.on_request} if outputs is None else set(outputs)
    unknown = asked - {o.name for o in program.outputs}
    if unknown:
        names = ", ".join(o.name for o in program.outputs)
        raise AttnNameError(f"there is no output '{min(unknown)}'", None, f"the outputs are: {names}")
    kept = tuple(o for o in program.outputs if o.name in asked)
    nodes, _ = _live_nodes(program.nodes, {o.value for o in kept})
    return replace(program, nodes=nodes, outputs=kept)


def _live_nodes(nodes: tuple[Node, ...], needed: set[str]) -> tuple[tuple[Node, ...], set[str]]:
    """The nodes that some names need, trimmed, and all the names that are then needed."""
    needed = set(needed)
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(value.name in needed for value in values_of(node)):
            trimmed = trim(node, needed)
            needed |= used_by(trimmed)
            kept.append(trimmed)
    return tuple(reversed(kept)), needed


def trim(node: Node, needed: set[str]) -> Node:
    """The node without what is only there for values that are not needed."""
    if isinstance(node, Attend):
        return _trim_attend(node, needed)
    return _trim_fold(node, needed) if isinstance(node, Fold) else node


def _trim_attend(node: Attend, needed: set[str]) -> Attend:
    """Drop emits that nothing needs, the mix when nothing needs it, then the pair values that are left without a reader."""
    read: set[str] = set()

    def keep(name: str, expr: Expr) -> bool:
        if name in needed or name in read:
            read.update(sources_of(expr))
            return True
        return False

    emits = [emit for emit in reversed(node.emits) if keep(emit.name, emit.expr)]
    segments: tuple[Segment, ...] = node.segments
    if node.name in needed:
        read |= {(*node.maps, *node.posts)[-1][0]} | {s for seg in segments if seg.mix is not None for s in sources_of(seg.mix)}
    else:
        node = replace(node, name="", axes=(), kind="float")
        segments = tuple(replace(segment, mix=None) for segment in segments)
    posts = [(name, expr) for name, expr in reversed(node.posts) if keep(name, expr)]
    maps = [(name, expr) for name, expr in reversed(node.maps) if keep(name, expr)]
    masks = [segment.mask for segment in segments if segment.mask is not None]
    read.update(source for mask in masks for source in sources_of(mask))
    if "admitted" in read and not masks:  # its axes are then those of all scores
        read.update(name for segment in segments for name, _ in segment.scores)
    for row in reversed(list(zip(*(segment.scores for segment in segments), strict=True))):  # a score is kept in all segments
        if row[0][0] in read:
            read.update(source for _, expr in row for source in sources_of(expr))
    segments = tuple(
        replace(segment, scores=tuple(score for score in segment.scores if score[0] in read)) for segment in segments
    )
    return replace(
        node, segments=segments, maps=tuple(reversed(maps)), posts=tuple(reversed(posts)), emits=tuple(reversed(emits))
    )


def _trim_fold(node: Fold, needed: set[str]) -> Fold:
    """Drop the carried values that neither what follows nor the kept carried values need, and their part of the body."""
    kept = {carry.name for carry in node.carries if carry.name in needed}
    while True:
        body, inner = _live_nodes(node.body, {carry.next for carry in node.carries if carry.name in kept})
        more = {carry.name for carry in node.carries if carry.name in inner} | kept
        if more == kept:
            return replace(node, carries=tuple(c for c in node.carries if c.name in kept), body=body)
        kept = more
