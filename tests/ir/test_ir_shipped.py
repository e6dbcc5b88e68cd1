"""The programs of the golden cases, before and after the passes of the front half, keep the rules and round-trip as text."""

import json
from pathlib import Path

import numpy as np
import pytest
from golden_bindings import parameters, pattern_name

import attncc
from attncc.ir.algebra import simplify_int
from attncc.ir.expr import axes_of, kind_of
from attncc.ir.graph import live, ordered
from attncc.ir.nodes import exprs_of
from attncc.ir.parser import parse
from attncc.ir.printer import show
from attncc.ir.verify import verify
from attncc.passes.resolve.program import resolve

TESTS = Path(__file__).parents[1]
SHIPPED = {path.stem for path in (TESTS.parent / "patterns").glob("*.attn")}
CASES = sorted(path for path in (TESTS / "golden").glob("*/*.json") if path.parent.name in SHIPPED)


@pytest.mark.parametrize("slug", sorted({path.parent.name for path in CASES}))
def test_programs_of_golden_cases(slug):
    programs = []
    for path in CASES:
        if path.parent.name == slug:
            case, arrays = json.loads(path.read_text()), np.load(path.with_suffix(".npz"))
            for level in case["levels"]:
                params, _ = parameters(slug, level["name"], case["attrs"])
                dims = {name: arrays[f"in.{name}"].ndim for name in level["inputs"]}
                op = attncc.load(pattern_name(slug, level["name"]), **params)
                programs += [resolve(op._library, op._decl, op.params, dims), op.specialise(dims)]
    seen = set()
    for program in programs:
        text = show(program)
        if text in seen:
            continue
        seen.add(text)
        assert parse(text) == program
        assert verify(program) is program
        assert verify(live(program)).outputs
        assert ordered(program) == program or verify(ordered(program))
        for node in program.nodes:
            for expr in exprs_of(node):
                found = simplify_int(expr, keep_axes=True)
                assert (kind_of(found), axes_of(found)) == (kind_of(expr), axes_of(expr))
    assert seen
