"""Rules of what is carried between tiles, and of stores at each position of a repeated axis."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attncc.errors import AttnInternalError
from attncc.ir.expr import Apply, Const, Index
from attncc.tile.nodes import Arg, Dim, Init, Load, Map, Program, Reduce, Repeat, Set, Stmt, Store, value
from attncc.tile.show import show
from attncc.tile.verify import verify


def running() -> Program:
    """y[n, f] = the sum of x over the tiles of n up to the position's own."""
    add: tuple[Stmt, ...] = (
        Load("x", "x", (Index("n"), Index("f")), ("n", "f")),
        Reduce("part", "sum", "x", "n", ("f",)),
        Set("total", Apply("add", (value("total"), value("part")))),
        Map("out", Apply("add", (Apply("mul", (value("x"), Const(0.0))), value("total"))), ("n", "f")),
        Store("y", (Index("n"), Index("f")), "out", ("n", "f")),
    )
    dims = (Dim("n", ("n",)), Dim("f", ("f",), whole=True))
    args = (Arg("x", ("n", "f"), "float"), Arg("y", ("n", "f"), "float", "out"))
    carry = (Init("total", ("f",), Const(0.0)),)
    return Program("running", dims, args, (), (), "n", add, sweep="forward", carry=carry)


def test_carried() -> None:
    text = show(verify(running()))
    assert "one tile after the other, forward" in text and "carry   total[f] := 0.0" in text
    with pytest.raises(AttnInternalError, match="in no order"):
        verify(replace(running(), sweep=""))
    with pytest.raises(AttnInternalError, match="has the dim of the tiles"):
        verify(replace(running(), carry=(Init("total", ("n", "f"), Const(0.0)),)))
    with pytest.raises(AttnInternalError, match="is no accumulator"):
        verify(replace(running(), carry=()))


def repeated(index: tuple[Index, ...]) -> Program:
    body: tuple[Stmt, ...] = (
        Load("x", "x", (Index("c"), Index("n")), ("n",)),
        Map("y", Apply("mul", (value("x"), Const(2.0))), ("n",)),
        Store("out", index, "y", ("n",)),
    )
    args = (Arg("x", ("c", "n"), "float"), Arg("out", tuple(i.axis for i in index), "float", "out"))
    return Program("twice", (Dim("n", ("n",)),), args, (), (), "n", (Repeat("c", body),))


def test_a_store_at_each_position_of_a_repeated_axis() -> None:
    verify(repeated((Index("c"), Index("n"))))
    with pytest.raises(AttnInternalError, match="inside a loop"):
        verify(repeated((Index("n"),)))
