"""`@attncc.jit`: a Python function, traced once with symbolic arguments, becomes an `Op`.

Tracing builds the syntax tree that the parser would build from a `.attn` file, so both forms go through one resolver and give one
IR. Nothing inspects source code: it works in notebooks and under a debugger. Annotations are the dims of the signature.

    @attncc.jit
    def decayed(q: "b h i d", k: "b h j d", v: "b h j e", decay: "h", *, bias: float = 0.0) -> "b h i e":
        i, j = attncc.axes("i j")
        score = attncc.dot(q, k) / attncc.sqrt(attncc.size("d")) - decay * abs(i - j) + bias
        return attncc.attend(score, over=j, mask=j <= i, normalize=attncc.sigmoid, mix=v)
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import linecache
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from ..errors import AttnError, AttnSyntaxError, AttnTypeError, Source, Span
from ..language import tree
from ..language.parser import parse
from ..passes.resolve.functions import WORDS
from .library import library_of, prelude
from .op import Op

_HERE = __file__


class _Trace:
    """Statements recorded while a function is traced."""

    def __init__(self) -> None:
        self.body: list[tree.Stmt] = []
        self.count = 0

    def name(self) -> str:
        self.count += 1
        return f"_t{self.count}"


_trace: ContextVar[_Trace | None] = ContextVar("attncc_trace", default=None)
_sources: dict[str, Source] = {}


def _tracing(what: str) -> _Trace:
    """The trace that is running. Raises AttnTypeError outside of one."""
    trace = _trace.get()
    if trace is None:
        raise AttnTypeError(f"{what} works inside a function decorated with @attncc.jit", _span())
    return trace


def _span() -> Span:
    """The line of the traced function that is running."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename == _HERE:
        frame = frame.f_back
    return _line(frame.f_code.co_filename, frame.f_lineno)


def _line(file: str, number: int) -> Span:
    lines = linecache.getlines(file)
    text = "".join(lines)
    if file not in _sources or _sources[file].text != text:
        _sources[file] = Source(file, text)
    if not 0 < number <= len(lines):
        return Span(_sources[file], 0, 0)
    start = sum(len(line) for line in lines[: number - 1])
    line = lines[number - 1]
    return Span(_sources[file], start + len(line) - len(line.lstrip()), start + len(line.rstrip()))


def _tree(x: Any) -> tree.Expr:
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
        return tree.List(span, tuple(_tree(item) for item in x))
    raise AttnTypeError(
        f"a {type(x).__name__} cannot be traced",
        span,
        "use tensors and parameters of the signature, numbers and attncc functions",
    )


def _binary(op: str) -> tuple[Callable[[Any, Any], Traced], Callable[[Any, Any], Traced]]:
    def forward(self: Any, other: Any) -> Traced:
        return Traced(tree.Binary(_span(), op, _tree(self), _tree(other)))

    def backward(self: Any, other: Any) -> Traced:
        return Traced(tree.Binary(_span(), op, _tree(other), _tree(self)))

    return forward, backward


def _comparison(op: str) -> Callable[[Any, Any], Any]:
    def compare(self: Any, other: Any) -> Traced:
        return Traced(tree.Compare(_span(), (op,), (_tree(self), _tree(other))))

    return compare


class Traced:
    """A value of a traced function: an expression that is not computed yet."""

    __slots__ = ("node",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, node: tree.Expr) -> None:
        self.node = node

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
        items = tuple(tree.Bind(span, _name(axis), _tree(at)) for axis, at in positions.items())
        return Traced(tree.Bracket(span, self.node, items, None, None if fill is None else _tree(fill)))

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


def _name(text: str) -> tree.Name:
    bare = text.rstrip("'")
    return tree.Name(_span(), (bare,), len(text) - len(bare))


def axes(names: str) -> Any:
    """Axes by name, as indices: `i, j = attncc.axes("i j")`; one name gives one axis."""
    found = tuple(Traced(_name(n)) for n in names.replace(",", " ").split())
    return found[0] if len(found) == 1 else found


def size(name: str) -> Traced:
    """The number of positions of an axis."""
    return Traced(tree.Attr(_span(), _name(name), "size"))


def _bracket(over: Any) -> tuple[tree.Expr, ...]:
    if isinstance(over, str):
        return tuple(_name(n) for n in over.replace(",", " ").split())
    items = over if isinstance(over, tuple | list) else (over,)
    return tuple(_name(i) if isinstance(i, str) else _tree(i) for i in items)


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
        given = tuple(tree.Arg(span, None, _tree(a)) for a in args)
        named = tuple(tree.Arg(span, tree.Name(span, (n,)), _tree(v)) for n, v in options.items())
        return Traced(tree.Call(span, fn, given, None if where is None else _tree(where), named))


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
        node = tree.Name(span, (item.name,)) if isinstance(item, Function) else _tree(_applied(item))
        out.append(tree.Named(span, None if name is None else tree.Name(span, (name,)), node))
    return out


