"""Rounds: every contestant is timed once a round, in turn, so that a busy machine slows all of them alike.

A contestant is a list of runs, equal but for their data: a measurement goes round them, so that inputs do not stay in a cache.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from attncc.tools.timing import Time, spread

Run = Callable[[], object]
Contestants = Mapping[str, Sequence[Run]]
Rounds = dict[str, list[float]]


class Timer(Protocol):
    """How rounds are timed. real: whether its times are times. how: in words, by contestant where it differs."""

    real: bool
    how: dict[str, str]

    def rounds(self, contestants: Contestants, budget: float) -> Rounds:
        """Seconds of a run, one a round, for about `budget` seconds in all."""
        ...


@dataclass
class Clock:
    """The machine's clock, one run a measurement; for the CPU."""

    least: int = 5
    most: int = 40
    real: bool = True

    def __post_init__(self) -> None:
        self.how: dict[str, str] = {}

    def rounds(self, contestants: Contestants, budget: float) -> Rounds:
        """One run a round, after one that is not timed."""
        turns = {name: itertools.cycle(runs) for name, runs in contestants.items()}
        for turn in turns.values():
            next(turn)()
        found: Rounds = {name: [] for name in contestants}
        end = time.perf_counter() + budget
        for count in range(self.most):
            if count >= self.least and time.perf_counter() >= end:
                break
            for name, turn in turns.items():
                run = next(turn)
                start = time.perf_counter()
                run()
                found[name].append(time.perf_counter() - start)
        return found


@dataclass
class Events:
    """Device events around each run with the cache flushed before it (`triton.testing.do_bench`), the median of many a round.

    A run that the host takes longer to start than the device to compute is timed as the replay of a CUDA graph instead; where it
    cannot be captured, its time is that of the host, and `how` says so.
    """

    count: int = 5
    least: int = 3
    milliseconds: float = 20.0
    real: bool = True

    def __post_init__(self) -> None:
        self.how: dict[str, str] = {}

    def rounds(self, contestants: Contestants, budget: float) -> Rounds:
        """Medians of about `milliseconds` each."""
        self.how = {}
        measures = {name: self._measure(name, runs) for name, runs in contestants.items()}
        found: Rounds = {name: [] for name in contestants}
        end = time.perf_counter() + budget
        for count in range(self.count):
            if count >= self.least and time.perf_counter() >= end:
                break
            for name, measure in measures.items():
                found[name].append(measure())
        return found

    def _measure(self, name: str, runs: Sequence[Run]) -> Callable[[], float]:
        from triton.testing import do_bench, do_bench_cudagraph

        turn = itertools.cycle(runs)

        def run() -> object:
            return next(turn)()

        def by_events() -> float:
            return do_bench(run, warmup=5, rep=self.milliseconds, return_mode="median") / 1e3

        def by_graph() -> float:
            with torch.cuda.stream(torch.cuda.Stream()):
                return do_bench_cudagraph(run, rep=self.milliseconds, return_mode="median") / 1e3

        device, host = by_events(), _host(run)
        self.how[name] = "events"
        if host < 0.8 * device:
            return by_events
        try:
            by_graph()
        except Exception as error:  # whatever cannot be captured
            torch.cuda.synchronize()
            self.how[name] = f"events, bound by the host ({type(error).__name__} in a CUDA graph)"
            return by_events
        self.how[name] = "CUDA graph"
        return by_graph


def _host(run: Run, count: int = 5) -> float:
    """Seconds that the host takes to start a run."""
    torch.cuda.synchronize()
    times = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
        torch.cuda.synchronize()
    return statistics.median(times)


@dataclass
class Stub:
    """Runs everything once and measures nothing: every time is 1 s. For dry runs, whose results hold no times."""

    real: bool = False

    def __post_init__(self) -> None:
        self.how: dict[str, str] = {}

    def rounds(self, contestants: Contestants, budget: float) -> Rounds:
        """One round."""
        for runs in contestants.values():
            runs[0]()
        return {name: [1.0, 1.0] for name in contestants}


def times(found: Rounds) -> dict[str, Time]:
    """The median and quartiles of each contestant."""
    return {name: spread(values) for name, values in found.items()}


def ratio(found: Rounds, peer: str, own: str) -> Time:
    """How many times as fast `own` is: the ratios of each round, their median and quartiles."""
    return spread([p / o for p, o in zip(found[peer], found[own], strict=True)])
