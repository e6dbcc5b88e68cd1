"""Programs that are wrong: `Bad(name, text, error, message, help)`. The mark ▸ in a text stands where the error must point.

`p(body)` wraps statements in a pattern with inputs q[b, i, d], k[b, j, d], v[b, j, e] and output o[b, i, e].
"""

from __future__ import annotations

from dataclasses import dataclass

from attncc.errors import (
    AttnAbsentError,
    AttnError,
    AttnNameError,
    AttnShapeError,
    AttnSyntaxError,
    AttnTypeError,
    AttnValueError,
)

MARK = "▸"


@dataclass(frozen=True)
class Bad:
    """A wrong program. `call`: it compiles, and a call of it fails."""

    name: str
    text: str
    error: type[AttnError]
    message: str
    help: str = ""
    call: bool = False

    @property
    def source(self) -> str:
        return self.text.replace(MARK, "")

    @property
    def position(self) -> tuple[int, int] | None:
        """1-based line and column of the mark."""
        before, mark, _ = self.text.partition(MARK)
        return (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1) if mark else None


def p(body: str, out: str = "o[b, i, e]", params: str = "", more: str = "") -> str:
    """A pattern around some statements."""
    return f"pattern p(q[b, i, d], k[b, j, d], v[b, j, e]{more}{'; ' if params else ''}{params}) -> {out} {{\n{body}\n}}\n"


def a(clauses: str) -> str:
    """A pattern around the clauses of an attend over j."""
    return p(f"attend o over j {{ {clauses} }}")


WHOLE = "attend o over j { score dot(q, k)  normalize softmax  mix v }\n"

SYNTAX = [
    Bad("end too soon", "pattern p(q[b]) -> o[b] { o = q▸", AttnSyntaxError, "expected '}' to close the pattern opened at column 1"),
    Bad("bracket left open", "pattern p(q[b]) -> o[b] {\n  o = (q\n▸}\n", AttnSyntaxError, "expected ')'"),
    Bad("operator without operand", p("o = q +▸\n").replace("+▸\n\n", "+\n▸"), AttnSyntaxError, "expected an expression"),
    Bad("python power", p("o = q ▸** 2"), AttnSyntaxError, "'**' is not part of the language", "'^'"),
    Bad("python matrix product", p("o = q ▸@ k"), AttnSyntaxError, "'@' is not part of the language", "sum[m]"),
    Bad("C and", p("o = q ▸&& k"), AttnSyntaxError, "'&&' is not part of the language", "'and'"),
    Bad("comparison for assignment", p("o ▸== q"), AttnSyntaxError, "expected '='", "one '='"),
    Bad("single quotes", p("x = ▸'a'"), AttnSyntaxError, "is not part of the language", "double quotes"),
    Bad("string left open", p('x = ▸"a'), AttnSyntaxError, "not closed on its line"),
    Bad("no outputs", "pattern p(q[b]) ▸{ o = q }", AttnSyntaxError, "expected '->'", "a pattern names its outputs"),
    Bad("nothing after the arrow", "pattern p(q[b]) -> ▸{ o = q }", AttnSyntaxError, "expected a name"),
    Bad("reserved word as a name", "pattern p(▸if[b]) -> o[b] { o = if }", AttnSyntaxError, "the reserved word 'if'"),
    Bad("optional mark after the type", "pattern p(q[b], m[b]: bool▸?) -> o[b] { o = q }", AttnSyntaxError, "found '?'", "before its type"),
    Bad("type of a parameter", "pattern p(q[b]; n: ▸integer = 1) -> o[b] { o = q }", AttnSyntaxError, "unknown type 'integer'", "write 'int'"),
    Bad("type of an input", "pattern p(q[b]: ▸floaty) -> o[b] { o = q }", AttnSyntaxError, "'floaty' is no type of a tensor"),
    Bad("parameter without a type", "pattern p(q[b]; n ▸= 1) -> o[b] { o = q }", AttnSyntaxError, "expected ':'", "a parameter needs a type"),
    Bad("character", p("o = q ▸× k"), AttnSyntaxError, "the character '×' (U+00D7) may not appear here"),
    Bad("number with letters", p("o = q * ▸2x"), AttnSyntaxError, "'2x' is no number", "a product needs '*'"),
    Bad("word of a file misspelt", "▸patern p(q[b]) -> o[b] { o = q }", AttnSyntaxError, "found 'patern'", "did you mean 'pattern'?"),
    Bad("attend misspelt", p("atend ▸o over j { score dot(q, k)  normalize softmax  mix v }"), AttnSyntaxError, "expected '='", "did you mean 'attend'?"),
    Bad("over misspelt", p("attend o ▸ovr j { score dot(q, k)  normalize softmax  mix v }"), AttnSyntaxError, "found 'ovr'", "did you mean 'over'?"),
    Bad("clause misspelt", a("score dot(q, k)  normalize softmax\n  mx ▸v"), AttnSyntaxError, "expected '='", "did you mean 'mix'?"),
    Bad("fold inside an attend", a("▸fold t in 1 .. 3 { }"), AttnSyntaxError, "the reserved word 'fold'", "an attend holds clauses alone"),
    Bad("axes without commas", "pattern p(q[b ▸i]) -> o[b] { o = q }", AttnSyntaxError, "found 'i'", "is a ',' missing before 'i'?"),
    Bad("size of a picked axis", "pattern p(x[n]) -> o[w] { a = topk[n -> w▸: 3](x)  o = x[n = a] }", AttnSyntaxError, "found ':'", "'where' gives"),
    Bad("clause outside an attend", p("score ▸dot(q, k)"), AttnSyntaxError, "expected", "only inside an attend"),
    Bad("comprehension", p("x = [q ▸for n in 0 .. 3]"), AttnSyntaxError, "", "no comprehensions"),
]  # fmt: skip

