"""Classification: what each node is, as far as the choice of a schedule goes. Words of `explain`, not of the language.

gemm       a product of two tensors summed over axes that only they share
stencil    affine reads over small axes, summed
scatter    each term of a sum belongs to one position of the result
window     a sum over an interval per position
gather     a read at positions that come from data
reduce     any other reduction
map        elementwise
attend     pair values; `weights` says of which kind
"""

from __future__ import annotations

from dataclasses import dataclass

from ..ir.expr import Along, Apply, Const, Expr, Index, Read, Reduce, axes_of, walk
from ..ir.nodes import Assign, Attend, Call, Fold, Node, Pick, Program
from .predicates import how


@dataclass(frozen=True, slots=True)
class Class:
    """What a node is, and the reason in words."""

    node: str
    kind: str
    reason: str


def classify(program: Program) -> tuple[Class, ...]:
    """The class of every node, bodies of folds included."""
    return tuple(c for node in program.nodes for c in _node(node))


def _node(node: Node) -> tuple[Class, ...]:
    match node:
        case Assign():
            return (Class(node.name, *_expression(node.expr)),)
        case Attend():
            return (Class(node.name or ", ".join(e.name for e in node.emits), "attend", weights(node)),)
        case Pick():
            return (Class(node.name, "pick", f"{node.op} along {node.source}"),)
        case Call():
            return (
                Class(
                    node.name,
                    node.op,
                    "its own gradient" if node.op == "vjp" else f"along {', '.join(node.along)}" if node.along else "",
                ),
            )
        case Fold():
            carried = ", ".join(c.name for c in node.carries)
            return (Class(carried, "fold", f"a loop that carries {carried}"), *(c for n in node.body for c in _node(n)))


def _expression(e: Expr) -> tuple[str, str]:
    sums = [x for x in walk(e) if isinstance(x, Reduce)]
    reads = [x for x in walk(e) if isinstance(x, Read)]
    moved = [r for r in reads if any(not isinstance(i, Index | Const) for i in r.index)]
    for one in sums:
        if one.cond is not None:
            words = how(one)
            return ("scatter" if "scatter" in words else "window" if "window" in words else "reduce"), words
    for one in sums:
        shared = _shared(one)
        if shared is not None and not moved:
            return "gemm", f"contracts {', '.join(one.axes)}"
    data = [r for r in moved if any(isinstance(x, Read) for i in r.index for x in walk(i))]
    if data:
        return "gather", f"reads {', '.join(dict.fromkeys(r.source for r in data))} at positions that come from data"
    if moved and sums:
        return (
            "stencil",
            f"affine reads of {', '.join(dict.fromkeys(r.source for r in moved))}, summed over {', '.join(sums[0].axes)}",
        )
    if sums or any(isinstance(x, Along) for x in walk(e)):
        over = dict.fromkeys(a for x in walk(e) if isinstance(x, Reduce | Along) for a in x.axes)
        return "reduce", f"over {', '.join(over)}"
    return "map", f"reads {', '.join(dict.fromkeys(r.source for r in moved))} elsewhere" if moved else "elementwise"


def _shared(e: Reduce) -> tuple[str, ...] | None:
    """The contracted axes when a sum is a product of two tensors, each with an axis of its own."""
    if e.op != "sum" or not isinstance(e.body, Apply) or e.body.op != "mul":
        return None
    a, b = (axes_of(x) for x in e.body.args)
    if not set(e.axes) <= set(a) & set(b) or not (set(a) - set(b)) or not (set(b) - set(a)):
        return None
    return e.axes


def weights(node: Attend) -> str:
    """The kind of an attend's weights: what has to be known before a pair's weight is."""
    keys, rows = set(node.over), set(node.rows)
    kinds = []
    for name, e in node.maps:
        over = {a for x in walk(e) if isinstance(x, Reduce | Along) for a in x.axes}
        online = any(isinstance(x, Along) for x in walk(e))
        if name.startswith("log_"):
            continue
        if not over:
            kinds.append("plain weights, a function of the score alone")
        elif over <= keys:
            kinds.append(f"{'online softmax' if online else 'a divide'} over the keys {', '.join(sorted(over))}")
        elif over <= rows:
            kinds.append(f"{'softmax' if online else 'a divide'} over the query axis {', '.join(sorted(over))}")
        else:
            kinds.append(f"normalized over {', '.join(sorted(over))}, across rows and keys")
    return "; ".join(kinds)


def query_axes(node: Attend) -> tuple[str, ...]:
    """The rows of an attend that its keys and values do not have: queries, as opposed to batch and heads."""
    beside: set[str] = set()
    for segment in node.segments:
        over = set(segment.over)
        for e in [x for _, x in segment.scores] + [x for x in (segment.mix,) if x is not None]:
            beside |= {a for r in walk(e) if isinstance(r, Read) and over & set(axes_of(r)) for a in axes_of(r)}
    return tuple(a for a in node.rows if a not in beside)
