"""Threads: results do not depend on their number; none beside those that PyTorch allows; forked processes compute on one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import pytest
import torch
from attends import SCORE, attend, op, qkv
from attncc.backends.cpu import threads
from attncc.backends.cpu.compiler import find

TEXT = attend(f"{SCORE}\nmask j <= i\nnormalize softmax\nmix v\nemit l = lse(s)", outputs=", l[b, h, i]")


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = qkv(h=3, i=300, j=200)
    found = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        found.append(op(TEXT)(**inputs, backend="cpu"))
    for other in found[1:]:
        assert torch.equal(found[0].o, other.o) and torch.equal(found[0].l, other.l)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_do_not_depend_on_the_number_of_threads(dtype: torch.dtype) -> None:
    inputs = {n: t.to(dtype).requires_grad_() for n, t in qkv(b=1, h=1, i=300, j=500).items()}
    found = []
    for count in (1, 2, 3, 7):
        torch.set_num_threads(count)
        found.append(torch.autograd.grad(op(TEXT)(**inputs, backend="cpu").o.sum(), list(inputs.values())))
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_the_number_of_threads_is_pytorchs() -> None:
    torch.set_num_threads(2)
    assert threads.allowed() == 2
    torch.set_num_threads(1)
    assert threads.allowed() == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
def test_the_threads_are_those_of_pytorch() -> None:
    """No pool beside PyTorch's: a kernel after a large sum starts no thread."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from attends import attend, op, qkv, SCORE\n"
        "import os, torch; torch.set_num_threads(2)\n"
        "big = torch.randn(2000, 500); (big.exp() + 1).sum(); big @ big.T\n"
        f"made = op({TEXT!r}); inputs = qkv(i=300, j=300)\n"
        "before = len(os.listdir('/proc/self/task')); made(**inputs, backend='cpu')\n"
        "print(len(os.listdir('/proc/self/task')) - before)"
    )
    here = str(Path(__file__).parent.parent)
    done = subprocess.run([sys.executable, "-c", script, here], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


def test_callers_at_the_same_time() -> None:
    inputs = qkv(i=200, j=200)
    made = op(TEXT)
    want = made(**inputs, backend="cpu").o
    found: list[torch.Tensor] = []
    workers = [threading.Thread(target=lambda: found.append(made(**inputs, backend="cpu").o)) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 6 and all(torch.equal(want, o) for o in found)


def _child(inputs, queue) -> None:
    found = op(TEXT)(**inputs, backend="cpu").o
    queue.put((threads.allowed(), found.double().sum().item()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_forked_process_computes_on_one_thread() -> None:
    torch.set_num_threads(2)
    inputs = qkv(i=300, j=300)
    want = op(TEXT)(**inputs, backend="cpu").o.double().sum().item()
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(inputs, queue))
    child.start()
    allowed, found = queue.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0 and allowed == 1 and found == want


class _Rows(torch.utils.data.Dataset):
    def __init__(self) -> None:
        self.inputs = qkv(b=1)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        return threads.allowed(), op(TEXT)(**self.inputs, backend="cpu").o


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_data_loader_workers(start: str) -> None:
    data = _Rows()
    want = data[0][1]
    loader = torch.utils.data.DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context=start)
    for allowed, found in loader:
        assert int(allowed) == 1 and torch.equal(found, want)


def test_serial_inside_a_parallel_region() -> None:
    """A callback inside a region of the same OpenMP runtime may start no threads."""
    import ctypes

    runtime = threads._runtime()
    if runtime is None:
        pytest.skip("no OpenMP runtime")
    seen: list[int] = []
    body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: seen.append(threads.allowed()))
    runtime.GOMP_parallel(body, None, 2, 0)
    assert seen == [1, 1]


LLVM_RUNTIME = r"""
#include <pthread.h>
#include <stdarg.h>
typedef void work(int *, int *, void *);
struct one { work *work; void *argument; int thread; };
int asked, forks;
static void *run(void *at) { struct one *one = at; one->work(&one->thread, &one->thread, one->argument); return 0; }
int omp_in_parallel(void) { return 0; }
int __kmpc_global_thread_num(void *place) { return 7; }
void __kmpc_push_num_threads(void *place, int thread, int threads) { asked = thread == 7 ? threads : -1; }
void __kmpc_fork_call(void *place, int count, work *body, ...)
{
    va_list rest;
    va_start(rest, body);
    struct one ones[8];
    pthread_t threads[8];
    void *argument = count == 1 ? va_arg(rest, void *) : 0;
    va_end(rest);
    ++forks;
    for (int n = 0; n < asked; ++n) ones[n] = (struct one){body, argument, n}, pthread_create(threads + n, 0, run, ones + n);
    for (int n = 0; n < asked; ++n) pthread_join(threads[n], 0);
}
"""


def test_threads_of_a_runtime_with_llvms_entries_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a Mac. The runtime here makes its threads anew for each call."""
    import ctypes

    compiler = find()
    assert compiler is not None
    (tmp_path / "llvm.c").write_text(LLVM_RUNTIME)
    command = [*compiler.command, "-shared", "-fPIC", str(tmp_path / "llvm.c"), "-o", str(tmp_path / "libomp.so"), "-lpthread"]
    subprocess.run(command, check=True)
    runtime = ctypes.CDLL(str(tmp_path / "libomp.so"))
    inputs = qkv(h=3, i=300, j=200)
    want = op(TEXT)(**inputs, backend="cpu")
    torch.set_num_threads(3)
    monkeypatch.setattr(threads, "_loaded", lambda: [str(tmp_path / "libomp.so")])
    for kept in (threads._runtime, threads._entries):
        monkeypatch.setattr(threads, kept.__name__, cache(kept.__wrapped__))
    found = op(TEXT)(**inputs, backend="cpu")
    assert torch.equal(want.o, found.o) and torch.equal(want.l, found.l)
    assert ctypes.c_int.in_dll(runtime, "asked").value == 3 and ctypes.c_int.in_dll(runtime, "forks").value > 0
