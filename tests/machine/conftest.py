"""One compiling process for all tests of the static model; each kernel is compiled once."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attncc.backends.triton.machine import Compiled, Request, Worker, available

KERNELS = Path(__file__).with_name("kernels.py")
TARGETS = ("cuda:80", "cuda:90", "cuda:100", "hip:gfx942")
CUDA = TARGETS[:3]
FLOATS = {"X": "*fp32", "Y": "*fp32", "N": "i32"}

Compile = Callable[..., Compiled]


def need_tools(target: str = "cuda:90") -> None:
    """Skips a test that the installed Triton cannot serve."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed")
    if target.startswith("cuda") and not available("ptxas", "nvdisasm", "cuobjdump"):
        pytest.skip("the installed Triton has no ptxas, nvdisasm and cuobjdump")
    if target.startswith("hip") and importlib.util.find_spec("triton.backends.amd") is None:
        pytest.skip("the installed Triton has no AMD backend")


@pytest.fixture(scope="session")
def compiled() -> Iterator[Compile]:
    """compiled(kernel, signature, constants, target, warps=, stages=, options=) from `kernels.py`."""
    done: dict[str, Compiled] = {}
    with Worker() as worker:

        def compile_one(
            kernel: str,
            signature: dict[str, str],
            constants: dict[str, object],
            target: str,
            *,
            warps: int = 4,
            stages: int = 2,
            options: dict[str, object] | None = None,
        ) -> Compiled:
            need_tools(target)
            request = Request(kernel, signature, constants, target, warps, stages, path=str(KERNELS), options=options or {})
            key = repr(request)
            if key not in done:
                made = worker.compile(request, time_limit=120)
                assert isinstance(made, Compiled), made
                done[key] = made
            return done[key]

        yield compile_one