NAMES = [
    Bad("unknown name", a("score dot(q, ▸kk)  normalize softmax  mix v"), AttnNameError, "unknown name 'kk'", "did you mean 'k'?"),
    Bad("unknown function", a("score ▸dott(q, k)  normalize softmax  mix v"), AttnNameError, "unknown function 'dott'", "did you mean 'dot'?"),
    Bad("unknown normalizer", a("score dot(q, k)  normalize ▸softmx  mix v"), AttnNameError, "unknown function 'softmx'", "'softmax'"),
    Bad("unknown axis in over", p("attend o over ▸jj { score dot(q, k)  normalize softmax  mix v }"), AttnNameError, "unknown axis 'jj'", "axes here: b, d, e, i, j"),
    Bad("unknown axis in a reducer", p("o = sum[▸z](q)"), AttnNameError, "unknown axis 'z'", "axes here"),
    Bad("unknown axis on the left", p("x[b, ▸z] = q\n" + WHOLE), AttnNameError, "unknown axis 'z'"),
    Bad("unknown axis in a read", p("o = v[▸z = i]"), AttnNameError, "unknown axis 'z'"),
    Bad("unknown bundle", "pattern p(▸*: stuff) -> o[b] { o = x }", AttnNameError, "unknown bundle 'stuff'", "bundles: none"),
    Bad("unknown name in where", "pattern p(q[b]) -> o[b] where b = ▸h * n { o = q }", AttnNameError, "unknown name 'h'"),
    Bad("unknown option of softmax", a("score dot(q, k)  normalize softmax(s; temp = ▸2)  mix v"), AttnNameError, "'softmax' has no option 'temp'", "sink"),
    Bad("unknown option of a definition", "define f(x; n: int = 1) = x\npattern p(q[b]) -> o[b] { o = f(q; ▸m = 2) }", AttnNameError, "'f' has no input or parameter 'm'"),
    Bad("output never assigned", p("x = q").replace("-> o", "-> ▸o"), AttnNameError, "output 'o' is never assigned"),
    Bad("assigned twice", p(WHOLE + "x = q\n▸x = k"), AttnNameError, "'x' is assigned twice", "only a fold"),
    Bad("input assigned", p("▸q = k"), AttnNameError, "'q' already names something else", "inputs, parameters and axes cannot be assigned"),
    Bad("input with a taken name", "pattern p(▸admitted[b, i]) -> o[b, i] { o = admitted }", AttnNameError, "'admitted' is the name of the mask", "another name"),
    Bad("value with a taken name", "pattern p(q[b, i]) -> o[b, i] { ▸admitted = q * 2   o = admitted }", AttnNameError, "'admitted' is the name of the mask", "another name"),
    Bad("input declared twice", "pattern p(q[b, i], ▸q[b, i]) -> o[b, i] { o = q }", AttnNameError, "input 'q' is declared twice", "exclude each other"),
    Bad("pattern declared twice", "pattern p(q[b]) -> o[b] { o = q }\n▸pattern p(q[b]) -> o[b] { o = q }", AttnNameError, "pattern 'p' is declared twice", "rename one"),
    Bad("definition declared twice", "define f(x) = x\n▸define f(x) = x\npattern p(q[b]) -> o[b] { o = f(q) }", AttnNameError, "'f' is declared twice"),
    Bad("axis and tensor", "pattern p(q[▸b, i], b[i]) -> o[b, i] { o = q * b }", AttnNameError, "'b' is an axis here and something else elsewhere", "rename one"),
    Bad("axis and parameter", "pattern p(q[b, ▸i]; i: int = 1) -> o[b, i] { o = q }", AttnNameError, "'i' is an axis here and something else elsewhere"),
    Bad("not carried by a fold", p("fold t in 0 .. 3 { x = q }\no = ▸x"), AttnNameError, "unknown name 'x'"),
    Bad("input on condition of data", "pattern p(q[b], r[b] if ▸q > 0) -> o[b] { o = q }", AttnNameError, "unknown name 'q'", "may use parameters"),
    Bad("output declared twice", "pattern p(q[b]) -> o[b], ▸o[b] { o = q }", AttnNameError, "output 'o' is declared twice"),
    Bad("no pattern at all", "# nothing\n", AttnNameError, "declares no pattern"),
    Bad("empty text", "", AttnNameError, "declares no pattern"),
]  # fmt: skip

