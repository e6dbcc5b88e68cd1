"""Tile programs: their text, their rules, their costs."""

from dataclasses import replace

import pytest

import attncc
from attncc.errors import AttnInternalError
from attncc.ir.expr import Apply, Const, Index, Read, Size
from attncc.ir.sizes import scalar
from attncc.schedules.costs import flops, traffic
from attncc.schedules.plan import Fused, plan
from attncc.tile.nodes import (
    Arg,
    Block,
    Dim,
    Dot,
    Init,
    Load,
    Map,
    Program,
    Reduce,
    Set,
    Store,
    TileLoop,
    statements,
    value,
)  # fmt: skip
from attncc.tile.show import show
from attncc.tile.verify import verify

SIZES = {"b": 2, "h": 3, "i": 100, "j": 200, "d": 16, "e": 32}
BOX = value("j.box", "int")


def row_sum() -> Program:
    """o[i, e] = sum over j of (q k) v, and the sum of the weights."""
    at = tuple(map(Index, "id")), tuple(map(Index, "jd")), tuple(map(Index, "je")), tuple(map(Index, "ie"))
    loop = TileLoop(
        "j",
        ("j",),
        "n",
        Apply("cdiv", (Size("j"), BOX)),
        (Map("first", Apply("mul", (value("n", "int"), BOX)), (), "int"),),
        (value("first", "int"),),
        (
            Load("kt", "k", at[1], ("j", "d"), own=True),
            Dot("qt", "kt", "d", ("i", "j"), out="s"),
            Map("p", Apply("where", (Apply("lt", (Index("j"), Size("j"))), value("s"), Const(0.0))), ("i", "j")),
            Reduce("part", "sum", "p", "j", ("i",)),
            Set("l", Apply("add", (value("l"), value("part")))),
            Load("vt", "v", at[2], ("j", "e"), own=True),
            Dot("p", "vt", "j", ("i", "e"), into="acc", cast="vt"),
        ),
        True,
    )
    return Program(
        "sums",
        (Dim("i", ("i",)), Dim("j", ("j",)), Dim("d", ("d",), True), Dim("e", ("e",), True)),
        (
            Arg("q", ("i", "d"), "float"),
            Arg("k", ("j", "d"), "float"),
            Arg("v", ("j", "e"), "float"),
            Arg("o", ("i", "e"), "float", "out"),
            Arg("z", ("i",), "float", "out", acc=True),
        ),
        (),
        (),
        "i",
        (
            Load("qt", "q", at[0], ("i", "d"), own=True),
            Init("l", ("i",), Const(0.0)),
            Init("acc", ("i", "e"), Const(0.0)),
            loop,
            Store("o", at[3], "acc", ("i", "e")),
            Store("z", (Index("i"),), "l", ("i",)),
        ),
    )


def test_text() -> None:
    verify(row_sum())
    assert show(row_sum()) == (
        "kernel sums: a tile of i\n"
        "  dim  i is a box of i\n"
        "  dim  j is a box of j\n"
        "  dim  d is all of d\n"
        "  dim  e is all of e\n"
        "  in      q[i, d]: float\n"
        "  in      k[j, d]: float\n"
        "  in      v[j, e]: float\n"
        "  out     o[i, e]: float\n"
        "  out     z[i]: float in the accumulation type\n"
        "  qt[i, d] = load q[i, d], own type\n"
        "  l[i] := 0.0\n"
        "  acc[i, e] := 0.0\n"
        "  loop n in cdiv(|j|, j.box): j from first (tested pair by pair)\n"
        "    first[] = n * j.box\n"
        "    kt[j, d] = load k[j, d], own type\n"
        "    s[i, j] = dot over d of qt, kt\n"
        "    p[i, j] = where(j < |j|, s, 0.0)\n"
        "    part[i] = sum over j of p\n"
        "    l := l + part\n"
        "    vt[j, e] = load v[j, e], own type\n"
        "    acc += dot over j of p, vt\n"
        "  store o[i, e] = acc\n"
        "  store z[i] = l\n"
    )


def edited(number: int, new: object) -> Program:
    """The program with one statement of its body replaced (None: left out)."""
    program = row_sum()
    body = list(program.body)
    body[number : number + 1] = [] if new is None else [new]
    return replace(program, body=tuple(body))


def inner(number: int, new: object) -> Program:
    """The program with one statement of its loop replaced or left out."""
    loop = row_sum().body[3]
    assert isinstance(loop, TileLoop)
    body = list(loop.body)
    body[number : number + 1] = [] if new is None else [new]
    return edited(3, replace(loop, body=tuple(body)))


