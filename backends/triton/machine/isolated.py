"""Compiles in processes of their own, with a time limit: for searches, where some configurations end the process."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from attncc.backends.triton.machine.compile import Compiled, Json, Request

import attncc

_START_S = 60.0  # a worker imports Triton first


class Reason(StrEnum):
    REFUSED = "refused"  # the compiler raised
    CRASHED = "crashed"  # the process ended
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that gave no binary: why, and the compiler's last words."""

    request: Request
    reason: Reason
    message: str
    seconds: float

    def to_json(self) -> Json:
        return {
            "request": self.request.to_json(), "reason": self.reason.value, "message": self.message, "seconds": self.seconds
        }  # fmt: skip


class Worker:
    """One compiling process. It is started when first needed and again after it ended; use it as a context manager."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._errors: IO[str] | None = None
        self._fresh = True

    def compile(self, request: Request, time_limit: float = 60.0) -> Compiled | Failed:
        """Compiles one request within `time_limit` seconds. Never raises for what the compiler does."""
        started = time.perf_counter()
        line: str | None
        try:
            process = self._start()
            line = self._answers.get(timeout=_START_S) if self._fresh else "ready"
            self._fresh = False
            if line:
                started = time.perf_counter()
                assert process.stdin is not None
                process.stdin.write(json.dumps(request.to_json()) + "\n")
                process.stdin.flush()
                line = self._answers.get(timeout=time_limit)
        except queue.Empty:
            seconds = time.perf_counter() - started
            self.close()
            return Failed(request, Reason.TIMED_OUT, f"no answer within {seconds:.0f} s", seconds)
        except BrokenPipeError:
            line = None
        seconds = time.perf_counter() - started
        if not line:
            return Failed(request, Reason.CRASHED, self._end(), seconds)
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            return Failed(request, Reason.REFUSED, answer["failed"], seconds)
        return Compiled.from_json(answer["compiled"])

    def _end(self) -> str:
        """How the process ended, which it has."""
        process = self._process
        assert process is not None
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # leaves it to `close`, so that its group's id stays taken
        words = self._last_words()
        self.close()
        code = process.returncode
        end = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return f"the compiler's process ended {end}" + (f": {words}" if words else "")

    def close(self) -> None:
        """Ends the process and whatever it started."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        if self._errors is not None:
            self._errors.close()
            self._errors = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self.close()
        environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
        root = str(Path(attncc.__file__).resolve().parent.parent)
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
        self._errors = tempfile.TemporaryFile("w+", prefix="attncc-", errors="replace")  # noqa: SIM115 (closed by `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "attncc.backends.triton.machine.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            start_new_session=True,  # so that `close` can end ptxas with it
        )
        self._answers = queue.Queue()
        self._fresh = True
        threading.Thread(target=_forward, args=(self._process.stdout, self._answers), daemon=True).start()
        return self._process

    def _last_words(self) -> str:
        if self._errors is None:
            return ""
        self._errors.seek(0)
        lines = [line.strip() for line in self._errors.read().splitlines() if line.strip()]
        return " | ".join(lines[-3:])[-500:]


def _forward(stream: IO[str], answers: queue.Queue[str]) -> None:
    with contextlib.suppress(ValueError, OSError):  # closed under the reader
        for line in stream:
            answers.put(line)
    answers.put("")


def compile_isolated(
    requests: Iterable[Request], *, time_limit: float = 60.0, workers: int = 1
) -> list[Compiled | Failed]:
    """Compiles all requests, in their order, in `workers` processes. A crash or timeout costs its own request only.

    `time_limit` is seconds for each request.
    """
    requests = list(requests)
    pool: queue.Queue[Worker] = queue.Queue()
    made = [Worker() for _ in range(max(1, min(workers, len(requests))))]
    for worker in made:
        pool.put(worker)

    def one(request: Request) -> Compiled | Failed:
        worker = pool.get()
        try:
            return worker.compile(request, time_limit)
        finally:
            pool.put(worker)

    try:
        with ThreadPoolExecutor(len(made)) as threads:
            return list(threads.map(one, requests))
    finally:
        for worker in made:
            worker.close()
