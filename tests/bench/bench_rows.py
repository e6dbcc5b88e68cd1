"""What tests of the suites share: a small case, and results of some rows."""

from __future__ import annotations

from attncc.bench.cases import Case, Goal
from attncc.bench.forms import Form
from attncc.bench.results import Results, Row

TINY = Case(Form("softmax"), 1, 2, 48, 16, goals=(Goal("sdpa", 1.1),))


def results_of(*rows: Row, kind: str = "full") -> Results:
    device = {"processor": "a | processor", "threads": 2}
    return Results("cpu", kind, "2026-01-01", device, {"torch": "2.13"}, {"float32": 1.5e11}, 2e10, 10.0, True, list(rows))
