"""Times of several runs side by side: interleaved rounds and medians, so that a busy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Time:
    """The median seconds of a run, the quartiles around it, and how many rounds there were."""

    median: float
    low: float
    high: float
    rounds: int

    def words(self) -> str:
        """The median with a unit, and half the distance of the quartiles in percent."""
        unit, scale = ("ms", 1e3) if self.median >= 1e-3 else ("us", 1e6)
        spread = (self.high - self.low) / 2 / self.median * 100 if self.median else 0.0
        return f"{self.median * scale:.3g} {unit} ± {spread:.0f}%"


def interleaved(
    runs: Mapping[str, Callable[[], object]], budget: float = 3.0, least: int = 3, most: int = 50,
    wait: Callable[[], None] | None = None,
) -> dict[str, Time]:  # fmt: skip
    """Time each run once a round, in turn, for about `budget` seconds in all. `wait` waits for the device."""
    pause = wait or (lambda: None)
    for run in runs.values():  # compilation, caches, allocation
        run()
    pause()
    times: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < least or (rounds < most and time.perf_counter() < end):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            pause()
            times[name].append(time.perf_counter() - start)
        rounds += 1
    return {name: spread(found) for name, found in times.items()}


def spread(found: list[float]) -> Time:
    """The median and the quartiles of one or more measurements."""
    if len(found) < 2:
        return Time(found[0], found[0], found[0], len(found))
    low, middle, high = statistics.quantiles(found, n=4, method="inclusive")
    return Time(middle, low, high, len(found))
