"""The canonical layout of an `.attn` text: `fmt`. All that is written stays, comments and parentheses too; only layout changes.

- Two spaces a level, lines up to 130 columns; what does not fit is filled line by line, aligned where it began.
- A header that fits on one line stands on one line; otherwise the author's line breaks between its entries stay.
- The clauses of an attend begin with their words in one column. An attend, fold or if written on one line stays on one line while
  it fits; such lines one below the other are aligned.
- At most one empty line in a row. A comment stays above or behind the entry, statement, clause or declaration it belongs to.
"""

from __future__ import annotations

import re
from typing import Any

from ..errors import AttnInternalError, Source, Span
from . import tree as T
from .comments import Comments, is_expression
from .layout import Layout, Piece, column_after, listed
from .parser import parse
from .show import Shower, show

_PLAIN = T.Num | T.Str | T.Name | T.Unary | T.Binary | T.Compare | T.List | T.Bracket | T.Call | T.Attr
_DIGITS = re.compile(r"\d[\d.]*(?:[eE][-+]?\d+)?")
_REMARK = re.compile(r"#[^\n]*")
_WORD: dict[type, str] = {
    T.Score: "score", T.Mask: "mask", T.Normalize: "normalize", T.Post: "post", T.Mix: "mix", T.Emit: "emit",
}  # fmt: skip


def fmt(text: str, filename: str = "<string>") -> str:
    """The text in canonical layout; formatting that again changes nothing, and it parses to the same tree.

    Raises: AttnSyntaxError when the text does not parse.
    """
    source = Source(filename, text)
    file = parse(source)
    result = _Formatter(file, source).file()
    if repr(parse(Source(filename, result))) != repr(file):
        raise AttnInternalError("formatting would change the meaning of this text", Span(source, 0, 0))
    return result


__all__ = ["fmt", "show"]


class _AsWritten(Shower):
    """Keeps the author's numbers and parentheses."""

    def __init__(self, comments: Comments) -> None:
        self.comments = comments

    def number(self, node: T.Num) -> str:
        written = _DIGITS.search(_REMARK.sub("", self.comments.text[node.span.start : node.span.end]))
        return written.group() if written else super().number(node)

    def wrapped(self, node: T.Node, least: int) -> bool:
        own = isinstance(node, _PLAIN) and self.comments.match.get(node.span.start) == node.span.end - 1
        return (own and self.comments.text[node.span.start] == "(") or super().wrapped(node, least)


