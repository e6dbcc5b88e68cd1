"""Turns lark's refusal into an AttnSyntaxError in the words of the language: expected, found, how to mend it."""

from __future__ import annotations

from typing import Any

from ..errors import AttnSyntaxError, Source, Span
from . import tree as T
from .slips import Situation, advice

CLOSERS = {"LPAR": ("RPAR", ")"), "LSQB": ("RSQB", "]"), "LBRACE": ("RBRACE", "}"), "FAM_OPEN": ("RBRACE", "}")}
RESERVED = frozenset({
    "PATTERN", "BUNDLE", "DEFINE", "ATTEND", "FOLD", "IF", "ELSE", "REQUIRE", "ASSUME", "RETURN", "AND", "OR", "NOT",
    "DIV", "MOD", "IN",
})  # fmt: skip
# Terminals that can always follow an operand: naming them all would hide what matters.
_CONTINUES = frozenset({
    "DEFAULT", "OR", "AND", "IN", "CMP", "PLUS", "MINUS", "STAR", "SLASH", "DIV", "MOD", "CARET", "DOT", "LSQB", "LPAR",
    "FAM_OPEN", "TAIL", "PRIMES", "GLOBSTAR", "CONCAT", "DOTDOT", "BY",
})  # fmt: skip
_NAMES = frozenset({
    "NAME", "WHERE", "FOR", "BY", "VJP", "SCORE", "MASK", "NORMALIZE", "POST", "MIX", "EMIT", "ORDER", "EMPTY", "OVER",
})  # fmt: skip
_TEXT = {
    "COMMA": "','", "RPAR": "')'", "RSQB": "']'", "RBRACE": "'}'", "LPAR": "'('", "LSQB": "'['", "LBRACE": "'{'", "EQUAL": "'='",
    "COLON": "':'", "SEMICOLON": "';'", "VBAR": "'|'", "ARROW": "'->'", "OPT": "'?'", "STAR": "'*'", "CONCAT": "'++'",
    "DOTDOT": "'..'", "IN": "'in'", "ELSE": "'else'", "IF": "'if'", "WHERE": "'where'", "FOR": "'for'", "OVER": "'over'",
    "VJP": "'vjp'", "BY": "'by'", "STRING": "a string in quotes", "INT": "a number", "$END": "the end of the text",
}  # fmt: skip


def diagnose(error: Any, source: Source) -> AttnSyntaxError:
    """The error to raise for a `lark.UnexpectedInput`."""
    stack = error.interactive_parser.parser_state.value_stack
    accepts = frozenset(error.interactive_parser.accepts())
    token = getattr(error, "token", None)
    if token is None:
        return _character(error.pos_in_stream, source)
    at_end = token.type == "$END"
    here = len(source.text.rstrip()) if at_end else token.start_pos
    span = Span(source, here, here if at_end else token.end_pos)
    opened = _innermost(stack)
    inside = opened[0] if opened else None
    if (token.type in ("RPAR", "RSQB") and inside in ("LBRACE", None)) or (token.type == "RBRACE" and inside is None):
        return AttnSyntaxError(f"'{token}' closes nothing", span, "take it away, or open the bracket it should close")
    last = _last(stack)
    operand = {"PLUS", "CMP"} <= accepts or (_ends_in_expression(last) and not accepts & {"EQUAL", "COLON", "OPT"})
    touches = here > 0 and (source.text[here - 1].isalnum() or source.text[here - 1] in "_}")
    help = advice(Situation(token.type, str(token), accepts, last, _word_before(last, source), inside, operand, touches))
    expected = _expected(accepts, operand)
    found = "the end of the text" if at_end else f"'{token}'"
    if opened is not None:
        kind, what, place = opened
        closer, sign = CLOSERS[kind]
        closes = token.type in ("$END", "PATTERN", "BUNDLE", "DEFINE", "RPAR", "RSQB", "RBRACE")
        if closer in accepts and (closes or (kind in ("LPAR", "LSQB") and "\n" in source.text[place:here])):
            line, column = source.position(place)
            where = f"line {line}" if source.position(here)[0] != line else f"column {column}"
            expected = f"'{sign}' to close the {what} opened at {where}"
        elif token.type in RESERVED and "NAME" in accepts:
            found = f"the reserved word {found}"
    elif token.type in RESERVED and "NAME" in accepts:
        found = f"the reserved word {found}"
    if found.startswith("the reserved word") and not help:
        help = "a reserved word cannot be a name: take another one"
    return AttnSyntaxError(f"expected {expected}, found {found}", span, help)


