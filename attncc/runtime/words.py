"""What a traced function says besides operators: axes and sizes, functions of the language, attends, requirements.

Each one builds the node of the syntax tree that the parser would build from its counterpart in a `.attn` file.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import AttnTypeError
from ..language import tree
from .tracing import Traced, name_node, recorder, span_here, to_tree


def axes(names: str) -> Any:
    """Axes by name, as indices: `i, j = attncc.axes("i j")`; one name gives one axis. Raises AttnTypeError for what is no name."""
    if not isinstance(names, str) or not names.split():
        raise AttnTypeError("axes takes names", span_here(), 'i, j = attncc.axes("i j")')
    found = tuple(Traced(name_node(n)) for n in names.replace(",", " ").split())
    return found[0] if len(found) == 1 else found


def size(name: str) -> Traced:
    """The number of positions of an axis, an integer. Raises AttnTypeError for a text that is no name."""
    return Traced(tree.Attr(span_here(), name_node(name), "size"))


def _bracket(over: Any) -> tuple[tree.Expr, ...]:
    if isinstance(over, str):
        words = over.replace(",", " ").replace("->", " -> ").split()
        items: list[tree.Expr] = []
        while words:
            word = words.pop(0)
            if word == "->" and items and words:
                items.append(tree.Arrow(span_here(), items.pop(), name_node(words.pop(0))))
            else:
                items.append(name_node(word))
        return tuple(items)
    given = over if isinstance(over, tuple | list) else (over,)
    return tuple(name_node(i) if isinstance(i, str) else to_tree(i) for i in given)


class Function:
    """A function of the language, for traced values: `attncc.dot(q, k)`, `attncc.sum(x, over="j", where=c)`, `attncc.softmax`.

    over: what stands in brackets there, axes by name or traced, `"s -> t"` for one that becomes another. where: the condition behind
    `|`. Other names are options. Raises AttnTypeError for an argument that cannot be traced.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = self.__qualname__ = name

    def __repr__(self) -> str:
        return f"<attncc function {self.name}>"

    def __call__(self, *args: Any, over: Any = None, where: Any = None, **options: Any) -> Traced:
        span = span_here()
        fn: tree.Expr = tree.Name(span, (self.name,))
        if over is not None:
            fn = tree.Bracket(span, fn, _bracket(over))
        given = tuple(tree.Arg(span, None, to_tree(a)) for a in args)
        named = tuple(tree.Arg(span, tree.Name(span, (n,)), to_tree(v)) for n, v in options.items())
        return Traced(tree.Call(span, fn, given, None if where is None else to_tree(where), named))


_functions: dict[str, Function] = {}


def function(name: str) -> Function:
    """The function of a name."""
    return _functions.setdefault(name, Function(name))


def _named(x: Any) -> list[tree.Named]:
    """Clause items: one value, or a dict of named ones. A callable gets the pair values it names as its parameters."""
    items = x.items() if isinstance(x, Mapping) else [(None, x)]
    out = []
    for name, item in items:
        span = span_here()
        node = tree.Name(span, (item.name,)) if isinstance(item, Function) else to_tree(_applied(item))
        out.append(tree.Named(span, None if name is None else tree.Name(span, (name,)), node))
    return out


def _applied(item: Any) -> Any:
    if isinstance(item, str):
        return Traced(name_node(item))
    if callable(item) and not isinstance(item, Traced):
        try:
            names = list(inspect.signature(item).parameters)
        except ValueError:  # a built-in of another library
            what = getattr(item, "__name__", repr(item))
            raise AttnTypeError(
                f"'{what}' is no function of the language", span_here(), f"attncc.{what}, or a lambda of pair values"
            ) from None
        return item(*(Traced(name_node(p)) for p in names))
    return item


@dataclasses.dataclass(frozen=True)
class Keys:
    """One kind of keys of an attend that has several."""

    segment: tree.Over


