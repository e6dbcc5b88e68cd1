"""Which definitions of a program run as kernels of their own, and in what company.

A definition runs as a kernel when it is a sweep over tokens (token.py) that both printers have words for and that is worth it:

    it is over a token axis (queries or keys of an attend), and its last axis is that one or a feature, so rows are contiguous
    every value is read at its own position; sums run over features
    every function has vector instructions, or torch is as fast

What it saves is a pass over memory for each operation. On a call of a few thousand numbers a kernel costs what one or two PyTorch
operators cost, so a single operation that moves its operand (a sum of two tensors) is left to PyTorch; anything longer is not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ..errors import AttnUnsupportedError
from ..ir.expr import Along, Apply, Const, Expr, Read, Reduce, axes_of, kind_of, walk
from ..ir.nodes import Assign
from ..ir.ops import OPS
from ..passes.fuse.products import plain
from ..tile.nodes import Program
from .token import lower_definitions, tokens_of

LIMIT = 200
"""Nodes of an expression; longer ones are left to PyTorch."""

_SLOW = {
    "complex", "real", "imag", "exact", "floordiv", "cdiv", "mod", "isqrt", "sin", "cos", "tan", "atan", "floor", "ceil", "round", "to_int",
}  # fmt: skip
"""Operations without vector instructions, or of integers."""
_FUNCTIONS = {name for name in OPS if name not in _SLOW}
_POWERS = (2, 3, 4, 0.5, -0.5, -1, -2)
_FREE = {"to_float", "stop_grad", "neg"}

Found = tuple[tuple[Assign, ...], Program | str]
"""Definitions, and their kernel or why there is none."""


def refusal(node: Assign, features: Collection[str], tokens: Collection[str], derivative: bool = False) -> str:
    """Why a definition runs on PyTorch, "" when a kernel may be tried. derivative: it is its derivative that runs, of which autograd
    makes several passes even where there is one operation."""
    if node.kind != "float" or not any(a in tokens for a in tokens_of(node, features)):
        return "no definition over tokens"
    if node.axes[-1] not in features and node.axes[-1] not in tokens:
        return "its last axis is neither a feature nor tokens"
    if set(axes_of(node.expr)) != set(node.axes):
        return "it is the same along some axis"
    return printable(node.expr) or ("" if derivative or worth(node.expr) else "one operation: no pass over memory is saved")


def printable(expr: Expr) -> str:
    """Why an expression is not for kernels, "" when it is."""
    for number, e in enumerate(walk(expr)):
        if number >= LIMIT:
            return "a long expression"
        if isinstance(e, Along):
            return f"{e.op} along an axis"
        if isinstance(e, Read) and not plain(e) and not (e.kind == "bool" and plain(Read(e.source, e.index, "float", e.fill))):
            return f"{e.source} is read at another position, or is no float"
        if isinstance(e, Apply) and (e.op not in _FUNCTIONS or (e.op == "pow" and not _power(e))):
            return f"{e.op} has no vector instruction"
        if isinstance(e, Apply | Reduce) and kind_of(e) == "complex":
            return "complex numbers"
    return ""


def worth(expr: Expr) -> bool:
    """Whether a kernel saves a pass over memory: there is more than one operation."""
    return sum(1 for e in walk(expr) if isinstance(e, Reduce) or (isinstance(e, Apply) and e.op not in _FREE)) > 1


def runs(
    items: Sequence[Assign | None],
    arrays: Mapping[str, tuple[str, ...]],
    features: Collection[str],
    acc: Collection[str],
    tokens: Collection[str],
) -> Iterator[Found | None]:
    """The definitions in order, and None for every None among them. Neighbours over the same tokens share a kernel."""
    held: list[Assign] = []
    for item in items:
        if item is None:
            yield from _kernels(held, arrays, features, acc, tokens)
            held = []
            yield None
            continue
        why = refusal(item, features, tokens)
        if why or (held and tokens_of(held[0], features) != tokens_of(item, features)):
            yield from _kernels(held, arrays, features, acc, tokens)
            held = []
        if why:
            yield (item,), why
        else:
            held.append(item)
    yield from _kernels(held, arrays, features, acc, tokens)


def _kernels(
    nodes: Sequence[Assign], arrays: Mapping[str, tuple[str, ...]], features: Collection[str], acc: Collection[str], tokens: Collection[str]
) -> Iterator[Found]:
    """One kernel for all, or one each."""
    if not nodes:
        return
    try:
        yield tuple(nodes), lower_definitions(nodes, arrays, features, acc, tokens)
    except AttnUnsupportedError as error:
        if len(nodes) == 1:
            yield tuple(nodes), error.message
            return
        for node in nodes:
            yield from _kernels([node], arrays, features, acc, tokens)


def _power(expr: Apply) -> bool:
    base, exponent = expr.args
    if isinstance(exponent, Const) and not isinstance(exponent.value, bool):
        return exponent.value in _POWERS
    return isinstance(base, Const) and not isinstance(base.value, bool) and base.value == 2
