"""The language reference holds: every program in grammar/README.md compiles, every Python block below one runs."""

from __future__ import annotations

import ast
import re
from importlib import resources
from typing import Any

import pytest
import torch

import attncc
from attncc.errors import Source
from attncc.language.parser import parse

TEXT = resources.files("attncc.grammar").joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```attn\n(.*?)```\n(?:```python\n(.*?)```)?", TEXT, re.S)


def arguments(code: str) -> dict[str, Any]:
    """Parameters from a first line `# heads=2, shift=[1, 0]`."""
    first = code.splitlines()[0] if code.startswith("# ") else ""
    if not first:
        return {}
    call = ast.parse(f"f({first[2:]})").body[0]
    assert isinstance(call, ast.Expr) and isinstance(call.value, ast.Call)
    return {k.arg or "": ast.literal_eval(k.value) for k in call.value.keywords}


@pytest.mark.parametrize(("program", "code"), BLOCKS, ids=lambda text: re.sub(r"\W+", "_", text[:30]))
def test_example(program: str, code: str) -> None:
    torch.manual_seed(0)
    parse(Source("README.md", program))
    op = attncc.compile(program, **arguments(code))
    assert code.strip(), "every program of the reference is run"
    exec(compile(code, "README.md", "exec"), {"op": op, "torch": torch, "attncc": attncc})


def test_every_example_is_found() -> None:
    assert len(BLOCKS) == TEXT.count("```attn") >= 12
