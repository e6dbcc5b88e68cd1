"""Wrong calls of a right pattern: each raises its error class, points where it should and says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import attncc
from attncc.errors import (
    AttnAbsentError,
    AttnError,
    AttnNameError,
    AttnShapeError,
    AttnSyntaxError,
    AttnTypeError,
    AttnUnsupportedError,
    AttnValueError,
)

TEXT = """pattern mine(q[b, (g r), i, d], k[b, g, j, d], v[b, g, j, e], gain[g] if scaled, keep[b, j]?: bool, at[b]?: int, w[g]?: const;
             scaled: bool = false, kind: "a" | "b" = "a", window: int[2] = 3, n: int = 2, x: float = 1, t: string = "s",
             table: {heads: int, name: string}?) -> o[b, (g r), i, e], p[b, (g r), i, j]? {
  require n >= 1, abs(x) < inf
  attend o over j {
    score      s = x * dot(q, k) * (gain ?? 1) * (w ?? 1)
    mask       (keep ?? true) and (j <= at ?? true)
    normalize  p = softmax(s)
    mix        v
    emit       p = p
  }
}
"""
LINES = TEXT.split("\n")


def op(**params: Any) -> attncc.Op:
    return attncc.compile(TEXT, **params)


def t(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def q() -> torch.Tensor:
    return t(2, 4, 5, 8)


def k() -> torch.Tensor:
    return t(2, 2, 6, 8)


def v() -> torch.Tensor:
    return t(2, 2, 6, 3)


CALLS: list[tuple[str, Callable[[], Any], type[AttnError], str, str]] = [
    # inputs
    ("missing", lambda: op()(q(), k()), AttnAbsentError, "input 'v' is missing", "by position or by name"),
    ("nothing", lambda: op()(), AttnAbsentError, "input 'q' is missing", ""),
    ("too many", lambda: op()(*[q()] * 9), AttnTypeError, "'mine' takes 6 tensors, found 9", "inputs: q, k, v"),
    ("given twice", lambda: op()(q(), k(), v(), q=q()), AttnTypeError, "'q' is given by position and by name", ""),
    ("unknown", lambda: op()(q(), k(), v(), bias=q()), AttnNameError, "'bias' is not an input", "inputs: q, k, v"),
    ("parameter at the call", lambda: op()(q(), k(), v(), n=3), AttnNameError, "'n' is a parameter", "inputs"),
    ("switched off", lambda: op()(q(), k(), v(), gain=t(2)), AttnTypeError, "'gain' is not used with these parameters", "leave it out"),
    ("switched on", lambda: op(scaled=True)(q(), k(), v()), AttnAbsentError, "input 'gain' is missing", ""),
    ("list", lambda: op()([1.0], k(), v()), AttnTypeError, "'q' must be a torch.Tensor, found list", "torch.as_tensor"),
    ("array", lambda: op()(q().numpy(), k(), v()), AttnTypeError, "found ndarray", "torch.as_tensor"),
    ("sparse", lambda: op()(q().to_sparse(), k(), v()), AttnTypeError, "must be a dense tensor, found one that is torch.sparse_coo", "to_dense"),
    # dtypes
    ("int for float", lambda: op()(q().int(), k(), v()), AttnTypeError, "'q' must be a tensor of kind float, found torch.int32", ""),
    ("complex", lambda: op()(q().cfloat(), k(), v()), AttnTypeError, "kind float, found torch.complex64", ""),
    ("float for bool", lambda: op()(q(), k(), v(), keep=t(2, 6)), AttnTypeError, "'keep' must be a tensor of kind bool", ""),
    ("float for int", lambda: op()(q(), k(), v(), at=t(2)), AttnTypeError, "'at' must be a tensor of kind int", ""),
    ("two devices", lambda: op()(q(), k().to("meta"), v()), AttnTypeError, "several devices", "move them to one"),
    ("gradient of a const", lambda: op()(q(), k(), v(), w=t(2).requires_grad_()), AttnTypeError, "'w' gets no gradient", "w.detach()"),
    # shapes
    ("dims", lambda: op()(q()[0], k(), v()), AttnShapeError, "'q' has 3 dims (4, 5, 8), expected 4: [b, (g r), i, d]", ""),
    ("feature", lambda: op()(q(), k()[..., :-1], v()), AttnShapeError, "dim 3 of 'k' has size 7, expected 8 (d = 8)", ""),
    ("batch of one", lambda: op()(q(), k()[:1], v()), AttnShapeError, "dim 0 of 'k' has size 1, expected 2 (b = 2)", ""),
    ("keys and values", lambda: op()(q(), k(), v()[:, :, :-1]), AttnShapeError, "dim 2 of 'v' has size 5, expected 6", ""),
    ("groups", lambda: op()(q()[:, :3], k(), v()), AttnShapeError, "dim 1 of 'q' has size 3, which is no multiple of 2 (g = 2)", ""),
    ("optional", lambda: op()(q(), k(), v(), keep=torch.ones(2, 7, dtype=torch.bool)), AttnShapeError, "dim 1 of 'keep' has size 7", ""),
    # outputs and backends
    ("output", lambda: op()(q(), k(), v(), outputs=("lse",)), AttnNameError, "'mine' has no output 'lse' here", "outputs: o, p"),
    ("no output", lambda: op()(q(), k(), v(), outputs=()), AttnTypeError, "no output is asked for", ""),
    ("backend", lambda: op()(q(), k(), v(), backend="abacus"), AttnUnsupportedError, "no backend 'abacus'", "backends here: "),
    # parameters
    ("parameter", lambda: op(windw=3), AttnNameError, "'mine' has no parameter 'windw'", "did you mean 'window'?"),
    ("parameter like no other", lambda: op(qqq=3), AttnNameError, "no parameter 'qqq'", "parameters: scaled: bool, kind: "),
    ("bool", lambda: op(scaled="yes"), AttnValueError, "parameter 'scaled' must be true or false, found 'yes'", ""),
    ("bool of 1", lambda: op(scaled=1), AttnValueError, "must be true or false, found 1", ""),
    ("choice", lambda: op(kind="c"), AttnValueError, 'must be one of "a", "b", found \'c\'', ""),
    ("whole number", lambda: op(n=2.5), AttnValueError, "'n' must be a whole number, found 2.5", ""),
    ("whole number, not bool", lambda: op(n=True), AttnValueError, "'n' must be a whole number, found True", ""),
    ("64 bits", lambda: op(n=2**70), AttnValueError, "fits into 64 bits", ""),
    ("number", lambda: op(x="1"), AttnValueError, "'x' must be a number, found '1'", ""),
    ("number, not a list", lambda: op(x=torch.ones(3)), AttnValueError, "'x' must be a number", ""),
    ("string", lambda: op(t=7), AttnValueError, "'t' must be a string, found 7", ""),
    ("none", lambda: op(n=None), AttnValueError, "'n' must be given (int), found None", ""),
    ("length of a list", lambda: op(window=(1, 2, 3)), AttnValueError, "'window' must be a list of 2", ""),
    ("entry of a list", lambda: op(window=(1, "2")), AttnValueError, "'window[1]' must be a whole number", ""),
    ("fields of a record", lambda: op(table={"heads": 2}), AttnValueError, "'table' must be a record with fields heads, name", ""),
    ("field of a record", lambda: op(table={"heads": "2", "name": "a"}), AttnValueError, "'table.heads' must be a whole number", ""),
    ("requirement", lambda: op(n=0)(q(), k(), v()), AttnValueError, "a requirement does not hold: n >= 1", ""),
    ("infinite", lambda: op(x=float("inf"))(q(), k(), v()), AttnValueError, "abs(x) < inf", ""),
    ("not a number", lambda: op(x=float("nan"))(q(), k(), v()), AttnValueError, "abs(x) < inf", ""),
    ("outputs of another type", lambda: op()(q(), k(), v(), outputs=3), AttnTypeError, "outputs are names, found 3", 'outputs=("o"'),
    ("size that nothing gives", lambda: attncc.compile(OPEN)(torch.ones(6)), AttnShapeError, "of axis 'a' does not follow", "where a ="),
    ("size that divides and is zero", lambda: divided(torch.tensor([1, 0])), AttnValueError, "'mod' by zero", "with i = 2"),
    # loading
    ("shipped pattern", lambda: attncc.load("sofmax"), AttnNameError, "no shipped pattern 'sofmax'", "did you mean 'softmax'"),
    ("inner pattern", lambda: attncc.load("sigmoid_cor", heads=2), AttnNameError, "no shipped pattern 'sigmoid_cor'", "sigmoid_core"),
    ("file", lambda: attncc.compile("sigmiod.attn"), AttnUnsupportedError, "no file 'sigmiod.attn'", "attncc.load('sigmoid')"),
    ("folder", lambda: attncc.compile(str(Path(__file__).parent)), AttnUnsupportedError, "is a folder", "pass one file"),
    ("long name", lambda: attncc.compile("x" * 6000), AttnUnsupportedError, "cannot be read", "the text of a pattern"),
    ("null in a name", lambda: attncc.compile("a\0b"), AttnUnsupportedError, "cannot be read", ""),
    ("number for a file", lambda: attncc.compile(7), AttnTypeError, "a path or a text, found int", "attncc.compile("),
    ("pattern of a file", lambda: attncc.compile(TEXT, pattern="yours"), AttnNameError, "has no pattern 'yours'", "patterns: mine"),
    ("overload", lambda: attncc.load("agent", kind="vit"), AttnTypeError, "no overload of 'agent' fits", "kind='pvt'"),
]  # fmt: skip


OPEN = "pattern p(x[(a c)]) -> o[a, c] {\n o = x }\n"


def divided(by: torch.Tensor) -> Any:
    """Data divided by a size."""
    return attncc.compile("pattern p(n[i]: int) -> o[i]: int {\n o = n mod (i.size - 2) }\n")(by, backend="eager")


@pytest.mark.parametrize(("call", "error", "message", "help"), [c[1:] for c in CALLS], ids=[c[0].replace(" ", "-") for c in CALLS])
def test_error(call: Callable[[], Any], error: type[AttnError], message: str, help: str) -> None:
    with pytest.raises(AttnError) as caught:
        call()
    assert type(caught.value) is error, caught.value
    assert message in caught.value.message, caught.value
    assert help in caught.value.help, caught.value


@pytest.mark.parametrize(
    ("call", "line", "part"),
    [
        (lambda: op()(q(), k(), v()[:, :, :-1]), 1, "v[b, g, j, e]"),
        (lambda: op()(q(), k(), v(), at=t(2)), 1, "at[b]?: int"),
        (lambda: op()(q(), k(), v(), gain=t(2)), 1, "scaled"),
        (lambda: op(n=0)(q(), k(), v()), 4, "n >= 1"),
        (lambda: op()(q(), k(), v(), outputs="x"), 1, "pattern mine"),
    ],
)
def test_position(call: Callable[[], Any], line: int, part: str) -> None:
    with pytest.raises(AttnError) as caught:
        call()
    assert caught.value.line == line
    assert caught.value.column is not None
    assert LINES[line - 1][caught.value.column - 1 :].startswith(part)


def test_wrong_parameters_are_shown_as_given() -> None:
    with pytest.raises(AttnValueError) as caught:
        op(kind="c", n=3)
    assert str(caught.value).splitlines()[:3] == [
        "<call>:1:1: parameter 'kind' must be one of \"a\", \"b\", found 'c'",
        "    kind='c', n=3",
        "    ^^^^^^^^^^^^^",
    ]


def test_values_that_look_right_are_right() -> None:
    """Numbers of numpy and torch, one value for a list, a None for what is optional, an output by its plain name."""
    op(n=np.int64(3), x=torch.tensor(0.5), window=np.array([1, 2]), table=None)
    op(n=3.0, window=2, x=1)
    out = op()(q=q(), k=k(), v=v(), keep=None, outputs="p")
    assert out.shape == (2, 4, 5, 6)
    uint8 = op()(q(), k(), v(), keep=torch.ones(2, 6, dtype=torch.uint8))
    assert torch.equal(uint8, op()(q(), k(), v()))


def test_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.attn"
    path.write_bytes(b"pattern \xff")
    with pytest.raises(AttnSyntaxError, match="not UTF-8"):
        attncc.compile(path)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "mine.attn"
    path.write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    torch.testing.assert_close(attncc.compile(path)(q(), k(), v()), op()(q(), k(), v()))
