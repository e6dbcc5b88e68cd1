"""`@attncc.jit`: a Python function, traced once with symbolic arguments, becomes an `Op`.

Tracing builds the syntax tree that the parser would build from a `.attn` file, so both forms go through one resolver and give one
IR. Nothing inspects source code: it works in notebooks and under a debugger. Annotations are the dims of the signature, with the
marks that follow them there: `"b j: int"`, `"b j?: bool"`.

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
import re
from collections.abc import Callable
from typing import Any

from ..errors import AttnError, AttnNameError, AttnSyntaxError, AttnTypeError, Source, Span
from ..language import tree
from ..language.parser import parse
from ..language.walk import rebuilt
from .declaration import Declaration
from .library import library_of
from .op import Op
from .tracing import Trace, Traced, line_of, running, to_tree


class JitOp(Op):
    """The op of a traced function. Its keyword-only parameters may be given at the call."""

    def __call__(self, *tensors: Any, outputs: Any = None, backend: str | None = None, **named: Any) -> Any:
        if any(isinstance(t, Traced) for t in (*tensors, *named.values())):
            raise AttnTypeError(
                f"'{self._decl.name}' is an op: it takes tensors, no traced value",
                self._decl.span,
                "call the plain function instead",
            )
        params = {n: named.pop(n) for n in list(named) if n in self.signature.params}
        if not params:
            return super().__call__(*tensors, outputs=outputs, backend=backend, **named)
        key = repr(sorted(params.items()))
        if key not in self._variants:
            self._variants[key] = JitOp(self._library, self._decl, {**self.params, **params}, self._source)
        return self._variants[key](*tensors, outputs=outputs, backend=backend, **named)

    def _begin(self, declaration: Declaration, autotune: bool) -> None:
        super()._begin(declaration, autotune)
        self._variants: dict[str, JitOp] = {}


def jit(fn: Callable[..., Any] | None = None, *, where: str = "") -> Any:
    """Trace a function into an Op. Positional parameters are tensors, annotated with their dims; keyword-only ones are parameters
    with a type and a default; the return annotation is the dims of the output, or `{"o": "b h i e", "lse": "b h i"}` for several.

    where: sizes as in the language, `@attncc.jit(where="h = heads, d = c / heads")`. Raises AttnError subclasses that point at the
    line of the Python function.
    """
    if fn is None:
        return lambda found: jit(found, where=where)
    if not inspect.isfunction(fn):
        raise AttnTypeError(f"a {type(fn).__name__} cannot be traced", None, "@attncc.jit decorates a function written in Python")
    span = line_of(fn.__code__.co_filename, fn.__code__.co_firstlineno)
    signature = inspect.signature(fn)
    inputs: list[tree.Input] = []
    params: list[tree.Param] = []
    for p in signature.parameters.values():
        _checked(p, span)
        if p.kind is inspect.Parameter.KEYWORD_ONLY:
            params.append(_param(p, span))
        else:
            found = _declared(p.annotation, p.name, span)
            inputs.append(tree.Input(span, tree.Name(span, (p.name,)), found.dims, found.optional, found.type))
    outs = _annotation(signature.return_annotation)
    if isinstance(outs, str):
        outs = {"o": outs}
    if not isinstance(outs, dict):
        raise AttnTypeError(f"'{fn.__name__}' needs a return annotation", span, 'def f(..) -> "b h i e":')
    trace = Trace()
    token = running.set(trace)
    try:
        arguments = [Traced(i.name) for i in inputs]
        results = fn(*arguments, **{p.name.plain or "": Traced(p.name) for p in params})
    finally:
        running.reset(token)
    if results is None:
        raise AttnTypeError(f"'{fn.__name__}' returns nothing", span, "return what its annotation names")
    results = results if isinstance(results, tuple) else (results,)
    if len(results) != len(outs):
        raise AttnTypeError(
            f"'{fn.__name__}' returns {len(results)} values, its annotation names {len(outs)}",
            span,
            f"return {', '.join(outs)}, in this order",
        )
    body = _finish(trace.body, dict(zip(outs, results, strict=True)), span)
    declared = {n: _declared(d, n, span) for n, d in outs.items()}
    outputs = tuple(tree.Output(span, tree.Name(span, (n,)), d.dims, d.optional, d.type) for n, d in declared.items())
    sizes = _wheres(where, span) if where else ()
    decl = tree.Pattern(span, fn.__name__, tuple(inputs), tuple(params), outputs, sizes, body, (fn.__doc__ or "").strip())
    library, _ = library_of(Source(span.source.name, ""))
    library.patterns[decl.name] = [decl]
    op = JitOp(library, decl, {}, span.source)
    op.__doc__ = fn.__doc__
    return op


def _checked(p: inspect.Parameter, span: Span) -> None:
    """Raise AttnError for a parameter of a function that the language has no counterpart of."""
    if not p.name.isascii():
        raise AttnNameError(f"'{p.name}' is no name", span, "names are plain ASCII letters, digits and '_'")
    if p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
        raise AttnTypeError(f"'{p.name}' stands for any number of arguments", span, "name each tensor and each parameter")
    if p.kind is not inspect.Parameter.KEYWORD_ONLY and p.default is not inspect.Parameter.empty:
        help = f"a parameter with a default comes after '*': def f(q, *, {p.name}: float = 1.0)"
        raise AttnTypeError(f"the tensor '{p.name}' cannot have a default", span, help)
    if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name in ("outputs", "backend"):
        raise AttnNameError(f"'{p.name}' is an argument of every call", span, "give the parameter another name")


def _finish(body: list[tree.Stmt], results: dict[str, Any], span: Span) -> tuple[tree.Stmt, ...]:
    """Give the attends that are returned the names of the outputs; assign what else is returned."""
    taken: dict[tuple[Any, ...], str] = {}
    tail: list[tree.Stmt] = []
    for name, got in results.items():
        node = to_tree(got)
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
        return rebuilt(node, lambda part: _renamed(part, names))
    return node


def _annotation(note: Any) -> Any:
    """An annotation's value; under `from __future__ import annotations` it is the text of one."""
    if isinstance(note, str):
        try:
            return ast.literal_eval(note)
        except (ValueError, SyntaxError):
            return note
    return note


