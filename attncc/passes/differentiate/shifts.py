"""Shifts without an effect: gradients that are 0 whatever the numbers are, so that no rounding is summed for them.

A softmax over j is the same for the scores s and s + c, where c is any value that does not depend on j. So the cotangents of the
scores of a row add up to 0, and what reaches the scores through such a c alone has the gradient 0: a bias of the query, |q|^2 in a
squared distance, and the bias b of keys k = x w + b, whose term <q, b> is the same for all keys of a query.

Whether that holds is read off derivatives in the direction of a shift, `_Shift`: a score (or a definition) is moved by a symbol that
lacks some axes, and every output that is asked for must stay where it is. Sums that cancel on paper alone (exp(s) divided by its
row sum) are not found out. Nothing changes forward, where a NaN or an infinity in such a term shows as ever; backward the gradient
of the term is 0 all the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ...errors import AttnUnsupportedError
from ...ir.derivative import FLAT, chain
from ...ir.expr import Along, Apply, Expr, Index, Read, Reduce, axes_of, kind_of, rebuild, sources_of, walk
from ...ir.graph import live, trim
from ...ir.nodes import Assign, Attend, Node, Pick, Program, Segment, exprs_of, pair_values, used_by, values_of
from ...ir.pairs import value_name, values_in
from ..fuse import Fusion

Axes = frozenset[str]
NO_AXES: Axes = frozenset()
_EXTREMES = ("max", "min", "lse")
"""Reductions that move with what they reduce, when all of it moves by the same."""


def still_scores(node: Attend, names: Collection[str]) -> dict[str, Axes]:
    """Scores of an attend that may be shifted, each by any value without the axes given, while the outputs of those names stay.

    Scores of several kinds of keys are left out: shifting those of one kind changes the weights.
    """
    own = {node.name} | {e.name for e in node.emits}
    trimmed = trim(node, set(names) if set(names) <= own else own)
    assert isinstance(trimmed, Attend)
    node = trimmed
    normal = _normalized(node)
    out: dict[str, Axes] = {}
    for score, _ in () if node.keys else node.segments[0].scores:
        axes = pair_values(node)[score].axes
        lacking = normal & set(axes)
        if lacking and _without_effect(node, _Shift(score, tuple(a not in lacking for a in axes)), out):
            out[score] = lacking
    return out


def still_values(program: Program, outputs: Collection[str], fused: Sequence[tuple[Attend, Fusion]]) -> dict[str, Axes]:
    """Definitions that may be shifted, each by any value without the axes given, while outputs of a program stay. Those without an
    axis given may take any values. fused: attends of the program, or parts of one, with their fusions, whose definitions count as well.
    """
    parts: dict[str, list[Node]] = {}
    read = {o.value for o in program.outputs if o.name in outputs}
    for attend, fusion in fused:
        written, more = _written_out(attend, fusion)
        read |= more
        for value in values_of(attend):
            parts.setdefault(value.name, [*fusion.before, written])
    nodes: list[Node] = []
    for whole in program.nodes:
        found = [parts.get(v.name, [whole]) for v in values_of(whole)]
        nodes += [n for k, part in enumerate(found) for n in part if part not in found[:k]]
    program = live(program.with_nodes(tuple(nodes)), outputs)
    users: dict[str, list[Node]] = {}
    for node in program.nodes:
        for name in used_by(node):
            users.setdefault(name, []).append(node)
    out: dict[str, Axes] = {}
    for node in reversed(program.nodes):
        if isinstance(node, Assign) and node.kind == "float" and node.name not in read:
            uses = users.get(node.name, [])
            lacking = NO_AXES.union(*(_along(use, node, out) for use in uses))
            shift = _Shift(node.name, tuple(a not in lacking for a in node.axes))
            if all(_without_effect(use, shift, out) for use in uses):
                out[node.name] = lacking
    return out


def constant(node: Assign, name: str, lacking: Axes) -> bool:
    """Whether any change of an outer value moves a definition by a value without some axes at most."""
    try:
        moved = _Shift(name).of(node.expr)
    except _Unknown:
        return False
    return moved is None or not lacking & set(axes_of(moved))


def constant_slope(leaf: Read, slope: Expr, lacking: Axes) -> bool:
    """The same for an expression at a pair, of which `slope` is the derivative with respect to the leaf. Values of the pair have all
    axes."""
    inside = {*axes_of(leaf), *axes_of(slope)}
    return bool(lacking) and not inside & lacking and not values_in(leaf) and not values_in(slope)


class _Unknown(Exception):
    """It is not known how an expression moves."""


@dataclass(frozen=True)
class _Shift:
    """Derivatives in the direction of a shift of one value, which depends on some of its positions (`kept`; None: on all).

    pairs: axes of the pairs around, over which reductions take admitted pairs alone. known: how values of a pair move.
    """

    leaf: str
    kept: tuple[bool, ...] | None = None
    pairs: Axes = NO_AXES
    known: dict[str, tuple[tuple[str, ...], Expr | None]] = field(default_factory=dict)

    def of(self, expr: Expr) -> Expr | None:
        """How an expression moves, None for not at all. Raises _Unknown."""
        match expr:
            case Read():
                return self._read(expr)
            case Apply():
                return self._apply(expr)
            case Reduce(op, axes, body, cond):
                moved = self.of(body)
                if moved is None or (op in _EXTREMES and not set(axes) & set(axes_of(moved))):
                    return moved
                if op in ("sum", "mean") and not self.pairs & set(axes):
                    return Reduce(op, axes, moved, cond)
                raise _Unknown
            case Along(op, axes, body, _, sink):
                moved, other = self.of(body), None if sink is None else self.of(sink)
                if moved is None and other is None:
                    return None
                together = sink is None or moved == other
                if op in ("softmax", "log_softmax") and together and moved is not None and not set(axes) & set(axes_of(moved)):
                    return None
                raise _Unknown
        return None

    def _read(self, read: Read) -> Expr | None:
        if read.fill is not None and self.of(read.fill) is not None:
            raise _Unknown
        if read.source == self.leaf:
            kept = self.kept or (True,) * len(read.index)
            moved: Expr | None = Read("%shift", tuple(x for x, keep in zip(read.index, kept, strict=True) if keep), "float")
            own = read.fill is None
        else:
            axes, moved = self.known.get(read.source, ((), None))
            own = read.index == tuple(map(Index, axes))
        if moved is not None and not own:
            raise _Unknown
        return moved

    def _apply(self, expr: Apply) -> Expr | None:
        if expr.op in FLAT or kind_of(expr) in ("bool", "int"):
            return None
        moved = [self.of(a) for a in expr.args]
        together = len(moved) > 1 and moved[-1] == moved[-2]
        if all(t is None for t in moved) or (expr.op == "sub" and together):
            return None
        if expr.op in ("where", "max", "min") and together:
            return moved[-1]
        out: Expr | None = None
        for k, t in enumerate(moved):
            try:
                term = None if t is None else chain(expr.op, expr.args, k, t)
            except AttnUnsupportedError:
                raise _Unknown from None
            if term is not None:
                out = term if out is None else Apply("add", (out, term))
        return out


def _written_out(node: Attend, fusion: Fusion) -> tuple[Attend, set[str]]:
    """A fused attend whose scores read the definitions that run before it, and those that it may read elsewhere."""
    own = {a.name for a in fusion.before}
    exprs = [e for kind in fusion.pieces.kinds for e in (kind.mask, kind.mix, kind.gain) if e is not None]
    for stage in fusion.stages:
        exprs += [f.expr for f in stage.finals]
        exprs += [
            e for s in (*stage.sums, *(k.sum for k in stage.keyed)) for t in s.terms for e in (t.expr, t.by) if e is not None
        ]
    segments = []
    for segment, kind in zip(node.segments, fusion.pieces.kinds, strict=True):
        known: dict[str, Expr] = {p.name: Reduce("sum", (p.over,), Apply("mul", (p.row, p.key))) for p in kind.products}
        for name, let in kind.lets:
            known[name] = _inside(let, known)
        scores = tuple((name, known[name]) for name, _ in segment.scores)
        if any(axes_of(old) != axes_of(new) for (_, old), (_, new) in zip(segment.scores, scores, strict=True)):
            return node, own  # pair values are read by the order of their axes
        segments.append(replace(segment, scores=scores))
    return replace(node, segments=tuple(segments)), own & {n for e in exprs for n in sources_of(e)}


def _inside(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """The expression with values of the pair written out."""
    name = value_name(expr)
    return values[name] if name else rebuild(expr, lambda child: _inside(child, values))


def _normalized(node: Attend) -> Axes:
    """Axes along which weights are normalized by something that moves with the scores."""
    scores = {name for segment in node.segments for name, _ in segment.scores}
    after = [*(e for _, e in (*node.maps, *node.posts)), *(emit.expr for emit in node.emits)]
    found: set[str] = set()
    for e in (x for expr in after for x in walk(expr)):
        if (isinstance(e, Along) or (isinstance(e, Reduce) and e.op in _EXTREMES)) and scores & set(sources_of(e)):
            found |= set(e.axes)
    return Axes(found | {a for segment in node.segments for a in segment.over} if found & set(node.keys) else found)


def _along(use: Node, value: Assign, still: dict[str, Axes]) -> Axes:
    """Axes of a value that a shift must lack for a node to stay where it is."""
    lacking = (
        _normalized(use) if isinstance(use, Attend) else still.get(use.name, NO_AXES) if isinstance(use, Assign) else NO_AXES
    )
    reads = [e for expr in exprs_of(use) for e in walk(expr) if isinstance(e, Read) and e.source == value.name]
    return Axes(a for read in reads for a, x in zip(value.axes, read.index, strict=True) if lacking & set(axes_of(x)))


def _without_effect(use: Node, shift: _Shift, still: dict[str, Axes]) -> bool:
    """Whether a shift of a value has no effect through a node that reads it."""
    try:
        match use:
            case Attend():
                return _stays(use, shift)
            case Assign():
                moved = shift.of(use.expr)
                return moved is None or (use.name in still and not still[use.name] & set(axes_of(moved)))
            case Pick():
                return use.kind != "float"  # a choice has no gradient
    except _Unknown:
        return False
    return False


def _stays(node: Attend, shift: _Shift) -> bool:
    """Whether what an attend gives stays where it is. Raises _Unknown."""
    own = Axes(a for segment in node.segments for a in segment.over)
    shift = replace(shift, pairs=Axes((*node.rows, *node.over)) | own, known={})
    values = pair_values(node)
    kinds = [_scores(segment, shift) for segment in node.segments]
    for score, moved in kinds[0].items():
        if node.keys and (any(kind[score] != moved for kind in kinds) or (moved is not None and own & set(axes_of(moved)))):
            raise _Unknown  # keys of different kinds move by different values
        shift.known[score] = values[score].axes, moved
    for name, expr in (*node.maps, *node.posts):
        shift.known[name] = values[name].axes, shift.of(expr)
    mixed = shift.known[(*node.maps, *node.posts)[-1][0]][1] if node.name else None
    given = [e for segment in node.segments for e in (segment.mix,) if e is not None] + [emit.expr for emit in node.emits]
    return mixed is None and all(shift.of(e) is None for e in given)


def _scores(segment: Segment, shift: _Shift) -> dict[str, Expr | None]:
    """How the scores of one kind of keys move."""
    inner = replace(shift, known={})
    for score, expr in segment.scores:
        moved = inner.of(Read(score, tuple(map(Index, axes_of(expr))), "float") if score == shift.leaf else expr)
        inner.known[score] = axes_of(expr), moved
    return {score: moved for score, (_, moved) in inner.known.items()}
