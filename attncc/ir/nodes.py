"""The pattern IR: a `Program` is axes, inputs, five kinds of nodes in dependency order, and outputs.

    Assign   a = expr                                   a definition over its axes
    Attend   pair values over rows x keys, nothing stored
    Pick     integers chosen by data: topk, argmax, argsort, sort, positions, in_top (no gradient)
    Fold     a loop with carried values
    Call     a body with its own vjp, an FFT, the gradient of a scalar

Every value has a name, axes in order and a kind. Stored layouts (`dims`) appear on inputs and outputs alone: a dim is a row-major
product of axes, `()` a stored 1. An axis with `parts` is a direct sum: its positions are those of the first part, then the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from ..errors import Span
from .expr import Expr, Reduce, axes_of, kind_of, walk

Dims = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """A named axis. size None: the tensors give it. parts: a direct sum of products of other axes."""

    name: str
    size: Expr | None = None
    parts: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor argument. const: asking for its gradient is an error."""

    name: str
    dims: Dims
    kind: str = "float"
    const: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """A result: the value `value`, stored as `dims`. on_request: computed only when asked for."""

    name: str
    value: str
    dims: Dims
    kind: str = "float"
    on_request: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Check:
    """A condition on sizes (`require`) or, with data true, on tensor values (`assume`). what: the error, where the text is none."""

    cond: Expr
    data: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)
    what: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Assign:
    """`name[axes] = expr`."""

    name: str
    axes: tuple[str, ...]
    kind: str
    expr: Expr
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Segment:
    """Keys of one kind: their axes, the scores by name, which pairs are admitted, and the value mixed in (None: nothing is)."""

    over: tuple[str, ...]
    scores: tuple[tuple[str, Expr], ...]
    mask: Expr | None = None
    mix: Expr | None = None


@dataclass(frozen=True, slots=True)
class Attend:
    """A scope of pair values. Each later clause reads the earlier ones by name, with the pair axes as indices.

    keys: the one key axis of several segments (their direct sum, each segment's axes being one of its parts), else ().
    rows: axes of the pairs beside the keys. maps: normalized weights, in order. A pair that is not admitted has weight 0 in
    every map and post, and takes part in no reduction over keys or rows. posts: changes of the weights, in order; the last post (or the
    last map) is mixed. emits: values derived from the pair values. `name` is "" when nothing is mixed; axes are then () and
    kind is float. From the maps on, the name `admitted` reads which pairs are admitted.
    empty: what a row without an admitted key gives: `zero`, `uniform` or `error`. order: `auto`, `left`, `right`.
    """

    name: str
    axes: tuple[str, ...]
    kind: str
    rows: tuple[str, ...]
    segments: tuple[Segment, ...]
    maps: tuple[tuple[str, Expr], ...]
    posts: tuple[tuple[str, Expr], ...] = ()
    emits: tuple[Assign, ...] = ()
    keys: tuple[str, ...] = ()
    empty: str = "zero"
    order: str = "auto"
    span: Span | None = field(default=None, compare=False, repr=False)

    @property
    def over(self) -> tuple[str, ...]:
        """The key axes that maps, posts and emits see."""
        return self.keys or self.segments[0].over


@dataclass(frozen=True, slots=True)
class Pick:
    """`name[axes] = op[source -> target | cond](expr)`.

    topk: positions of the `|target|` greatest along source, greatest first, ties by lowest position. argsort: the ascending
    order along source. argmax: the first greatest position. sort: the values themselves, ascending. positions: where expr holds,
    in order. in_top: whether a position is among the `count` greatest of those with cond (ties by lowest position), a bool.
    """

    name: str
    axes: tuple[str, ...]
    kind: str
    op: str
    source: str
    target: str
    expr: Expr
    cond: Expr | None = None
    count: Expr | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Carry:
    """A value carried by a fold: its first value, its value inside and after, and what the body gives for the next step."""

    name: str
    axes: tuple[str, ...]
    kind: str
    init: str
    next: str


