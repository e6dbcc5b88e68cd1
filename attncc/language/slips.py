"""Help for the slips people make: habits from Python and C, forgotten signs. One line of advice per situation."""

from __future__ import annotations

import difflib
from typing import Any, NamedTuple

from . import tree as T


class Situation(NamedTuple):
    """Where the parser stopped.

    The token it met (`kind` is its terminal), what it would accept, the node or token just before, the word before that, the type
    of the innermost open bracket, whether an expression could have gone on, and whether the token touches what is before it.
    """

    kind: str
    text: str
    accepts: frozenset[str]
    last: Any
    word_before: str
    inside: str | None
    operand: bool
    touches: bool


CHOICE = "a choice between values is written where(cond, a, b)"
_WORDS = {
    "lambda": "functions are written with 'define' at the top of the file",
    "def": "functions are written with 'define', operators with 'pattern'",
    "for": "there are no comprehensions and no for loops: use a reducer such as sum[n](e), or 'fold n in a .. b { }'",
    "while": "a repetition is written 'fold n in a .. b { }'",
    "elif": "write 'else { if cond { } }'",
    "import": "a file stands for itself; the prelude's definitions are always there",
    "from": "a file stands for itself; the prelude's definitions are always there",
    "with": "there is no 'with'; write the names in full",
    "is": "write '=='",
    "let": "an assignment is just 'name = e'",
    "var": "an assignment is just 'name = e'",
    "assert": "write 'require' for parameters and sizes, 'assume' for data",
    "function": "functions are written with 'define', operators with 'pattern'",
}
_CLAUSE_WORDS = ("SCORE", "MASK", "NORMALIZE", "POST", "MIX", "EMIT", "ORDER", "EMPTY", "OVER")
_KEYWORDS = frozenset({"PATTERN", "DEFINE", "BUNDLE", "OVER", "WHERE", "ELSE", "IF", "VJP", "IN", "BY", "FOR"})
_OUTSIDE = {
    "FOLD": "an attend holds clauses alone: put the fold before it, or in a definition of pair values",
    "ATTEND": "an attend holds clauses alone: write one attend after the other",
    "RETURN": "only a definition returns: an attend gives what it mixes a name, 'attend o over j { .. }'",
    "REQUIRE": "an attend holds clauses alone: write it before the attend",
    "ASSUME": "an attend holds clauses alone: write it before the attend",
}
_OPENS_OPERAND = ("NAME", "INT", "FLOAT", "STRING", "NOT")


def _type(last: Any) -> str | None:
    return getattr(last, "type", None) if isinstance(last, str) else None


def _word(last: Any) -> str | None:
    """The bare name just before the error, if there is one."""
    if isinstance(last, T.Target):
        last = last.name
    if isinstance(last, T.Name):
        return last.plain
    return str(last) if _type(last) == "NAME" else None


def advice(at: Situation) -> str:
    """How to mend it, or an empty string."""
    before = _type(at.last)
    if at.kind == "FOR" and "FOR" not in at.accepts:
        return _WORDS["for"]
    if at.text in _WORDS and at.kind == "NAME":
        return _WORDS[at.text]
    if (word := _word(at.last)) in _WORDS and at.kind in (*_OPENS_OPERAND, "LBRACE"):
        return _WORDS[str(word)]
    if at.word_before == "lambda":
        return _WORDS["lambda"]
    if "SCORE" in at.accepts and "EQUAL" not in at.accepts and at.kind in _OUTSIDE:
        return _OUTSIDE[at.kind]
    near = _near(at, _word(at.last))
    if near:
        return f"did you mean '{near}'?"
    return _signs(at, before) or _structure(at, before)


def _near(at: Situation, before: str | None) -> str:
    """A word of the language that the word here, or the one before it, is a misspelling of."""
    if at.kind == "NAME" and "NAME" not in at.accepts:
        words = [w.lower() for w in at.accepts if w in _KEYWORDS]
        found = difflib.get_close_matches(at.text.lower(), words, 1, 0.7)
        if found:
            return found[0]
    if before is not None and "EQUAL" in at.accepts and not at.operand and at.kind in (*_OPENS_OPERAND, "LPAR"):
        words = [w.lower() for w in (*_CLAUSE_WORDS, "ATTEND", "FOLD", "REQUIRE", "ASSUME", "RETURN")]
        found = difflib.get_close_matches(before.lower(), words, 1, 0.65)
        return found[0] if found and found[0] != before else ""
    return ""


