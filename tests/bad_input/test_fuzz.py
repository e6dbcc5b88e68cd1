"""Random bytes, random words and mutated programs: only AttnError comes out, and soon.

What parses is resolved too. A program that resolves has also passed the verifier, which is part of the front half.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from importlib import resources

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

import attncc
from attncc.errors import AttnError, AttnInternalError, Source
from attncc.language import tree
from attncc.language.format import fmt
from attncc.language.parser import parse
from attncc.passes.resolve.overloads import literals
from attncc.runtime.library import library_of
from attncc.runtime.op import Op
from attncc.testing.calls import program_of
from attncc.testing.defaults import completed

LIMIT = 20.0
"""Seconds for one text, on a machine that may be busy."""

SETTINGS = settings(
    max_examples=150, deadline=None, database=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
)

FILES = sorted(f.name for f in resources.files("attncc.patterns").iterdir() if f.name.endswith(".attn"))
TEXTS = [resources.files("attncc.patterns").joinpath(name).read_text(encoding="utf-8") for name in FILES]
PRELUDE = resources.files("attncc.grammar").joinpath("prelude.attn").read_text(encoding="utf-8")
WORDS = ["pattern", "bundle", "define", "attend", "fold", "if", "else", "require", "assume", "return", "where", "for", "by", "vjp", "over", "score", "mask", "normalize", "post", "mix", "emit", "order", "empty", "and", "or", "not", "div", "mod", "in", "p", "q", "k", "v", "o", "b", "h", "i", "j", "d", "e", "i'", "j'", "softmax", "sum", "dot", "sqrt", "topk", "split", "concat", "where", "linear", "true", "false", "inf", "0", "1", "2", "0.5", "1e9", '"a"', "int", "float", "bool", "string", "auto", "zero", "(", ")", "[", "]", "{", "}", ",", ";", ":", "=", "==", "!=", "<=", ">=", "<", ">", "+", "-", "*", "/", "^", "->", "..", "...", ".", "?", "??", "++", "|", "#", "\n"]


def survive(text: str, resolve: bool = True) -> None:
    """Parse and resolve a text. Anything but an AttnError, or an error of the verifier, fails the test."""
    start = time.perf_counter()
    try:
        source = Source("fuzz.attn", text)
        if not resolve:
            parse(source)
            return
        library, file = library_of(source)
        for decl in file.decls[:3]:
            if isinstance(decl, tree.Pattern):
                params = next(completed(library, decl, literals(decl)))
                program_of(Op(library, decl, params, source), ())
    except AttnInternalError:
        raise
    except AttnError as error:
        assert error.message
        assert error.span is None or str(error)
    finally:
        assert time.perf_counter() - start < LIMIT


@SETTINGS
@given(st.binary(max_size=400))
@example(b"")
@example(b"\x00")
@example("pattern p(q[b]) -> o[b] { o = q }\u2028".encode())
def test_random_bytes(data: bytes) -> None:
    survive(data.decode("utf-8", "replace"))
    survive(data.decode("latin-1"))


@SETTINGS
@given(st.text(max_size=200))
def test_random_text(text: str) -> None:
    survive(text)


@SETTINGS
@given(st.lists(st.sampled_from(WORDS), max_size=60))
def test_random_words(words: list[str]) -> None:
    survive(" ".join(words))
    survive("pattern p(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]; n: int = 2) -> o[b, h, i, e] { " + " ".join(words) + " }")


@SETTINGS
@given(st.lists(st.sampled_from([w for w in WORDS if w not in "{}"]), min_size=1, max_size=14))
def test_random_expressions(words: list[str]) -> None:
    """Short expressions in a place where many of them resolve."""
    expression = " ".join(words)
    survive(f"pattern p(q[b, i, d], k[b, j, d], v[b, j, e]; n: int = 2) -> o[b, i, d] {{ o = {expression} }}")
    survive(f"pattern p(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] {{ attend o over j {{ score s = {expression} normalize softmax mix v }} }}")


TOKEN = re.compile(r"\d+\.?\d*|\w+|\s+|->|[<>=!]=|\?\?|\.\.|\S")
OPERATORS = ["+", "-", "*", "/", "^", "<", ">", "==", "<=", "and", "or", "div", "mod", ",", "??", "++"]
NUMBERS = ["0", "1", "2", "3", "7", "0.5", "1e9", "-1", "64"]


def mutated(text: str, seed: int) -> str:
    """A text with a place or a few changed: a name for another one, an operator, a number, pieces deleted, doubled, swapped, noise."""
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        tokens = TOKEN.findall(text)
        if not tokens:
            return text
        at = chance.randrange(len(tokens))
        names = [n for n, t in enumerate(tokens) if t[0].isalpha() or t[0] == "_"]
        kind = chance.randrange(9)
        if kind <= 2 and names:  # the likeliest to parse and then to be wrong
            tokens[chance.choice(names)] = tokens[chance.choice(names)] if kind else chance.choice(WORDS)
        elif kind == 3:
            marks = [n for n, t in enumerate(tokens) if t in OPERATORS]
            tokens[chance.choice(marks) if marks else at] = chance.choice(OPERATORS)
        elif kind == 4:
            numbers = [n for n, t in enumerate(tokens) if t[0].isdigit()]
            tokens[chance.choice(numbers) if numbers else at] = chance.choice(NUMBERS)
        elif kind == 5:
            del tokens[at : at + chance.choice([1, 2, 3, 8])]
        elif kind == 6:
            piece = tokens[at : at + chance.choice([1, 2, 4, 12])]
            tokens[at:at] = piece * chance.choice([1, 1, 2, 30])
        elif kind == 7:
            other = chance.randrange(len(tokens))
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            tokens.insert(at, chance.choice("()[]{}'\"+-*/^,;:=<>?.|# \n0a\x00é"))
        text = "".join(tokens)
    return text


@pytest.mark.parametrize("name", FILES)
def test_mutated_patterns(name: str) -> None:
    text = TEXTS[FILES.index(name)]
    for seed in range(25):
        survive(mutated(text, seed * 1000 + FILES.index(name)))


def test_mutated_prelude() -> None:
    call = "\npattern p(x[b, t, d], y[b, t, d]) -> o[b, t, d] { o = rope[t, d](unit[d](x)) + rmsnorm[d](layernorm[d](y)) }\n"
    for seed in range(60):
        survive(mutated(PRELUDE, seed) + call)


SMALL = """# small
define f[d](x; n: int = 2) { y = x ^ n  return y / sum[d](y) }
bundle w(w_{k in 0 .. 1}[c, d], u[c]?; heads: int = 2) where h = heads
pattern p(q[b, (h i), d], k[b, j, d], v[b, j, e], *: w, m[b, j]?: bool; kind: "a" | "b" = "a", g: int[2] = 3)
    -> o[b, h, i, e], lse[b, h, i]? where c = 2 * d {
  require heads >= 1
  attend o over j {
    score      s = dot(f[d](q), k) * g[0] + (i - j)
    mask       j <= i and (m ?? true)
    normalize  p = softmax(s)
    post       r = p * 2
    mix        v
    emit       lse = lse(s)
  }
}
"""


def test_mutated_small_program() -> None:
    """A program that uses most constructs and is short, so that many mutants parse and some resolve."""
    assert program_of(attncc.compile(SMALL), ()).nodes
    good = 0
    for seed in range(700):
        text = mutated(SMALL, seed)
        survive(text)
        with contextlib.suppress(AttnError):
            good += bool(parse(Source("x", text)).decls)
    assert good > 200, "mutants that parse"


@pytest.mark.parametrize("seed", range(4))
def test_formatting_mutants(seed: int) -> None:
    """The formatter gives an AttnError or a text that formats to itself."""
    for n in range(60):
        text = mutated(SMALL, seed * 60 + n + 10_000)
        try:
            done = fmt(text)
        except AttnInternalError:
            raise
        except AttnError:
            continue
        assert fmt(done) == done


BIG = {
    "a tower of powers": "pattern p(q[b]) -> o[b] { o = q * 9 ^ 9 ^ 9 ^ 9 }",
    "a default that is a tower": "pattern p(q[b]; n: int = 9 ^ 9 ^ 9) -> o[b] { o = q * n }",
    "products that double": "pattern p(q[b]) -> o[b] {\n x0 = 3\n"
    + "".join(f" x{n + 1} = x{n} * x{n}\n" for n in range(60))
    + " o = q * x60\n}",
    "a family without end": "pattern p(x{k in 0 .. 1000000000}[b]) -> o[b] { o = x0 }",
    "a fold without end": "pattern p(q[b]) -> o[b] { x = q\n fold t in 0 .. 1000000000000 { x = x + t }\n o = x }",
    "a fold that unrolls": "pattern p(q[b]) -> o[b] { fold t in 0 .. 10000000 { x{t} = q }\n o = q }",
    "folds in folds": "pattern p(q[b]) -> o[b] { x = q\n"
    + "".join(f"fold a{n} in [1, 2, 3, 4, 5, 6, 7, 8] {{ " for n in range(6))
    + "x = x + 1"
    + " }" * 6
    + "\n o = x }",
    "definitions that double": "".join(f"define f{n}(x) = f{n + 1}(x) + f{n + 1}(x)\n" for n in range(20))
    + "define f20(x) = x\npattern p(q[b]) -> o[b] { o = f0(q) }",
    "definitions that store and double": "".join(f"define f{n}(x) {{ y = f{n + 1}(x) + f{n + 1}(x) return y }}\n" for n in range(20))
    + "define f20(x) = x\npattern p(q[b]) -> o[b] { o = f0(q) }",
    "locals that double": "pattern p(q[b, i, d], k[b, j, d], v[b, j, e]) -> o[b, i, e] { attend o over j {\n t0 = dot(q, k)\n"
    + "".join(f" t{n + 1} = t{n} + t{n}\n" for n in range(60))
    + " score t60 normalize softmax mix v } }",
    "a long list": "pattern p(q[b]; l: int[1000000000] = 1) -> o[b] { o = q * l[0] }",
    "many dims": "pattern p(q[" + ", ".join(f"a{n}" for n in range(3000)) + "]) -> o[a0] { o = sum(q) }",
    "deep brackets": "pattern p(q[b]) -> o[b] { o = " + "(" * 5000 + "q" + ")" * 5000 + " }",
    "many signs": "pattern p(q[b]) -> o[b] { o = " + "-" * 50_000 + "q }",
    "a long sum": "pattern p(q[b]) -> o[b] { o = " + " + ".join(["q"] * 20_000) + " }",
    "a long power": "pattern p(q[b]) -> o[b] { o = " + " ^ ".join(["q"] * 5_000) + " }",
    "many primes": "pattern p(q[b]) -> o[b] { o = q" + "'" * 10_000 + " }",
    "a long name": "pattern p(" + "q" * 100_000 + "[b]) -> o[b] { o = q }",
    "many patterns": "pattern p(q[b]) -> o[b] { o = q }\n" * 3000,
    "many statements": "pattern p(q[b]) -> o[b] {\n" + "".join(f"x{n} = q\n" for n in range(3000)) + "o = q }",
    "a chain of statements": "pattern p(q[b]) -> o[b] {\nx0 = q\n" + "".join(f"x{n + 1} = x{n} * 2\n" for n in range(1500)) + "o = x1500 }",
    "many comments": "# comment\n" * 50_000 + "pattern p(q[b]) -> o[b] { o = q }",
    "a megabyte": "x" * 2_000_000,
    "many or": "pattern p(q[b, i, d], k[b, j, d], v[b, j, d]) -> o[b, i, d] { attend o over j { score dot(q, k) mask "
    + " and ".join(f"(i < j + {n} or i > j + {n + 1})" for n in range(25))
    + " normalize softmax mix v } }",
    "a family brace": "pattern p(q[b]) -> o[b] { o = q{" * 2000 + "}" * 2000,
    "an open string": 'pattern p(q[b]; s: string = "' + "a" * 100_000,
    "nested calls of conditions": "pattern p(q[b]) -> o[b] { o = " + "where(q > 0, " * 90 + "q" + ", q)" * 90 + " }",
}


@pytest.mark.parametrize("name", BIG, ids=lambda name: name.replace(" ", "-"))
def test_size_depth_and_time_are_bounded(name: str) -> None:
    survive(BIG[name])


def test_nothing_is_evaluated() -> None:
    """Text that would be harmful as Python is only text."""
    for evil in ("__import__('os').system('false')", "exec(1)", "open(q)", "q.__class__.__bases__", "().__class__", "lambda: q"):
        with pytest.raises(AttnError):
            _ = attncc.compile(f"pattern p(q[b]) -> o[b] {{ o = {evil} }}").ir
