"""The formatter: canonical, idempotent, true to the tree, and no comment is lost."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from trees import files

from attncc.errors import AttnSyntaxError, Source
from attncc.language import tree as T
from attncc.language.format import fmt
from attncc.language.layout import WIDTH
from attncc.language.parser import parse, parse_expr
from attncc.language.show import show

PROGRAMS = {p.stem: p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parent / "programs").glob("*.attn"))}


def tree(text: str) -> str:
    return repr(parse(Source("test", text)))


def canonical(text: str) -> str:
    """The formatted text, after checking what must hold for every text."""
    result = fmt(text, "test")
    assert fmt(result, "test") == result
    assert tree(result) == tree(text)
    return result


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_are_canonical(name: str) -> None:
    assert canonical(PROGRAMS[name]) == PROGRAMS[name]
    assert max(len(line) for line in PROGRAMS[name].split("\n") if not line.startswith("#")) <= WIDTH


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("space", [" ", "\n", "  \r\n\t", "\n\n\n"])
def test_layout_does_not_depend_on_spaces(name: str, space: str) -> None:
    """Whatever the white space was (comments aside), the tree and the canonical form of the canonical form stay."""
    text = re.sub(r"[ \t]*#[^\n]*", "", PROGRAMS[name])
    parts = re.split(r'("[^"\n]*"|\{[^{}\n]*\})', text)  # keep strings and family braces whole
    spaced = "".join(p if k % 2 else re.sub(r"\s+", space, p) for k, p in enumerate(parts))
    assert tree(canonical(spaced)) == tree(text)


LAYOUTS = {
    "one line": ("pattern p( x [b,n] )->y[b]{y=sum[ n ]( x )}", "pattern p(x[b, n]) -> y[b] { y = sum[n](x) }\n"),
    "clauses": (
        "pattern p(x)->y{attend y over j{score dot( q,k )\n mask j<=i normalize softmax mix v emit lse=lse(s) t=2*s}}",
        """pattern p(x) -> y {
  attend y over j {
    score      dot(q, k)
    mask       j <= i
    normalize  softmax
    mix        v
    emit       lse = lse(s)
    t = 2 * s
  }
}
""",
    ),
    "a nested if shares the column": (
        "pattern p(x)->y{attend y over j{score s\n if a{normalize softmax\n}else{mask b\n}over k{score t\n mix v}}}",
        """pattern p(x) -> y {
  attend y over j {
    score      s
    if a {
      normalize  softmax
    } else {
      mask       b
    }
    over k {
      score  t
      mix    v
    }
  }
}
""",
    ),
    "neighbours on one line are aligned": (
        """pattern p(x) -> y {
  attend g[b, m] over n { score dot(a, k)  normalize softmax mix v }
  attend o over m { score s normalize softmax   mix g }
  if a { y = 1 }
  if abc { y = 2 }
}""",
        """pattern p(x) -> y {
  attend g[b, m] over n { score dot(a, k)   normalize softmax   mix v }
  attend o over m       { score s           normalize softmax   mix g }
  if a   { y = 1 }
  if abc { y = 2 }
}
""",
    ),
    "a long header": (
        "pattern p(query_weights[batch, heads, rows, channels], key_weights[batch, heads, columns, channels]; "
        "causal: bool = false, window: int = 3) -> output[batch, rows] where h = heads { }",
        """pattern p(query_weights[batch, heads, rows, channels], key_weights[batch, heads, columns, channels];
          causal: bool = false, window: int = 3) -> output[batch, rows] where h = heads { }
""",
    ),
    "the author's breaks in a header that needs them": (
        "pattern p(query_weights[batch, heads, rows, channels],\nkey_weights[batch, heads, columns, channels]; "
        "causal: bool = false, window: int = 3)\n->\noutput[batch, rows]\nwhere h = heads { }",
        """pattern p(query_weights[batch, heads, rows, channels],
          key_weights[batch, heads, columns, channels];
          causal: bool = false, window: int = 3)
    -> output[batch, rows]
    where h = heads { }
""",
    ),
    "long expressions": (
        "define f(x) { mask_of_keys = (not causal or j <= i) and (window_left < 0 or j >= at - window_left) and "
        "(window_right < 0 or j <= at + window_right) return where(kind == 1, some_function(first_argument, second_argument), "
        "another_function(third_argument, fourth_argument, fifth_argument)) }",
        """define f(x) {
  mask_of_keys = (not causal or j <= i) and (window_left < 0 or j >= at - window_left)
                 and (window_right < 0 or j <= at + window_right)
  return where(kind == 1, some_function(first_argument, second_argument),
               another_function(third_argument, fourth_argument, fifth_argument))
}
""",
    ),
    "what is written stays": (
        "define f(x)=((a)*(b+c))/1e-05+0.50 ??(-x)",
        "define f(x) = ((a) * (b + c)) / 1e-05 + 0.50 ?? (-x)\n",
    ),
    "empty lines": (
        "\n\n\n# t\n\n\n\ndefine f(x)=x\n\n\n\ndefine g(x)=x\ndefine h(x)=x\n\n\n",
        "# t\n\ndefine f(x) = x\n\ndefine g(x) = x\ndefine h(x) = x\n",
    ),
    "nothing": (" \n\t\n", ""),
    "only comments": ("#a\n\n\n  # b", "# a\n\n# b\n"),
    "a vjp": (
        "define f(x){return x}vjp(g){x=g}",
        "define f(x) {\n  return x\n} vjp (g) { x = g }\n",
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    text, expected = LAYOUTS[name]
    assert canonical(text) == expected


def test_comments() -> None:
    text = """#title