def _applied(item: Any) -> Any:
    if isinstance(item, str):
        return Traced(_name(item))
    if callable(item) and not isinstance(item, Traced):
        return item(*(Traced(_name(p)) for p in inspect.signature(item).parameters))
    return item


def attend(
    score: Any, *, over: Any, mask: Any = None, normalize: Any = "softmax", post: Any = None, mix: Any = None, emit: Any = None,
    empty: str | None = None, order: str | None = None,
) -> Traced | None:  # fmt: skip
    """`attend` of the language. Gives what is mixed; emitted values are read with `attncc.emitted(name)`.

    score and normalize may be dicts of named values. normalize: a function (`attncc.sigmoid`), its name, or
    `lambda s: attncc.relu(s) ** 2`. post, emit: lambdas of pair values by name, `lambda p: p * gain`,
    `{"lse": lambda s: attncc.lse(s)}`.
    """
    trace, span = _tracing("attncc.attend"), _span()
    clauses: list[tree.Clause] = [tree.Score(span, tuple(_named(score)))]
    if mask is not None:
        clauses.append(tree.Mask(span, _tree(mask)))
    clauses.append(tree.Normalize(span, tuple(_named(normalize))))
    for item in [post] if post is not None and not isinstance(post, list | tuple) else post or []:
        clauses.extend(tree.Post(span, named) for named in _named(item))
    if mix is not None:
        clauses.append(tree.Mix(span, _tree(mix)))
    if emit is not None:
        clauses.append(tree.Emit(span, tuple(_named(emit))))
    for key, word in (("empty", empty), ("order", order)):
        if word is not None:
            clauses.append(tree.Setting(span, key, word))
    target = tree.Target(span, tree.Name(span, (trace.name(),))) if mix is not None else None
    trace.body.append(tree.Attend(span, target, _bracket(over), tuple(clauses)))
    return Traced(target.name) if target is not None else None


def emitted(name: str) -> Traced:
    """A value that an earlier attend emitted."""
    return Traced(_name(name))


def require(*conds: Any) -> None:
    """Conditions on parameters and sizes, checked at each call."""
    _tracing("attncc.require").body.append(tree.Require(_span(), tuple(_tree(c) for c in conds)))


class JitOp(Op):
    """The op of a traced function. Its keyword-only parameters may be given at the call."""

    def __call__(self, *tensors: Any, outputs: Any = None, backend: str | None = None, **named: Any) -> Any:
        params = {n: named.pop(n) for n in list(named) if n in self.signature.params}
        if not params:
            return super().__call__(*tensors, outputs=outputs, backend=backend, **named)
        key = repr(sorted(params.items()))
        if key not in self._variants:
            self._variants[key] = JitOp(self._library, self._decl, {**self.params, **params}, self._source)
        return self._variants[key](*tensors, outputs=outputs, backend=backend, **named)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._variants: dict[str, JitOp] = {}


def jit(fn: Callable[..., Any] | None = None, *, where: str = "") -> Any:
    """Trace a function into an Op. Positional parameters are tensors, annotated with their dims; keyword-only ones are parameters
    with a type and a default; the return annotation is the dims of the output, or `{"o": "b h i e", "lse": "b h i"}` for several.

    where: sizes as in the language, `@attncc.jit(where="h = heads, d = c / heads")`. Raises AttnError subclasses that point at the
    line of the Python function.
    """
    if fn is None:
        return lambda found: jit(found, where=where)
    span = _line(fn.__code__.co_filename, fn.__code__.co_firstlineno)
    signature = inspect.signature(fn)
    inputs: list[tree.Input] = []
    params: list[tree.Param] = []
    for p in signature.parameters.values():
        if p.kind is inspect.Parameter.KEYWORD_ONLY:
            params.append(_param(p, span))
        else:
            inputs.append(tree.Input(span, tree.Name(span, (p.name,)), _dims(p.annotation, p.name, span)))
    outs = _annotation(signature.return_annotation)
    if isinstance(outs, str):
        outs = {"o": outs}
    if not isinstance(outs, dict):
        raise AttnTypeError(f"'{fn.__name__}' needs a return annotation", span, 'def f(..) -> "b h i e":')
    trace = _Trace()
    token = _trace.set(trace)
    try:
        arguments = [Traced(i.name) for i in inputs]
        results = fn(*arguments, **{p.name.plain or "": Traced(p.name) for p in params})
    finally:
        _trace.reset(token)
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(outs):
        raise AttnTypeError(f"'{fn.__name__}' returns {len(results)} values, its annotation names {len(outs)}", span)
    body = _finish(trace.body, dict(zip(outs, results, strict=True)), span)
    outputs = tuple(tree.Output(span, tree.Name(span, (n,)), _dims(d, n, span)) for n, d in outs.items())
    sizes = _wheres(where, span) if where else ()
    decl = tree.Pattern(span, fn.__name__, tuple(inputs), tuple(params), outputs, sizes, body, (fn.__doc__ or "").strip())
    library, _ = library_of(Source(span.source.name, ""))
    library.patterns[decl.name] = [decl]
    op = JitOp(library, decl, {}, span.source)
    op.__doc__ = fn.__doc__
    return op


