"""What a text must satisfy before and after parsing, so that no input, however hostile, costs much or recurses deeply."""

from __future__ import annotations

import re

from ..errors import AttnSyntaxError, Source, Span
from . import tree as T
from .walk import inside

MAX_CHARS = 1_000_000
MAX_BRACKETS = 100
MAX_DEPTH = 150
MAX_PRIMES = 8

_SCAN = re.compile(
    r"""(?P<plain>[A-Za-z0-9_\ \t\r\n.,:;<>^?]+ | \#[^\n\0]* | "[^"\n\0]*" | (?<=[A-Za-z0-9_}])'+ | [!=<>]=)
    | (?P<slip>\*\* | // | \|\| | && | [-+*/%:]= | => | [!%&@~$\\`'])
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<operator>[-+*/=|])
    | (?P<quote>"[^\n\0]*)
    | (?P<bad>(?s:.))""",
    re.VERBOSE,
)

_SLIPS = {
    "**": "a power is written with '^', as in x ^ 2",
    "//": "integer division is written 'div'; comments begin with '#'",
    "%": "the remainder is written 'mod'",
    "&&": "write 'and'",
    "&": "write 'and'",
    "||": "write 'or'",
    "!": "write 'not'",
    "~": "write 'not'",
    "@": "a matrix product names the axis it sums, as in sum[m](a * b) or dot[m](a, b)",
    "=>": "'>=' compares; '->' comes before outputs",
    ":=": "write '='",
    "'": "strings are written in double quotes; a prime touches the name before it",
}


def check_text(source: Source) -> None:
    """Reject a text by its size, its characters, its strings or the depth of its brackets.

    Raises: AttnSyntaxError at the first thing that is wrong.
    """
    text = source.text
    if len(text) > MAX_CHARS:
        raise AttnSyntaxError(f"the text has {len(text)} characters, more than the {MAX_CHARS} allowed", Span(source, 0, 0))
    depth = 0
    for match in _SCAN.finditer(text):
        kind = match.lastgroup
        if kind in ("plain", "operator"):
            continue
        span = Span(source, match.start(), match.end())
        found = match.group()
        if kind == "open":
            depth += 1
            if depth > MAX_BRACKETS:
                raise AttnSyntaxError(f"brackets nest more than {MAX_BRACKETS} deep", span, "name parts of the expression first")
        elif kind == "close":
            depth = max(depth - 1, 0)
        elif kind == "quote":
            raise AttnSyntaxError("this string is not closed on its line", span, "add the closing '\"'")
        elif kind == "slip":
            help = _SLIPS.get(found, "")
            if found[-1] == "=" and not help:
                help = f"write the whole assignment, as in x = x {found[:-1]} y"
            shown = '"' if found == "'" else "'"
            raise AttnSyntaxError(f"{shown}{found}{shown} is not part of the language", span, help)
        else:
            shown = f"'{found}' (U+{ord(found):04X})" if found.isprintable() else f"U+{ord(found):04X}"
            raise AttnSyntaxError(f"the character {shown} may not appear here", span, "names and operators are plain ASCII")


def check_depth(root: T.Node) -> None:
    """Reject a tree too deep to be walked recursively: long chains of operators, calls or signs.

    Raises: AttnSyntaxError at the first node that is too deep.
    """
    stack: list[tuple[T.Node, int]] = [(root, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            message = f"the expression nests more than {MAX_DEPTH} deep"
            raise AttnSyntaxError(message, node.span, "name parts of the expression first")
        values = inside(node)
        while values:
            value = values.pop()
            if isinstance(value, T.Node):
                stack.append((value, depth + 1))
            elif isinstance(value, tuple):
                values.extend(value)
