"""A call as Python text that runs on its own: what a failing test prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..language.show import show
from ..runtime import texts
from ..runtime.op import Op
from .calls import Sample, has_open_rank


def snippet(sample: Sample, backends: tuple[str, ...]) -> str:
    """Lines that make the op and the inputs of a sample and check them on some backends."""
    options = [f"seed={sample.seed}", f"sizes={dict(sample.lengths)!r}", f"dtype={sample.dtype}"]
    if sample.optional:
        options.append(f"optional={sample.optional!r}")
    if has_open_rank(sample.op):
        options.append(f"rank={_rank(sample)}")
    if any(item.kind == "bool" for item in sample.program.inputs):
        options.append(f"density={sample.density!r}")
    if sample.layout != "contiguous":
        options.append(f"layout={sample.layout!r}")
    if sample.device != "cpu":
        options.append(f"device={sample.device!r}")
    return "\n".join(
        [
            "import torch",
            "import attncc",
            "from attncc.testing import assert_matches_oracle, sample_inputs",
            "",
            f"op = {make_op(sample.op)}",
            f"inputs = sample_inputs(op, {', '.join(options)})",
            f"assert_matches_oracle(op, inputs, backends={backends!r}, seed={sample.seed})",
        ]
    )


def make_op(op: Op) -> str:
    """An expression that makes an op again: from its file, the shipped set, or the text of its pattern."""
    name = op._source.name
    params = "".join(f", {k}={_literal(v)}" for k, v in op.params.items())
    if name.endswith(".attn") and Path(name).is_file():
        return f"attncc.compile({name!r}, pattern={op.name!r}{params})"
    stem = Path(name).stem
    if name == f"patterns/{stem}.attn" and any(s.name == stem for s in texts.patterns()):
        return f"attncc.load({op.name!r}{params})"
    text = op._source.text if name == "<string>" else show(op._decl)
    quoted = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return f'attncc.compile("""\n{quoted.strip()}\n""", pattern={op.name!r}{params})'


def _literal(value: Any) -> str:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return f"float({str(value)!r})"
    return repr(value)


def _rank(sample: Sample) -> int:
    """The rank that gives the inputs their number of dims."""
    from .calls import dims_of

    given = {item.name: len(item.dims) for item in sample.program.inputs}
    for rank in range(7):
        dims = dims_of(sample.op, rank)
        if all(dims[name][0] == count for name, count in given.items() if name in dims):
            return rank
    return 2