def keys(score: Any, *, over: Any, mask: Any = None, mix: Any = None) -> Keys:
    """One kind of keys: `attncc.attend(keys=(attncc.keys(s, over="j", mix=v), attncc.keys(t, over="m", mix=u)))`.

    score, over, mask, mix: as in `attend`. Raises AttnTypeError for what cannot be traced.
    """
    span = span_here()
    return Keys(tree.Over(span, _bracket(over), tuple(_scored(score, mask, mix))))


def _scored(score: Any, mask: Any, mix: Any) -> Iterator[tree.Clause]:
    """The clauses about one kind of keys."""
    span = span_here()
    yield tree.Score(span, tuple(_named(score)))
    if mask is not None:
        yield tree.Mask(span, to_tree(mask))
    if mix is not None:
        yield tree.Mix(span, to_tree(mix))


def attend(
    score: Any = None, *, over: Any = None, mask: Any = None, normalize: Any = "softmax", post: Any = None, mix: Any = None,
    emit: Any = None, empty: str | None = None, order: str | None = None, keys: Sequence[Keys] = (),
) -> Traced | None:  # fmt: skip
    """`attend` of the language. Gives what is mixed, None without `mix`; emitted values are read with `attncc.emitted(name)`.

    score     of a pair; a dict of named ones
    over      the key axes, by name or traced
    mask      which pairs take part
    normalize scores to weights: a function (`attncc.sigmoid`), its name, or `lambda s: attncc.relu(s) ** 2`; a dict of named ones
    post      changes of the weights, in order: a lambda of pair values by name, `lambda p: p * gain`, or a list of them
    mix       what is summed over the keys with the weights
    emit      values by name, `{"lse": lambda s: attncc.lse(s)}`
    empty     what a row without an admitted key gives: "zero" (the default), "uniform", "error"
    order     of the products: "auto" (the default), "left", "right"
    keys      several kinds of keys under one normalizer, instead of score, over, mask and mix

    Raises AttnTypeError outside of a traced function, for a missing score or over, and for what cannot be traced.
    """
    trace, span = recorder("attncc.attend"), span_here()
    clauses: list[tree.Clause] = []
    if keys:
        if any(x is not None for x in (score, over, mask, mix)) or not all(isinstance(k, Keys) for k in keys):
            help = "attncc.attend(keys=(attncc.keys(score, over='j', mix=v), ..))"
            raise AttnTypeError("several kinds of keys have a score, mask and mix each", span, help)
        clauses += [k.segment for k in keys]
        mix = next((k for k in keys if any(isinstance(c, tree.Mix) for c in k.segment.clauses)), None)
    elif score is None or over is None:
        raise AttnTypeError("an attend needs a score and the keys it is over", span, 'attncc.attend(score, over="j", mix=v)')
    else:
        clauses += _scored(score, mask, None)
    clauses.append(tree.Normalize(span, tuple(_named(normalize))))
    for item in [post] if post is not None and not isinstance(post, list | tuple) else post or []:
        clauses.extend(tree.Post(span, named) for named in _named(item))
    if mix is not None and not keys:
        clauses.append(tree.Mix(span, to_tree(mix)))
    if emit is not None:
        clauses.append(tree.Emit(span, tuple(_named(emit))))
    for key, word in (("empty", empty), ("order", order)):
        if word is not None:
            clauses.append(tree.Setting(span, key, word))
    target = tree.Target(span, tree.Name(span, (trace.name(),))) if mix is not None else None
    trace.body.append(tree.Attend(span, target, () if keys else _bracket(over), tuple(clauses)))
    return Traced(target.name) if target is not None else None


def otherwise(value: Any, instead: Any) -> Traced:
    """`value ?? instead`: the value, or where an input that it mentions was left out, the other."""
    return Traced(tree.Binary(span_here(), "??", to_tree(value), to_tree(instead)))


def emitted(name: str) -> Traced:
    """A value that an earlier attend emitted, by its name. Raises AttnTypeError for a text that is no name."""
    return Traced(name_node(name))


def require(*conds: Any) -> None:
    """Conditions on parameters and sizes, checked at each call, which raises AttnShapeError or AttnValueError where one does not hold.

    Raises AttnTypeError outside of a traced function.
    """
    recorder("attncc.require").body.append(tree.Require(span_here(), tuple(to_tree(c) for c in conds)))
