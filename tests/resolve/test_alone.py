"""Resolve in a process that has done nothing else, and has nothing kept from others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import attncc
op = attncc.load("autoint", heads=3, units=[9], has_residual=False)  # the number of layers is len(units), a call
assert op.signature.inputs[-2:] == ("ln_gamma0", "ln_beta0"), op.signature
"""


def test_the_first_pattern_of_a_process_may_call_functions_where_its_inputs_are_declared(tmp_path: Path) -> None:
    environment = {**os.environ, "ATTNCC_CACHE_DIR": str(tmp_path), "ATTNCC_PLANS": "off"}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