AXES_AND_KINDS = [
    Bad("output with too few axes", p("o = q * k").replace("-> o", "-> ▸o"), AttnTypeError, "output 'o' depends on axis 'd'"),
    Bad("left side with too few axes", p("▸x[b, i] = q\n" + WHOLE), AttnTypeError, "its value depends on 'd' too", "sum[d]"),
    Bad("axis twice in an input", "pattern p(▸q[b, b]) -> o[b] { o = q }", AttnTypeError, "'q' names the axis 'b' twice", "b'"),
    Bad("axis twice in over", p("attend o over (j, ▸j) { score dot(q, k)  normalize softmax  mix v }"), AttnTypeError, "axis 'j' is named twice"),
    Bad("sum over an axis that is not there", p("x = ▸sum[i](k)\n" + WHOLE), AttnTypeError, "nothing here depends on axis 'i'", "i.size"),
    Bad("axis twice in an output", "pattern p(q[b]) -> ▸o[b, b] { o = q }", AttnTypeError, "'o' names the axis 'b' twice"),
    Bad("condition for an int output", "pattern p(q[b]) -> ▸o[b]: int { o = q > 0 }", AttnTypeError, "is declared int, its value is a condition", "int(..)"),
    Bad("float for an int output", "pattern p(q[b]) -> ▸o[b]: int { o = q }", AttnTypeError, "is declared int, its value is a float", "floor"),
    Bad("number for a bool output", "pattern p(q[b]) -> ▸o[b]: bool { o = q }", AttnTypeError, "is declared bool, its value is a number", "compare it"),
    Bad("count of in_top", "pattern p(q[b, j]) -> o[b, j] { o = where(in_top[j](q; n = ▸j), q, 0) }", AttnTypeError, "n of 'in_top' depends on axis 'j'", "j.size"),
    Bad("sum of a list of lists", "pattern p(q[b]; l: int[][] = [[1], [2]]) -> o[b] { o = q * ▸sum(l) }", AttnTypeError, "'sum' does not take this list"),
    Bad("float as a mask", a("score dot(q, k)  mask ▸i - j  normalize softmax  mix v"), AttnTypeError, "a mask is a condition", "belongs in 'score'"),
    Bad("condition as a score", a("score ▸i < j  normalize softmax  mix v"), AttnTypeError, "a score is a number"),
    Bad("mask of scores", a("score s = dot(q, k)  mask ▸s > 0  normalize softmax  mix v"), AttnTypeError, "a mask cannot depend on the scores", "post"),
    Bad("mix of pairs", a("score s = dot(q, k)  normalize softmax  mix ▸s * v"), AttnTypeError, "cannot depend on pair values", "post"),
    Bad("and of floats", p("x = ▸q and q\n" + WHOLE), AttnTypeError, "'and' needs conditions", "compare it first"),
    Bad("not of a float", p("x = ▸not q\n" + WHOLE), AttnTypeError, "'not' needs conditions"),
    Bad("where of a float", p("x = ▸where(q, q, q)\n" + WHOLE), AttnTypeError, "the first argument of 'where' must be a condition"),
    Bad("string in arithmetic", p('x = ▸q + "a"\n' + WHOLE), AttnTypeError, '\'+\' does not take the string "a"'),
    Bad("string compared with a tensor", p('x = ▸q == "a"\n' + WHOLE), AttnTypeError, "'==' does not take the string"),
    Bad("float as a position", p("o = v[j = ▸sum[d](q)]"), AttnTypeError, "a position is an integer", "'div'"),
    Bad("division in a position", p("o = v[j = ▸i / 2]"), AttnTypeError, "'/' may leave a fraction", "'div'"),
    Bad("too few arguments", p("x = ▸dot(q)\n" + WHOLE), AttnTypeError, "'dot' takes 2 arguments, found 1"),
    Bad("too many arguments", p("x = ▸sqrt(q, k)\n" + WHOLE), AttnTypeError, "'sqrt' takes 1 argument, found 2"),
    Bad("argument of a definition missing", "define f(x, y) = x + y\npattern p(q[b]) -> o[b] { o = ▸f(q) }", AttnTypeError, "'f' needs 'y'"),
    Bad("too many arguments of a definition", "define f(x) = x\npattern p(q[b]) -> o[b] { o = f(q, ▸q) }", AttnTypeError, "too many arguments for 'f'"),
    Bad("axes of a definition missing", "define f[d](x) = sum[d](x)\npattern p(q[b]) -> o { o = ▸f(q) }", AttnTypeError, "'f' takes the axes [d] in brackets"),
    Bad("field of a tensor", p("x = ▸q.shape\n" + WHOLE), AttnTypeError, "the tensor 'q' has no field 'shape'", "'.size'"),
    Bad("size of a tensor", p("x = ▸q.size\n" + WHOLE), AttnTypeError, "'.size' is the size of an axis, not of the tensor 'q'"),
    Bad("split of no sum", p("x, y = ▸split(q)\n" + WHOLE), AttnTypeError, "'split' needs one direct sum", "split[n ++ k](x)"),
    Bad("names and values", p("▸x, y = q\n" + WHOLE), AttnTypeError, "2 names for one value"),
    Bad("prime without an axis", p("x = ▸q'\n" + WHOLE), AttnTypeError, "has nothing to bind", "an axis such as n'"),
    Bad("no normalize", p("▸attend o over j { score dot(q, k)  mix v }"), AttnTypeError, "an attend needs a 'normalize'", "normalize identity"),
    Bad("normalize before score", a("normalize ▸softmax  score dot(q, k)  mix v"), AttnTypeError, "'normalize' comes after 'score'"),
    Bad("no mix", p("▸attend o over j { score dot(q, k)  normalize softmax }"), AttnTypeError, "an attend with a name needs a 'mix'", "only emits"),
    Bad("two mixes", a("score dot(q, k)  normalize softmax  mix v  ▸mix v"), AttnTypeError, "there is one 'mix'"),
    Bad("unknown order", a("score dot(q, k)  normalize softmax  mix v  ▸order fast"), AttnTypeError, "'order fast' is not known", "auto, left, right"),
    Bad("unknown empty", a("score dot(q, k)  normalize softmax  mix v  ▸empty nan"), AttnTypeError, "'empty nan' is not known", "zero, uniform, error"),
    Bad("emit of pairs", p("attend o over j { score dot(q, k)  normalize softmax  mix v  emit w = p }", "o[b, i, e], ▸w[b, i]"), AttnTypeError, "output 'w' depends on axis 'j'"),
    Bad("no keys", p("▸attend o { score dot(q, k)  normalize softmax  mix v }"), AttnTypeError, "says its keys once: 'attend o over j"),
    Bad("require on data", "pattern p(q[b]) -> o[b] { require ▸q > 3\n o = q }", AttnTypeError, "'require' checks parameters and sizes", "'assume'"),
    Bad("require on a reduction of data", "pattern p(q[b]) -> o[b] { require ▸max(q) > 3\n o = q }", AttnTypeError, "'require' checks parameters and sizes"),
    Bad("require of a number", "pattern p(q[b]; n: int = 1) -> o[b] { require ▸n\n o = q }", AttnTypeError, "'require' needs a condition"),
    Bad("if on data", "pattern p(q[b]) -> o[b] { if ▸q > 0 { o = q } }", AttnTypeError, "must be known while compiling", "not on sizes or data"),
    Bad("if on a size", "pattern p(q[b]) -> o[b] { if ▸b > 3 { o = q } }", AttnTypeError, "must be known while compiling"),
    Bad("if on a number", "pattern p(q[b]; n: int = 1) -> o[b] { if ▸n { o = q } }", AttnTypeError, "must be true or false, found the number 1"),
    Bad("return in a pattern", p("▸return q"), AttnTypeError, "'return' belongs in a definition", "o = ..."),
    Bad("fold between fractions", p("x = q\nfold t in ▸0 .. 2.5 { x = x + 1 }\n" + WHOLE), AttnTypeError, "a fold runs between two whole numbers"),
    Bad("definition that calls itself", "define f(x) = ▸f(x)\npattern p(q[b]) -> o[b] { o = f(q) }", AttnTypeError, "nested more than", "must not call itself"),
    Bad("pattern that calls itself", "pattern p(q[b]) -> o[b] { o = ▸p(q) }", AttnTypeError, "nested more than"),
    Bad("bundle that includes itself", "bundle w(▸*: w)\npattern p(q[b], *: w) -> o[b] { o = q }", AttnTypeError, "bundle 'w' includes itself"),
    Bad("two patterns with a bundle that includes itself", "bundle w(*: w)\npattern p(q[b], *: w) -> o[b] { o = q }\n▸pattern p(q[b], *: w) -> o[b] { o = q }", AttnNameError, "pattern 'p' is declared twice"),
    Bad("optional input that is needed", p("x = q + bias\n" + WHOLE.replace("score dot", "score ▸x * dot"), more=", bias[b, i, d]?"), AttnAbsentError, "'bias' was not given", "??"),
    Bad("output of an absent input", "pattern p(q[b], r[b]?) -> ▸o[b] { o = q + r }", AttnAbsentError, "output 'o' depends on 'r', which was not given", "present("),
]  # fmt: skip

