"""The README is current: its commands, its pattern, its kernel and its Python."""

from __future__ import annotations

import re
from pathlib import Path

import torch

import attncc
from attncc.ir.printer import show
from attncc.runtime.backends import named

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.S)


def test_the_first_block_is_two_commands() -> None:
    kind, text = BLOCKS[0]
    lines = text.strip().splitlines()
    assert kind == "sh" and len(lines) == 2
    assert lines[0].startswith("pip install") and lines[0].endswith("attncc run patterns/neighborhood2d.attn")
    assert "pytest" in lines[1] and (ROOT / "patterns/neighborhood2d.attn").exists()


def test_the_example_is_the_file_and_its_kernel_is_current() -> None:
    example = (ROOT / "examples/decayed.attn").read_text(encoding="utf-8")
    assert BLOCKS[1] == ("attn", example)
    op = attncc.compile(ROOT / "examples/decayed.attn")
    backend = named("triton")
    module = backend.source(op.ir, ("o",), {"d": 64, "e": 64}, "cuda:90")
    loop = re.sub(r"\w+_desc\.load\(.*", "LOAD", BLOCKS[2][1])
    found = re.sub(r"(?m)^( +\w) = tl\.load\(.*", r"\1 = LOAD", module)
    for line in loop.splitlines():
        assert line.strip() in found or "LOAD" in line, line


def test_the_traced_function_is_the_same_operator() -> None:
    code = BLOCKS[3][1][BLOCKS[3][1].index("@attncc.jit") :]
    space = {"attncc": attncc}
    exec(compile(re.sub(r"  +#.*", "", code), str(ROOT / "README.md"), "exec"), space)
    traced, text = space["decayed"], attncc.compile(ROOT / "examples/decayed.attn", bias=0.0)
    assert show(traced.ir) == show(text.ir)
    q, rate = torch.randn(1, 2, 9, 16), torch.rand(2)
    torch.testing.assert_close(traced(q, q, q, rate), text(q, q, q, rate))
