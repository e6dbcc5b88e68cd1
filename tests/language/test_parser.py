"""Text to tree: what parses to what, with which spans, what is refused and how, and that nothing else ever comes out."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from parsing import expr, file
from trees import AT, exprs, files

from attncc.language import tree as T
from attncc.language.show import show

PROGRAMS = {p.stem: p.read_text(encoding="utf-8") for p in sorted((Path(__file__).parent / "programs").glob("*.attn"))}
RANDOM = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def body(text: str) -> tuple[T.Stmt, ...]:
    """The statements of a pattern with this body."""
    decl = file(f"pattern p(x) -> y {{ {text} }}").decls[0]
    assert isinstance(decl, T.Pattern)
    return decl.body


def n(word: str, primes: int = 0) -> T.Name:
    return T.Name(AT, (word,), primes)


def num(value: int | float) -> T.Num:
    return T.Num(AT, value)


def op(sign: str, left: T.Expr, right: T.Expr) -> T.Binary:
    return T.Binary(AT, sign, left, right)


def args(*values: T.Expr) -> tuple[T.Arg, ...]:
    return tuple(T.Arg(AT, None, v) for v in values)


A, B, C = n("a"), n("b"), n("c")
EXPRESSIONS = {
    "a + b * c": op("+", A, op("*", B, C)),
    "(a + b) * c": op("*", op("+", A, B), C),
    "a - b - c": op("-", op("-", A, B), C),
    "a ^ b ^ c": op("^", A, op("^", B, C)),
    "-a ^ 2": T.Unary(AT, "-", op("^", A, num(2))),
    "a ^ -b": op("^", A, T.Unary(AT, "-", B)),
    "2 * -a": op("*", num(2), T.Unary(AT, "-", A)),
    "a div b mod c": op("mod", op("div", A, B), C),
    "not a and b or c ?? 0": op("??", op("or", op("and", T.Unary(AT, "not", A), B), C), num(0)),
    "not a == b": T.Unary(AT, "not", T.Compare(AT, ("==",), (A, B))),
    "1 <= a < b": T.Compare(AT, ("<=", "<"), (num(1), A, B)),
    "a in b": T.Compare(AT, ("in",), (A, B)),
    "a in (b, c)": T.Compare(AT, ("in",), (A, T.Tuple(AT, (B, C)))),
    "t'": n("t", 1),
    "t''": n("t", 2),
    "w{k}": T.Name(AT, ("w", T.Index(AT, n("k")))),
    "w_{k + 1}_x{m}'": T.Name(AT, ("w_", T.Index(AT, op("+", n("k"), num(1))), "_x", T.Index(AT, n("m"))), 1),
    "w{k in 0 .. 3}": T.Name(AT, ("w", T.Family(AT, "k", T.Range(AT, num(0), num(3))))),
    'w{m in ("q", "k")}': T.Name(AT, ("w", T.Family(AT, "m", T.Tuple(AT, (T.Str(AT, "q"), T.Str(AT, "k")))))),
    "w{n in names}": T.Name(AT, ("w", T.Family(AT, "n", n("names")))),
    "n.size": T.Attr(AT, n("n"), "size"),
    "layers[0].heads": T.Attr(AT, T.Bracket(AT, n("layers"), (num(0),)), "heads"),
    "[a, 1]": T.List(AT, (A, num(1))),
    "[]": T.List(AT, ()),
    "a[b, c]": T.Bracket(AT, A, (B, C)),
    "a[t = b, c = 1 else 0]": T.Bracket(AT, A, (T.Bind(AT, n("t"), B), T.Bind(AT, C, num(1))), None, num(0)),
    "sum[j | b](a)": T.Call(AT, T.Bracket(AT, n("sum"), (n("j"),), B), args(A)),
    "topk[t -> w](a)": T.Call(AT, T.Bracket(AT, n("topk"), (T.Arrow(AT, n("t"), n("w")),)), args(A)),
    "f[a ++ b, (b c), *g']()": T.Call(
        AT, T.Bracket(AT, n("f"), (T.Concat(AT, (A, B)), T.Product(AT, (B, C)), T.Pack(AT, n("g", 1)))), ()
    ),
    "f(a | b; eps = 1e-5, c)": T.Call(AT, n("f"), args(A), B, (T.Arg(AT, n("eps"), num(1e-5)), T.Arg(AT, None, C))),
    "f(s_*, ...)": T.Call(AT, n("f"), args(T.Glob(AT, n("s_")), T.Rest(AT))),
    "f(l{n}_*)": T.Call(AT, n("f"), args(T.Glob(AT, T.Name(AT, ("l", T.Index(AT, n("n")), "_"))))),
    "f(; a)": T.Call(AT, n("f"), (), None, args(A)),
    "a_ *b": op("*", n("a_"), B),
    "a_*b": op("*", n("a_"), B),
    '"x # y"': T.Str(AT, "x # y"),
    "1.5e-3": num(1.5e-3),
    "2e3": num(2000.0),
    "score + mask'": op("+", n("score"), n("mask", 1)),
    "where(over, by, for)": T.Call(AT, n("where"), args(n("over"), n("by"), n("for"))),
    "a # comment\n + b": op("+", A, B),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_expressions(text: str) -> None:
    assert repr(expr(text)) == repr(EXPRESSIONS[text])


STATEMENTS = {
    "a = b c = a": (T.Assign(AT, (T.Target(AT, A),), (B,)), T.Assign(AT, (T.Target(AT, C),), (A,))),
    "a, b = c, 1": (T.Assign(AT, (T.Target(AT, A), T.Target(AT, B)), (C, num(1))),),
    "a[b, c'] = 1": (T.Assign(AT, (T.Target(AT, A, (T.AxisDim(AT, B), T.AxisDim(AT, n("c", 1)))),), (num(1),)),),
    "order = score": (T.Assign(AT, (T.Target(AT, n("order")),), (n("score"),)),),
    "require a, b assume c": (T.Require(AT, (A, B)), T.Assume(AT, (C,))),
    "fold t in 3 .. 0 by -1 { a = b }": (
        T.Fold(AT, ("t",), T.Range(AT, num(3), num(0)), T.Unary(AT, "-", num(1)), (T.Assign(AT, (T.Target(AT, A),), (B,)),)),
    ),
    "fold (l, r) in list { }": (T.Fold(AT, ("l", "r"), n("list"), None, ()),),
    "if a{ b = 1 } else{ b = 2 }": (
        T.If(AT, A, (T.Assign(AT, (T.Target(AT, B),), (num(1),)),), (T.Assign(AT, (T.Target(AT, B),), (num(2),)),)),
    ),
    "if w{k}{ b = 1 }": (T.If(AT, T.Name(AT, ("w", T.Index(AT, n("k")))), (T.Assign(AT, (T.Target(AT, B),), (num(1),)),)),),
    "if a{ return b }": (T.If(AT, A, (T.Return(AT, B),)),),
    "attend o over j { score mask mask mask normalize normalize mix mix }": (
        T.Attend(AT, T.Target(AT, n("o")), (n("j"),), (
            T.Score(AT, (T.Named(AT, None, n("mask")),)), T.Mask(AT, n("mask")),
            T.Normalize(AT, (T.Named(AT, None, n("normalize")),)), T.Mix(AT, n("mix")),
        )),
    ),
    "attend over (j, *d') { score s = a, t = b post w = s emit x = w, w order auto empty zero where = s }": (
        T.Attend(AT, None, (n("j"), T.Pack(AT, n("d", 1))), (
            T.Score(AT, (T.Named(AT, n("s"), A), T.Named(AT, n("t"), B))), T.Post(AT, T.Named(AT, n("w"), n("s"))),
            T.Emit(AT, (T.Named(AT, n("x"), n("w")), T.Named(AT, None, n("w")))),
            T.Setting(AT, "order", "auto"), T.Setting(AT, "empty", "zero"), T.Local(AT, n("where"), n("s")),
        )),
    ),
    "attend o[b] { over m if a { mix b } over k{ mix c } if a{ mask b } else { mask c } }": (
        T.Attend(AT, T.Target(AT, n("o"), (T.AxisDim(AT, B),)), (), (
            T.Over(AT, (n("m"),), (T.Mix(AT, B),), A), T.Over(AT, (n("k"),), (T.Mix(AT, C),)),
            T.ClauseIf(AT, A, (T.Mask(AT, B),), (T.Mask(AT, C),)),
        )),
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", STATEMENTS)
def test_statements(text: str) -> None:
    assert repr(body(text)) == repr(STATEMENTS[text])


def dims(text: str) -> tuple[T.Dim, ...]:
    decl = file(f"pattern p(x[{text}]) -> y {{ }}").decls[0]
    assert isinstance(decl, T.Pattern) and isinstance(decl.inputs[0], T.Input)
    return decl.inputs[0].dims


def axis(word: str, size: T.Expr | None = None) -> T.AxisDim:
    return T.AxisDim(AT, n(word), size)


DIMS = {
    "b, n'": (axis("b"), T.AxisDim(AT, n("n", 1))),
    "(z: 3 h d), 1": (T.ProductDim(AT, (axis("z", num(3)), axis("h"), axis("d"))), T.OneDim(AT)),
    "cls: 1 ++ (r s)": (T.SumDim(AT, (axis("cls", num(1)), T.ProductDim(AT, (axis("r"), axis("s"))))),),
    "(h (d ++ e))": (T.ProductDim(AT, (axis("h"), T.SumDim(AT, (axis("d"), axis("e"))))),),
    "*g, *o: 2 * w - 1": (
        T.PackDim(AT, n("g")), T.PackDim(AT, n("o"), op("-", op("*", num(2), n("w")), num(1))),
    ),
    "c{0} ++ s": (T.SumDim(AT, (T.AxisDim(AT, T.Name(AT, ("c", T.Index(AT, num(0))))), axis("s"))),),
    "(c)": (axis("c"),),
}  # fmt: skip


@pytest.mark.parametrize("text", DIMS)
def test_dims(text: str) -> None:
    assert repr(dims(text)) == repr(DIMS[text])


def test_signature() -> None:
    text = """
    pattern p(x[b]: int if a, w{m in ("q", "k")}?, s_*: blk(g = (h, w'), o = c, z = q: 1, k = (c)), *: other;
              kind: "swin", e: "a" | "b" = "a", f: int[*g]? = 3, r: {a: int, b: (float, string)[]}[2], merge: true, *: third)
        -> y[b]?: bool if a, (l_{r}, m[b]) for (r, s) in pairs
        where h = heads, rank(pre) = 3, c{n in 0 .. 3} = n if a, s = (a b) ++ c { }
    """
    p = file(text).decls[0]
    family = T.Name(AT, ("w", T.Family(AT, "m", T.Tuple(AT, (T.Str(AT, "q"), T.Str(AT, "k"))))))
    plain = {kind: T.Type(AT, kind) for kind in ("int", "float", "string")}
    pair = T.Type(AT, "tuple", items=(plain["float"], plain["string"]))
    record = T.Type(AT, "record", fields=(("a", plain["int"]), ("b", T.Type(AT, "list", items=(pair,)))))
    expected = T.Pattern(
        AT,
        "p",
        (
            T.Input(AT, n("x"), (axis("b"),), False, "int", A),
            T.Input(AT, family, (), True),
            T.Include(AT, n("s_"), "blk", (("g", ("h", "w'")), ("o", axis("c")), ("z", axis("q", num(1))), ("k", ("c",)))),
            T.Include(AT, None, "other"),
        ),
        (
            T.Param(AT, n("kind"), T.Type(AT, "enum", ("swin",))),
            T.Param(AT, n("e"), T.Type(AT, "enum", ("a", "b")), T.Str(AT, "a")),
            T.Param(AT, n("f"), T.Type(AT, "list", (), (plain["int"],), T.Pack(AT, n("g")), (), True), num(3)),
            T.Param(AT, n("r"), T.Type(AT, "list", (), (record,), num(2))),
            T.Param(AT, n("merge"), T.Type(AT, "bool", ("true",))),
            T.Include(AT, None, "third"),
        ),
        (
            T.Output(AT, n("y"), (axis("b"),), True, "bool", A),
            T.OutputFamily(
                AT,
                (T.Output(AT, T.Name(AT, ("l_", T.Index(AT, n("r"))))), T.Output(AT, n("m"), (axis("b"),))),
                ("r", "s"),
                n("pairs"),
            ),
        ),
        (
            T.Where(AT, n("h"), n("heads")),
            T.Where(AT, T.Call(AT, n("rank"), args(n("pre"))), num(3)),
            T.Where(AT, T.Name(AT, ("c", T.Family(AT, "n", T.Range(AT, num(0), num(3))))), n("n"), A),
            T.Where(AT, n("s"), T.Concat(AT, (T.Product(AT, (A, B)), C))),
        ),
        (),
    )
    assert repr(p) == repr(expected)


def test_define_and_bundle() -> None:
    f, g, k = file(
        "define f[t -> w, *g](x, w?; eps: float) = x define g() { return a } vjp (q) { x = q } bundle k(; a: int) where d = 1"
    ).decls
    eps = T.Param(AT, n("eps"), T.Type(AT, "float"))
    heads = (T.Arrow(AT, n("t"), n("w")), T.Pack(AT, n("g")))
    inputs = (T.Input(AT, n("x")), T.Input(AT, n("w"), optional=True))
    assert repr(f) == repr(T.Define(AT, "f", heads, inputs, (eps,), (T.Return(AT, n("x")),)))
    vjp = (T.Assign(AT, (T.Target(AT, n("x")),), (n("q"),)),)
    assert repr(g) == repr(T.Define(AT, "g", (), (), (), (T.Return(AT, A),), "q", vjp))
    assert repr(k) == repr(T.Bundle(AT, "k", (), (T.Param(AT, A, T.Type(AT, "int")),), (T.Where(AT, n("d"), num(1)),)))


def test_titles() -> None:
    above = "# The p.\n#of two lines\npattern p(x) -> y { } # behind\npattern q(x) -> y { }\n"
    tree = file("\n# One file.\n#  And more.\n\n# Not a title\n\n" + above)
    assert tree.title == "One file.\n And more."
    assert [d.title for d in tree.decls if isinstance(d, T.Pattern)] == ["The p.\nof two lines", ""]
    assert file("# Both.\npattern p(x) -> y { }").decls[0].title == "Both."
    assert file("# c\ndefine f(x) = x pattern p(x) -> y { }").decls[1].title == ""
    assert file("") == T.File(AT, ())


def walk(node: T.Node) -> Iterator[T.Node]:
    yield node
    for name in node.__dataclass_fields__:
        values = getattr(node, name)
        for value in values if isinstance(values, tuple) else (values,):
            if isinstance(value, T.Node):
                yield from walk(value)


def test_spans_are_exact() -> None:
    text = "a + sum[j | b](w_{k}' * (c - 1)) ?? -f(x, eps = 1e-5).size"
    spans = {(type(e).__name__, text[e.span.start : e.span.end]) for e in walk(expr(text))}
    assert spans == {
        ("Binary", text), ("Binary", "a + sum[j | b](w_{k}' * (c - 1))"), ("Name", "a"), ("Call", "sum[j | b](w_{k}' * (c - 1))"),
        ("Bracket", "sum[j | b]"), ("Name", "sum"), ("Name", "j"), ("Name", "b"), ("Arg", "w_{k}' * (c - 1)"),
        ("Binary", "w_{k}' * (c - 1)"), ("Name", "w_{k}'"), ("Index", "{k}"), ("Name", "k"), ("Binary", "(c - 1)"), ("Name", "c"),
        ("Num", "1"), ("Unary", "-f(x, eps = 1e-5).size"), ("Attr", "f(x, eps = 1e-5).size"), ("Call", "f(x, eps = 1e-5)"),
        ("Name", "f"), ("Arg", "x"), ("Name", "x"), ("Arg", "eps = 1e-5"), ("Name", "eps"), ("Num", "1e-5"),
    }  # fmt: skip


@pytest.mark.parametrize("name", PROGRAMS)
def test_spans_hold_their_children(name: str) -> None:
    """Every node lies inside its parent, and its span begins and ends on a token."""
    text = PROGRAMS[name]
    for node in walk(file(text)):
        piece = text[node.span.start : node.span.end]
        assert piece == piece.strip() or isinstance(node, T.File)
        for child in walk(node):
            assert node.span.start <= child.span.start <= child.span.end <= node.span.end


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_parse(name: str) -> None:
    tree = file(PROGRAMS[name])
    assert tree.title and any(isinstance(d, T.Pattern) for d in tree.decls)


def test_shipped_texts_parse() -> None:
    prelude = resources.files("attncc.grammar").joinpath("prelude.attn").read_text(encoding="utf-8")
    names = {d.name for d in file(prelude).decls}
    assert names >= {"unit", "turn_pairs", "turn_halves", "rope", "adaptive_mean", "cell_mean", "resize", "neighborhood", "halo",
                     "alibi", "layernorm", "rmsnorm"}  # fmt: skip
    for path in resources.files("attncc.patterns").iterdir():
        if path.name.endswith(".attn"):
            file(path.read_text(encoding="utf-8"))


@given(exprs)
@RANDOM
def test_random_expressions_round_trip(tree: T.Expr) -> None:
    assert repr(expr(show(tree))) == repr(tree)


@given(files)
@settings(RANDOM, max_examples=40)
def test_random_files_round_trip(tree: T.File) -> None:
    assert repr(file(show(tree))) == repr(tree)


def test_grammar_has_no_conflicts(caplog: pytest.LogCaptureFixture) -> None:
    import lark

    grammar = resources.files("attncc.grammar").joinpath("attn.lark").read_text(encoding="utf-8")
    with caplog.at_level(logging.DEBUG, logger="lark"):
        lark.Lark(grammar, parser="lalr", lexer="contextual", start=["file", "expression"], debug=True)
    assert not [r for r in caplog.records if "onflict" in r.getMessage()]


def test_lark_is_loaded_on_first_use_and_its_tables_are_cached(tmp_path: Path) -> None:
    code = """
import sys
import attncc.language.parser as parser
from attncc.errors import Source
assert "lark" not in sys.modules
made = []
make = parser._make
parser._make = lambda *a: made.append(1) or make(*a)
assert parser.parse(Source("t", "define f(x) = x + 1")).decls[0].name == "f"
print(len(made))
"""
    environment = {**os.environ, "ATTNCC_CACHE_DIR": str(tmp_path)}
    run = [subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True) for _ in range(2)]
    assert [r.stdout.strip() for r in run] == ["1", "0"], run
    for path in tmp_path.rglob("*"):
        if path.is_file():
            path.write_bytes(b"broken")
    again = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert again.stdout.strip() == "1", again.stderr