SIZES_AND_PARAMETERS = [
    Bad("size of a fraction", "pattern p(q[b]) -> o[n] where n = ▸2.5 { o = n * 1.0 }", AttnTypeError, "a size is a whole number, found the number 2.5", "floor"),
    Bad("size from data", "pattern p(q[b], t[b]: int) -> o[n] where n = ▸t { o = n * 1.0 }", AttnTypeError, "must not depend on positions or data"),
    Bad("size of an output axis", "pattern p(q[b]) -> ▸o[b, n] { o = q }", AttnTypeError, "nothing gives the size of axis 'n'", "where n = ..."),
    Bad("size of a topk", "pattern p(q[n]) -> ▸o[w]: int { o = topk[n -> w](q) }", AttnTypeError, "nothing gives the size of axis 'w'"),
    Bad("sizes of one another", "pattern p(q[b]) -> o[m, n] where m = ▸n + 1, n = m - 1 { o = m * 1.0 }", AttnNameError, "the size of axis 'n' is not known"),
    Bad("negative size", "pattern p(q[b]) -> o[n] where n = -1 { o = n * 1.0 }", AttnShapeError, "axis 'n' would have size -1", call=True),
    Bad("defaults of one another", "pattern p(q[b]; ▸n: int = m, m: int = n) -> o[b] { o = q * n }", AttnTypeError, "'n' depends on itself"),
    Bad("numbers of one another", "pattern p(q[b]) -> o[b] where ▸x = y, y = x { o = q * x }", AttnTypeError, "'x' depends on itself"),
    Bad("default of another type", 'pattern p(q[b]; n: int = ▸"x") -> o[b] { o = q * n }', AttnValueError, "parameter 'n' must be a whole number, found 'x'"),
    Bad("default that is no choice", 'pattern p(q[b]; n: "x" | "y" = ▸"z") -> o[b] { o = q }', AttnValueError, 'must be one of "x", "y", found \'z\''),
    Bad("fraction for an int", "pattern p(q[b]; n: int = ▸1.5) -> o[b] { o = q * n }", AttnValueError, "must be a whole number, found 1.5"),
    Bad("default breaks a requirement", "pattern p(q[b]; n: int = 1) -> o[b] { require ▸n > 3\n o = q }", AttnValueError, "a requirement does not hold: n > 3"),
    Bad("division by zero", "pattern p(q[b]; n: int = 0) -> o[b] { o = q * ▸(3 div n) }", AttnValueError, "cannot work this out"),
    Bad("exact division", "pattern p(q[b]; n: int = 3) -> o[m] where m = ▸7 / n { o = m * 1.0 }", AttnValueError, "7 / 3 is not a whole number"),
    Bad("direct sum of nothing", "pattern p(x{k in 0 .. n - 1}[c{k}]; n: int = 0) -> o[s] where ▸s = concat{k in 0 .. n - 1}(c{k}) { o = s * 1.0 }", AttnValueError, "is the sum of no axes"),
    Bad("requirement on sizes", p("require ▸i == j\n" + WHOLE), AttnValueError, "a requirement does not hold: i == j", "i = ", call=True),
    Bad("assumption about data", p("assume ▸q > 0\n" + WHOLE), AttnValueError, "an assumption about the data does not hold: q > 0", call=True),
    Bad("read outside", p("o = sum[d](q) * v[j = ▸i + 100]").replace("▸", ""), AttnShapeError, "outside an axis of", "else 0", call=True),
    Bad("row without a key", a("score dot(q, k)  mask j > i + 50  normalize softmax  mix v  empty error"), AttnValueError, "a row has no admitted key", "empty error", call=True),
]  # fmt: skip

