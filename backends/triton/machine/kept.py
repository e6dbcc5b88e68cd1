"""Compiled kernels in the disk cache: what was compiled once for a target is read back, with a compiler's refusals.

An entry is named by the request and Triton's version, so a changed kernel, option or compiler makes a new one. Crashes and
timeouts are not kept: they may be the machine's.
"""

from __future__ import annotations

import json
import zlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from attncc.backends.triton.machine.compile import Compiled, Request
from attncc.backends.triton.machine.isolated import Failed, Reason, Worker

from attncc import cache

_FORMAT = 1
_FILE = "compiled.json.z"


class Kept:
    """A compiling process that is asked only for what is not in the cache. Use it as a context manager."""

    def __init__(self, worker: Worker | None = None) -> None:
        self.worker = worker or Worker()

    def compile(self, request: Request, time_limit: float = 60.0) -> Compiled | Failed:
        """As `Worker.compile`."""
        name = cache.key((_FORMAT, _triton(), json.dumps(request.to_json(), sort_keys=True)))
        passing: list[Failed] = []

        def build(folder: Path) -> None:
            made = self.worker.compile(request, time_limit)
            if isinstance(made, Failed):
                if made.reason is not Reason.REFUSED:
                    passing.append(made)
                    raise _NotKept
                data: dict[str, Any] = {"failed": made.message}
            else:
                data = {"compiled": made.to_json(binary=True)}
            (folder / _FILE).write_bytes(zlib.compress(json.dumps(data).encode(), 6))

        try:
            folder = cache.fetch("compiled", name, build)
        except _NotKept:
            return passing[0]
        data = json.loads(zlib.decompress((folder / _FILE).read_bytes()))
        if "failed" in data:
            return Failed(request, Reason.REFUSED, data["failed"], 0.0)
        return Compiled.from_json(data["compiled"])

    def close(self) -> None:
        self.worker.close()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _NotKept(Exception):
    """A result that may be another one next time."""


def _triton() -> str:
    try:
        return version("triton")
    except PackageNotFoundError:
        return ""
