"""The tests and the suite of a GPU on a bare machine, in one command that installs nothing:

    python -m attncc.bench.device [--out DIR] [--wheels DIR] [--limit 560] [--tests 150] [--only TEXT] [--dry]

Run in the root of a checkout, with any Python that has torch and triton. Packages that are missing there (lark) are taken from
wheels in a folder of the checkout. It runs `pytest -m gpu`, then `attncc bench --suite gpu`, each in a process with a time limit,
writes tests.txt, gpu.json and gpu.png under DIR (or $OUT) and prints the short table last. --dry goes through all of it without a
GPU: tiny sizes, Triton's interpreter, no times. Exit code 0 when both went well. Only the standard library is imported here.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("torch", "triton", "lark", "sympy", "networkx", "typer", "rich", "pytest", "hypothesis")
MARGIN = 25.0
"""Seconds kept for starting processes and for the end."""


def site(wheels: Path, place: Path) -> list[str]:
    """Fill a folder with what an installation would give: the entry points of this checkout, and packages from wheels where they
    are missing. Gives the names of packages that are still missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    about = place / f"{project['name']}-{project['version']}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [f"[{g}]\n" + "".join(f"{n} = {v}\n" for n, v in points.items()) for g, points in project["entry-points"].items()]
    (about / "entry_points.txt").write_text("\n".join(groups))
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    for wheel in sorted(wheels.glob("*.whl")) if wheels.is_dir() else ():
        if wheel.name.split("-")[0].lower() in missing:
            zipfile.ZipFile(wheel).extractall(place)
            missing.remove(wheel.name.split("-")[0].lower())
    return missing


def tests(env: dict[str, str], out: Path, limit: float, dry: bool, only: str) -> bool:
    """Run `pytest -m gpu`, in several processes where pytest-xdist is there. Prints the last lines; whether all passed."""
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "tests/gpu", "-q", "-rs", "--tb=short", "-p", "no:cacheprovider"]
    if not dry and importlib.util.find_spec("xdist") is not None:
        command += ["-n", str(min(12, max(1, (os.cpu_count() or 2) - 2)))]
    if only:
        command += ["-k", only]
    start = time.monotonic()
    log = out / "tests.txt"
    with log.open("w", encoding="utf-8") as file:
        try:
            code = subprocess.run(command, cwd=ROOT, env=env, stdout=file, stderr=subprocess.STDOUT, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    bad = [line for line in lines if line.startswith(("FAILED", "ERROR", "E  "))]
    print(f"--- tests, {time.monotonic() - start:.0f} s", *bad[:30], *lines[-3:], sep="\n")
    if code == -1:
        print(f"tests stopped after {limit:.0f} s")
    return code == 0


def suite(env: dict[str, str], out: Path, limit: float, dry: bool, only: str) -> bool:
    """Run the suite. Its table is the last thing printed; whether it finished."""
    command = [sys.executable, "-m", "attncc", "bench", "--suite", "gpu", "--json", str(out / "gpu.json")]
    command += ["--limit", str(max(30.0, limit - 60.0))]  # a row that has begun may take about a minute
    command += ["--dry"] if dry else []
    command += ["--only", only] if only else []
    if not dry and importlib.util.find_spec("matplotlib") is not None:
        command += ["--png", str(out / "gpu.png")]
    start = time.monotonic()
    sys.stdout.flush()
    try:
        code = subprocess.run(command, cwd=ROOT, env={**env, "COLUMNS": "100"}, timeout=limit, check=False).returncode
    except subprocess.TimeoutExpired:
        code = -1
        subprocess.run([sys.executable, "-m", "attncc.bench.table", str(out / "gpu.json")], cwd=ROOT, env=env, check=False)
    ended = {0: "", -1: f", stopped after {limit:.0f} s"}.get(code, ", FAILED")
    print(f"--- suite, {time.monotonic() - start:.0f} s{ended}")
    return code == 0


def main(arguments: list[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m attncc.bench.device", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or "."), help="where results go")
    parser.add_argument("--wheels", type=Path, default=ROOT / ".whl", help="folder with wheels of missing packages")
    parser.add_argument("--limit", type=float, default=560.0, help="seconds for everything")
    parser.add_argument("--tests", type=float, default=150.0, help="seconds for the tests; 0 for none")
    parser.add_argument("--only", default="", help="only the rows of the suite whose names contain this; 'none' for none")
    parser.add_argument("--only-tests", default="", help="only the tests that match this, as for pytest -k")
    parser.add_argument("--dry", action="store_true", help="without a GPU, without times")
    chosen = parser.parse_args(arguments)
    begun = time.monotonic()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="attncc-device-") as folder:
        place = Path(folder)
        missing = site(chosen.wheels, place / "site")
        if missing:
            print(f"missing packages: {', '.join(missing)}; put their wheels into {chosen.wheels}", file=sys.stderr)
            return 2
        paths = [str(ROOT), str(place / "site"), *filter(None, [os.environ.get("PYTHONPATH")])]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
        env |= {"ATTNCC_CACHE_DIR": str(place / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        if chosen.dry:
            env |= {"ATTNCC_GPU_DRY": "1", "CUDA_VISIBLE_DEVICES": "", "TRITON_INTERPRET": "1"}
        good = chosen.tests <= 0 or tests(env, chosen.out, chosen.tests, chosen.dry, chosen.only_tests)
        left = chosen.limit - (time.monotonic() - begun) - MARGIN
        if chosen.only == "none":
            return 0 if good else 1
        return 0 if suite(env, chosen.out, left, chosen.dry, chosen.only) and good else 1


if __name__ == "__main__":
    sys.exit(main())