# What once gave a result nobody asked for.
SILENT_ONCE = [
    Bad("input and parameter of one name", "pattern p(▸x[b]; x: float) -> o[b] { o = x }", AttnNameError, "'x' is an input and a parameter", "rename"),
    Bad("input declared twice over other axes", "pattern p(x[b], ▸x[c]) -> o[b] { o = x }", AttnNameError, "input 'x' is declared twice"),
    Bad("two unnamed scores", a("score dot(q, k) score ▸dot(k, q) normalize softmax mix v"), AttnNameError, "a second value of its kind needs a name", "score a = .."),
    Bad("plus_one is no truth value", a("score dot(q, k) normalize softmax(s; plus_one = ▸3) mix v"), AttnTypeError, "plus_one is true or false", "sink"),
    Bad("softmax along an axis it has not", a("score dot(q, k) normalize ▸softmax[e] mix v"), AttnTypeError, "nothing here depends on axis 'e'"),
    Bad("brackets on an elementwise function", p("o = ▸exp[b](v)"), AttnTypeError, "'exp' takes no axes in brackets", "write exp(..)"),
    Bad("brackets on linear", "pattern p(x[n, c], w[d, c]) -> o[n, d] { o = ▸linear[c](x, w) }", AttnTypeError, "'linear' takes no axes in brackets", "sum[c](w * x)"),
    Bad("condition on dot", "pattern p(x[n, c], w[d, c]) -> o[n, d] { o = dot(x, w | ▸n > 0) }", AttnTypeError, "'dot' takes no condition after '|'", "sum[j | c](e)"),
    Bad("condition on max of two", "pattern p(x[n]) -> o[n] { o = max(x, 0 | ▸n > 0) }", AttnTypeError, "takes no condition", "where(c, a, b)"),
    Bad("else in a reduction", "pattern p(x[n]) -> o[n] { o = softmax[n else ▸0](x) }", AttnTypeError, "'else' belongs to reads, not to 'softmax'"),
    Bad("and of a number", "pattern p(x[n]) -> o[n] { o = ▸x and true }", AttnTypeError, "'and' needs conditions, found the tensor 'x'", "x != 0"),
    Bad("or of a number", "pattern p(x[n]) -> o[n] { o = false or ▸3 }", AttnTypeError, "'or' needs conditions, found the number 3"),
    Bad("fold over an input's name", "pattern p(x[n]) -> o[n] { o = x\n ▸fold x in 1 .. 3 { o = o + x } }", AttnNameError, "'x' already names something else here", "a name of its own"),
    Bad("fold over an axis", "pattern p(x[n]) -> o[n] { o = x\n ▸fold n in 1 .. 3 { o = o + n } }", AttnNameError, "'n' already names something else here"),
    Bad("list shorter than its axis", "pattern p(q[b, i]) -> o[b, i] { o = [1, 2][▸i] * q }", AttnValueError, "a list of 2 is read at every position of axis 'i'", "i = 3", call=True),
    Bad("position modulo zero", "pattern p(q[b, i]; n: int = 0) -> o[b, i] { o = ▸(i mod n) * q }", AttnValueError, "'mod' by zero", "change the parameters", call=True),
    Bad("number of where named as an input", "pattern p(x[n]) -> o[n] where ▸x = 3 { o = x }", AttnNameError, "'x' is an input and a number of 'where'"),
    Bad("renamed axis that a bundle has not", "bundle w(g[n])\npattern p(x[m], ▸*: w(z = m)) -> o[m] { o = x * sum(g) }", AttnNameError, "bundle 'w' has no axis 'z'", "its axes: n"),
    Bad("family of names that are none", "pattern p(▸x{n in -1 .. 0}[i]) -> o[i] { o = x0 }", AttnNameError, "'x-1' is no name"),
    Bad("top-k onto its own axis", "pattern p(x[i]) -> o[i]: int { o = topk[▸i -> i](x) }", AttnTypeError, "'topk' goes to an axis of its own", "topk[i -> w]"),
    Bad("complex output", "pattern p(x[i]) -> ▸o[w] where w = i div 2 + 1 { o = rfft[i -> w](x) }", AttnTypeError, "'o' would be complex", "irfft"),
    Bad("vjp without one of its gradients", "▸define g(x, y) { return x * y } vjp (d) { x = d * y }\npattern p(x[i], y[i]) -> o[i] { o = g(x, y) }", AttnTypeError, "gives no gradient of 'y'", "y = 0 * y"),
]  # fmt: skip

TABLE = [*SYNTAX, *NAMES, *AXES_AND_KINDS, *SIZES_AND_PARAMETERS, *SILENT_ONCE]
