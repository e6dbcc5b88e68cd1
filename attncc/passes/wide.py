"""Definitions that are kept in the accumulation type where the tensors of a call have 16 bits.

A score takes a definition as it is: a bias of 30 rounded to bfloat16 is off by a tenth, and so is each weight of its row. An operand
of a matrix product is rounded to the element type of the call, as tensor units take it, unless it is steep: where it grows faster than
what it is computed from (a square, an exponential), float16 may hold the inputs and not the operand.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from ..ir.expr import Along, Apply, Const, Expr, Read, Reduce, axes_of, walk
from ..ir.nodes import Assign, Attend, Program, exprs_of, used_by
from .classify import query_axes

_BOUNDED = {"sigmoid", "tanh", "erf", "sin", "cos", "atan", "sign", "relu_grad"}
_EXPONENTIAL = {"exp", "exp2", "expm1"}
_POSITIVE = {"abs", "relu", "sqrt", "softplus", "exp", "exp2"}
_ROOTS = {"sqrt": 0.5, "log": 0.5, "log1p": 0.5, "log2": 0.5, "rsqrt": 0.0}


def wide(program: Program) -> frozenset[str]:
    """The definitions of a program that are kept in the accumulation type."""
    made = {n.name: n for n in program.nodes if isinstance(n, Assign) and n.kind == "float"}
    used = {name for n in program.nodes if isinstance(n, Attend) for name in _operands(n)}
    read = {name for n in program.nodes for name in used_by(n)}
    last = {o.value for o in program.outputs} - read  # rounded anyway
    return frozenset(name for name, node in made.items() if name not in last and (name not in used or steep(node.expr)))


def steep(expr: Expr) -> bool:
    """Whether a value may leave the range of 16 bits where none of what it reads does: it is of a degree above 1 in one of them."""
    return any(d > 1 for d in _degrees(expr).values())


def _operands(node: Attend) -> Iterator[str]:
    """What an attend multiplies by matrices: reads that are summed over an axis which is no axis of pairs, and what is mixed."""
    pairs = {*query_axes(node), *(a for s in node.segments for a in s.over)}
    for whole in exprs_of(node):
        for e in walk(whole):
            if isinstance(e, Reduce | Along) and not set(e.axes) <= pairs:
                yield from (r.source for r in walk(e.body) if isinstance(r, Read))
    for segment in node.segments:
        for r in walk(segment.mix) if segment.mix is not None else ():
            if isinstance(r, Read) and not set(axes_of(r)) <= pairs:
                yield r.source


def _degrees(expr: Expr) -> dict[str, float]:
    """How fast a value grows with each of what it reads, as a power: 0 where it is bounded, infinity for an exponential."""
    match expr:
        case Read(source, _, "float", fill):
            return _most([{source: 1.0}, _degrees(fill) if fill is not None else {}])
        case Apply("mul", (a, b)):
            left, right = _degrees(a), _degrees(b)
            return {n: left.get(n, 0.0) + right.get(n, 0.0) for n in {**left, **right}}
        case Apply("div", (a, _)):
            return _degrees(a)
        case Apply("pow", (a, Const(value))) if not isinstance(value, bool):
            return {n: d * value if value > 0 else 0.0 for n, d in _degrees(a).items()}
        case Apply("where", (_, a, b)):
            return _most([_degrees(a), _degrees(b)])
        case Apply(op, (a, *_)) if op in _EXPONENTIAL and _bounded(a, True):
            return {}
        case Apply(op, args):
            power = 0.0 if op in _BOUNDED else inf if op in _EXPONENTIAL or op == "pow" else _ROOTS.get(op, 1.0)
            return {n: power * d if d else 0.0 for n, d in _most([_degrees(a) for a in args]).items()}
        case Reduce(op, _, body, _):
            return {n: d * (inf if op == "prod" and d else 1.0) for n, d in _degrees(body).items()}
        case Along("softmax", _, _, _, _):
            return {}
        case Along(_, _, body, _, _):
            return _degrees(body)
    return {}


def _bounded(expr: Expr, up: bool) -> bool:
    """Whether a value can be seen to have an upper bound, or (not up) a lower one."""
    match expr:
        case Const():
            return True
        case Apply(op, _) if op in _BOUNDED:
            return True
        case Apply("min" | "max" as op, args):
            return (any if (op == "min") == up else all)(_bounded(a, up) for a in args)
        case Apply("neg", (a,)):
            return _bounded(a, not up)
        case Apply("add" | "sub" as op, (a, b)):
            return _bounded(a, up) and _bounded(b, up == (op == "add"))
        case Apply("mul" | "div", (a, Const(value))) | Apply("mul", (Const(value), a)) if value != 0:
            return _bounded(a, up == (value > 0))
        case Apply("where", (_, a, b)):
            return _bounded(a, up) and _bounded(b, up)
        case Apply("mul", (a, b)) if a == b:
            return not up
        case Apply("pow", (_, Const(value))) if value % 2 == 0:
            return not up
        case Apply(op, _) if op in _POSITIVE:
            return not up
        case Reduce("sum" | "mean" | "max" | "min", _, body, _):
            return _bounded(body, up)
        case Reduce("norm", _, _, _):
            return not up
    return False


def _most(found: list[dict[str, float]]) -> dict[str, float]:
    out: dict[str, float] = {}
    for degrees in found:
        out |= {n: max(d, out.get(n, 0.0)) for n, d in degrees.items()}
    return out
