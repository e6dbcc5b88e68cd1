"""A whole suite: every row checked, then timed beside its peers; what could not be done is in the results with its reason."""

from __future__ import annotations

import datetime
import gc
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import torch

from attncc.errors import AttnError, AttnUnsupportedError, AttnValueError

from . import child, cpu, gpu, machine
from .cases import Case, FirstCall, MemoryCase, Suite
from .check import Known, Reference, results
from .forms import Attention, Problem
from .peers import PEERS, Absent, Setting
from .results import Met, Results, Row, write
from .timing import Clock, Events, Run, Stub, Timer, ratio, times
from .work import BACKWARD, FORWARD, work

SUITES: dict[str, Callable[[], Suite]] = {"cpu": cpu.suite, "gpu": gpu.suite}
KINDS = ("full", "quick", "dry")
COLD = {"attncc": 3}
"""Pairs of processes of a first call, by contestant; 1 for the others, which take long."""


def suite_of(name: str, kind: str) -> Suite:
    """A suite at the sizes of a kind of run. The dry GPU suite computes on the CPU, under Triton's interpreter.

    Raises AttnValueError for an unknown name, AttnUnsupportedError when there is no GPU for it.
    """
    if name not in SUITES:
        raise AttnValueError(f"no suite '{name}'", None, f"suites: {', '.join(SUITES)}")
    found = SUITES[name]()
    if kind != "full":
        found = found.tiny()
    if found.device == "cuda" and kind == "dry":
        return replace(found, device="cpu")
    if found.device == "cuda" and not torch.cuda.is_available():
        raise AttnUnsupportedError("the gpu suite needs a CUDA GPU", None, "--dry goes through it without one, and measures nothing")
    return found


def run_suite(
    name: str, kind: str = "full", *, budget: float = 5.0, limit: float | None = None, patience: float | None = None,
    path: Path | None = None, only: str = "", say: Callable[[str], None] = lambda text: None,
) -> Results:  # fmt: skip
    """Run a suite.

    kind: "full"; "quick" and "dry" as in `Results`. budget: seconds of timing a case. limit: seconds after which no further row is
    begun; patience: seconds of building and checking a case after which no further peer without a goal is built: 120, on a GPU 45.
    path: written after every row. only: rows whose names contain it. say: is told what happens.
    """
    begun = time.monotonic()
    suite = suite_of(name, kind)
    timer: Timer = Stub() if kind == "dry" else Events() if suite.device == "cuda" else Clock()
    if kind == "quick":
        budget = 0.05
    found = Results(
        name, kind, datetime.date.today().isoformat(), machine.device(suite.device), machine.versions(),
    )  # fmt: skip
    size = 2**28 if kind == "full" else 2**16
    found.bandwidth = machine.bandwidth(suite.device, size if suite.device == "cpu" else 4 * size)
    patience = patience or (45.0 if suite.device == "cuda" else 120.0)
    session = _Session(suite, kind, timer, budget, patience, found.bandwidth)
    every: list[Case | MemoryCase | FirstCall] = [*suite.cases, *suite.memory, *suite.first]
    rows = [row for row in every if only in row.name]
    if not rows:
        raise AttnValueError(f"no row of the {name} suite contains '{only}'")
    with _enough_memory(suite.device):
        for number, row in enumerate(rows, 1):
            if limit is not None and time.monotonic() - begun > limit:
                found.rows.append(_without(row, f"not run: the limit of {limit:.0f} s is over", None))
                continue
            say(f"{number}/{len(rows)} {row.name}")
            try:
                found.rows.append(session.row(row))
                _clean(suite.device)
            except Exception as error:  # such as a GPU that does not answer any more: later rows say the same
                found.rows.append(_without(row, _line(error), False))
            found.seconds = time.monotonic() - begun
            found.gemm = session.gemm()
            if path is not None:
                write(found, path)
    if kind == "dry":
        found.rows = [replace(r, goals=[replace(g, met=None, why="a dry run") for g in r.goals]) for r in found.rows]
    found.complete = not only and all("not run" not in r for row in found.rows for r in row.absent.values())
    found.rows = _merged(found.rows)
    if path is not None:
        write(found, path)
    return found


def setting_of(suite: Suite, kind: str) -> Setting:
    """How the peers of a run are built: at tiny sizes nothing is compiled, which takes longer than everything else."""
    return Setting(suite.backend, "inductor" if kind == "full" else "eager")