def _signs(at: Situation, before: str | None) -> str:
    """One sign written for another."""
    kind, accepts, operand = at.kind, at.accepts, at.operand
    if kind == "EQUAL" and before in _CLAUSE_WORDS:
        word = str(at.last)
        return f"a clause is written '{word} e', without '='; a local value cannot be called '{word}'"
    if kind == "EQUAL" and operand and "EQUAL" not in accepts:
        return "'==' compares"
    if kind == "CMP" and at.text == "==" and "EQUAL" in accepts:
        return "an assignment is written with one '='"
    if kind == "EQUAL" and "SEMICOLON" in accepts:
        return "a tensor has no default; parameters come after ';'"
    if kind == "EQUAL" and "COLON" in accepts:
        return "a parameter needs a type, as in 'eps: float = 1e-5'"
    if kind == "COLON" and at.inside == "LSQB" and at.word_before.endswith("->"):
        return "'where' gives a new axis its size: where w = 3"
    if kind == "COLON" and operand:
        return "a value is given with '=', as in f(x; eps = 1e-5)" if at.inside in ("LPAR", "LSQB") else ""
    if kind == "PLUS" and "MINUS" in accepts and not operand:
        return "there is no sign '+'; leave it out"
    if kind == "STAR" and "ELLIPSIS" in accepts:
        return "write '...' to pass on everything of equal name, 's_*' for one bundle"
    if kind == "DOT" and not operand:
        return "numbers begin with a digit: 0.5"
    if before == "DOT":
        return "numbers end with a digit: 1.0" if kind != "INT" else "a range is written 'a .. b'"
    if kind == "OPT" and before == "NAME" and at.inside == "LPAR" and "IF" in accepts:
        return "the mark of an optional input comes before its type: mask[b, j]?: bool"
    if kind == "OPT" and operand:
        return CHOICE + "; a value for something absent is written a ?? b"
    if kind == "ELSE" and "LBRACE" in accepts:
        return CHOICE
    if kind == "SEMICOLON" and at.inside == "LBRACE":
        return "statements need no ';'"
    if kind == "LBRACE" and at.touches and operand:
        return "between the braces of a family is one expression, or 'n in range', on one line"
    return ""


def _structure(at: Situation, before: str | None) -> str:
    """A part that is missing or in the wrong place."""
    kind, accepts, operand = at.kind, at.accepts, at.operand
    if before == "COMMA" and kind in ("RPAR", "RSQB", "RBRACE", "SEMICOLON"):
        return "leave out the ',' before it"
    if kind == "IF" and before == "ELSE":
        return "write 'else { if cond { } }'"
    if kind == "ARROW" and "EQUAL" in accepts:
        return "a define has no outputs: it ends with '= e' or '{ .. return e }'"
    if kind in ("LBRACE", "WHERE") and "ARROW" in accepts:
        return "a pattern names its outputs, as in '-> o[b, h, i, e]'"
    if before == "GLOBSTAR" and "COLON" in accepts:
        return "a bundle is included as 's_*: its_name'"
    if "COLON" in accepts and kind in ("COMMA", "RPAR") and "COMMA" not in accepts:
        return "a parameter needs a type, as in 'eps: float = 1e-5'"
    if "EQUAL" in accepts and kind in _OPENS_OPERAND and (word := _word(at.last) or "").upper() in _CLAUSE_WORDS:
        return f"'{word}' begins a clause only inside an attend"
    if "EQUAL" in accepts and not operand and _word(at.last) and at.inside == "LBRACE":
        return f"if '{_word(at.last)}' continues the expression before it, an operator is missing between them"
    if at.inside == "LSQB" and kind == "NAME" and accepts & {"COMMA"} and not operand:
        return f"is a ',' missing before '{at.text}'?"
    if operand and "COMMA" in accepts and kind in _OPENS_OPERAND and at.inside != "LBRACE":
        return f"is a ',' or an operator missing before '{at.text}'?"
    return ""
