"""The IR as text: `show` for programs, `show_node` for one node, `show_expr` for an expression. `parser.parse` is the inverse.

    program sigmoid
    axis b
    axis i
    axis j = |i|
    axis d
    axis kk = 3
    axis u
    axis w
    axis r = kk ++ (u w)
    input q[b, i, d]: float
    input t[1, r]: float const
    require |d| > 0
    o[b, i, d]: float = attend rows (b, i) over (j) {
      score s = sum[d](q[b, i, d] * q[b, j, d]) / sqrt(|d|)
      mask j <= i
      map p = sigmoid(s[b, i, j])
      mix q[b, j, d]
      emit lse[b, i]: float = lse[j | admitted[i, j]](s[b, i, j])
      empty zero
      order auto
    }
    output o[b, i, d]: float = o

A read always has its positions in brackets, `t[]` for a scalar and `x[i - 1 else 0.0]` with a fill; a bare axis is its index
and `|d|` its size. Operators bind as `ops.OPS` says, with no more brackets than that needs. `-3` is a constant and `-(3)` the
negation of one. Floats print by repr, which is exact. A name that is not a word of letters, digits and `_ ' ~ @ $`, or that is
one of `RESERVED`, stands in backquotes. One statement a line: a newline or `;` ends it.
"""

from __future__ import annotations

import math
import re

from .expr import TRUE, Along, Apply, Const, Expr, Index, Read, Reduce, Size
from .nodes import Assign, Attend, Axis, Call, Cotangent, Dims, Fold, Input, Node, Output, Pick, Program, Segment
from .ops import OPS

_INSIDE = "or and not div mod else true false inf nan"
_LEADING = "axis input output require assume attend pick fold call carry formal return cotangent"
RESERVED = frozenset(f"{_INSIDE} {_LEADING}".split())
"""Words that are quoted as names: the parser, or a reader, would take them for syntax. All other words are names as they are."""

WORD = re.compile(r"[^\W\d][\w'~@$]*")

_UNARY = OPS["neg"].level
_ATOM = max(op.level for op in OPS.values()) + 1
_SAME_SIDE = {"pow"}  # binary operators that group to the right; the comparisons do not group at all, the rest to the left
_COMPARE = OPS["eq"].level


def show(program: Program) -> str:
    """The text of a program."""
    lines = [f"program {ident(program.name)}"]
    lines += [_axis(axis) for axis in program.axes]
    lines += [_input(given) for given in program.inputs]
    lines += [f"{'assume' if check.data else 'require'} {show_expr(check.cond)}" for check in program.checks]
    for node in program.nodes:
        lines += _node(node)
    lines += [_output(output) for output in program.outputs]
    return "\n".join(lines) + "\n"


def show_node(node: Node) -> str:
    """The text of one node, without a final newline."""
    return "\n".join(_node(node))


def show_expr(expr: Expr) -> str:
    """The text of an expression."""
    return _expr(expr)[0]


def ident(name: str) -> str:
    """A name as it stands in a text, in backquotes where it needs them."""
    if WORD.fullmatch(name) and name not in RESERVED:
        return name
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


# ------------------------------------------------------------------------------------------------------------ expressions


def _expr(expr: Expr) -> tuple[str, int]:
    """The text of an expression and how tightly it binds."""
    match expr:
        case Const(value):
            return _const(value)
        case Index(axis):
            return ident(axis), _ATOM
        case Size(axis):
            return f"|{ident(axis)}|", _ATOM
        case Read(source, index, _, fill):
            inside = ", ".join([_expr(e)[0] for e in index])
            if fill is not None:
                inside += f"{' ' if inside else ''}else {_expr(fill)[0]}"
            return f"{ident(source)}[{inside}]", _ATOM
        case Apply(op, args):
            return _apply(op, args)
        case Reduce(op, axes, body, cond):
            inside = "" if op == "count" and body == TRUE else _expr(body)[0]
            return f"{op}[{_such_that(axes, cond)}]({inside})", _ATOM
        case Along(op, axes, body, cond, sink):
            tail = "" if sink is None else f", sink = {_expr(sink)[0]}"
            return f"{op}[{_such_that(axes, cond)}]({_expr(body)[0]}{tail})", _ATOM
    raise TypeError(expr)


def _const(value: bool | int | float) -> tuple[str, int]:
    if isinstance(value, bool):
        return str(value).lower(), _ATOM
    negative = value < 0 or (isinstance(value, float) and value == 0 and math.copysign(1, value) < 0)
    return repr(value), _UNARY if negative else _ATOM


def _apply(op: str, args: tuple[Expr, ...]) -> tuple[str, int]:
    row = OPS.get(op)
    if row is None or not row.infix or len(args) != row.arity:
        parts = []
        for arg in args:  # no comprehension: tables of numbers are deep chains of where, and each frame counts
            parts.append(_expr(arg)[0])
        return f"{op}({', '.join(parts)})", _ATOM
    level = row.level
    if row.arity == 1:
        literal = op == "neg" and isinstance(args[0], Const)
        gap = " " if row.infix.isalpha() else ""
        return f"{row.infix}{gap}{_at_least(args[0], _ATOM + 1 if literal else level)}", level
    if op in _SAME_SIDE:
        left, right = level + 1, _UNARY
    else:
        left, right = level + (level == _COMPARE), level + 1
    return f"{_at_least(args[0], left)} {row.infix} {_at_least(args[1], right)}", level