class _Session:
    """What the rows of a run share."""

    def __init__(self, suite: Suite, kind: str, timer: Timer, budget: float, patience: float, bandwidth: float) -> None:
        self.suite, self.kind, self.timer, self.budget, self.patience = suite, kind, timer, budget, patience
        self.bandwidth = bandwidth
        self.setting = setting_of(suite, kind)
        self.rates: dict[str, list[float]] = {}
        self.known: Known = {}

    def gemm(self) -> dict[str, float]:
        """The median rate of the matrix product over all cases so far, by dtype."""
        return {dtype: sorted(found)[len(found) // 2] for dtype, found in self.rates.items()}

    def row(self, case: Case | MemoryCase | FirstCall) -> Row:
        """Any row."""
        if isinstance(case, Case):
            return self.timed(case)
        if isinstance(case, MemoryCase):
            return self.memory(case, self.suite.memory.index(case))
        return self.first(case, self.suite.first.index(case))

    def timed(self, case: Case) -> Row:
        """A case: every contestant built and checked, then all of them in rounds."""
        problem = case.problem(self.suite.device)
        todo = work(problem, case.what)
        row = Row(case.name, "time", case.what, todo.flops, todo.bytes)
        runs: dict[str, list[Run]] = {}
        started = time.monotonic()
        if case.what == BACKWARD:
            import torch._functorch.config as functorch

            functorch.donated_buffer = False  # a compiled backward pass is run more than once
        reference = Reference(case, self.suite.device, self.known)
        sets = [reference.tensors, *(problem.tensors(seed) for seed in range(1, self.suite.sets))]
        needed = {"attncc", *(goal.against for goal in case.goals)}
        for name in case.contestants:
            form = PEERS[name].computes(case.form)
            if form != case.form:
                row.computes[name] = form.weights
            if name not in needed and time.monotonic() - started > self.patience:
                row.absent[name] = f"not built: {self.patience:.0f} s of the case are over"
                continue
            try:
                run = PEERS[name].build(problem, self.setting)
                with self._extra(row, name):
                    found = results(run, reference.tensors, case.what)
                verdict = reference.verdict(found, form)
                row.notes[name] = verdict.words()
                if not verdict.ok:
                    row.absent[name] = verdict.words()
                    continue
                runs[name] = [closure(run, tensors, case.what) for tensors in sets]
            except Absent as reason:
                row.absent[name] = str(reason)
            except Exception as error:  # whatever a peer raises is the reason why it has no time
                row.absent[name] = _line(error)
        self._rounds(row, case, problem, runs)
        return row

    def _rounds(self, row: Row, case: Case, problem: Problem, runs: dict[str, list[Run]]) -> None:
        """Time what there is; a contestant that fails is taken out."""
        gemm = machine.product(self.suite.gemm, problem.dtype, self.suite.device)
        while True:
            guarded = {name: [_guarded(name, run) for run in own] for name, own in {**runs, machine.GEMM: gemm}.items()}
            try:
                rounds = self.timer.rounds(guarded, self.budget)
                break
            except _Failed as failed:
                if failed.name not in runs:
                    row.absent["attncc"] = f"the matrix product failed: {failed.reason}"
                    return
                row.absent[failed.name] = failed.reason
                del runs[failed.name]
        row.times = {name: asdict(time) for name, time in times(rounds).items() if name != machine.GEMM}
        for name, how in self.timer.how.items():
            if name in row.notes:
                row.notes[name] += f"; timed by {how}"
        row.gemm = machine.rate(self.suite.gemm, times(rounds)[machine.GEMM].median)
        self.rates.setdefault(case.dtype, []).append(row.gemm)
        row.floor = work(problem, case.what).floor(row.gemm, self.bandwidth)
        if "attncc" in runs:
            row.reached = row.floor / row.times["attncc"]["median"]
            row.ratios = {name: asdict(ratio(rounds, name, "attncc")) for name in runs if name != "attncc"}
        for goal in case.goals:
            if goal.against in row.ratios:
                value = row.ratios[goal.against]["median"]
                row.goals.append(Met(goal.against, goal.ratio, value, value >= goal.ratio))
            else:
                why = row.absent.get("attncc") or row.absent.get(goal.against, "")
                row.goals.append(Met(goal.against, goal.ratio, None, False if "attncc" in row.absent else None, why))

    @contextmanager
    def _extra(self, row: Row, name: str) -> Iterator[None]:
        """Note the bytes at the peak of a call on a GPU, outputs included."""
        if self.suite.device != "cuda":
            yield
            return
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        yield
        torch.cuda.synchronize()
        row.extra[name] = torch.cuda.max_memory_allocated() - before

    def memory(self, case: MemoryCase, number: int) -> Row:
        """Extra memory of one contestant."""
        row = Row(case.name, "memory", case.case.what)
        try:
            row.extra[case.peer] = int(child.measure("memory", self.suite.name, number, self.kind != "full")["extra"])
        except AttnError as error:
            row.absent[case.peer] = _line(error)
        if case.limit is not None:
            value = row.extra.get(case.peer)
            met = None if value is None else value <= case.limit
            row.goals.append(Met(case.peer, case.limit, value, met, row.absent.get(case.peer, case.why)))
        return row

    def first(self, case: FirstCall, number: int) -> Row:
        """First calls of one contestant."""
        row = Row(case.name, "first call", case.case.what)
        count = COLD.get(case.peer, 1) if self.kind == "full" else 1
        try:
            row.seconds[case.peer] = child.first_calls(self.suite.name, number, self.kind != "full", count)
        except AttnError as error:
            row.absent[case.peer] = _line(error)
        for what, limit in (("cold", case.cold), ("cached", case.cached)):
            if limit is not None:
                value = row.seconds.get(case.peer, {}).get(what)
                met = None if value is None else value <= limit
                row.goals.append(Met(case.peer, limit, value, met, row.absent.get(case.peer, what)))
        return row


def _without(case: Case | MemoryCase | FirstCall, reason: str, met: bool | None) -> Row:
    """A row that was not run, or broke off."""
    if isinstance(case, Case):
        goals = [Met(g.against, g.ratio, None, met, reason) for g in case.goals]
        return Row(case.name, "time", case.what, absent={"attncc": reason}, goals=goals)
    return Row(case.name, "memory" if isinstance(case, MemoryCase) else "first call", absent={case.peer: reason})


class _Failed(Exception):
    """A contestant failed while it was timed."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(reason)
        self.name, self.reason = name, reason


def _guarded(name: str, run: Run) -> Run:
    def guarded() -> object:
        try:
            return run()
        except Exception as error:  # whatever a form raises is the reason why it has no time
            raise _Failed(name, _line(error)) from error

    return guarded


def closure(run: Attention, tensors: tuple[torch.Tensor, ...], what: str) -> Run:
    """A run to be timed. BACKWARD: of a graph that was made before."""
    q, k, v, up = tensors
    if what == FORWARD:

        def forward() -> object:
            with torch.no_grad():
                return run(q, k, v)

        return forward
    leaves = [t.detach().requires_grad_() for t in (q, k, v)]
    if what == BACKWARD:
        out = run(*leaves)
        return lambda: torch.autograd.grad(out, leaves, up, retain_graph=True)
    return lambda: torch.autograd.grad(run(*leaves), leaves, up)


def _line(error: Exception) -> str:
    """The first line of an error that says something."""
    text = error.message if isinstance(error, AttnError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    name = "" if isinstance(error, AttnError) else f"{type(error).__name__}: "
    return f"{name}{lines[0]}"[:200]


def _clean(device: str) -> None:
    """Forget compiled functions and free memory, so that no case pays for another."""
    torch._dynamo.reset()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _enough_memory(device: str) -> Iterator[None]:
    """On the CPU: a contestant that asks for more than most of the free memory fails, instead of taking the machine down."""
    if device != "cpu":
        yield
        return
    try:
        import resource

        free = next(int(x.split()[1]) for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemAvailable"))
        used = next(int(x.split()[1]) for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmSize"))
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (1024 * (used + free * 3 // 4), before[1]))
    except (ImportError, OSError, StopIteration, ValueError):
        yield
        return
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, before)


def _merged(rows: list[Row]) -> list[Row]:
    """Rows of one name become one where each holds one contestant: those of memory and first calls."""
    out: list[Row] = []
    for (_, kind), same in itertools.groupby(rows, lambda row: (row.name, row.kind)):
        first, *more = same
        if kind == "time":
            out += [first, *more]
            continue
        for row in more:
            first.extra |= row.extra
            first.seconds |= row.seconds
            first.absent |= row.absent
            first.goals += row.goals
        out.append(first)
    return out