#above
pattern p(x[b], #first
          # before second
          k[b]; # second
          eps: float # third
          )# fourth
  -> y # out
  { # opens
  # one

  a = 1   #behind
  # two
  b = 1 + # middle
      2   # end
  if a { # then
    c = 1
    # last
  } else { # other
  }

  attend y over j { # attend
    score s # score
    # before mask
    mask a and # left
         b
    # end of attend
  } # after attend
  # end of p
} # after p

define f(x) = x + # in f
  1 # behind f
# the end
"""
    assert (
        canonical(text)
        == """# title

# above
pattern p(x[b],  # first
          # before second
          k[b];  # second
          eps: float)  # third  # fourth
    -> y {  # out  # opens
  # one

  a = 1  # behind
  # two
  # middle
  b = 1 + 2  # end
  if a {  # then
    c = 1
    # last
  } else {  # other
  }

  attend y over j {  # attend
    score  s  # score
    # before mask
    # left
    mask   a and b
    # end of attend
  }  # after attend
  # end of p
}  # after p

define f(x) = x + 1  # in f  # behind f
# the end
"""
    )


_TOKEN = re.compile(r'#[^\n]*|"[^"\n]*"|\{[^{}\n]*\}|[A-Za-z_]\w*|\d[\w.]*|\.\.\.|\.\.|\?\?|\+\+|->|[=!<>]=|_?\*|\s+|.')


@pytest.mark.parametrize("seed", range(3))
def test_no_comment_is_lost(seed: int) -> None:
    """Comments put between any two tokens: all kept once, the tree unchanged, formatting twice changes nothing."""
    rng = random.Random(seed)
    tried = 0
    while tried < 25:
        chunks = re.split(r"\n\n(?=#|pattern|bundle|define)", rng.choice(list(PROGRAMS.values())))
        tokens = _TOKEN.findall("\n\n".join(rng.sample(chunks, min(len(chunks), 2))))
        density, count, pieces = rng.choice((0.01, 0.05, 0.3)), 0, []
        for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
            pieces.append(token)
            if rng.random() < density and token[0] != "#" and following[:1] not in ("'", "{", "") and not following[:1].isalnum():
                count += 1
                pieces.append(rng.choice((f" # <{count}>\n", f"\n# <{count}>\n", f"\n\n#<{count}>\n\n")))
        text = "".join(pieces)
        try:
            parse(Source("test", text))
        except AttnSyntaxError:
            continue  # a comment cut a name from its `*`
        tried += 1
        assert sorted(re.findall(r"<\d+>", canonical(text))) == sorted(f"<{k + 1}>" for k in range(count))


@given(files)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_files(file: T.File) -> None:
    canonical(show(file))


def test_a_text_that_does_not_parse_is_refused() -> None:
    with pytest.raises(AttnSyntaxError, match=r"x\.attn:1:12"):
        fmt("define f(x) ", "x.attn")


SHOWN = {
    "(a + b) * c": "(a + b) * c",
    "((a)) + ((b * c))": "a + b * c",
    "a - (b - c)": "a - (b - c)",
    "(a ^ b) ^ c": "(a ^ b) ^ c",
    "a ^ (b ^ c)": "a ^ b ^ c",
    "(-a) ^ 2": "(-a) ^ 2",
    "-(a ^ 2)": "-a ^ 2",
    "(a or b) and not (c and a)": "(a or b) and not (c and a)",
    "(a ?? b)[i]": "(a ?? b)[i]",
    "( a, b )": "(a, b)",
    "1e-05 + 100000000000000000000.0": "1e-5 + 1e20",
    "f(|a;b=c)": "f(| a; b = c)",
    "x[ n=n+1,*g|a else-1 ]": "x[n = n + 1, *g | a else -1]",
    "w{ n  in 0..3 }'": "w{n in 0 .. 3}'",
}


@pytest.mark.parametrize("text", SHOWN)
def test_show(text: str) -> None:
    node = parse_expr(Source("test", text))
    assert show(node) == SHOWN[text]
    assert repr(parse_expr(Source("test", show(node)))) == repr(node)
