"""The C compiler of this machine: found at run time, with the flags that keep the meaning of NaN and infinities."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attncc.errors import AttnUnsupportedError

HEADERS = Path(__file__).parent / "headers"
FLAGS = (
    "-std=gnu11", "-O2", "-ftree-vectorize", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-strict-aliasing", "-fPIC",
    "-shared", "-fvisibility=hidden", "-Wno-psabi",
)  # fmt: skip
"""Never -ffast-math: it folds the rounding of exp2 away, and takes NaN and infinities for granted."""

PATIENCE = 1.0
"""Seconds after which a compile says that it runs."""


@dataclass(frozen=True)
class Compiler:
    """command: the program and its own arguments. identity: changes when the program does."""

    command: tuple[str, ...]
    identity: str

    @property
    def flags(self) -> tuple[str, ...]:
        """Flags for this machine's processor, and those of ATTNCC_CFLAGS."""
        own = tuple(shlex.split(os.environ.get("ATTNCC_CFLAGS", "")))
        if platform.machine().lower() in ("arm64", "aarch64"):
            return (*FLAGS, "-mcpu=native", *own)
        wide = ("-mprefer-vector-width=512",) if "avx512dq" in features() else ()
        return (*FLAGS, "-march=native", *wide, *own)


def find() -> Compiler | None:
    """The compiler that CC names, else gcc, clang or cc; None without one. Where there is none of the name in CC, one warning."""
    return _find(os.environ.get("CC", ""), os.environ.get("PATH", ""))


@cache
def _find(named: str, path: str) -> Compiler | None:
    asked = shlex.split(named)
    for command in ([asked] if asked else []) + [["gcc"], ["clang"], ["cc"]]:
        found = shutil.which(command[0], path=path)
        if found is not None:
            if asked and command is not asked:
                warnings.warn(f"CC={named} names no program here: attncc compiles with {found}", stacklevel=2)
            real = Path(found).resolve()
            state = real.stat()
            return Compiler((found, *command[1:]), f"{real} {state.st_size} {state.st_mtime_ns} {' '.join(command[1:])}")
    return None


def missing() -> str:
    """What is missing here to compile, in words; "" when nothing."""
    if sys.platform not in ("linux", "darwin"):
        return f"native kernels are not built on {sys.platform}"
    if find() is not None:
        return ""
    return "no C compiler: install the package gcc or clang (apt install gcc, dnf install gcc, apk add gcc musl-dev), or set CC"


@cache
def features() -> str:
    """What the processor offers, in the words of the system."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return " ".join(sorted(line.split(":", 1)[1].split()))
    except OSError:
        pass
    return f"{platform.machine()} {platform.processor()}"


@cache
def header_text() -> str:
    """All headers, for the name of a cache entry."""
    return "\n".join(path.read_text() for path in sorted(HEADERS.glob("*.h")))


def _say(line: str) -> None:
    """A line for whoever waits at a terminal."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)


def build(source: Path, library: Path, title: str) -> None:
    """Compile a source file. A compile of over a second says so at a terminal. Raises AttnUnsupportedError with what the compiler said."""
    compiler = find()
    if compiler is None:
        raise AttnUnsupportedError(missing())
    command = [*compiler.command, *compiler.flags, f"-I{HEADERS}", str(source), "-o", str(library), "-lm"]
    timer = threading.Timer(PATIENCE, lambda: _say(f"attncc: compiling {title} for the CPU ..."))
    timer.daemon = True
    timer.start()
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    finally:
        timer.cancel()
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[:20])
        raise AttnUnsupportedError(
            f"{compiler.command[0]} could not compile {title}:\n{said}", None, "CC names the compiler; backend='eager' needs none"
        )
