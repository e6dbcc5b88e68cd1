"""Values of a traced Python function: operators and functions of the language build the syntax tree instead of computing.

A `Traced` value is an expression of the tree that the parser would build from a `.attn` file. Statements (an attend, a primed
expression, a requirement) are recorded in the trace that is running. Every node points at the line of Python that made it.
"""

from __future__ import annotations

import dataclasses
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from ..errors import AttnTypeError, Source, Span
from ..language import tree
from ..language.limits import MAX_DEPTH
from ..passes.resolve.functions import WORDS
from .library import prelude

MAX_PARTS = 20_000
"""Parts of one traced expression, a value that is used twice counted twice."""


class Trace:
    """Statements recorded while a function is traced."""

    def __init__(self) -> None:
        self.body: list[tree.Stmt] = []
        self.count = 0
        self.measured: dict[int, tuple[tree.Node, int, int]] = {}  # the node itself is kept, so that its id stays its own

    def name(self) -> str:
        self.count += 1
        return f"_t{self.count}"


running: ContextVar[Trace | None] = ContextVar("attncc_trace", default=None)
_sources: dict[str, Source] = {}
_INSIDE = (__file__, str(Path(__file__).with_name("jit.py")))


def _tracing(what: str) -> Trace:
    """The trace that is running. Raises AttnTypeError outside of one."""
    trace = running.get()
    if trace is None:
        raise AttnTypeError(
            f"{what} works inside a function decorated with @attncc.jit", _span(), "decorate the function around it"
        )
    return trace