class _Formatter:
    def __init__(self, file: T.File, source: Source) -> None:
        self.tree = file
        self.comments = Comments(file, source.text)
        self.show = _AsWritten(self.comments)
        self.layout = Layout(self.show)
        self.words = 0  # the width of the clause words in the attend at hand

    def file(self) -> str:
        lines = self.items(self.tree.decls, 0, (id(self.tree), "file"))
        return "\n".join(lines) + "\n" if lines else ""

    # ------------------------------------------------------------------------------------------------- sequences and blocks

    def items(self, nodes: tuple[Any, ...], indent: int, key: tuple[int, str]) -> list[str]:
        """Declarations, statements or clauses below one another, with their comments."""
        pad, lines = " " * indent, list[str]()
        aligned = self.aligned(nodes, indent)
        for node in nodes:
            for text, blank in self.comments.above[id(node)]:
                lines += ["", pad + text] if blank and lines else [pad + text]
            if lines and self.comments.blank_before(node.span.start):
                lines.append("")
            lines += [pad + text for text in self.comments.within[id(node)]]
            body = pad + (aligned.get(id(node)) or self.node(node, indent))
            lines.append("  ".join([body, *self.comments.behind[id(node)]]))
        for text, blank in self.comments.closing[key]:
            lines += ["", pad + text] if blank and lines else [pad + text]
        return lines

    def block(self, nodes: tuple[Any, ...], indent: int, key: tuple[int, str], first: list[str] | None = None) -> str:
        """`{ .. }` over several lines; `first` are comments that go before those behind the opening brace."""
        opening = (first or []) + self.comments.opening[key]
        inside = self.items(nodes, indent + 2, key)
        if not inside and not opening:
            return "{ }"
        return "\n".join(["  ".join(["{", *opening]), *inside, " " * indent + "}"])

    def stays_on_line(self, node: Any, indent: int) -> bool:
        """Whether a statement or clause with a block was and can be on one line."""
        if not self.comments.one_line(node):
            return False
        blocks = [node.then, node.orelse] if isinstance(node, T.If) else [node.body] if isinstance(node, T.Fold) else []
        return all(len(b) <= 1 for b in blocks) and indent + len(self.show.text(node)) <= self.layout.width

    def aligned(self, nodes: tuple[Any, ...], indent: int) -> dict[int, str]:
        """Neighbouring one-line attends, segments and ifs, with their blocks in columns."""
        result: dict[int, str] = {}
        run: list[Any] = []
        for node in (*nodes, None):
            goes_on = (
                run and type(node) is type(run[0]) and not self.comments.above[id(node)] and not self.comments.within[id(node)]
                and not self.comments.blank_before(node.span.start) and not self.comments.behind[id(run[-1])]
            )  # fmt: skip
            fits = isinstance(node, T.Attend | T.Over | T.If | T.ClauseIf) and self.stays_on_line(node, indent)
            if run and not (goes_on and fits and not getattr(node, "orelse", ())):
                result.update(self._columns(run, indent))
                run = []
            if fits and not getattr(node, "orelse", ()):
                run.append(node)
        return result

    def _columns(self, run: list[Any], indent: int) -> dict[int, str]:
        if len(run) < 2:
            return {}
        heads = [self.show.head(n) for n in run]
        width = max(map(len, heads))
        attends = isinstance(run[0], T.Attend | T.Over)
        bodies = [[self.show.text(c) for c in (n.clauses if attends else n.then)] for n in run]
        choices = [bodies]
        if attends and len({tuple([type(c) for c in n.clauses]) for n in run}) == 1:
            choices.insert(0, _padded(bodies))
        for choice in choices:
            texts = ["   ".join(cells) for cells in choice]
            lines = [f"{head.ljust(width)} {{ {text + ' ' if text else ''}}}" for head, text in zip(heads, texts, strict=True)]
            if indent + max(map(len, lines)) <= self.layout.width:
                return {id(n): line for n, line in zip(run, lines, strict=True)}
        return {}

    # ----------------------------------------------------------------------------------------------- statements and clauses

    def node(self, node: Any, indent: int) -> str:
        match node:
            case T.Pattern() | T.Bundle() | T.Define():
                return self.declaration(node)
            case T.Attend() | T.Over() | T.Fold() | T.If() | T.ClauseIf():
                return self.show.text(node) if self.stays_on_line(node, indent) else self.with_block(node, indent)
            case T.Assign():
                head = ", ".join([self.show.text(t) for t in node.targets]) + " ="
                if indent + len(head) > 60 and indent + len(self.show.text(node)) > self.layout.width:
                    return f"{head}\n{' ' * (indent + 2)}{self.layout.fill(listed(node.values), indent + 2)}"
                return f"{head} {self.layout.fill(listed(node.values), indent + len(head) + 1)}"
            case T.Require() | T.Assume():
                word = "require " if isinstance(node, T.Require) else "assume "
                return word + self.listing(node.conds, indent + len(word))
            case T.Return():
                return f"return {self.layout.lay(node.value, indent + 7)}"
            case T.Local():
                head = f"{self.show.text(node.name)} = "
                return head + self.layout.lay(node.value, indent + len(head))
        word = node.key if isinstance(node, T.Setting) else _WORD[type(node)]
        word = word.ljust(self.words) + "  "
        column = indent + len(word)
        match node:
            case T.Setting():
                return word + node.value
            case T.Mask() | T.Mix():
                return word + self.layout.lay(node.value, column)
            case T.Post():
                return word + self.layout.lay(node.item, column)
        return word + self.listing(node.items, column)

    def listing(self, nodes: tuple[Any, ...], column: int) -> str:
        """A list with the author's line breaks, unless it fits on one line."""
        if column + len(self.show.exprs(nodes)) <= self.layout.width:
            return self.show.exprs(nodes)
        breaks = self.breaks(nodes, [len(self.show.expr(n)) + 2 for n in nodes], column)
        return self.layout.fill([p._replace(new_line=b) for p, b in zip(listed(nodes), breaks, strict=True)], column)

    def breaks(self, nodes: tuple[Any, ...], lengths: list[int], column: int) -> list[bool]:
        """Before which nodes the author began a new line; none when some of those lines would be too long."""
        breaks = [k > 0 and self.comments.broken_between(nodes[k - 1].span.end, n.span.start) for k, n in enumerate(nodes)]
        here = column
        for new_line, length in zip(breaks, lengths, strict=True):
            here = (column if new_line else here) + length
            if here - 2 > self.layout.width and any(breaks):
                return [False] * len(nodes)
        return breaks

    def with_block(self, node: Any, indent: int) -> str:
        head = self.show.head(node)
        if isinstance(node, T.If | T.ClauseIf):
            text = f"if {self.layout.lay(node.cond, indent + 3, 2)} {self.block(node.then, indent, (id(node), 'then'))}"
            key = (id(node), "orelse")
            if node.orelse or self.comments.opening[key] or self.comments.closing[key]:
                text += f" else {self.block(node.orelse, indent, key)}"
            return text
        if isinstance(node, T.Fold):
            return f"{head} {self.block(node.body, indent, (id(node), 'body'))}"
        outer, self.words = self.words, max(map(len, _words(node.clauses)), default=0)
        text = f"{head} {self.block(node.clauses, indent, (id(node), 'body'))}"
        self.words = outer
        return text

    # --------------------------------------------------------------------------------------------------------- declarations

    def declaration(self, node: T.Pattern | T.Bundle | T.Define) -> str:
        flat = self.show.text(node)
        blocks = [] if isinstance(node, T.Bundle) else [node.body] if isinstance(node, T.Pattern) else [node.body, node.vjp]
        simple = isinstance(node, T.Bundle) or (isinstance(node, T.Define) and is_expression(node))
        if self._quiet(node) and len(flat) <= self.layout.width and all(len(b) <= 1 for b in blocks):
            if simple:
                return flat
            if self.comments.one_line(node) and not (isinstance(node, T.Define) and isinstance(node.body[0], T.Return)):
                return flat
        text, pending = self.header(node, 0 if isinstance(node, T.Bundle) else 2)
        if isinstance(node, T.Bundle):
            return "  ".join([text, *pending])
        if isinstance(node, T.Define) and is_expression(node):
            return "  ".join([f"{text} =\n  {self.layout.lay(node.body[0].value, 2)}", *pending])  # type: ignore[union-attr]  # is_expression: it is one Return
        text = f"{text} {self.block(node.body, 0, (id(node), 'body'), pending)}"
        if isinstance(node, T.Define) and node.vjp_grad is not None:
            text += f" vjp ({node.vjp_grad}) "
            start, end = self.comments.blocks(node)[-1][2:4]
            flat = self.show.block(node.vjp)
            room = self.layout.width - column_after(text, 0)
            on_line = not self.comments.broken_between(start, end) and len(node.vjp) <= 1 and len(flat) <= room
            text += flat if on_line else self.block(node.vjp, 0, (id(node), "vjp"))
        return text

    def _quiet(self, node: T.Pattern | T.Bundle | T.Define) -> bool:
        """Whether no comment stands in the header."""
        outputs, where = getattr(node, "outputs", ()), getattr(node, "where", ())
        entries = (*node.inputs, *node.params, *outputs, *where)
        return not any(self.comments.above[id(e)] or self.comments.behind[id(e)] for e in entries)

    def header(self, node: T.Pattern | T.Bundle | T.Define, tail: int) -> tuple[str, list[str]]:
        """What stands before the body, and the comments that must follow on its last line."""
        start = self.show.define_start(node) if isinstance(node, T.Define) else f"{type(node).__name__.lower()} {node.name}"
        outputs = node.outputs if isinstance(node, T.Pattern) else ()
        where = () if isinstance(node, T.Define) else node.where
        signature = self.show.signature(node)
        ending = (f" -> {', '.join([self.show.text(o) for o in outputs])}" if outputs else "") + self.show.sizes(where)
        if self._quiet(node) and len(start + signature + ending) + tail <= self.layout.width:
            return start + signature + ending, []
        entries = (*node.inputs, *node.params)
        text, pending = self.entries(entries, len(node.inputs), len(start) + 1, 1)
        text = f"{start}({'; ' if node.params and not node.inputs else ''}{text})"
        end = entries[-1].span.end if entries else node.span.start
        for word, part, last in ((" -> ", outputs, not where), (" where ", where, True)):
            if not part:
                continue
            flat = word + ", ".join([self.show.text(p) for p in part])
            above = [note for note, _ in self.comments.above.pop(id(part[0]), [])]
            broken = above or self.comments.broken_between(end, part[0].span.start)
            if pending or broken or column_after(text, 0) + len(flat) + (tail if last else 0) > self.layout.width:
                text = "\n    ".join(["  ".join([text, *pending]), *above]) + "\n   "
            more, pending = self.entries(part, 0, column_after(text, 0) + len(word), tail if last else 0)
            text += word + more
            end = part[-1].span.end
        return text, pending

    def entries(self, nodes: tuple[Any, ...], inputs: int, column: int, tail: int) -> tuple[str, list[str]]:
        """The entries of one part of a header, params after the first `inputs`; and the comments left for behind the last one."""
        column += 2 if not inputs and nodes and isinstance(nodes[0], T.Param) else 0
        pad = "\n" + " " * column
        quiet = not any(self.comments.above[id(e)] or self.comments.behind[id(e)] for e in nodes)
        ends = [("" if k == len(nodes) - 1 else ";" if k == inputs - 1 else ",") for k in range(len(nodes))]
        lengths = [len(self.show.text(n)) + 2 for n in nodes]
        breaks = self.breaks(nodes, lengths, column)
        fits = column + sum(lengths) - 2 + tail <= self.layout.width
        if quiet and fits and not any(breaks):
            return self.layout.fill([Piece("", n, after=e) for n, e in zip(nodes, ends, strict=True)], column, tail), []
        text, here, pending = "", column, list[str]()
        for k, (node, after) in enumerate(zip(nodes, ends, strict=True)):
            above = [note for note, _ in self.comments.above[id(node)]]
            room = len(after) if after else tail
            if k > 0:
                too_long = here + 1 + len(self.show.text(node)) + room > self.layout.width
                new_line = breaks[k] or k == inputs or above or pending or too_long
                text = "  ".join([text, *pending]) + (pad if new_line else " ")
                here = column if new_line else here + 1
            text += "".join([note + pad for note in above])
            more = self.layout.lay(node, here, room) + after
            text += more
            here = column_after(more, here)
            pending = self.comments.behind[id(node)]
        return text, pending


def _padded(rows: list[list[str]]) -> list[list[str]]:
    """The cells of all columns but the last padded to one width, unless a column would be mostly padding."""
    columns = list(zip(*rows, strict=True))[:-1]
    widths = [max(map(len, column)) for column in columns]
    if any(width - min(map(len, column)) > 16 for width, column in zip(widths, columns, strict=True)):
        return rows
    return [[*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), *row[-1:]] for row in rows]


def _words(clauses: tuple[T.Clause, ...]) -> list[str]:
    """The clause words of an attend, static ifs included."""
    words: list[str] = []
    for clause in clauses:
        if isinstance(clause, T.ClauseIf):
            words += _words(clause.then) + _words(clause.orelse)
        elif isinstance(clause, T.Setting):
            words.append(clause.key)
        elif type(clause) in _WORD:
            words.append(_WORD[type(clause)])
    return words
