"""For every rule of the verifier at least one program that breaks it."""

from dataclasses import replace

from ir_legal import BASE

from attncc.ir.expr import Along, Const, Expr, Index, Read, Reduce, apply
from attncc.ir.nodes import Assign, Attend, Call, Check, Fold, Program, Segment
from attncc.ir.parser import parse

# rule: message
#     what is added to BASE
BROKEN = """
axis-once: axis 'b' is declared twice
    axis b
axis-known: unknown axis 'v' in axis 's'
    axis s = |v|
axis-known: unknown axis 'v' in axis 's'
    axis s = b ++ (v i)
axis-known: unknown axis 'v' in the dims of input 'y'
    input y[v]: float
axis-known: unknown axis 'v' in 'a'
    a[]: int = |v|
axis-known: unknown axis 'v' in 'a'
    a[v]: int = 3
axis-known: unknown axis 'v' in 'sum' in 'a'
    a[]: int = sum[v](3)
axis-known: unknown axis 'v' in the keys of attend 'a'
    a[]: int = attend rows () over (v) { map p = 1; mix 1 }
axis-known: unknown axis 'v' in topk 'a'
    a[]: int = pick topk[i -> v](i)
axis-known: unknown axis 'v' in rfft 'a'
    a[b, i]: complex = call rfft(q) along (d) -> v
axis-known: unknown axis 'v' in the dims of output 'a'
    output a[d, v]: float = x
axis-size: the size of axis 's' is not made of sizes
    axis s = b + 1
axis-size: the size of axis 's' is float, not int
    axis s = |b| / 2
axis-size: the size of axis 's' is not made of sizes
    axis s = to_int(x[0])
axis-cycle: axis 's' depends on itself through its size: s -> u -> s
    axis s = |u| + 1; axis u = |b| * |s|
axis-cycle: axis 's' depends on itself through its parts: s -> s
    axis s = b ++ s
axis-given: nothing gives the size of axis 's'
    axis s
axes-distinct: axis 'b' is twice in the dims of input 'y'
    input y[b, (i b)]: float
axes-distinct: axis 'b' is twice in 'a'
    a[b, b]: int = 3
axes-distinct: axis 'b' is twice in 'sum' in 'a'
    a[]: int = sum[b, b](3)
axes-distinct: axis 'b' is twice in the rows of an attend
    attend rows (b, b) over (j) { }
axes-distinct: axis 'j' is twice in the keys of an attend
    attend rows (b) over (j, j) { }
axes-distinct: axis 'd' is twice in the dims of output 'a'
    output a[d, d]: float = x
name-once: 'q' is defined twice
    input q[b]: float
name-once: 'a' is defined twice
    a[]: int = 3; a[]: int = 4
name-once: 'q' is defined twice
    q[]: int = 3
name-once: a value may not be called 'admitted'
    admitted[]: int = 3
name-once: a value may not be called ''
    ``[]: int = 3
name-once: 'x' is defined twice
    attend rows () over (j) { score x = j }
name-once: 's' is defined twice
    attend rows () over (j) { score s = j; score s = j }
name-once: 's' is defined twice
    attend rows () over (j) { score s = j; map s = j }
name-once: 'p' is defined twice
    attend rows () over (j) { map p = j; post p = j }
name-once: 'p' is defined twice
    attend rows () over (j) { map p = j; emit p[]: int = 3 }
name-once: 'e' is defined twice
    attend rows () over (j) { emit e[]: int = 3; emit e[]: int = 3 }
name-once: 'a' is defined twice
    a[]: int = attend rows () over (j) { map a = j; mix 1 }
name-once: 'a' is defined twice
    a[]: int = attend rows () over (j) { map p = j; mix 1; emit a[]: int = 3 }
name-once: 's' is defined twice
    attend rows () keys (r) { over (j) { score s = 1 }; over (k) { score s = 1 }; map s = 2 }
name-once: a value may not be called 'admitted'
    attend rows () over (j) { score admitted = j }
name-once: 'x' is defined twice
    fold x = 1 .. 2 by 1 { }
name-once: 'x' is defined twice
    fold n = 1 .. 2 by 1 { carry x[]: float = z then z }
name-once: 'x' is defined twice
    fold n = 1 .. 2 by 1 { x[]: float = 1.0 }
name-once: 'n' is defined twice
    fold n = 1 .. 2 by 1 { n[]: float = 1.0 }
name-once: 'x' is defined twice
    a[]: float = call vjp(z) { formal x[]: float = z[]; return x }
name-once: 'u' is defined twice
    a[]: float = call vjp(z) { formal u[]: float = 1.0; formal u[]: float = 1.0; return u }
name-once: 'u' is defined twice
    a[]: float = call vjp(z) grad u { formal u[]: float = 1.0; return u }
name-known: 'a' is not defined here
    output a[]: int = a
name-known: 'a' is not defined here
    fold n = 1 .. 2 by 1 { carry y[]: float = a then z }
name-known: 'a' is not defined here
    fold n = 1 .. 2 by 1 { carry y[]: float = z then a }
name-known: 'a' is not defined here
    c[]: float = call grad(a, x)
kind-known: input 'y' is complex
    input y[]: complex
kind-known: output 'y' is complex
    y[]: complex = complex(1, 2); output y[]: complex = y
read-arity: 'q' has axes (b, i, d) and is read at 2 positions, in 'a'
    a[b, i]: float = q[b, i]
read-int: the position of 'x' along 'd' is float, not int, in 'a'
    a[]: float = x[1.0]
read-int: the position of 'x' along 'd' is bool, not int, in 'a'
    a[d]: float = x[d < 3]
op-kinds: 'and' takes bool, found (int, bool), in 'a'
    a[]: bool = 1 and true
op-kinds: 'where' takes a bool condition, found (int, int, int), in 'a'
    a[]: int = where(1, 2, 3)
op-kinds: 'exact' takes int, found (float, int), in 'a'
    a[]: float = 1.0 /! 2
op-kinds: 'cdiv' takes int, found (int, float), in 'a'
    a[]: int = cdiv(1, 2.0)
op-kinds: 'lt' takes no complex value, found (complex, int), in 'a'
    a[]: bool = complex(1, 2) < 3
op-kinds: 'any' takes bool, found int, in 'a'
    a[]: bool = any[i](i)
op-kinds: 'max' takes no complex value, found complex, in 'a'
    a[]: complex = max[i](complex(1, 2))
op-kinds: 'softmax' takes no complex value, found complex, in 'a'
    a[i]: complex = softmax[i](complex(1, 2))
sink-softmax: 'cumsum' has a int sink, in 'a'
    a[i]: int = cumsum[i](i, sink = 1)
sink-softmax: 'softmax' has a complex sink, in 'a'
    a[i]: float = softmax[i](i, sink = complex(1, 2))
cond-bool: the condition of 'sum' is int, not bool, in 'a'
    a[]: int = sum[i | i](i)
cond-bool: the mask of an attend is int, not bool
    attend rows () over (j) { mask j }
cond-bool: the condition of argmax 'a' is int, not bool
    a[]: int = pick argmax[i | i](i)
count-true: the body of a count is not 'true', in 'a'
    a[]: int = count[i](i < 3)
value-axes: 'a' has axes (b), and its expression also (d, i)
    a[b]: float = q[b, i, d]
value-axes: 'a' has axes (), and its expression also (i)
    a[]: int = cumsum[i](1)
value-axes: 'e' has axes (i), and its expression also (j)
    attend rows (i) over (j) { emit e[i]: int = j }
value-axes: 'u' has axes (), and its expression also (d)
    a[]: float = call vjp(x) { formal u[]: float = x[d]; return u }
value-kind: 'a' is float and its expression is int
    a[b]: float = b
value-kind: 'a' is float and its mix is int
    a[]: float = attend rows () over (j) { map p = 1; mix j }
check-bool: a require is int, not bool
    require |b|
check-bool: an assume is int, not bool
    assume len[b]
check-bool: a require reads 'len'
    require len[0] > 1
check-bool: a require has the index 'b'
    require b > 1
attend-keys: an attend has one segment and the keys axis (r)
    attend rows () keys (r) { over (j) { } }
attend-keys: an attend has 2 segments and the keys axes ()
    attend rows () keys () { over (j) { }; over (k) { } }
attend-keys: the segments (j) ++ (m) of an attend are not the parts of 'r'
    attend rows () keys (r) { over (j) { }; over (m) { } }
attend-keys: the segments (j) ++ (j) of an attend are not the parts of 'r'
    attend rows () keys (r) { over (j) { }; over (j) { } }
attend-pairs: axes (j) of an attend are rows and keys
    attend rows (b, j) over (j) { }
attend-pairs: 's' of an attend has axes (b, j), and its expression also (i)
    attend rows (b) over (j) { score s = i }
attend-pairs: the mask of an attend has axes (b, j), and its expression also (i)
    attend rows (b) over (j) { mask i < 2 }
attend-pairs: 'p' of an attend has axes (b, j), and its expression also (i)
    attend rows (b) over (j) { map p = i }
attend-pairs: 'p' of an attend has axes (r), and its expression also (j)
    attend rows () keys (r) { over (j) { }; over (k) { }; map p = j }
attend-scores: the segments of an attend have the scores (s) and ()
    attend rows () keys (r) { over (j) { score s = 1 }; over (k) { } }
attend-scores: the segments of an attend have the scores (s, n) and (n, s)
    attend rows () keys (r) { over (j) { score s = 1; score n = 1 }; over (k) { score n = 1; score s = 1 } }
read-arity: 's' has axes (b, j) and is read at 1 positions, in 'p' of an attend
    attend rows (b) over (j) { score s = b + j; map p = s[j] }
read-arity: 'p' has axes (j, b) and is read at 1 positions, in 'e'
    attend rows (b) over (j) { score s = j; mask b < 1; map p = s[j]; emit e[j]: int = p[j] }
attend-mix: attend 'a' has no weight
    a[]: float = attend rows () over (j) { mix 1.0 }
attend-mix: attend 'a' has no mix
    a[]: float = attend rows () over (j) { map p = 1.0 }
attend-mix: an attend has no name
    attend rows () over (j) { map p = 1.0; mix 1.0 }
attend-mix: an attend mixes nothing and has axes (b), kind float
    ``[b]: float = attend rows (b) over (j) { }
attend-axes: attend 'a' has its key axes (j) in the result
    a[j]: int = attend rows () over (j) { map p = 1; mix j }
attend-axes: attend 'a' has axes (d), weight and mix also (i)
    a[d]: float = attend rows (i) over (j) { map p = i; mix q[0, j, d] }
attend-axes: attend 'a' has axes (i), weight and mix also (d)
    a[i]: float = attend rows (i) over (j) { map p = i; mix q[0, j, d] }
attend-word: an attend says 'empty nothing' and 'order auto'
    attend rows () over (j) { empty nothing }
attend-word: an attend says 'empty zero' and 'order up'
    attend rows () over (j) { order up }
pick-op: there is no pick 'bottomk'
    a[t]: int = pick bottomk[i -> t](i)
pick-target: topk 'a' goes from 'i' to 'i'
    a[i]: int = pick topk[i -> i](i)
pick-target: positions 'a' goes from 'i' to ''
    a[i]: int = pick positions[i](i < 3)
pick-target: argmax 'a' goes from 'i' to 't'
    a[t]: int = pick argmax[i -> t](i)
pick-target: in_top 'a' goes from 'i' to 't'
    a[t]: bool = pick in_top[i -> t](i, count = 2)
pick-args: positions 'a' takes bool, found int
    a[t]: int = pick positions[i -> t](i)
pick-args: argmax 'a' takes no complex value, found complex
    a[]: int = pick argmax[i](complex(i, 1))
pick-args: argmax 'a' has a count
    a[]: int = pick argmax[i](i, count = 2)
pick-args: in_top 'a' has no count
    a[i]: bool = pick in_top[i](i)
pick-args: the count of in_top 'a' is float
    a[i]: bool = pick in_top[i](i, count = 2.0)
pick-args: the count of in_top 'a' is int along 'i'
    a[i]: bool = pick in_top[i](i, count = i)
pick-kind: argmax 'a' is float, not int
    a[]: float = pick argmax[i](i)
pick-kind: sort 'a' is int, not float
    a[d]: int = pick sort[d](x[d])
pick-kind: in_top 'a' is int, not bool
    a[i]: int = pick in_top[i](i, count = 2)
pick-axes: topk 'a' has axes (t), and its expression also (b)
    a[t]: int = pick topk[i -> t](i + b)
pick-axes: argsort 'a' has axes (), and its expression also (i)
    a[]: int = pick argsort[i](i)
pick-axes: argmax 'a' still has the axis 'i'
    a[i]: int = pick argmax[i](i)
pick-axes: the argument of topk 'a' already has the axis 't'
    a[t]: int = pick topk[i -> t](i + t)
fold-bounds: a bound of fold 'n' is float with axes ()
    fold n = 1.0 .. 2 by 1 { }
fold-bounds: a bound of fold 'n' is int with axes (b)
    fold n = 1 .. len[b] by 1 { }
fold-bounds: the step of fold 'n' is 0
    fold n = 1 .. 2 by 0 { }
fold-carry: 'y' of fold 'n' starts as 'x' (d) float, not () float
    fold n = 1 .. 2 by 1 { carry y[]: float = x then z }
fold-carry: 'y' of fold 'n' becomes 'x' (d) float, not () float
    fold n = 1 .. 2 by 1 { carry y[]: float = z then x }
fold-carry: 'y' of fold 'n' becomes 'n' () int, not () float
    fold n = 1 .. 2 by 1 { carry y[]: float = z then n }
call-op: there is no call 'fft'
    a[]: float = call fft(x)
call-op: grad 'a' has fields of another call
    a[]: float = call grad(z, z) { return z }
call-op: vjp 'a' has fields of another call
    a[]: float = call vjp(z) along (d) { return z }
call-fft: rfft 'a' along (t) needs one input with those axes
    a[]: complex = call rfft(x) along (t) -> h
call-fft: rfft 'a' along (d) needs one input with those axes
    a[]: complex = call rfft(x, x) along (d) -> h
call-fft: rfft 'a' gives (d) complex, not (h) complex from float
    a[d]: complex = call rfft(x) along (d) -> h
call-fft: rfft 'a' gives (h) float, not (h) complex from float
    a[h]: float = call rfft(x) along (d) -> h
call-fft: irfft 'a' gives (h) float, not (h) float from complex
    a[h]: float = call irfft(x) along (d) -> h
call-grad: grad 'a' is not of a float scalar with respect to one value
    a[d]: float = call grad(x, x)
call-grad: grad 'a' is with respect to 'x' (d) float, not () float
    a[]: float = call grad(z, x)
call-vjp: 'u' of vjp 'a' reads 'z', which is no input of it
    a[]: float = call vjp(x) { formal u[]: float = z[]; return u }
call-vjp: vjp 'a' returns '', which its body does not define
    a[]: float = call vjp(z)
call-vjp: vjp 'a' returns 'x' (d) float, not () float
    a[]: float = call vjp(x) { return x }
call-cotangent: vjp 'a' has no input 'q' that still needs a cotangent
    a[]: float = call vjp(z) grad g { return z; cotangent q { return g } }
call-cotangent: vjp 'a' has no input 'z' that still needs a cotangent
    a[]: float = call vjp(z) grad g { return z; cotangent z { return g }; cotangent z { return g } }
call-cotangent: 'z' of vjp 'a' has the cotangent 'x' (d) float, not () float
    a[]: float = call vjp(z) grad g { return z; cotangent z { return x } }
output-once: output 'a' is declared twice
    output a[]: float = z; output a[]: float = z
output-axes: output 'a' has no dim for (i, d) of 'q'
    output a[b]: float = q
output-kind: output 'a' is int and 'z' is float
    output a[]: int = z
"""

