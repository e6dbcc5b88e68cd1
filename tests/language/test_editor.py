"""The TextMate grammar: its expressions compile, it knows the words of the grammar, and it colours a text as meant."""

from __future__ import annotations

import json
import re
from importlib import resources

import pytest

GRAMMAR = json.loads(resources.files("attncc.grammar").joinpath("attn.tmLanguage.json").read_text(encoding="utf-8"))
RULES = GRAMMAR["repository"]


def rules(name: str) -> list[dict]:
    rule = RULES[name]
    if "match" in rule:
        return [rule]
    return [r for part in rule["patterns"] for r in (rules(part["include"][1:]) if "include" in part else [part])]


def scopes(line: str) -> list[tuple[str, str]]:
    """The words of a line with their scopes, as an editor finds them: the leftmost match, then the first rule."""
    result, at = [], 0
    while at < len(line):
        found = [(m.start(), k, m, r) for k, r in enumerate(rules("all")) if (m := re.compile(r["match"]).search(line, at))]
        if not found:
            break
        _, _, match, rule = min(found, key=lambda f: f[:2])
        if "name" in rule:
            result.append((match.group().strip(), rule["name"]))
        for group, scope in rule.get("captures", {}).items():
            if match.group(int(group)):
                result.append((match.group(int(group)), scope["name"]))
        at = max(match.end(), at + 1)
    return result


def test_every_word_of_the_grammar_is_known() -> None:
    lark = resources.files("attncc.grammar").joinpath("attn.lark").read_text(encoding="utf-8")
    words = set(re.findall(r"^[A-Z]+\.\d:\s+/(\w+)\\b/$", lark, re.MULTILINE))
    assert len(words) == 29
    text = json.dumps(RULES)
    assert not {w for w in words if not re.search(rf"(?<![A-Za-z]){w}(?![a-z])", text.replace("\\\\b", " "))}


@pytest.mark.parametrize(
    ("line", "word", "scope"),
    [
        ("pattern soft(x[b]; eps: float = 1e-5)", "soft", "entity.name.function"),
        ("pattern soft(x[b]; eps: float = 1e-5)", "eps", "variable.parameter"),
        ("pattern soft(x[b]; eps: float = 1e-5)", "float", "storage.type"),
        ("pattern soft(x[b]; eps: float = 1e-5)", "1e-5", "constant.numeric"),
        ("  s_*: block_w", "block_w", "entity.name.type"),
        ("    score      dot(q, k')  # note", "score", "keyword.other.clause"),
        ("    score      dot(q, k')  # note", "dot", "entity.name.function.call"),
        ("    score      dot(q, k')  # note", "k'", "variable.other"),
        ("    score      dot(q, k')  # note", "# note", "comment"),
        ("  attend o over j { mask not causal   order auto }", "mask", "keyword.other.clause"),
        ("  attend o over j { mask not causal   order auto }", "over", "keyword.control"),
        ("  attend o over j { mask not causal   order auto }", "auto", "constant.language"),
        ("  y = a + mask * 2", "mask", "variable.other"),
        ("  y = f(x, order - 1)", "order", "variable.other"),
        ("    where h = heads", "where", "keyword.control"),
        ("  y = where(a, b, c)", "where", "entity.name.function.call"),
        ("  t = sum[j | j <= i](x)", "sum", "entity.name.function.call"),
        ("  fold t in 3 .. 0 by -1 {", "by", "keyword.control"),
        ("  fold t in 3 .. 0 by -1 {", "..", "keyword.operator"),
        ('  require kind == "a # b" or true', '"a # b"', "string"),
        ('  require kind == "a # b" or true', "or", "keyword.operator.word"),
        ('  require kind == "a # b" or true', "true", "constant.language"),
    ],
)
def test_scopes(line: str, word: str, scope: str) -> None:
    assert any(w == word and s.startswith(scope) for w, s in scopes(line)), scopes(line)