def _at_least(expr: Expr, level: int) -> str:
    text, own = _expr(expr)
    return text if own >= level else f"({text})"


def _such_that(axes: tuple[str, ...], cond: Expr | None) -> str:
    names = ", ".join(map(ident, axes))
    return names if cond is None else f"{names or '()'} | {_expr(cond)[0]}"


# ------------------------------------------------------------------------------------------------------------ declarations


def _names(names: tuple[str, ...]) -> str:
    return f"({', '.join(map(ident, names))})"


def _product(part: tuple[str, ...]) -> str:
    return ident(part[0]) if len(part) == 1 else f"({' '.join(map(ident, part))})"


def _dims(dims: Dims) -> str:
    return f"[{', '.join(_product(dim) if dim else '1' for dim in dims)}]"


def _axis(axis: Axis) -> str:
    text = f"axis {ident(axis.name)}"
    if axis.parts:
        text += f" = {' ++ '.join(map(_product, axis.parts))}"
    return text if axis.size is None else f"{text} = {show_expr(axis.size)}"


def _input(given: Input) -> str:
    return f"input {ident(given.name)}{_dims(given.dims)}: {given.kind}{' const' if given.const else ''}"


def _output(output: Output) -> str:
    request = "?" if output.on_request else ""
    return f"output {ident(output.name)}{_dims(output.dims)}{request}: {output.kind} = {ident(output.value)}"


# ------------------------------------------------------------------------------------------------------------ nodes


def _head(name: str, axes: tuple[str, ...], kind: str) -> str:
    return f"{ident(name)}[{', '.join(map(ident, axes))}]: {kind}"


def _block(head: str, lines: list[str]) -> list[str]:
    return [head + " {", *("  " + line for line in lines), "}"]


def _node(node: Node) -> list[str]:
    match node:
        case Assign():
            return [f"{_head(node.name, node.axes, node.kind)} = {show_expr(node.expr)}"]
        case Attend():
            return _attend(node)
        case Pick():
            arrow = f" -> {ident(node.target)}" if node.target else ""
            cond = f" | {show_expr(node.cond)}" if node.cond is not None else ""
            count = f", count = {show_expr(node.count)}" if node.count is not None else ""
            inside = f"[{ident(node.source)}{arrow}{cond}]({show_expr(node.expr)}{count})"
            return [f"{_head(node.name, node.axes, node.kind)} = pick {node.op}{inside}"]
        case Fold():
            span = f"{show_expr(node.start)} .. {show_expr(node.stop)} by {show_expr(node.step)}"
            lines = [f"carry {_head(c.name, c.axes, c.kind)} = {ident(c.init)} then {ident(c.next)}" for c in node.carries]
            return _block(f"fold {ident(node.var)} = {span}", lines + _nodes(node.body))
        case Call():
            return _call(node)
    raise TypeError(node)


def _nodes(nodes: tuple[Node, ...]) -> list[str]:
    return [line for node in nodes for line in _node(node)]


def _attend(node: Attend) -> list[str]:
    head = f"attend rows {_names(node.rows)}"
    if node.name or node.axes or node.kind != "float":
        head = f"{_head(node.name, node.axes, node.kind)} = {head}"
    if len(node.segments) == 1 and not node.keys:
        (segment,) = node.segments
        head += f" over {_names(segment.over)}"
        before, after = _keys(segment), _mix(segment)
    else:
        head += f" keys {_names(node.keys)}"
        blocks = [_block(f"over {_names(segment.over)}", _keys(segment) + _mix(segment)) for segment in node.segments]
        before, after = [line for block in blocks for line in block], []
    middle = [f"map {ident(name)} = {show_expr(e)}" for name, e in node.maps]
    middle += [f"post {ident(name)} = {show_expr(e)}" for name, e in node.posts]
    emits = [f"emit {_head(emit.name, emit.axes, emit.kind)} = {show_expr(emit.expr)}" for emit in node.emits]
    return _block(head, [*before, *middle, *after, *emits, f"empty {node.empty}", f"order {node.order}"])


def _keys(segment: Segment) -> list[str]:
    lines = [f"score {ident(name)} = {show_expr(e)}" for name, e in segment.scores]
    return lines if segment.mask is None else [*lines, f"mask {show_expr(segment.mask)}"]


def _mix(segment: Segment) -> list[str]:
    return [] if segment.mix is None else [f"mix {show_expr(segment.mix)}"]


def _call(node: Call) -> list[str]:
    head = f"{_head(node.name, node.axes, node.kind)} = call {node.op}{_names(node.inputs)}"
    if node.along or node.target:
        head += f" along {_names(node.along)}" + (f" -> {ident(node.target)}" if node.target else "")
    if node.grad:
        head += f" grad {ident(node.grad)}"
    lines = [f"formal {_head(f.name, f.axes, f.kind)} = {show_expr(f.expr)}" for f in node.formals]
    lines += _nodes(node.body)
    lines += [f"return {ident(node.value)}"] if node.value else []
    for cotangent in node.cotangents:
        lines += _cotangent(cotangent)
    return _block(head, lines) if lines else [head]


def _cotangent(cotangent: Cotangent) -> list[str]:
    return _block(f"cotangent {ident(cotangent.input)}", [*_nodes(cotangent.body), f"return {ident(cotangent.value)}"])
