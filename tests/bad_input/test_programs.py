"""Every wrong program of the table raises its error class, at its place, with its message."""

from __future__ import annotations

import pytest
import torch
from bad_programs import TABLE, Bad

import attncc
from attncc.testing.calls import program_of


def run(bad: Bad) -> None:
    """Compile, and call with small tensors where compiling must succeed."""
    op = attncc.compile(bad.source if "\n" in bad.source or not bad.source else bad.source + "\n")
    program = program_of(op, ())
    if not bad.call:
        return
    shapes = {"b": 2, "i": 3, "j": 4, "d": 5, "e": 6}
    generator = torch.Generator().manual_seed(0)
    tensors = {
        item.name: torch.randn([shapes.get(a, 3) for dim in item.dims for a in dim], generator=generator) for item in program.inputs
    }
    op(**tensors, backend="eager")


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name.replace(" ", "-"))
def test_error(bad: Bad) -> None:
    with pytest.raises(attncc.AttnError) as caught:
        run(bad)
    error = caught.value
    assert type(error) is bad.error, error
    assert bad.message in error.message, error
    assert bad.help in error.help, error
    if bad.position is not None:
        assert (error.line, error.column) == bad.position, error
        line = bad.source.split("\n")[bad.position[0] - 1]
        assert line.strip() == "" or line.replace("\t", " ") in str(error)


def test_the_table_is_large_and_names_are_unique() -> None:
    names = [bad.name for bad in TABLE]
    assert len(names) == len(set(names))
    assert len(TABLE) >= 60
    assert all(bad.message or bad.help for bad in TABLE)