_MARKS = re.compile(r"(.*?)\s*(\??)\s*(?::\s*(int|bool|const|float))?\s*", re.DOTALL)
"""The dims of an annotation, `?` for what may be left out, a type."""


def _declared(note: Any, name: str, span: Span) -> tree.Input:
    """Dims and marks from an annotation: axes by blanks or commas, `(g r)` a product, `z:3` a size, `1` a stored 1; the empty string
    is a scalar. A type comes last, `"b j: int"`, after the mark of what is optional, `"b j?: bool"`."""
    text = _annotation(note)
    if not isinstance(text, str):
        raise AttnTypeError(f"'{name}' needs its dims as an annotation", span, f'{name}: "b h i d"')
    found = _MARKS.fullmatch(text)
    assert found is not None
    dims, optional, kind = found.groups()
    inside = f"[{', '.join(_words(dims))}]" if dims.strip() else ""
    source = Source(f"annotation of '{name}'", f"bundle _(x{inside}{optional}{f': {kind}' if kind else ''})")
    try:
        made = parse(source).decls[0]
    except AttnError as error:
        raise AttnSyntaxError(f"the annotation of '{name}' is no list of dims: {text!r}", span, error.message) from None
    assert isinstance(made, tree.Bundle) and isinstance(made.inputs[0], tree.Input)
    return _placed(made.inputs[0], span)


def _placed(node: Any, span: Span) -> Any:
    """A syntax tree that points at the Python function it belongs to."""
    if isinstance(node, tuple):
        return tuple(_placed(n, span) for n in node)
    if not isinstance(node, tree.Node):
        return node
    return dataclasses.replace(rebuilt(node, lambda part: _placed(part, span)), span=span)


def _words(text: str) -> list[str]:
    """The dims of a text, cut at commas and blanks outside parentheses. A size may hold blanks where commas stand between dims."""
    parts, depth = [""], 0
    for char in re.sub(r"\s*:\s*", ":", text):
        depth += (char == "(") - (char == ")")
        cut = depth == 0 and (char == "," or (char.isspace() and ("," not in text or ":" not in parts[-1])))
        parts += [""] if cut else []
        parts[-1] += "" if cut else char
    return [p for p in parts if p]


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
    names: dict[object, str] = {bool: "bool", int: "int", float: "float", str: "string", "str": "string"}
    word = names.get(note, note) if isinstance(note, type | str) else ""
    text = word if isinstance(word, str) else ""
    try:
        found = parse(Source(f"annotation of '{p.name}'", f"bundle _(; x: {text})")).decls[0]
    except AttnError as error:
        raise AttnSyntaxError(f"parameter '{p.name}' needs a type", span, f"{p.name}: float = 0.0; {error.message}") from None
    assert isinstance(found, tree.Bundle) and isinstance(found.params[0], tree.Param)
    default = None if p.default is inspect.Parameter.empty else to_tree(p.default)
    return tree.Param(span, tree.Name(span, (p.name,)), found.params[0].type, default)