def _span() -> Span:
    """The line of the traced function that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename in _INSIDE:
        frame = frame.f_back
    return line_of(frame.f_code.co_filename, frame.f_lineno)


def line_of(file: str, number: int) -> Span:
    lines = linecache.getlines(file)
    text = "".join(lines)
    if file not in _sources or _sources[file].text != text:
        _sources[file] = Source(file, text)
    if not 0 < number <= len(lines):
        return Span(_sources[file], 0, 0)
    start = sum(len(line) for line in lines[: number - 1])
    line = lines[number - 1]
    return Span(_sources[file], start + len(line) - len(line.lstrip()), start + len(line.rstrip()))


def to_tree(x: Any) -> tree.Expr:
    """The syntax of a traced value, a number, a string or a list of them."""
    if isinstance(x, Traced):
        return x.node
    span = _span()
    if isinstance(x, bool):
        return tree.Name(span, ("true" if x else "false",))
    if isinstance(x, int | float):
        value = tree.Num(span, abs(x))
        return tree.Unary(span, "-", value) if x < 0 or (x == 0 and str(x)[0] == "-") else value
    if isinstance(x, str):
        return tree.Str(span, x)
    if isinstance(x, list | tuple):
        return tree.List(span, tuple(to_tree(item) for item in x))
    raise AttnTypeError(
        f"a {type(x).__name__} cannot be traced",
        span,
        "use tensors and parameters of the signature, numbers and attncc functions",
    )


def _binary(op: str) -> tuple[Callable[[Any, Any], Traced], Callable[[Any, Any], Traced]]:
    def forward(self: Any, other: Any) -> Traced:
        return Traced(tree.Binary(_span(), op, to_tree(self), to_tree(other)))

    def backward(self: Any, other: Any) -> Traced:
        return Traced(tree.Binary(_span(), op, to_tree(other), to_tree(self)))

    return forward, backward


def _comparison(op: str) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Traced:
        return Traced(tree.Compare(_span(), (op,), (to_tree(self), to_tree(other))))

    return compare


class Traced:
    """A value of a traced function: an expression that is not computed yet."""

    __slots__ = ("node",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: tree.Expr) -> None:
        self.node = node
        _bounded(node)

    __add__, __radd__ = _binary("+")
    __sub__, __rsub__ = _binary("-")
    __mul__, __rmul__ = _binary("*")
    __truediv__, __rtruediv__ = _binary("/")
    __floordiv__, __rfloordiv__ = _binary("div")
    __mod__, __rmod__ = _binary("mod")
    __pow__, __rpow__ = _binary("^")
    __and__, __rand__ = _binary("and")
    __or__, __ror__ = _binary("or")
    __le__, __lt__, __ge__, __gt__ = _comparison("<="), _comparison("<"), _comparison(">="), _comparison(">")
    __eq__, __ne__ = _comparison("=="), _comparison("!=")

    def __neg__(self) -> Traced:
        return Traced(tree.Unary(_span(), "-", self.node))

    def __invert__(self) -> Traced:
        return Traced(tree.Unary(_span(), "not", self.node))

    def __abs__(self) -> Traced:
        return function("abs")(self)

    def __bool__(self) -> bool:
        raise AttnTypeError(
            "a traced value has no truth value",
            _span(),
            "use attncc.where(c, a, b), and &, |, ~ for and, or, not; chain comparisons with &",
        )

    def __iter__(self) -> Any:
        raise AttnTypeError("a traced value cannot be iterated over", _span(), "use attncc.split or a reduction")

    def __getitem__(self, item: Any) -> Traced:
        if isinstance(item, int):
            return Traced(tree.Bracket(_span(), self.node, (tree.Num(_span(), item),)))
        raise AttnTypeError("name the positions to read at", _span(), "x.at(i=j - 1), x.at(i=j - 1, fill=0)")

    def at(self, fill: Any = None, **positions: Any) -> Traced:
        """The tensor at other positions: `x.at(i=j - 1, fill=0)` is `x[i = j - 1 else 0]`."""
        span = _span()
        items = tuple(tree.Bind(span, _name(axis), to_tree(at)) for axis, at in positions.items())
        return Traced(tree.Bracket(span, self.node, items, None, None if fill is None else to_tree(fill)))

    @property
    def prime(self) -> Traced:
        """`x'`: the same tensor or axis at the primed axes. What is not a name yet is given one."""
        node = self.node
        if not isinstance(node, tree.Name):
            trace = _tracing("a primed expression")
            node = tree.Name(_span(), (trace.name(),))
            trace.body.append(tree.Assign(_span(), (tree.Target(_span(), node),), (self.node,)))
        return Traced(tree.Name(_span(), node.parts, node.primes + 1))

    def __repr__(self) -> str:
        from ..language.format import show

        return f"<traced {show(self.node)}>"

    def __matmul__(self, other: Any) -> NoReturn:
        raise AttnTypeError("'@' is not part of the language", _span(), "a product names the axis it sums: attncc.dot(q, k)")

    __rmatmul__ = __matmul__

    def _number(self) -> NoReturn:
        raise AttnTypeError("a traced value is no number yet", _span(), "use attncc functions: attncc.sqrt(x), not math.sqrt(x)")

    __float__ = __int__ = __index__ = __complex__ = __round__ = __len__ = _number

    def __setitem__(self, item: Any, value: Any) -> NoReturn:
        raise AttnTypeError("a traced value cannot be changed", _span(), "make another one: attncc.where(c, a, b)")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # what Python asks of any object
            raise AttributeError(name)
        help = f"write attncc.{name}(x)" if known(name) else "a size is attncc.size('d'); there are functions, no methods"
        raise AttnTypeError(f"a traced value has no '{name}'", _span(), help)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "this function").strip("_")
        help = f"write attncc.{name}(..)" if known(name) else "use tensors and parameters of the signature, and attncc functions"
        raise AttnTypeError(f"PyTorch's '{name}' does not take a traced value", _span(), help)


def _bounded(node: tree.Expr) -> None:
    """Keep a node's measures in the trace that is running. Raises AttnTypeError where the expression is too large or too deep."""
    trace = running.get()
    parts, depth = _measure(node, {} if trace is None else trace.measured)
    if parts > MAX_PARTS or depth > MAX_DEPTH:
        what = f"has more than {MAX_PARTS} parts" if parts > MAX_PARTS else f"nests more than {MAX_DEPTH} deep"
        help = "a value that is used again is written out again: split the function, or loop less"
        raise AttnTypeError(f"the traced expression {what}", _span(), help)


def _measure(node: tree.Node, found: dict[int, tuple[tree.Node, int, int]]) -> tuple[int, int]:
    """Parts and depth of a syntax tree; what is known of shared nodes is kept in `found`."""
    if id(node) not in found:
        inner = [getattr(node, f.name) for f in dataclasses.fields(node) if f.name != "span"]
        parts = depth = 0
        while inner:
            item = inner.pop()
            if isinstance(item, tuple):
                inner.extend(item)
            elif isinstance(item, tree.Node):
                more, below = _measure(item, found)
                parts, depth = parts + more, max(depth, below)
        found[id(node)] = node, parts + 1, depth + 1
    return found[id(node)][1:]


def _name(text: str) -> tree.Name:
    """A name, primed or not. Raises AttnTypeError for a text that is none."""
    bare = text.rstrip("'") if isinstance(text, str) else ""
    if not (bare.isascii() and bare.isidentifier()):
        raise AttnTypeError(f"{text!r} is no name", _span(), "names are letters, digits and '_': x, k_1")
    return tree.Name(_span(), (bare,), len(text) - len(bare))


def axes(names: str) -> Any:
    """Axes by name, as indices: `i, j = attncc.axes("i j")`; one name gives one axis."""
    if not isinstance(names, str) or not names.split():
        raise AttnTypeError("axes takes names", _span(), 'i, j = attncc.axes("i j")')
    found = tuple(Traced(_name(n)) for n in names.replace(",", " ").split())
    return found[0] if len(found) == 1 else found


