"""Values of a traced Python function: operators and functions of the language build the syntax tree instead of computing.

A `Traced` value is an expression of the tree that the parser would build from a `.attn` file. Statements (an attend, a primed
expression, a requirement) are recorded in the trace that is running. Every node points at the line of Python that made it.
"""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from ..errors import AttnTypeError, Source, Span
from ..language import tree
from ..language.limits import MAX_DEPTH
from ..language.walk import inside
from .library import known

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
_INSIDE = tuple(str(Path(__file__).with_name(name)) for name in ("tracing.py", "words.py", "jit.py"))


def recorder(what: str) -> Trace:
    """The trace that is running. Raises AttnTypeError outside of one."""
    trace = running.get()
    if trace is None:
        raise AttnTypeError(
            f"{what} works inside a function decorated with @attncc.jit", span_here(), "decorate the function around it"
        )
    return trace


def span_here() -> Span:
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
    span = span_here()
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
        return Traced(tree.Binary(span_here(), op, to_tree(self), to_tree(other)))

    def backward(self: Any, other: Any) -> Traced:
        return Traced(tree.Binary(span_here(), op, to_tree(other), to_tree(self)))

    return forward, backward


def _comparison(op: str) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Traced:
        return Traced(tree.Compare(span_here(), (op,), (to_tree(self), to_tree(other))))

    return compare


class Traced:
    """A value of a traced function: an expression that is not computed yet."""

    __slots__ = ("node",)

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
        return Traced(tree.Unary(span_here(), "-", self.node))

    def __invert__(self) -> Traced:
        return Traced(tree.Unary(span_here(), "not", self.node))

    def __abs__(self) -> Traced:
        return Traced(tree.Call(span_here(), tree.Name(span_here(), ("abs",)), (tree.Arg(span_here(), None, self.node),)))

    def __bool__(self) -> bool:
        raise AttnTypeError(
            "a traced value has no truth value",
            span_here(),
            "use attncc.where(c, a, b), and &, |, ~ for and, or, not; chain comparisons with &",
        )

    def __iter__(self) -> Any:
        raise AttnTypeError("a traced value cannot be iterated over", span_here(), "use attncc.split or a reduction")

    def __getitem__(self, item: Any) -> Traced:
        if isinstance(item, int):
            return Traced(tree.Bracket(span_here(), self.node, (tree.Num(span_here(), item),)))
        raise AttnTypeError("name the positions to read at", span_here(), "x.at(i=j - 1), x.at(i=j - 1, fill=0)")

    def at(self, fill: Any = None, **positions: Any) -> Traced:
        """The tensor at other positions: `x.at(i=j - 1, fill=0)` is `x[i = j - 1 else 0]`."""
        span = span_here()
        items = tuple(tree.Bind(span, name_node(axis), to_tree(at)) for axis, at in positions.items())
        return Traced(tree.Bracket(span, self.node, items, None, None if fill is None else to_tree(fill)))

    @property
    def prime(self) -> Traced:
        """`x'`: the same tensor or axis at the primed axes. What is not a name yet is given one."""
        node = self.node
        if not isinstance(node, tree.Name):
            trace = recorder("a primed expression")
            node = tree.Name(span_here(), (trace.name(),))
            trace.body.append(tree.Assign(span_here(), (tree.Target(span_here(), node),), (self.node,)))
        return Traced(tree.Name(span_here(), node.parts, node.primes + 1))

    def __repr__(self) -> str:
        from ..language.format import show

        return f"<traced {show(self.node)}>"

    def __matmul__(self, other: Any) -> NoReturn:
        raise AttnTypeError("'@' is not part of the language", span_here(), "a product names the axis it sums: attncc.dot(q, k)")

    __rmatmul__ = __matmul__

    def _number(self) -> NoReturn:
        raise AttnTypeError("a traced value is no number yet", span_here(), "use attncc functions: attncc.sqrt(x), not math.sqrt(x)")

    __float__ = __int__ = __index__ = __complex__ = __round__ = __len__ = _number

    def __setitem__(self, item: Any, value: Any) -> NoReturn:
        raise AttnTypeError("a traced value cannot be changed", span_here(), "make another one: attncc.where(c, a, b)")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):  # what Python asks of any object
            raise AttributeError(name)
        help = f"write attncc.{name}(x)" if known(name) else "a size is attncc.size('d'); there are functions, no methods"
        raise AttnTypeError(f"a traced value has no '{name}'", span_here(), help)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "this function").strip("_")
        help = f"write attncc.{name}(..)" if known(name) else "use tensors and parameters of the signature, and attncc functions"
        raise AttnTypeError(f"PyTorch's '{name}' does not take a traced value", span_here(), help)


def _bounded(node: tree.Expr) -> None:
    """Keep a node's measures in the trace that is running. Raises AttnTypeError where the expression is too large or too deep."""
    trace = running.get()
    parts, depth = _measure(node, {} if trace is None else trace.measured)
    if parts > MAX_PARTS or depth > MAX_DEPTH:
        what = f"has more than {MAX_PARTS} parts" if parts > MAX_PARTS else f"nests more than {MAX_DEPTH} deep"
        help = "a value that is used again is written out again: split the function, or loop less"
        raise AttnTypeError(f"the traced expression {what}", span_here(), help)


def _measure(node: tree.Node, found: dict[int, tuple[tree.Node, int, int]]) -> tuple[int, int]:
    """Parts and depth of a syntax tree; what is known of shared nodes is kept in `found`."""
    if id(node) not in found:
        inner = inside(node)
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


def name_node(text: str) -> tree.Name:
    """A name, primed or not. Raises AttnTypeError for a text that is none."""
    bare = text.rstrip("'") if isinstance(text, str) else ""
    if not (bare.isascii() and bare.isidentifier()):
        raise AttnTypeError(f"{text!r} is no name", span_here(), "names are letters, digits and '_': x, k_1")
    return tree.Name(span_here(), (bare,), len(text) - len(bare))
