"""The package as it is installed, made of links: `attncc` with grammar, backends and patterns inside it.

In the checkout these three lie beside the package, where type checkers do not look. `python tests/packaging/layout.py` runs mypy over
all of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BESIDE = ("grammar", "backends", "patterns")


def linked(target: Path) -> Path:
    """Make `target`/attncc of links to the checkout; gives `target`."""
    package = target / "attncc"
    package.mkdir(parents=True)
    for path in (ROOT / "attncc").iterdir():
        if path.name != "__pycache__":
            (package / path.name).symlink_to(path, target_is_directory=path.is_dir())
    for name in BESIDE:
        (package / name).symlink_to(ROOT / name, target_is_directory=True)
    return target


def mypy(target: Path) -> subprocess.CompletedProcess[str]:
    """Run mypy over the whole package, with the repository's settings."""
    settings = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    command = [sys.executable, "-m", "mypy", *settings, "-p", "attncc"]
    return subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        done = mypy(linked(Path(folder)))
    print(done.stdout + done.stderr, end="")
    sys.exit(done.returncode)