def size(name: str) -> Traced:
    """The number of positions of an axis."""
    return Traced(tree.Attr(_span(), _name(name), "size"))


def _bracket(over: Any) -> tuple[tree.Expr, ...]:
    if isinstance(over, str):
        words = over.replace(",", " ").replace("->", " -> ").split()
        items: list[tree.Expr] = []
        while words:
            word = words.pop(0)
            if word == "->" and items and words:
                items.append(tree.Arrow(_span(), items.pop(), _name(words.pop(0))))
            else:
                items.append(_name(word))
        return tuple(items)
    given = over if isinstance(over, tuple | list) else (over,)
    return tuple(_name(i) if isinstance(i, str) else to_tree(i) for i in given)


class Function:
    """A function of the language, for traced values: `attncc.dot(q, k)`, `attncc.sum(x, over="j", where=c)`, `attncc.softmax`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.__name__ = self.__qualname__ = name

    def __repr__(self) -> str:
        return f"<attncc function {self.name}>"

    def __call__(self, *args: Any, over: Any = None, where: Any = None, **options: Any) -> Traced:
        span = _span()
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


def known(name: str) -> bool:
    """Whether the language has a function of this name: a built-in, or a shipped definition."""
    from ..passes.resolve.functions import FUNCTIONS

    return (name in FUNCTIONS and name not in WORDS) or any(
        isinstance(d, tree.Define) and d.name == name for d in prelude().decls
    )


def _named(x: Any) -> list[tree.Named]:
    """Clause items: one value, or a dict of named ones. A callable gets the pair values it names as its parameters."""
    items = x.items() if isinstance(x, Mapping) else [(None, x)]
    out = []
    for name, item in items:
        span = _span()
        node = tree.Name(span, (item.name,)) if isinstance(item, Function) else to_tree(_applied(item))
        out.append(tree.Named(span, None if name is None else tree.Name(span, (name,)), node))
    return out


def _applied(item: Any) -> Any:
    if isinstance(item, str):
        return Traced(_name(item))
    if callable(item) and not isinstance(item, Traced):
        try:
            names = list(inspect.signature(item).parameters)
        except ValueError:  # a built-in of another library
            what = getattr(item, "__name__", repr(item))
            raise AttnTypeError(
                f"'{what}' is no function of the language", _span(), f"attncc.{what}, or a lambda of pair values"
            ) from None
        return item(*(Traced(_name(p)) for p in names))
    return item


@dataclasses.dataclass(frozen=True)
class Keys:
    """One kind of keys of an attend that has several."""

    segment: tree.Over


def keys(score: Any, *, over: Any, mask: Any = None, mix: Any = None) -> Keys:
    """One kind of keys: `attncc.attend(keys=(attncc.keys(s, over="j", mix=v), attncc.keys(t, over="m", mix=u)))`."""
    span = _span()
    return Keys(tree.Over(span, _bracket(over), tuple(_scored(score, mask, mix))))


def _scored(score: Any, mask: Any, mix: Any) -> Iterator[tree.Clause]:
    """The clauses about one kind of keys."""
    span = _span()
    yield tree.Score(span, tuple(_named(score)))
    if mask is not None:
        yield tree.Mask(span, to_tree(mask))
    if mix is not None:
        yield tree.Mix(span, to_tree(mix))


def attend(
    score: Any = None, *, over: Any = None, mask: Any = None, normalize: Any = "softmax", post: Any = None, mix: Any = None,
    emit: Any = None, empty: str | None = None, order: str | None = None, keys: Sequence[Keys] = (),
) -> Traced | None:  # fmt: skip
    """`attend` of the language. Gives what is mixed; emitted values are read with `attncc.emitted(name)`.

    score and normalize may be dicts of named values. normalize: a function (`attncc.sigmoid`), its name, or
    `lambda s: attncc.relu(s) ** 2`. post, emit: lambdas of pair values by name, `lambda p: p * gain`,
    `{"lse": lambda s: attncc.lse(s)}`. keys: several kinds of keys under one normalizer, instead of score, over, mask and mix.
    """
    trace, span = _tracing("attncc.attend"), _span()
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
    return Traced(tree.Binary(_span(), "??", to_tree(value), to_tree(instead)))


def emitted(name: str) -> Traced:
    """A value that an earlier attend emitted."""
    return Traced(_name(name))


def require(*conds: Any) -> None:
    """Conditions on parameters and sizes, checked at each call."""
    _tracing("attncc.require").body.append(tree.Require(_span(), tuple(to_tree(c) for c in conds)))
