"""From the parser's reductions to declaration, type, dim and statement nodes; expressions are in build_expr."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ..errors import Span
from . import tree as T
from .build_expr import Expressions, Part, after, end, index, is_token, nodes, start

PARAM_TYPES = ("int", "float", "bool", "string")
INPUT_TYPES = ("int", "bool", "const")


class Declaration(NamedTuple):
    """The two halves of a signature."""

    inputs: tuple[T.Input | T.Include, ...]
    params: tuple[T.Param | T.Include, ...]


def title_above(text: str, offset: int) -> str:
    """The comment lines directly above the line that begins at `offset`, without their `# `."""
    lines: list[str] = []
    end = text.rfind("\n", 0, offset)
    if text[end + 1 : offset].strip():
        return ""
    while end >= 0:
        start = text.rfind("\n", 0, end) + 1
        line = text[start:end].strip()
        if not line.startswith("#"):
            break
        lines.append(line)
        end = start - 1
    return _title(lines[::-1])


def leading_title(text: str) -> str:
    """The comment block a text begins with."""
    lines: list[str] = []
    for line in text.lstrip().split("\n"):
        if not line.strip().startswith("#"):
            break
        lines.append(line.strip())
    return _title(lines)


def _title(lines: list[str]) -> str:
    return "\n".join(line[1:].removeprefix(" ") for line in lines)


class Builder(Expressions):
    """The callbacks of the parser."""

    # ---------------------------------------------------------------------------------------------------- declarations

    def file(self, c: list[Any]) -> T.File:
        return T.File(Span(self.source, 0, len(self.source.text)), tuple(c), leading_title(self.source.text))

    def expression(self, c: list[Any]) -> T.Expr:
        return c[0]

    def pattern(self, c: list[Any]) -> T.Pattern:
        sig, block = c[3], c[-1]
        where = c[-2].items if isinstance(c[-2], Part) else ()
        outputs = tuple([o for o in c if isinstance(o, (T.Output, T.OutputFamily))])
        title = title_above(self.source.text, c[0].start_pos)
        return T.Pattern(self.span(c), str(c[1]), sig.inputs, sig.params, outputs, where, block.items, title)

    def bundle(self, c: list[Any]) -> T.Bundle:
        sig = c[3]
        return T.Bundle(self.span(c), str(c[1]), sig.inputs, sig.params, c[-1].items if isinstance(c[-1], Part) else ())

    def define(self, c: list[Any]) -> T.Define:
        axes = c[2].items if isinstance(c[2], Part) else ()
        at = index(c, "RPAR")
        sig, rest = c[at - 1], c[at + 1 :]
        grad, vjp = None, ()
        if is_token(rest[0]):
            body: tuple[T.Stmt, ...] = (T.Return(rest[1].span, rest[1]),)
        else:
            body = rest[0].items
            if len(rest) == 2:
                grad, vjp = rest[1].items
        return T.Define(self.span(c), str(c[1]), axes, sig.inputs, sig.params, body, grad, vjp)

    def vjp(self, c: list[Any]) -> Part:
        return Part((str(c[2]), c[4].items), c[0].start_pos, c[4].end)

    def axisdecl(self, c: list[Any]) -> Part:
        return self.part(c)

    def declarrow(self, c: list[Any]) -> T.Arrow:
        return T.Arrow(self.span(c), c[0], c[2])

    def sig(self, c: list[Any]) -> Declaration:
        at = index(c, "SEMICOLON")
        return Declaration(nodes(c), ()) if at < 0 else Declaration(nodes(c[:at]), nodes(c[at:]))

    def input(self, c: list[Any]) -> T.Input:
        return T.Input(self.span(c), *self._slot(c))

    def output(self, c: list[Any]) -> T.Output:
        return T.Output(self.span(c), *self._slot(c))

    def _slot(self, c: list[Any]) -> tuple[T.Name, tuple[T.Dim, ...], bool, str | None, T.Expr | None]:
        dims = c[1].items if len(c) > 1 and isinstance(c[1], Part) else ()
        kind = after(c, "COLON")
        if kind is not None and kind not in INPUT_TYPES:
            help = "leave ': float' out, tensors are floating point by default" if kind == "float" else ""
            self.fail(f"'{kind}' is no type of a tensor: expected int, bool or const", kind, help)
        return c[0], dims, index(c, "OPT") >= 0, kind and str(kind), after(c, "IF")

    def outfamily(self, c: list[Any]) -> T.OutputFamily:
        outputs = tuple([o for o in c if isinstance(o, T.Output)])
        return T.OutputFamily(self.span(c), outputs, c[-3].items, c[-1])

    def param(self, c: list[Any]) -> T.Param:
        return T.Param(self.span(c), c[0], c[2], c[4] if len(c) > 3 else None)

    def include(self, c: list[Any]) -> T.Include:
        at = index(c, "COLON")
        renames = tuple([r.items for r in c if isinstance(r, Part)])
        return T.Include(self.span(c), None if is_token(c[0]) else c[0], str(c[at + 1]), renames)

    def rename(self, c: list[Any]) -> Part:
        axes = c[2].items if isinstance(c[2], Part) else c[2]
        if isinstance(axes, T.AxisDim) and axes.size is None and self.source.text[axes.span.start] == "(":
            axes = self._plain([axes.name])  # `g = (c)`: a list of one axis
        return Part((str(c[0]), axes), start(c[0]), end(c[2]))

    def namelist(self, c: list[Any]) -> Part:
        return Part(self._plain(nodes(c)), start(c[0]), end(c[-1]))

    # ----------------------------------------------------------------------------------------------------------- types

    def typename(self, c: list[Any]) -> T.Type:
        if c[0] in ("true", "false"):
            return T.Type(self.span(c), "bool", (str(c[0]),))
        if c[0] not in PARAM_TYPES:
            help = f'a single allowed value is written "{c[0]}"'
            close = {"str": "string", "boolean": "bool", "integer": "int", "number": "float", "double": "float"}.get(c[0])
            self.fail(f"unknown type '{c[0]}': expected {', '.join(PARAM_TYPES)}, a string in quotes, '(' or '{{'", c[0],
                      f"write '{close}'" if close else help)
        return T.Type(self.span(c), str(c[0]))

    def enum(self, c: list[Any]) -> T.Type:
        return T.Type(self.span(c), "enum", tuple([str(s)[1:-1] for s in c if s.type == "STRING"]))

    def record(self, c: list[Any]) -> T.Type:
        return T.Type(self.span(c), "record", fields=tuple([f.items for f in c if isinstance(f, Part)]))

    def field(self, c: list[Any]) -> Part:
        return Part((str(c[0]), c[2]), start(c[0]), end(c[2]))

    def tupletype(self, c: list[Any]) -> T.Type:
        return T.Type(self.span(c), "tuple", items=nodes(c))

    def ptype(self, c: list[Any]) -> T.Type:
        result, i = c[0], 1
        while i < len(c) and c[i] == "[":
            close = i + 1 if is_token(c[i + 1]) else i + 2
            length = None if close == i + 1 else c[i + 1]
            result = T.Type(self.span(c[: close + 1]), "list", items=(result,), length=length)
            i = close + 1
        return replace(result, span=self.span(c), optional=True) if i < len(c) else result

    # ------------------------------------------------------------------------------------------------------------ dims

    def dims(self, c: list[Any]) -> Part:
        return self.part(c)

    def dim(self, c: list[Any]) -> T.SumDim:
        return T.SumDim(self.span(c), nodes(c))

    gdim = dim

    def axisdim(self, c: list[Any]) -> T.AxisDim:
        return T.AxisDim(self.span(c), c[0], c[2] if len(c) > 1 else None)

    plaindim = axisdim

    def onedim(self, c: list[Any]) -> T.OneDim:
        if c[0] != "1":
            help = f"name it, as in 'z: {c[0]}'; a bare 1 is a dim without an axis"
            self.fail(f"a dim of size {c[0]} needs an axis name", c[0], help)
        return T.OneDim(self.span(c))

    def packdim(self, c: list[Any]) -> T.PackDim:
        return T.PackDim(self.span(c), c[1], c[3] if len(c) > 2 else None)

    plainpack = packdim

    def proddim(self, c: list[Any]) -> T.Dim:
        return replace(c[1], span=self.span(c)) if len(c) == 3 else T.ProductDim(self.span(c), nodes(c))

    def where(self, c: list[Any]) -> Part:
        return self.part(c)

    def equation(self, c: list[Any]) -> T.Where:
        return T.Where(self.span(c), c[0], c[2], after(c, "IF"))

    def ranked(self, c: list[Any]) -> T.Call:
        return T.Call(self.span(c), c[0], (T.Arg(c[2].span, None, c[2]),))

    # ------------------------------------------------------------------------------------------------------ statements

    def block(self, c: list[Any]) -> Part:
        return self.part(c)

    clauses = block

    def assign(self, c: list[Any]) -> T.Assign:
        at = index(c, "EQUAL")
        return T.Assign(self.span(c), nodes(c[:at]), nodes(c[at:]))

    def target(self, c: list[Any]) -> T.Target:
        return T.Target(self.span(c), c[0], c[1].items if len(c) > 1 else None)

    goal = target

    def attend(self, c: list[Any]) -> T.Attend:
        target = c[1] if isinstance(c[1], T.Target) else None
        axes = c[-2].items if isinstance(c[-2], Part) else ()
        return T.Attend(self.span(c), target, axes, c[-1].items)

    def over(self, c: list[Any]) -> Part:
        return self.part(c)

    def fold(self, c: list[Any]) -> T.Fold:
        return T.Fold(self.span(c), c[1].items, c[3], after(c, "BY"), c[-1].items)

    def binder(self, c: list[Any]) -> Part:
        return Part(tuple([str(t) for t in c if t.type == "NAME"]), start(c[0]), end(c[-1]))

    def range(self, c: list[Any]) -> T.Range:
        return T.Range(self.span(c), c[0], c[2])

    def static_if(self, c: list[Any]) -> T.If:
        return T.If(self.span(c), c[1], c[2].items, c[4].items if len(c) > 3 else ())

    def clause_if(self, c: list[Any]) -> T.ClauseIf:
        return T.ClauseIf(self.span(c), c[1], c[2].items, c[4].items if len(c) > 3 else ())

    def require(self, c: list[Any]) -> T.Require:
        return T.Require(self.span(c), nodes(c))

    def assume(self, c: list[Any]) -> T.Assume:
        return T.Assume(self.span(c), nodes(c))

    def return_(self, c: list[Any]) -> T.Return:
        return T.Return(self.span(c), c[1])

    def score(self, c: list[Any]) -> T.Score:
        return T.Score(self.span(c), nodes(c))

    def mask(self, c: list[Any]) -> T.Mask:
        return T.Mask(self.span(c), c[1])

    def normalize(self, c: list[Any]) -> T.Normalize:
        return T.Normalize(self.span(c), nodes(c))

    def post(self, c: list[Any]) -> T.Post:
        return T.Post(self.span(c), c[1])

    def mix(self, c: list[Any]) -> T.Mix:
        return T.Mix(self.span(c), c[1])

    def emit(self, c: list[Any]) -> T.Emit:
        return T.Emit(self.span(c), nodes(c))

    def setting(self, c: list[Any]) -> T.Setting:
        return T.Setting(self.span(c), str(c[0]), str(c[1]))

    def segment(self, c: list[Any]) -> T.Over:
        return T.Over(self.span(c), c[0].items, c[-1].items, c[2] if len(c) > 2 else None)

    def local(self, c: list[Any]) -> T.Local:
        return T.Local(self.span(c), c[0], c[2])

    def named(self, c: list[Any]) -> T.Named:
        return T.Named(self.span(c), c[0] if len(c) > 1 else None, c[-1])
