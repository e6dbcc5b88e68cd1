"""Normalizers: what stands after `normalize` becomes an expression in the scores."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import AttnNameError, AttnTypeError, Span
from ...ir.expr import Expr, Read, Reduce, apply, kind_of
from ...language import tree
from .arithmetic import to_expr
from .expressions import value, whole
from .functions import name_of
from .reads import axis_of, flatten
from .scope import Scope


def _score(scope: Scope, names: list[str], span: Span) -> Expr:
    """The first score."""
    if not names:
        raise AttnTypeError("'normalize' comes after 'score'", span, "write 'score ..' before it")
    found = scope.names[names[0]]
    assert isinstance(found, Read)
    return found


def _divided(kind: str) -> Callable[[Scope, Expr, tuple[str, ...], Expr | None], Expr]:
    """Normalizers that divide the scores by a sum over the keys: sum, l1 (sum of absolute values), l2 (root of squares)."""

    def build(scope: Scope, s: Expr, axes: tuple[str, ...], eps: Expr | None) -> Expr:
        if kind == "l2":
            total: Expr = Reduce("norm", axes, s)
        else:
            total = Reduce("sum", axes, apply("abs", s) if kind == "l1" else s)
        return apply("div", s, total if eps is None else apply("add", total, eps))

    return build


DIVIDED = {kind: _divided(kind) for kind in ("sum", "l1", "l2")}


def normalized(scope: Scope, node: tree.Expr, scores: list[str]) -> Expr:
    """A normalizer: a name applied to the first score, a name with options or axes, or an expression in the scores.

    `softmax`, `softmax[j]`, `softmax(t | such-that; sink = b)`, `sum(eps = 1e-6)`, `sigmoid`, `relu(s) ^ 2`, a definition's name.
    """
    bare = isinstance(node, tree.Name | tree.Bracket)
    called = name_of(scope, node.fn) if isinstance(node, tree.Call) else name_of(scope, node) if bare else None
    if called in scope.names or called is None:
        return _checked(scope, node)
    args = node.args if isinstance(node, tree.Call) else ()
    positional = [a for a in args if a.name is None]
    if called in DIVIDED and not positional:
        return _divide(scope, node, called, scores)
    if positional:
        return _checked(scope, node)
    _score(scope, scores, node.span)
    score = tree.Arg(node.span, None, tree.Name(node.span, (scores[0],)))
    if isinstance(node, tree.Call):
        return _checked(scope, tree.Call(node.span, node.fn, (score, *node.args), node.such_that, node.options))
    return _checked(scope, tree.Call(node.span, node, (score,)))


def _divide(scope: Scope, node: tree.Expr, kind: str, scores: list[str]) -> Expr:
    s = _score(scope, scores, node.span)
    assert scope.attend is not None
    fn = node.fn if isinstance(node, tree.Call) else node
    axes = scope.attend.over
    if isinstance(fn, tree.Bracket):
        axes = tuple(a for ref in flatten([axis_of(scope, i) for i in fn.items]) for a in ref.atoms)
    eps: Expr | None = None
    for arg in (*node.args, *node.options) if isinstance(node, tree.Call) else ():
        if arg.name is None or arg.name.plain != "eps":
            raise AttnNameError(f"'{kind}' has no such option", arg.span, "options: eps")
        eps = to_expr(scope, value(arg.value, scope), arg.span)
    return DIVIDED[kind](scope, s, axes, eps)


def _checked(scope: Scope, node: tree.Expr) -> Expr:
    e = to_expr(scope, whole(scope, node), node.span)
    if kind_of(e) not in ("float", "int"):
        raise AttnTypeError(f"weights are numbers, found a value of kind {kind_of(e)}", node.span)
    return e
