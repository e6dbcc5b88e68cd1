"""Breaks what does not fit on a line: expressions and lists are filled line by line, aligned where they begin."""

from __future__ import annotations

from typing import Any, NamedTuple

from . import tree as T
from .show import LEVEL, NEGATE, NOT, POSTFIX, SUM, Shower, operands

WIDTH = 130


class Piece(NamedTuple):
    """One part of a sequence: what comes before it, the node, the level it must have, what follows it at once."""

    before: str
    node: T.Node
    least: int = 0
    after: str = ""
    new_line: bool = False


def column_after(text: str, column: int) -> int:
    """The column behind a text that begins at `column`."""
    newline = text.rfind("\n")
    return column + len(text) if newline < 0 else len(text) - newline - 1


class Layout:
    """Prints nodes from a column on, with `tail` columns kept free behind them."""

    def __init__(self, show: Shower, width: int = WIDTH) -> None:
        self.show = show
        self.width = width

    def lay(self, node: T.Node, column: int, tail: int = 0, least: int = 0) -> str:
        """An expression; lines after the first are indented to fit."""
        flat = self.show.expr(node, least)
        if column + len(flat) + tail <= self.width:
            return flat
        if self.show.wrapped(node, least):
            return f"({self._broken(node, column + 1, tail + 1)})"
        return self._broken(node, column, tail)

    def fill(self, pieces: list[Piece], column: int, tail: int = 0) -> str:
        """Pieces one after another, on a new line at `column` when the next one does not fit there but does on a new line."""
        text, here = "", column
        for k, piece in enumerate(pieces):
            room = tail if k == len(pieces) - 1 else 0
            flat = piece.before + self.show.expr(piece.node, piece.least) + piece.after
            if k > 0:
                fits = here + 1 + len(flat) + room <= self.width
                hopeless = column + len(flat) + room > self.width and here - column < 30  # it breaks inside wherever it begins
                stays = (fits or hopeless) and not piece.new_line
                text += " " if stays else "\n" + " " * column
                here = here + 1 if stays else column
            if here + len(flat) + room > self.width:
                inner = self.lay(piece.node, here + len(piece.before), len(piece.after) + room, piece.least)
                flat = piece.before + inner + piece.after
            text += flat
            here = column_after(flat, here)
        return text

    def _broken(self, node: Any, column: int, tail: int) -> str:
        match node:
            case T.Binary() if node.op != "^":
                return self.fill(self._chain(node), column, tail)
            case T.Compare():
                signs = ["", *[f"{op} " for op in node.ops]]
                return self.fill([Piece(s, o, SUM) for s, o in zip(signs, node.operands, strict=True)], column, tail)
            case T.Unary():
                sign, least = ("not ", NOT) if node.op == "not" else ("-", NEGATE)
                return sign + self.lay(node.value, column + len(sign), tail, least)
            case T.Call():
                options = [Piece("", a, after="," * (k + 1 < len(node.options))) for k, a in enumerate(node.options)]
                return self._closed(node.fn, "()", node.args, node.such_that, None, options, column, tail)
            case T.Bracket():
                return self._closed(node.base, "[]", node.items, node.such_that, node.fill, [], column, tail)
            case T.Tuple() | T.List():
                opening, closing = "()" if isinstance(node, T.Tuple) else "[]"
                return opening + self.fill(listed(node.items), column + 1, tail + 1) + closing
            case T.Arg() | T.Named():
                name = f"{self.show.text(node.name)} = " if node.name is not None else ""
                return self._after(name, node.value, column, tail)
            case T.Bind() | T.Arrow():
                sign = " = " if isinstance(node, T.Bind) else " -> "
                return self._after(self.show.expr(node.left) + sign, node.right, column, tail)
            case T.Param(default=default) if default is not None:
                return self._after(self.show.text(node).removesuffix(self.show.expr(default)), default, column, tail)
            case T.Where(cond=None):
                return self._after(f"{self.show.text(node.left)} = ", node.right, column, tail)
        return self.show.text(node)

    def _after(self, prefix: str, node: T.Node, column: int, tail: int) -> str:
        return prefix + self.lay(node, column + len(prefix), tail)

    def _chain(self, node: T.Binary) -> list[Piece]:
        """The operands of operators of one level, each with its operator."""
        pieces: list[Piece] = []
        own = LEVEL[node.op]
        left: T.Node = node
        while isinstance(left, T.Binary) and LEVEL[left.op] == own and (left is node or not self.show.wrapped(left, own)):
            pieces.append(Piece(f"{left.op} ", left.right, operands(left)[1]))
            left = left.left
        return [Piece("", left, own), *reversed(pieces)]

    def _closed(self, base: T.Expr, signs: str, items: tuple[Any, ...], such_that: T.Expr | None, other: T.Expr | None,
                options: list[Piece], column: int, tail: int) -> str:  # fmt: skip
        """`base[items | such_that else other]` or `base(items | such_that; options)`."""
        head = self.lay(base, column, 1, POSTFIX) + signs[0]
        pieces = listed(items)
        if such_that is not None:
            pieces.append(Piece("| ", such_that))
        if other is not None:
            pieces.append(Piece("else ", other))
        if options and pieces:
            pieces[-1] = pieces[-1]._replace(after=";")
        elif options:
            head += "; "
        start = column_after(head, column)
        return head + self.fill(pieces + options, start, tail + 1) + signs[1]


def listed(items: tuple[Any, ...]) -> list[Piece]:
    """Pieces with commas between them."""
    return [Piece("", item, after="," * (k + 1 < len(items))) for k, item in enumerate(items)]


