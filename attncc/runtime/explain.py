"""The decisions that were made about a program, in words: what each node is, how each backend runs it, what became of its masks,
of its mixing order and of its such-that conditions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..ir.expr import Reduce, axes_of, walk
from ..ir.nodes import Attend, Fold, Node, Program, exprs_of, values_of
from ..ir.printer import show_expr
from ..ir.sizes import sized_by_data
from ..passes.classify import classify, query_axes
from ..passes.masks import analyse
from ..passes.predicates import how
from ..schedules.backward import Pull, differentiated
from ..schedules.mixing import mixing
from ..schedules.plan import Fused, Torch, plan
from .backends import installed, missing, named
from .dealing import dealing


@dataclass(frozen=True)
class Section:
    """One kind of decision: a title and rows of (what, decision, reason)."""

    title: str
    rows: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Explanation:
    """Every decision about a program. `str` is plain text."""

    name: str
    sections: tuple[Section, ...]

    def __str__(self) -> str:
        lines = [self.name]
        for section in self.sections:
            lines += ["", section.title]
            for what, decision, reason in section.rows:
                lines.append("  " + ": ".join(part for part in (what, decision, reason) if part))
        return "\n".join(lines)

    __repr__ = __str__


def explain(program: Program, sizes: Mapping[str, int] | None = None) -> Explanation:
    """The decisions about a program; `sizes` settle those that are open until run time."""
    sections = [
        Section("nodes", tuple((c.node, c.kind, c.reason) for c in classify(program))),
        Section("such-that conditions", tuple(_conditions(program))),
        Section("masks", tuple(row for node in attends(program) for row in _masks(program, node))),
        Section("mixing order", tuple(_order(program, node, sizes) for node in attends(program))),
        Section("heads that share keys", tuple(_grouped(program, sizes))),
        Section("kernels", tuple(_passes(program))),
        Section("sums by key", tuple(_keyed(program, sizes))),
        Section("backends", tuple(row for name in sorted(installed()) for row in _backend(name, program))),
    ]
    return Explanation(program.name, tuple(s for s in sections if s.rows))


def attends(program: Program) -> Iterator[Attend]:
    """The attends of a program, those inside loops included."""

    def of(nodes: tuple[Node, ...]) -> Iterator[Attend]:
        for node in nodes:
            if isinstance(node, Attend):
                yield node
            elif isinstance(node, Fold):
                yield from of(node.body)

    return of(program.nodes)


def label(node: Node) -> str:
    """What a node defines."""
    return ", ".join(v.name for v in values_of(node)) or "attend"


def _conditions(program: Program) -> Iterator[tuple[str, str, str]]:
    for node in program.nodes:
        for expr in exprs_of(node):
            for inner in walk(expr):
                if isinstance(inner, Reduce) and inner.cond is not None:
                    yield label(node), f"{inner.op} over {', '.join(inner.axes)} where {show_expr(inner.cond)}", how(inner)


def _masks(program: Program, node: Attend) -> Iterator[tuple[str, str, str]]:
    sizes = {a.name: a.size for a in program.axes if a.size is not None}
    for segment in node.segments:
        name = label(node) if len(node.segments) == 1 else f"{label(node)} over {', '.join(segment.over)}"
        if segment.mask is None:
            yield name, "every pair", ""
            continue
        asked = axes_of(segment.mask)
        rows = tuple(a for a in query_axes(node) if a in asked) or query_axes(node)
        for note in analyse(segment.mask, rows, segment.over, sizes).notes:
            yield name, note, ""


def _order(program: Program, node: Attend, sizes: Mapping[str, int] | None) -> tuple[str, str, str]:
    return label(node), *mixing(program, node).told(sizes)


def _grouped(program: Program, sizes: Mapping[str, int] | None) -> Iterator[tuple[str, str, str]]:
    """Where rows of several heads may share a tile, and whether they do."""
    for step in plan(program, [o.name for o in program.outputs if not o.on_request]).steps:
        if isinstance(step, Fused) and step.grouped is not None:
            yield label(step.node), *step.grouped.told(sizes)


def _passes(program: Program) -> Iterator[tuple[str, str, str]]:
    """What is fused and what runs on PyTorch, forward and backward, where a backend with kernels runs the program."""
    outputs = [o.name for o in program.outputs if not o.on_request]
    made = differentiated(program, outputs)
    forward = made.forward if made is not None else plan(program, outputs)
    for n, step in enumerate(forward.steps):
        name = ", ".join(map(label, step.nodes)) if isinstance(step, Fused) else label(step.node)
        if isinstance(step, Torch):
            yield name, "forward on PyTorch", step.reason
        else:
            kernels = [k.name for k in (*step.definitions, *step.kernels)]
            beside = [a.name for a in (*step.before, *step.after)]
            yield name, f"forward fused: {', '.join(kernels)}", f"on PyTorch beside it: {', '.join(beside)}" if beside else ""
        if not isinstance(step.node, Attend):
            continue
        if made is None:
            yield name, "backward by autograd of the whole program", "no attend has backward stages"
        elif isinstance(made.derivatives[n], str):
            yield name, "backward by autograd of this node", str(made.derivatives[n]) or "its forward pass is on PyTorch"
        else:
            yield name, "backward fused", ""
    if made is not None:
        needs = [i.name for i in made.program.inputs if i.kind == "float" and not i.const]
        floats = [o.name for o in made.program.outputs if o.kind == "float"]
        tape = made.backward(needs, floats)
        kernels = [k.name for s in tape.plan.steps if isinstance(s, Fused) for k in (*s.definitions, *s.kernels)]
        if kernels:
            yield "gradients", f"kernels: {', '.join(kernels)}", ""
        for move in tape.moves:
            if isinstance(move, Pull):
                yield f"gradients of {', '.join(move.wrt)}", f"by autograd of {', '.join(move.outs)} alone", move.reason


def _keyed(program: Program, sizes: Mapping[str, int] | None) -> Iterator[tuple[str, str, str]]:
    """How sums by key are dealt out, forward and backward."""
    outputs = [o.name for o in program.outputs if not o.on_request]
    made = differentiated(program, outputs)
    yield from dealing(made.forward if made is not None else plan(program, outputs), sizes)
    if made is not None:
        needs = [i.name for i in made.program.inputs if i.kind == "float" and not i.const]
        yield from dealing(made.backward(needs, [o.name for o in made.program.outputs if o.kind == "float"]).plan, sizes)


def _backend(name: str, program: Program) -> Iterator[tuple[str, str, str]]:
    lacks = missing(name)
    if lacks:
        yield name, "not on this machine", lacks
        return
    backend = named(name)
    for axis in sized_by_data(program) if name != "eager" else ():
        yield name, "refuses", f"the size of axis '{axis}' is given by data: plans and kernels go by shapes"
        return
    for reason in backend.refuses(program):
        yield name, "refuses", reason
    if name == "eager":
        yield name, "takes every program", "the oracle and the fallback"
    for node, decision, reason in (*backend.notes(program), *(backend.forms(program) if hasattr(backend, "forms") else ())):
        yield name, f"{node}: {decision}", reason