BROKEN = {
    "read before it is defined": (edited(0, None), "before it is defined"),
    "defined twice": (inner(3, Map("s", Const(1.0), ("i", "j"))), "defined twice"),
    "an accumulator that is none": (edited(1, Map("l", Const(0.0), ("i",))), "no accumulator"),
    "a set of something larger": (inner(4, Set("l", value("p"))), "more dims"),
    "a map of fewer dims than its expression": (inner(2, Map("p", value("s"), ("i",))), "has dims"),
    "a reduction over another dim": (inner(3, Reduce("part", "sum", "p", "d", ("i",))), "does not reduce"),
    "a product over a dim that one operand lacks": (inner(1, Dot("qt", "kt", "e", ("i", "j"), out="s")), "product of"),
    "operands in the wrong order": (inner(1, Dot("kt", "qt", "d", ("i", "j"), out="s")), "first operand"),
    "a product that does both": (inner(1, Dot("qt", "kt", "d", ("i", "j"), out="s", into="acc")), "either defines"),
    "a sum into no accumulator": (inner(6, Dot("p", "vt", "j", ("i", "e"), into="l")), "no accumulator over"),
    "rounded to what has no type": (inner(6, Dot("p", "vt", "j", ("i", "e"), into="acc", cast="p")), "no element type"),
    "an operand in an expression": (inner(2, Map("p", Apply("mul", (value("s"), value("kt"))), ("i", "j"))), "own element type"),
    "an array in an expression": (inner(2, Map("p", Read("q", (Index("i"),), "float"), ("i", "j"))), "instead of a load"),
    "a key's position before its tile is known": (edited(1, Map("x", Index("j"), ("j",), "int")), "is not known"),
    "an axis that is not there": (edited(1, Map("x", Index("w"), (), "int")), "is not known"),
    "a store inside the loop": (inner(4, Store("z", (Index("i"),), "part", ("i",))), "inside a loop"),
    "an output that is not stored": (edited(5, None), "outputs are"),
    "stored twice": (
        edited(5, Block("", (Store("z", (Index("i"),), "l", ("i",)), Store("z", (Index("i"),), "l", ("i",))))),
        "outputs are",
    ),
    "a load of other axes": (edited(0, Load("qt", "q", (Index("i"),), ("i",))), "other axes"),
    "a load of other dims": (edited(0, Load("qt", "q", (Index("i"), Const(0)), ("i", "d"))), "its positions"),
    "an unknown dim": (edited(1, Init("l", ("w",), Const(0.0))), "unknown dim"),
    "no such owner": (replace(row_sum(), owner="d"), "no tiled dim"),
}


@pytest.mark.parametrize(("program", "message"), BROKEN.values(), ids=BROKEN)
def test_rules(program: Program, message: str) -> None:
    with pytest.raises(AttnInternalError, match=message):
        verify(program)


def fused(text: str) -> list[Program]:
    program = attncc.compile(text).ir
    steps = plan(program, [o.name for o in program.outputs]).steps
    return [k for s in steps if isinstance(s, Fused) for k in s.kernels]


PATTERN = """
pattern t(q[b, h, i, d], k[b, h, j, d], v[b, h, j, e]) -> o[b, h, i, e] {
  attend o over j { score dot(q, k) / sqrt(d)   MASK   normalize softmax   mix v }
}
"""


def test_full_tiles_carry_no_mask() -> None:
    (kernel,) = fused(PATTERN.replace("MASK", "mask j <= i"))
    full, part = [s for s in kernel.body if isinstance(s, TileLoop)]
    assert not full.masked
    assert part.masked
    names = {s.out for s in statements(full.body) if isinstance(s, Map)}
    assert "admitted" not in names
    assert "admitted" in {s.out for s in statements(part.body) if isinstance(s, Map)}


def test_a_mask_on_data_walks_a_list() -> None:
    text = PATTERN.replace("MASK", "mask c").replace("v[b, h, j, e]", "v[b, h, j, e], c[b, j]: bool")
    (kernel,) = fused(text)
    full, part = [s for s in kernel.body if isinstance(s, TileLoop)]
    assert not full.masked
    assert part.masked
    (found,) = kernel.lists
    assert {found.tiles, found.counts} <= {a.name for a in kernel.args}
    assert found.grid == ("b",)


def test_costs() -> None:
    (kernel,) = fused(PATTERN.replace("MASK", ""))
    pairs = 2 * 3 * 100 * 200
    assert scalar(flops(kernel), SIZES) == 2 * pairs * (16 + 32)
    assert scalar(traffic(kernel, 2), SIZES) == 2 * 2 * 3 * (100 * 16 + 200 * 16 + 200 * 32 + 100 * 32)


def test_costs_of_a_program_by_hand() -> None:
    assert scalar(flops(row_sum()), SIZES) == 2 * 100 * 200 * (16 + 32)
    assert scalar(traffic(row_sum(), 2), SIZES) == 2 * (100 * 16 + 200 * 16 + 200 * 32 + 100 * 32) + 4 * 100