def _finish(body: list[tree.Stmt], results: dict[str, Any], span: Span) -> tuple[tree.Stmt, ...]:
    """Give the attends that are returned the names of the outputs; assign what else is returned."""
    taken: dict[tuple[Any, ...], str] = {}
    tail: list[tree.Stmt] = []
    for name, got in results.items():
        node = _tree(got)
        local = isinstance(node, tree.Name) and str(node.parts[0]).startswith("_t")
        if isinstance(node, tree.Name) and node.plain == name:
            continue
        if local and isinstance(node, tree.Name) and node.parts not in taken:
            taken[node.parts] = name
        else:
            tail.append(tree.Assign(span, (tree.Target(span, tree.Name(span, (name,))),), (node,)))
    return tuple(_renamed(stmt, taken) for stmt in (*body, *tail))


def _renamed(node: Any, names: dict[tuple[Any, ...], str]) -> Any:
    """A syntax tree with temporary names replaced."""
    if isinstance(node, tuple):
        return tuple(_renamed(n, names) for n in node)
    if isinstance(node, tree.Name) and node.parts in names:
        return tree.Name(node.span, (names[node.parts],), node.primes)
    if isinstance(node, tree.Node):
        fields = {f.name: _renamed(getattr(node, f.name), names) for f in dataclasses.fields(node) if f.name != "span"}
        return dataclasses.replace(node, **fields)
    return node


def _annotation(note: Any) -> Any:
    """An annotation's value; under `from __future__ import annotations` it is the text of one."""
    if isinstance(note, str):
        try:
            return ast.literal_eval(note)
        except (ValueError, SyntaxError):
            return note
    return note


def _dims(note: Any, name: str, span: Span) -> tuple[tree.Dim, ...]:
    """Dims from an annotation: axes by blanks, `(g r)` a product, `1` a stored 1; the empty string is a scalar."""
    text = _annotation(note)
    if not isinstance(text, str):
        raise AttnTypeError(f"'{name}' needs its dims as an annotation", span, f'{name}: "b h i d"')
    words, depth, word = [], 0, ""
    for char in text.replace(",", " "):
        depth += (char == "(") - (char == ")")
        if char == " " and depth == 0:
            words.append(word)
            word = ""
        else:
            word += char
    words = [w for w in (*words, word) if w]
    if not words:
        return ()
    source = Source(f"annotation of '{name}'", f"bundle _(x[{', '.join(words)}])")
    try:
        found = parse(source).decls[0]
    except AttnError as error:
        raise AttnSyntaxError(f"the annotation of '{name}' is no list of dims: {text!r}", span, error.message) from None
    assert isinstance(found, tree.Bundle) and isinstance(found.inputs[0], tree.Input)
    return found.inputs[0].dims


def _wheres(text: str, span: Span) -> tuple[tree.Where, ...]:
    """Size equations from the text of a `where`."""
    try:
        found = parse(Source("where", f"bundle _() where {text}")).decls[0]
    except AttnError as error:
        raise AttnSyntaxError(f"no list of sizes: {text!r}", span, error.message) from None
    assert isinstance(found, tree.Bundle)
    return found.where


def _param(p: inspect.Parameter, span: Span) -> tree.Param:
    """A keyword-only parameter: its annotation is bool, int, float or str, or the text of a type of the language."""
    note = _annotation(p.annotation)
    names = {bool: "bool", int: "int", float: "float", str: "string"}
    text = names.get(note, note if isinstance(note, str) else "")
    text = {"str": "string"}.get(text, text)
    try:
        found = parse(Source(f"annotation of '{p.name}'", f"bundle _(; x: {text})")).decls[0]
    except AttnError as error:
        raise AttnSyntaxError(f"parameter '{p.name}' needs a type", span, f"{p.name}: float = 0.0; {error.message}") from None
    assert isinstance(found, tree.Bundle) and isinstance(found.params[0], tree.Param)
    default = None if p.default is inspect.Parameter.empty else _tree(p.default)
    return tree.Param(span, tree.Name(span, (p.name,)), found.params[0].type, default)
