"""The binary tools that come with Triton's wheel, and what they say of a compiled kernel."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from attncc.errors import AttnUnsupportedError

TOOLS = ("ptxas", "ptxas-blackwell", "cuobjdump", "nvdisasm")
_LIMIT_S = 120.0


@cache
def tool(name: str) -> Path:
    """The path of one of `TOOLS` in Triton's wheel.

    Raises `AttnUnsupportedError` when Triton or the tool is absent.
    """
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        raise AttnUnsupportedError(
            "Triton is not installed, so nothing can be compiled or disassembled", help="pip install triton (Linux only)"
        )
    path = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise AttnUnsupportedError(
            f"'{name}' is not in the installed Triton: expected {path}",
            help="install the wheel from PyPI; builds from source may leave the NVIDIA binaries out",
        )
    return path


def available(*names: str) -> bool:
    """Whether all these tools are there (all of `TOOLS` when none is named)."""
    try:
        for name in names or TOOLS:
            tool(name)
    except AttnUnsupportedError:
        return False
    return True


def disassemble(cubin: bytes) -> str:
    """The instructions of a cubin as nvdisasm prints them.

    Raises `AttnUnsupportedError` when nvdisasm is absent or cannot read the file.
    """
    text = _on_file("nvdisasm", ["-c"], cubin)
    if "/*0000*/" not in text:
        raise AttnUnsupportedError("nvdisasm printed no instructions", help="the Triton wheel may be too old for this target")
    return text


@dataclass(frozen=True, slots=True)
class Resources:
    """What a kernel takes: registers a thread, and bytes of stack and of spill stores and loads, each a static count."""

    registers: int
    stack: int = 0
    spill_stores: int = 0
    spill_loads: int = 0


def resources_from_log(log: str) -> Resources | None:
    """Reads `ptxas -v`. None when the log says nothing of registers."""
    registers = re.search(r"Used (\d+) registers", log)
    if registers is None:
        return None
    counts = (re.findall(rf"(\d+) bytes {what}", log) for what in ("stack frame", "spill stores", "spill loads"))
    stack, stores, loads = (sum(map(int, found)) for found in counts)  # over the kernel and the functions it calls
    return Resources(int(registers[1]), stack, stores, loads)


def resources_from_cubin(cubin: bytes, kernel: str) -> Resources:
    """Registers and stack from the cubin's own tables. Spills are not in them: they are left at 0.

    Raises `AttnUnsupportedError` when cuobjdump is absent or does not name the kernel.
    """
    text = _on_file("cuobjdump", ["-res-usage"], cubin)
    match = re.search(rf"Function {re.escape(kernel)}:\s*REG:(\d+) STACK:(\d+)", text)
    if match is None:
        raise AttnUnsupportedError(f"cuobjdump does not list the kernel '{kernel}'")
    return Resources(int(match[1]), int(match[2]))


def resources_from_amdgcn(assembly: str) -> Resources:
    """Reads the metadata block of AMD assembly. A spilled register is 4 bytes.

    Raises `AttnUnsupportedError` when there is no such block.
    """

    def number(key: str) -> int:
        found = re.search(rf"^\s*(?:- )?\.{key}:\s+(\d+)", assembly, re.MULTILINE)
        return int(found[1]) if found else 0

    if ".vgpr_count:" not in assembly:
        raise AttnUnsupportedError("the assembly has no kernel metadata")
    spilled = 4 * (number("vgpr_spill_count") + number("sgpr_spill_count"))
    return Resources(number("vgpr_count"), number("private_segment_fixed_size"), spilled, spilled)


def _on_file(name: str, flags: list[str], content: bytes) -> str:
    with tempfile.TemporaryDirectory(prefix="attncc-") as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(content)
        try:
            done = subprocess.run(
                [str(tool(name)), *flags, str(path)], capture_output=True, text=True, timeout=_LIMIT_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise AttnUnsupportedError(f"{name} did not run: {error}") from error
    if done.returncode != 0:
        raise AttnUnsupportedError(f"{name} failed ({done.returncode}): {done.stderr.strip()[:300]}")
    return done.stdout
