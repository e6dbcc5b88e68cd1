"""Hypothesis strategies for calls of a pattern: parameters, optional inputs, sizes, dtypes, memory layouts, masks.

    @given(attncc.testing.samples(op))
    def test_mine(sample):
        op(**sample.tensors)

Everything shrinks to the plainest call: no parameter but the given ones, no optional input, every axis of length 1 or as near
to it as the pattern's `require`s admit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hypothesis import reject
from hypothesis import strategies as st

from ..errors import AttnError, AttnShapeError, AttnTypeError, AttnUnsupportedError, AttnValueError
from ..ir.nodes import Program
from ..runtime.op import Op
from .calls import LAYOUTS, Sample, dims_of, has_open_rank, program_of, with_params
from .defaults import plain_values, required, strings_in
from .lengths import choose_sizes, free_axes, grid_rank, pair_count, roles

REFUSALS = (AttnTypeError, AttnValueError, AttnShapeError, AttnUnsupportedError)
"""What a pattern says to a combination that it does not take. Anything else is a defect and is not caught."""

MOST_PAIRS = 2**17
"""Calls with more pair values are not drawn: a search runs many."""

DTYPES = (torch.float32, torch.float64)


def parameters(op: Op, keep: Sequence[str] = ()) -> st.SearchStrategy[dict[str, Any]]:
    """Values for the parameters of a pattern; those with a default are left out at times, the given ones and `keep` always."""
    words = strings_in(op._decl)
    needed = required(op)
    entries: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for name, decl in op._specs.types.items():
        if name in op.params or name in keep or decl.type.kind in ("true", "false"):
            continue
        values = plain_values(decl.type, words)
        if values:
            (entries if name in needed else optional)[name] = st.sampled_from(values)
    if not optional:
        return st.fixed_dictionaries(entries)
    some = st.lists(st.sampled_from(sorted(optional)), unique=True, max_size=3)
    given = some.flatmap(lambda names: st.fixed_dictionaries({n: optional[n] for n in names}))
    return st.tuples(st.fixed_dictionaries(entries), given).map(lambda pair: {**pair[0], **pair[1]})


def optional_inputs(op: Op) -> st.SearchStrategy[tuple[str, ...] | None]:
    """Which optional inputs are present; None leaves it to `sample`."""
    names = [n for n, (_, may_miss) in dims_of(op, 1).items() if may_miss]
    if not names:
        return st.none()
    return st.none() | st.lists(st.sampled_from(names), unique=True).map(lambda chosen: tuple(n for n in names if n in chosen))


def dtypes(allowed: Sequence[torch.dtype] = DTYPES) -> st.SearchStrategy[torch.dtype]:
    """The dtype of the float inputs."""
    return st.sampled_from(list(allowed))


def layouts() -> st.SearchStrategy[str]:
    """How the inputs lie in memory."""
    return st.sampled_from(LAYOUTS)


def masks() -> st.SearchStrategy[float]:
    """How often an entry of a bool input is true: some, all, few, none."""
    return st.sampled_from([0.7, 1.0, 0.25, 0.0])


@st.composite
def wishes(draw: st.DrawFn, program: Program, most: int = 9, long: Sequence[int] = (16, 17, 40, 66)) -> dict[str, int]:
    """A wished length for every free axis: short ones, and at most one key or query axis that is longer than a tile."""
    role = roles(program)
    names = free_axes(program)
    most = max(2, round(most ** (1 / grid_rank(program)) + 1)) if grid_rank(program) > 1 else most
    out = {n: draw(st.integers(1, most if n in role else max(2, most // 3)), label=n) for n in names}
    tokens = [n for n in names if role.get(n) in ("key", "query")]
    if tokens and long and draw(st.integers(0, 3)) == 3:
        out[draw(st.sampled_from(tokens))] = draw(st.sampled_from(list(long)))
    return out


def sizes(
    program: Program, fixed: Mapping[str, int] | None = None, most: int = 9, long: Sequence[int] = (16, 17, 40, 66)
) -> st.SearchStrategy[dict[str, int]]:
    """The length of every axis of a program, so that its size equations and `require`s hold."""

    def solved(wish: dict[str, int]) -> dict[str, int]:
        try:
            return choose_sizes(program, lambda axis: wish.get(axis, 1), fixed)
        except AttnShapeError:
            reject()

    return wishes(program, most, long).map(solved)


@st.composite
def samples(
    draw: st.DrawFn, op: Op, *, sizes: Mapping[str, int] | None = None, dtypes: Sequence[torch.dtype] = DTYPES, most: int = 9,
    long: Sequence[int] = (16, 17, 40, 66), vary: bool = True, device: str = "cpu", refused: list[AttnError] | None = None,
) -> Sample:  # fmt: skip
    """A call of an op on made-up data.

    sizes    lengths of axes that stay as they are
    dtypes   of the float inputs
    most     the usual largest length of a key, query or feature axis; `long`: lengths that one of them has at times
    vary     draw parameters that have a default, too; without, only those that the op still needs
    refused  collects the reasons why combinations were not taken
    """
    try:
        found = _sample(draw, op, sizes, dtypes, most, long, vary, device)
        _ = found.tensors  # drawn here, so that data the pattern does not take are rejected
        return found
    except REFUSALS as error:
        if refused is not None:
            refused.append(error)
        reject()


def _sample(
    draw: st.DrawFn, op: Op, fixed: Mapping[str, int] | None, allowed: Sequence[torch.dtype], most: int, long: Sequence[int],
    vary: bool, device: str,
) -> Sample:  # fmt: skip
    params = draw(parameters(op, keep=() if vary else [n for n in op._specs.types if n not in required(op)]), label="params")
    chosen = with_params(op, params)
    present = draw(optional_inputs(chosen), label="optional")
    rank = draw(st.sampled_from([1, 2, 3]), label="rank") if has_open_rank(chosen) else 2
    program = program_of(chosen, present, rank)
    wish = draw(wishes(program, most, long), label="sizes")
    lengths = choose_sizes(program, lambda axis: wish.get(axis, 1), fixed)
    if pair_count(program, lengths) > MOST_PAIRS:
        reject()
    bools = any(item.kind == "bool" for item in program.inputs)
    return Sample(
        op=chosen,
        program=program,
        sizes=lengths,
        seed=draw(st.integers(0, 2**16), label="seed"),
        dtype=draw(st.sampled_from(list(allowed)), label="dtype"),
        density=draw(masks()) if bools else 0.7,
        layout=draw(layouts()),
        device=device,
    )