@dataclass(frozen=True, slots=True)
class Fold:
    """`for var in start .. stop by step`: both ends included, empty when there is nothing between."""

    var: str
    start: Expr
    stop: Expr
    step: Expr
    carries: tuple[Carry, ...]
    body: tuple[Node, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Cotangent:
    """What a definition's own vjp gives for one of its inputs: nodes, then the value's name."""

    input: str
    body: tuple[Node, ...]
    value: str


@dataclass(frozen=True, slots=True)
class Call:
    """One of

    vjp      name = body(inputs), gradients by `cotangents`, which read the inputs, the body's values and `grad`
    rfft     name = FFT of inputs[0] along `along`, the last of them halved to `target`
    irfft    the inverse, `along` ends with the halved axis, `target` is the full one
    grad     the gradient of the scalar inputs[0] with respect to the value inputs[1]
    """

    name: str
    axes: tuple[str, ...]
    kind: str
    op: str
    inputs: tuple[str, ...]
    along: tuple[str, ...] = ()
    target: str = ""
    formals: tuple[Assign, ...] = ()
    body: tuple[Node, ...] = ()
    value: str = ""
    grad: str = ""
    cotangents: tuple[Cotangent, ...] = ()
    span: Span | None = field(default=None, compare=False, repr=False)


Node = Assign | Attend | Pick | Fold | Call


@dataclass(frozen=True, slots=True)
class Program:
    """A resolved pattern: parameters are constants, optional inputs are present or gone, sizes are symbols."""

    name: str
    axes: tuple[Axis, ...]
    inputs: tuple[Input, ...]
    checks: tuple[Check, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Output, ...]

    def axis(self, name: str) -> Axis:
        for axis in self.axes:
            if axis.name == name:
                return axis
        raise KeyError(name)

    def __str__(self) -> str:
        """The text that `attncc show` prints."""
        from .printer import show

        return show(self)

    def with_nodes(self, nodes: tuple[Node, ...]) -> Program:
        return replace(self, nodes=nodes)

    def with_checks(self, checks: tuple[Check, ...]) -> Program:
        return replace(self, checks=checks)


@dataclass(frozen=True, slots=True)
class Value:
    """A name with axes and kind, as a node defines it."""

    name: str
    axes: tuple[str, ...]
    kind: str


def values_of(node: Node) -> Iterator[Value]:
    """The values a node defines for what follows it."""
    match node:
        case Attend():
            if node.name:
                yield Value(node.name, node.axes, node.kind)
            for emit in node.emits:
                yield Value(emit.name, emit.axes, emit.kind)
        case Fold():
            for carry in node.carries:
                yield Value(carry.name, carry.axes, carry.kind)
        case _:
            yield Value(node.name, node.axes, node.kind)


def pair_values(node: Attend) -> dict[str, Value]:
    """The pair values of an attend by name, in order, with the axes that reads of them list.

    A score lives on the axes of its expression; maps and posts on those and the axes of the mask, since they are 0 where the mask
    is not met (but a post that sums over an axis of the mask has none of it, and stays as it is); `admitted` on the axes of the
    masks (of the scores, without a mask). With several segments their key axes are replaced by the one key axis.
    """
    own = {a for s in node.segments for a in s.over} if node.keys else set()
    masks = [s.mask for s in node.segments if s.mask is not None]

    def spread(exprs: list[Expr]) -> tuple[str, ...]:
        free = tuple(dict.fromkeys(a for e in exprs for a in axes_of(e)))
        return free if not node.keys else (*(a for a in free if a not in own), *node.keys)

    out: dict[str, Value] = {}
    for n, (name, first) in enumerate(node.segments[0].scores):
        exprs = [s.scores[n][1] for s in node.segments]
        kind = kind_of(first) if not node.keys else "float"
        out[name] = Value(name, spread(exprs + masks if node.keys else exprs), kind)
    everything = masks or [e for s in node.segments for _, e in s.scores]
    rows = tuple(a for a in spread(everything) if a not in node.over)
    out["admitted"] = Value("admitted", (*rows, *node.over), "bool")
    hidden = out["admitted"].axes if masks else ()
    for name, e in node.maps:
        out[name] = Value(name, tuple(dict.fromkeys((*axes_of(e), *hidden))), kind_of(e))
    for name, e in node.posts:
        summed = {a for r in walk(e) if isinstance(r, Reduce) for a in r.axes} - set(axes_of(e))
        out[name] = Value(name, axes_of(e) if summed & set(hidden) else tuple(dict.fromkeys((*axes_of(e), *hidden))), kind_of(e))
    return out


def exprs_of(node: Node) -> Iterator[Expr]:
    """Every expression of a node, bodies of folds and calls included."""
    match node:
        case Assign():
            yield node.expr
        case Pick():
            yield node.expr
            yield from (e for e in (node.cond, node.count) if e is not None)
        case Attend():
            for segment in node.segments:
                yield from (e for _, e in segment.scores)
                yield from (e for e in (segment.mask, segment.mix) if e is not None)
            yield from (e for _, e in (*node.maps, *node.posts))
            yield from (emit.expr for emit in node.emits)
        case Fold():
            yield from (node.start, node.stop, node.step)
            for inner in node.body:
                yield from exprs_of(inner)
        case Call():
            for inner in (*node.formals, *node.body, *(n for c in node.cotangents for n in c.body)):
                yield from exprs_of(inner)


def used_by(node: Node) -> set[str]:
    """Names of outer values a node depends on."""
    from .expr import sources_of

    match node:
        case Fold():
            used = {s for e in (node.start, node.stop, node.step) for s in sources_of(e)}
            inner = {v.name for n in node.body for v in values_of(n)} | {node.var} | {c.name for c in node.carries}
            used |= {s for n in node.body for s in used_by(n)} | {c.next for c in node.carries}
            return (used - inner) | {c.init for c in node.carries}
        case Call():
            nodes = (*node.body, *(n for c in node.cotangents for n in c.body))
            inner = {f.name for f in node.formals} | {node.grad} | {v.name for n in nodes for v in values_of(n)}
            used = {s for n in nodes for s in used_by(n)} | {node.value} | {c.value for c in node.cotangents}
            return (used - inner - {""}) | {s for f in node.formals for s in used_by(f)} | set(node.inputs)
    used = {s for e in exprs_of(node) for s in sources_of(e)}
    if isinstance(node, Attend):
        own = {name for seg in node.segments for name, _ in seg.scores} | {n for n, _ in (*node.maps, *node.posts)}
        return used - own - {"admitted"} - {emit.name for emit in node.emits}
    return used


def map_exprs(node: Node, new: Callable[[Expr], Expr]) -> Node:
    """The node with `new` applied to each of its expressions, bodies of folds and calls included."""

    def pairs(items: tuple[tuple[str, Expr], ...]) -> tuple[tuple[str, Expr], ...]:
        return tuple((n, new(e)) for n, e in items)

    def maybe(e: Expr | None) -> Expr | None:
        return None if e is None else new(e)

    def inside(nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        return tuple(map_exprs(n, new) for n in nodes)

    match node:
        case Assign():
            return replace(node, expr=new(node.expr))
        case Pick():
            return replace(node, expr=new(node.expr), cond=maybe(node.cond), count=maybe(node.count))
        case Attend():
            segments = tuple(replace(s, scores=pairs(s.scores), mask=maybe(s.mask), mix=maybe(s.mix)) for s in node.segments)
            emits = tuple(replace(e, expr=new(e.expr)) for e in node.emits)
            return replace(node, segments=segments, maps=pairs(node.maps), posts=pairs(node.posts), emits=emits)
        case Fold():
            return replace(node, start=new(node.start), stop=new(node.stop), step=new(node.step), body=inside(node.body))
        case Call():
            formals = tuple(replace(f, expr=new(f.expr)) for f in node.formals)
            cotangents = tuple(replace(c, body=inside(c.body)) for c in node.cotangents)
            return replace(node, formals=formals, body=inside(node.body), cotangents=cotangents)
