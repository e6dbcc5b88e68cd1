"""A first call of some ops and its gradients, in a process of its own: `python warm_process.py` prints one JSON object: results, how often
Python entered each function on the way, and what it imported."""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import torch

import attncc

SOFTMAX = """
pattern warm(q[b, i, d], k[b, j, d], v[b, j, e]; gain: float = 0.7) -> o[b, i, e], lse[b, i] {
  attend o over j {
    score     s = gain * dot(q, k)
    mask      j <= i + 3
    normalize softmax
    mix       v
    emit      lse = lse(s)
  }
}
"""
GRID = """
pattern warm_grid(q[b, y, x, d], k[b, y, x, d], v[b, y, x, e]) -> o[b, y, x, e] {
  attend o over (y', x') {
    score     0.7 * dot(q, k')
    mask      abs(y - y') <= 2 and abs(x - x') <= 3
    normalize softmax
    mix       v'
  }
}
"""


def results() -> str:
    """A word for the bytes of outputs and gradients."""
    digest = hashlib.sha256()
    for text, shape in ((SOFTMAX, (2, 40, 16)), (GRID, (1, 9, 11, 16))):
        generator = torch.Generator().manual_seed(0)
        q, k, v = (torch.randn(shape, generator=generator).requires_grad_() for _ in range(3))
        found = attncc.compile(text)(q, k, v)
        outs = found if isinstance(found, tuple) else (found,)
        for t in (*outs, *torch.autograd.grad([o.sin().sum() for o in outs], (q, k, v))):
            digest.update(t.detach().numpy().tobytes())
    return digest.hexdigest()


def watched() -> dict[str, Any]:
    """Results, functions entered by file and name, and the processes that were started."""
    root = str(Path(attncc.__file__).parent.parent) + "/"
    entered: Counter[str] = Counter()
    started: list[str] = []

    def seen(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            code = frame.f_code
            entered[f"{code.co_filename.removeprefix(root)}:{code.co_name}"] += 1

    sys.addaudithook(lambda event, args: started.append(event) if event in ("subprocess.Popen", "os.fork", "os.exec") else None)
    threading.setprofile(seen)
    sys.setprofile(seen)
    try:
        found = results()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return {"results": found, "entered": entered, "started": started}


if __name__ == "__main__":
    for name in ("language.tree", "runtime.op", "backends.eager", "backends.cpu.backward", "runtime.library"):
        importlib.import_module(f"attncc.{name}")
    before = set(sys.modules)
    found = watched()
    print(json.dumps({**found, "imported": sorted(set(sys.modules) - before)}))