def _character(at: int, source: Source) -> AttnSyntaxError:
    """No word of the language begins here: in practice a number with letters in it."""
    end = at
    while end < len(source.text) and (source.text[end].isalnum() or source.text[end] in "_."):
        end += 1
    word = source.text[at : max(end, at + 1)]
    if word[0].isdigit():
        help = "numbers are written 3, 0.5 or 1e-5; a product needs '*'; names begin with a letter"
        return AttnSyntaxError(f"'{word}' is no number", Span(source, at, end), help)
    return AttnSyntaxError(f"unexpected '{word}'", Span(source, at, max(end, at + 1)))


def _ends_in_expression(last: Any) -> bool:
    return isinstance(last, T.Expr | T.Named | T.Arg | T.Assign | T.Require | T.Assume | T.Return | T.Score | T.Mask | T.Normalize
                      | T.Post | T.Mix | T.Emit | T.Local)  # fmt: skip


def _word_before(last: Any, source: Source) -> str:
    """The word before the last node or token, on the same line."""
    place = last.span.start if isinstance(last, T.Node) else getattr(last, "start_pos", 0)
    line = source.text[source.text.rfind("\n", 0, place) + 1 : place].split()
    return line[-1] if line else ""


def _last(stack: list[Any]) -> Any:
    """The node or token just before the error."""
    last = stack[-1] if stack else None
    while last is not None and hasattr(last, "children"):
        last = last.children[-1] if last.children else None
    return last


def _innermost(stack: list[Any]) -> tuple[str, str, int] | None:
    """The last bracket still open: its type, what it belongs to, and the place where that begins."""
    closed = 0
    for i in range(len(stack) - 1, -1, -1):
        kind = getattr(stack[i], "type", None) if isinstance(stack[i], str) else None
        closed += kind in ("RPAR", "RSQB", "RBRACE")
        if kind in CLOSERS:
            closed -= 1
        if kind in CLOSERS and closed < 0:
            if kind != "LBRACE":
                what = "family brace" if kind == "FAM_OPEN" else f"'{stack[i]}'"
                return str(kind), what, stack[i].start_pos
            return (str(kind), *_construct(stack, i))
    return None


def _construct(stack: list[Any], brace: int) -> tuple[str, int]:
    """What a block belongs to, and where that begins."""
    if getattr(stack[brace - 1], "type", None) in ("COLON", "LPAR", "COMMA"):
        return "record type", stack[brace].start_pos
    for i in range(brace - 1, -1, -1):
        value = stack[i]
        kind = getattr(value, "type", None) if isinstance(value, str) else None
        if kind == "LBRACE":
            break
        if kind == "IF" and i > 0 and _is_over(stack[i - 1]):
            return "over", stack[i - 1].start
        if kind in ("PATTERN", "DEFINE", "ATTEND", "FOLD", "IF", "ELSE", "VJP"):
            return str(value), value.start_pos
    return "over", stack[brace - 1].start


def _is_over(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value[0]) and isinstance(value[0][0], (T.Name, T.Pack))


def _expected(accepts: frozenset[str], operand: bool) -> str:
    """The accepted terminals in words; `operand` says that an expression may go on."""
    rest = accepts - _CONTINUES if operand else accepts - {"FAM_OPEN", "PRIMES", "TAIL", "GLOBSTAR"}
    words = ["an operator"] if operand else []
    closers = rest & {"RPAR", "RSQB", "RBRACE"}
    if {"NAME", "INT", "FLOAT", "MINUS"} <= accepts:
        words = ["an expression"]
        rest = closers
    elif {"ATTEND", "FOLD"} <= accepts:
        words.append("a new statement" if operand else "a statement")
        rest = closers
    elif {"RBRACE", "SCORE", "MASK", "IF"} <= accepts:
        words.append("a new clause" if operand else "a clause")
        rest = closers
    elif {"PATTERN", "BUNDLE", "DEFINE"} <= accepts:
        words += ["'pattern'", "'define'", "'bundle'"]
        rest &= {"VJP", "WHERE", "COMMA"}
    elif "NAME" in accepts:
        words.append("a name")
        rest -= _NAMES
    elif "COMMA" in rest and closers:
        words = []
        rest = closers | {"COMMA"}
    elif "EQUAL" in rest and not operand and "LBRACE" not in rest:
        rest = frozenset({"EQUAL"})
    words += [text for terminal, text in _TEXT.items() if terminal in rest]
    return " or ".join(words) if len(words) < 3 else f"{', '.join(words[:-1])} or {words[-1]}"
