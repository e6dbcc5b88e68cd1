"""Where each comment of a text belongs: the formatter prints a tree, and a tree has no comments.

A comment is attached to the declaration, signature entry, statement or clause it stands above or behind, or to the block it opens
or ends. A comment in the middle of an expression is moved above its statement, or behind its signature entry.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import defaultdict
from typing import Any, NamedTuple

from . import tree as T

_LEX = re.compile(r'#[^\n]*|"[^"\n]*"|\w+|[^\s\w]')
_ENTRY = T.Input | T.Param | T.Include | T.Output | T.OutputFamily | T.Where
_DECL = T.Pattern | T.Bundle | T.Define


class Block(NamedTuple):
    """A sequence of nodes between two offsets; `part` tells the blocks of one node apart."""

    owner: T.Node
    part: str
    start: int
    end: int
    items: tuple[Any, ...]

    @property
    def key(self) -> tuple[int, str]:
        return id(self.owner), self.part


class Comments:
    """The comments of a parsed text, by the id of the node or the key of the block that they belong to."""

    def __init__(self, file: T.File, text: str) -> None:
        self.text = text
        self.above: dict[int, list[tuple[str, bool]]] = defaultdict(list)  # each with whether an empty line comes before it
        self.within: dict[int, list[str]] = defaultdict(list)
        self.behind: dict[int, list[str]] = defaultdict(list)
        self.opening: dict[tuple[int, str], list[str]] = defaultdict(list)  # behind the opening brace of a block
        self.closing: dict[tuple[int, str], list[tuple[str, bool]]] = defaultdict(list)
        self.match: dict[int, int] = {}  # each bracket's partner
        self._tokens: list[tuple[int, str]] = []
        self._place(Block(file, "file", 0, len(text), file.decls), self._lex())

    def _lex(self) -> list[int]:
        notes, opened = [], []
        for found in _LEX.finditer(self.text):
            sign = found.group()
            if sign[0] == "#":
                notes.append(found.start())
                continue
            self._tokens.append((found.start(), sign))
            if sign in "([{":
                opened.append(found.start())
            elif sign in ")]}":
                self.match[found.start()] = opened.pop()
                self.match[self.match[found.start()]] = found.start()
        return notes

    # ------------------------------------------------------------------------------------------ questions of the formatter

    def blank_before(self, offset: int) -> bool:
        """Whether an empty line stands before what begins here."""
        newlines = 0
        while offset > 0 and self.text[offset - 1].isspace():
            offset -= 1
            newlines += self.text[offset] == "\n"
        return newlines > 1

    def one_line(self, node: T.Node) -> bool:
        """Whether the node stands on one line; it holds no comment then."""
        return "\n" not in self.text[node.span.start : node.span.end]

    def broken_between(self, left: int, right: int) -> bool:
        """Whether the author began a new line between two offsets."""
        return "\n" in self.text[left:right]

    # ----------------------------------------------------------------------------------------------------------- placement

    def _note(self, offset: int) -> str:
        end = self.text.find("\n", offset)
        text = self.text[offset : end if end >= 0 else len(self.text)].rstrip()
        return text if len(text) == 1 or text[1] in " #" else f"# {text[1:]}"

    def _place(self, block: Block, notes: list[int]) -> None:
        inner: dict[int, list[int]] = defaultdict(list)
        starts = [item.span.start for item in block.items]
        for note in notes:
            k = bisect_left(starts, note)
            before = block.items[k - 1] if k else None
            if before is not None and note < before.span.end:
                inner[k - 1].append(note)
                continue
            code_before = bool(self.text[self.text.rfind("\n", 0, note) + 1 : note].strip())
            text, blank = self._note(note), self.blank_before(note)
            same_line = before is not None and not self.broken_between(before.span.end, note)
            if code_before and before is not None and (same_line or block.part == "head"):
                self.behind[id(before)].append(text)
            elif code_before and before is None and block.part not in ("head", "file"):
                self.opening[block.key].append(text)
            elif k < len(block.items):
                self.above[id(block.items[k])].append((text, blank))
            else:
                self.closing[block.key].append((text, blank))
        for k, inside in inner.items():
            self._enter(block.items[k], inside)

    def _enter(self, node: T.Node, notes: list[int]) -> None:
        """Place the comments inside a node: into its blocks, else above or behind it."""
        blocks = self.blocks(node)
        moved: list[str] = []
        for block in blocks:
            mine = [n for n in notes if block.start <= n < block.end]
            notes = [n for n in notes if not block.start <= n < block.end]
            self._place(block, mine)
            if block.part != "head":
                continue
            left_over = self.behind.pop(id(block.items[-1]), []) if block.items else []
            left_over += [text for text, _ in self.closing.pop(block.key, [])]
            if len(blocks) > 1:
                self.opening[id(node), blocks[1].part] += left_over
            else:
                moved += left_over
        moved += [self._note(n) for n in notes]
        if isinstance(node, _ENTRY | _DECL):
            self.behind[id(node)][:0] = moved
        else:
            self.within[id(node)] += moved

    def _token(self, offset: int, steps: int) -> tuple[int, str]:
        """Offset and text of the token so many steps after the one at `offset`, or before it."""
        return self._tokens[bisect_left(self._tokens, (offset, "")) + steps]

    def _signature_end(self, start: int) -> int:
        """The closing parenthesis of the definition that begins here."""
        place, sign = self._token(start, 2)  # define NAME ( or [
        if sign == "[":
            place = self._token(self.match[place], 1)[0]
        return self.match[place]

    def blocks(self, node: T.Node) -> list[Block]:
        """The blocks of a node in the order of the text."""
        start, close = node.span.start, node.span.end - 1
        match node:
            case T.Pattern():
                opened = self.match[close]
                entries = (*node.inputs, *node.params, *node.outputs, *node.where)
                return [Block(node, "head", start, opened, entries), Block(node, "body", opened, close, node.body)]
            case T.Bundle():
                return [Block(node, "head", start, close + 1, (*node.inputs, *node.params, *node.where))]
            case T.Define():
                entries = (*node.inputs, *node.params)
                if is_expression(node):
                    return [Block(node, "head", start, self._signature_end(start), entries)]
                last = [Block(node, "vjp", self.match[close], close, node.vjp)] if node.vjp_grad is not None else []
                if last:
                    close = self._token(last[0].start, -5)[0]  # } vjp ( g ) {
                opened = self.match[close]
                return [Block(node, "head", start, opened, entries), Block(node, "body", opened, close, node.body), *last]
            case T.Attend() | T.Over():
                return [Block(node, "body", self.match[close], close, node.clauses)]
            case T.Fold():
                return [Block(node, "body", self.match[close], close, node.body)]
            case T.If() | T.ClauseIf():
                opened = self.match[close]
                place, word = self._token(opened, -1)
                if word != "else" or place < node.cond.span.end:
                    return [Block(node, "then", opened, close, node.then)]
                end = self._token(place, -1)[0]
                orelse = Block(node, "orelse", opened, close, node.orelse)
                return [Block(node, "then", self.match[end], end, node.then), orelse]
        return []


def is_expression(node: T.Define) -> bool:
    """Whether a definition is written `= e` rather than with a block."""
    only = node.body[0] if len(node.body) == 1 else None
    return isinstance(only, T.Return) and only.span == only.value.span and node.vjp_grad is None
