"""Searches: a configuration that crashes, hangs or is refused costs itself only."""

import json
from pathlib import Path

from attncc.backends.triton.machine import Compiled, Failed, Reason, Request, Worker, compile_isolated
from conftest import FLOATS, KERNELS, need_tools

STREAM = FLOATS | {"a": "fp32", "b": "fp32"}
GOOD = Request("stream", STREAM, {"BLOCK": 256, "FMAS": 1, "EXPS": 1}, "cuda:90", path=str(KERNELS))
REFUSED = Request("stream", STREAM, {"BLOCK": 100, "FMAS": 1, "EXPS": 1}, "cuda:90", path=str(KERNELS))


def test_failures_stay_apart() -> None:
    need_tools()
    requests = [
        GOOD,
        Request("k", {}, {}, "cuda:90", source="import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"),
        REFUSED,
        GOOD,
    ]
    good, crash, refused, again = compile_isolated(requests, time_limit=60)
    assert isinstance(good, Compiled) and isinstance(again, Compiled)
    assert good.binary and again.registers == good.registers
    assert isinstance(crash, Failed) and crash.reason is Reason.CRASHED and "SIGSEGV" in crash.message
    assert isinstance(refused, Failed) and refused.reason is Reason.REFUSED and "power of 2" in refused.message


def test_a_hanging_compiler_is_ended() -> None:
    need_tools()
    with Worker() as worker:
        slow = worker.compile(Request("k", {}, {}, "cuda:90", source="import time\ntime.sleep(600)\n"), time_limit=0.5)
        assert isinstance(slow, Failed) and slow.reason is Reason.TIMED_OUT and slow.seconds < 30
        assert json.loads(json.dumps(slow.to_json()))["reason"] == "timed out"


def test_records_survive_json() -> None:
    need_tools()
    source = Path(KERNELS).read_text()
    request = Request(GOOD.kernel, GOOD.signature, GOOD.constants, GOOD.target, source=source)
    assert Request.from_json(json.loads(json.dumps(request.to_json()))) == request
    (made,) = compile_isolated([request])
    assert isinstance(made, Compiled), made
    assert made.extension == "cubin" and made.binary[:4] == b"\x7fELF" and ".target sm_90a" in made.assembly
    assert Compiled.from_json(json.loads(json.dumps(made.to_json(binary=True)))) == made
    assert "binary" not in made.to_json()


def test_dropped_assembly_gives_no_binary() -> None:
    """Some versions of Triton end the process here, others print an error and return a binary without the instruction."""
    need_tools("hip:gfx942")
    here, there = (
        Request("foreign", {"X": "*fp32"}, {"BLOCK": 256}, target, path=str(KERNELS)) for target in ("cuda:90", "hip:gfx942")
    )
    kept, dropped = compile_isolated([here, there])
    assert isinstance(kept, Compiled), kept
    assert isinstance(dropped, Failed) and "register" in dropped.message, dropped