MADE = [
    (
        "name-known",
        "'a' is read before it is defined",
        lambda: add(Assign("c", (), "int", read("a")), Assign("a", (), "int", Const(3))),
    ),
    ("name-known", "'a' is not defined here", lambda: add(Assign("c", (), "int", read("a")))),
    (
        "name-known",
        "'a' is read before it is defined",
        lambda: add(Assign("a", (), "int", Const(3)), checks=[read("a", kind="bool")]),
    ),
    ("name-known", "'admitted' is not defined here", lambda: add(Assign("c", (), "bool", read("admitted", kind="bool")))),
    ("name-known", "'admitted' is not defined here", lambda: add(attend(scores=(("s", read("admitted", "j", kind="bool")),)))),
    (
        "name-known",
        "'n' is not defined here",
        lambda: add(Fold("n", Const(1), Const(2), Const(1), (), ()), Assign("c", (), "int", read("n"))),
    ),
    ("kind-known", "'a' has the unknown kind 'real'", lambda: add(Call("a", ("d",), "real", "vjp", ("x",), value="x"))),
    (
        "read-kind",
        "'len' is int and is read as float, in 'a'",
        lambda: add(Assign("a", ("b",), "float", read("len", "b", kind="float"))),
    ),
    ("op-known", "there is no operation 'sinh', in 'a'", lambda: add(Assign("a", (), "float", apply("sinh", 1.0)))),
    (
        "op-known",
        "there is no reduction 'median', in 'a'",
        lambda: add(Assign("a", (), "float", Reduce("median", (), Const(1.0)))),
    ),
    (
        "op-known",
        "there is no function 'sum' along axes, in 'a'",
        lambda: add(Assign("a", (), "float", Along("sum", (), Const(1.0)))),
    ),
    ("op-arity", "'where' has 2 arguments, not 3, in 'a'", lambda: add(Assign("a", (), "int", apply("where", True, 1)))),
    ("attend-keys", "an attend has no keys", lambda: add(Attend("", (), "float", (), (), ()))),
]


def read(name: str, *axes: str, kind: str = "int") -> Expr:
    return Read(name, tuple(Index(a) for a in axes), kind)


def attend(**fields: tuple) -> Attend:
    return Attend("", (), "float", (), (Segment(("j",), **fields),), ())


def add(*nodes, checks: list[Expr] | None = None) -> Program:
    program = parse(BASE)
    return replace(program, nodes=nodes, checks=program.checks + tuple(Check(c, True) for c in checks or []))


LINES = BROKEN.strip().split("\n")
CASES = [(*head.split(": ", 1), text.strip()) for head, text in zip(LINES[::2], LINES[1::2], strict=True)]
