"""The configuration of a kernel by search under the static model: compiled for the target, never run, so no GPU is needed.

A few likely configurations are compiled first, then those that differ from the best in one choice, until none is better or the
number of compiles is used up. What changes little beside registers (how results are stored, programs that take several tiles, a
warp-specialized form for full tiles) is then tried for the best few alone, and once more what differs from the best of those in one
choice; the order of tiles needs no compiler (`balance`).
Spills lose to no spills; then the model's clocks a score element decide, then, among those within `NEAR` of the best, instruction
slots. The same program, target and Triton give the same result: ties are broken by registers and the configuration itself, and
what took too long counts as refused. Results are kept in attncc's disk cache.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from attncc import cache as disk
from attncc.errors import AttnUnsupportedError
from attncc.tile.nodes import Dot, Program, Repeat, statements

from .ahead import request
from .balance import lengths, spread
from .configs import Config
from .frame import storable
from .machine import Compiled, Failed, LoopReport, Report, Request, analyse
from .machine.instructions import Kind
from .machine.mix import mixes
from .machine.model import GROUP_WARPS
from .module import Group, Module, print_module
from .space import Setting, allowed, exposed, floor_registers, moved_bytes, neighbours, ordered, overhang
from .traits import Traits, loops_of, traits
from .whole import only_bounds, same_everywhere

VERSION = 6
"""Changes when the search or the model would choose otherwise."""

NEAR = 1.03
"""Clocks within this factor are equal: the one with fewer instructions is better, since issue slots are what overlap hides least.
Programs that take several tiles must save more than this: the model does not see what the end of one and the start of the next cost."""

_SPILLED = 256
"""Spills, in bytes, that a variant may remove."""

_FEW = 3
"""How many of the best are tried in the variants that change little."""

_FIRST = [
    Config(o, n, w, 2)
    for o, n, w in (
        (128, 128, 8),
        (128, 128, 4),
        (64, 128, 8),
        (128, 64, 8),
        (128, 64, 4),
        (64, 128, 4),
        (64, 64, 4),
        (64, 32, 4),
    )
]
"""What usually is among the best."""

_FIRST_MULTIPLIED = [Config(o, n, w, 1) for o, n, w in ((64, 32, 8), (64, 16, 4), (32, 32, 4), (32, 16, 4))]
"""The same where threads compute the products themselves."""


class Compiler(Protocol):
    """What compiles requests: `machine.Worker`."""

    def compile(self, request: Request, time_limit: float = 60.0) -> Compiled | Failed: ...


Heard = Callable[[int, Config, "Trial | None"], None]
"""Told of every compile: its number, the configuration, what came out."""


@dataclass(frozen=True)
class Trial:
    """A compiled configuration. rank: best first. whole: the form for lengths that fill their tiles, where there is one."""

    config: Config
    report: Report
    rank: tuple[float, ...]
    whole: Report | None = None
    leanest: Trial | None = None

    @property
    def spills(self) -> int:
        return self.report.compiled.spills + (self.whole.compiled.spills if self.whole is not None else 0)

    def figures(self) -> dict[str, Any]:
        """The model's figures, as data. `whole`: of the form for full tiles. `leanest`: what was tried with the fewest instructions a
        score element."""
        out = {"config": self.config.to_json(), **figures(self.report), "spills": self.spills}
        if self.whole is not None:
            out["whole"] = figures(self.whole)
        if self.leanest is not None and self.leanest.config != self.config:
            steady = self.leanest.report.steady
            others = round(steady.others, 3) if steady is not None and steady.others is not None else None
            out["leanest"] = {"config": self.leanest.config.to_json(), "others": others}
        return out


def figures(report: Report) -> dict[str, Any]:
    """What the model says of a kernel, in short."""

    def short(x: float | None) -> float | None:
        return None if x is None else round(x, 3)

    made, steady = report.compiled, report.steady
    out: dict[str, Any] = {
        "registers": made.registers, "spills": made.spills, "shared": made.shared, "programs": report.occupancy.programs,
    }  # fmt: skip
    if steady is not None:
        out |= {
            "mufu": short(steady.per_element(Kind.MUFU)), "others": short(steady.others), "binds": steady.binds,
            "overlapped": short(steady.peak_overlapped), "serial": short(steady.peak_serial),
            "estimate": short(report.peak_estimate),
        }  # fmt: skip
    return out


def single(program: Program, features: Mapping[str, int], setting: Setting, config: Config) -> Module:
    """A module with one kernel in a configuration."""
    program = replace(program, single=None)
    keep = tuple(a.name for a in program.args if a.role != "in")
    group = Group("launch", (program,), keep)
    return print_module(
        program.name, [group], dict(features), setting.target, setting.bits, override=config, descriptors=setting.describes
    )


def flops_per_pair(program: Program, features: Mapping[str, int]) -> float | None:
    """Matrix FLOP that the main loop spends on a pair of positions; None without products."""
    loops = loops_of(program)
    if not loops:
        return None
    main = loops[-1]
    sizes = {d.name: features[d.axes[0]] for d in program.dims if d.whole}
    widths = [next((sizes[x] for x in (d.over, *d.dims) if x in sizes), 0) for d in statements(main.body) if isinstance(d, Dot)]
    return 2.0 * sum(widths) or None


def model(made: Compiled, program: Program, features: Mapping[str, int], setting: Setting, config: Config) -> Report:
    """The model of a compiled kernel, its score elements and its traffic known from the program. Products that several groups of
    warps repeat, where a tile is too small to be cut, are no elements of their own."""
    of = traits(program, dict(features))
    traffic = moved_bytes(of, config, setting) if of is not None else 0.0
    pairs = config.owner * config.loop
    report = analyse(made, flops_per_element=flops_per_pair(program, features), cached_per_element=traffic)
    known = not setting.multiplied and (report.steady is None or (report.steady.elements or 0) <= pairs)
    if of is None or known:
        return report
    return analyse(made, elements=pairs, cached_per_element=traffic)


def rank(report: Report, of: Traits, config: Config, setting: Setting, found: tuple[int, ...] = ()) -> tuple[float, ...]:
    """Best first: it fits, nothing is spilled, clocks a score element, instruction slots. found: `balance.lengths`.

    The clocks are what orders configurations, not a bound. Units that are about as busy as the one that binds get in each other's
    way: their clocks are added in the third power. Groups of four warps take turns: a program's own, which wait for each other at
    barriers, hide their work on pairs but for one of them; other programs on the same SM fill what is left. Then the whole launch:
    what heads that are worked on at one time do not leave in the L2 cache comes from DRAM, and the last program may end late.
    """
    loop, fits = _counting(report, of), report.occupancy.programs
    if loop is None or not fits:
        return (2.0, 0.0, 0.0, 0.0)
    elements = loop.elements or config.owner * config.loop
    busy = sum(clocks**3 for clocks in loop.clocks.values()) ** (1 / 3)
    groups = max(1, report.compiled.total_warps // GROUP_WARPS, report.groups)
    turns = (loop.phases[0] + loop.phases[1] / groups) / fits
    clocks = (max(busy, turns) / elements + exposed(config, setting, fits)) * overhang(of, config)
    clocks = spread(clocks, of, config, setting, fits, found)
    slots = loop.clocks.get("issue", 0.0) / elements
    return (float(report.compiled.spills > 0), float(report.compiled.spills), float(f"{clocks:.3g}"), float(f"{slots:.3g}"))


def _counting(report: Report, of: Traits) -> LoopReport | None:
    """The loop that most tiles go through: full tiles, but in windows along several axes, where there are none, the others."""
    if max(of.owner_axes, of.loop_axes) > 1:
        partial = [m.loop for m in mixes(report) if m.body == "partial"]
        if partial:
            return partial[0]
    return report.steady


def search(
    program: Program,
    features: Mapping[str, int],
    setting: Setting,
    compiler: Compiler,
    *,
    limit: int = 14,
    time_limit: float = 120.0,
    heard: Heard | None = None,
) -> Trial | None:
    """The best configuration found with at most `limit` compiles, twice as many where those spill; None when nothing compiles or
    there is nothing to choose."""
    sizes = dict(features)
    of = traits(program, sizes)
    if of is None:
        return None
    tried: dict[Config, Trial | None] = {}

    def attempt(config: Config) -> None:
        if config in tried or len(tried) >= limit:
            return
        tried[config] = measured(program, sizes, setting, config, compiler, time_limit)
        if heard is not None:
            heard(len(tried), config, tried[config])

    likely = [c for c in ordered(program, sizes, setting) if c.stages == (1 if setting.multiplied else 2) and c.described]
    first = [c for c in (_FIRST_MULTIPLIED if setting.multiplied else _FIRST) if c in likely]
    few = max(2, limit // 2)
    for config in dict.fromkeys([*likely[:1], *first[:few], *likely[1 : few // 2]]):
        attempt(config)
    best = best_of(tried)
    limit *= 2  # where all of those spill or are refused, as many again that take fewer registers
    while (best is None or best.rank[0]) and (smaller := _smaller(tried, likely, of, setting)) and len(tried) < limit:
        attempt(smaller)
        best = best_of(tried)
    limit //= 2
    while best is not None and len(tried) < limit:
        for config in neighbours(best.config, setting):
            if allowed(of, config, setting):
                attempt(config)
        better = best_of(tried)
        if better is None or better.config == best.config:
            break
        best = better
    if best is None:
        return None
    limit = len(tried) + 7 * _FEW
    for make in (_flat, _early, _stored, _special, _persistent, _early, _stored):  # the last two for what `_special` found
        for trial in _promising(tried, make in (_flat, _early, _stored)):
            for config in make(trial, program, sizes, setting):
                attempt(config)
    best = best_of(tried) or best
    limit = len(tried) + 3 * _FEW
    for config in (c for c in neighbours(best.config, setting) if allowed(of, c, setting)):
        attempt(config)
    return replace(best_of(tried) or best, leanest=_leanest(tried))


# Variants of a configuration that change little in its loops.


def _flat(trial: Trial, program: Program, features: dict[str, int], setting: Setting) -> Iterator[Config]:
    if any(isinstance(s, Repeat) and same_everywhere(s) for s in statements(program.body)):
        yield replace(trial.config, flat=not trial.config.flat)


def _early(trial: Trial, program: Program, features: dict[str, int], setting: Setting) -> Iterator[Config]:
    if setting.describes and trial.config.described and not trial.config.early:
        yield replace(trial.config, early=True)


def _stored(trial: Trial, program: Program, features: dict[str, int], setting: Setting) -> Iterator[Config]:
    if setting.describes and storable(program, features):
        yield replace(trial.config, stored=not trial.config.stored)
        if trial.spills:
            yield replace(trial.config, stored=True, described=True, inside=True)


def _special(trial: Trial, program: Program, features: dict[str, int], setting: Setting) -> Iterator[Config]:
    wide = trial.config.owner >= 128  # two groups compute, 64 rows each
    if setting.groups and setting.describes and only_bounds(program) is not None and not trial.config.special and wide:
        yield replace(trial.config, special=4)
        if trial.config.described and not trial.config.inside:
            yield replace(trial.config, special=4, inside=True)


def _persistent(trial: Trial, program: Program, features: dict[str, int], setting: Setting) -> Iterator[Config]:
    if not program.shares and not trial.config.special and not trial.config.persistent:
        yield replace(trial.config, persistent=trial.report.occupancy.programs)


def _promising(tried: Mapping[Config, Trial | None], spilled: bool) -> list[Trial]:
    """The best few. spilled: before them what would be best if it did not spill a little."""
    few = _leading(tried)[:_FEW]
    near = [t for t in tried.values() if t is not None and 0 < t.spills <= _SPILLED and few and t.rank[2] < few[0].rank[2]]
    return [*sorted(near, key=lambda t: t.rank[2:])[:2], *few] if spilled else few


def _smaller(tried: Mapping[Config, Trial | None], likely: list[Config], of: Traits, setting: Setting) -> Config | None:
    """The likeliest configuration that takes clearly fewer registers than any that was tried."""
    least = min((floor_registers(of, c, setting) for c in tried), default=float("inf"))
    return next((c for c in likely if floor_registers(of, c, setting) < 0.85 * least), None)


def _leanest(tried: Mapping[Config, Trial | None]) -> Trial | None:
    def slots(trial: Trial) -> float:
        steady = trial.report.steady
        return steady.others if steady is not None and steady.others is not None else float("inf")

    clean = [t for t in tried.values() if t is not None and not t.spills]
    return min(clean, key=lambda t: (slots(t), t.rank, t.config)) if clean else None


def _leading(tried: Mapping[Config, Trial | None]) -> list[Trial]:
    """What was tried and does not spill (all, where everything does), best first: those whose clocks are near the least, by
    instruction slots, then the others by clocks."""
    done = [t for t in tried.values() if t is not None]
    clean = [t for t in done if not t.rank[0]] or done
    least = min((t.rank[:3] for t in clean), default=())

    def key(trial: Trial) -> tuple[Any, ...]:
        fits, spills, clocks, slots = trial.rank
        near = bool(least) and (fits, spills) == least[:2] and clocks <= NEAR * least[2]
        slots *= NEAR if trial.config.persistent else 1.0
        merit = (slots, clocks) if near else (clocks, slots)
        return (not near, fits, spills, *merit, not trial.config.described, trial.report.compiled.registers, trial.config)

    return sorted(clean, key=key)


def best_of(tried: Mapping[Config, Trial | None]) -> Trial | None:
    """The best of what was tried; None when nothing compiled."""
    return next(iter(_leading(tried)), None)


def _ranked(
    report: Report, of: Traits, program: Program, features: dict[str, int], setting: Setting, config: Config
) -> tuple[float, ...]:
    return rank(report, of, config, setting, lengths(program, config, features))


def measured(
    program: Program, features: dict[str, int], setting: Setting, config: Config, compiler: Compiler, limit: float = 120.0
) -> Trial | None:
    """A configuration compiled and judged; None when it is refused, or says what this program has no use for."""
    of = traits(program, features)
    try:
        module = single(program, features, setting, config)
    except AttnUnsupportedError:
        return None
    kernel = module.kernels[0]
    dtype = "bf16" if setting.bits == 16 else "fp32"
    made = compiler.compile(request(module, kernel, setting.target, dtype), limit)
    if isinstance(made, Failed) or of is None:
        return None
    report = model(made, program, features, setting, config)
    ranked = _ranked(report, of, program, features, setting, config)
    if not config.special:
        return Trial(config, report, ranked)
    if not kernel.whole:
        return None
    made = compiler.compile(request(module, kernel, setting.target, dtype, whole=True), limit)
    if isinstance(made, Failed) or made.total_warps <= made.warps:  # refused, or left as it was
        return None
    whole = model(made, program, features, setting, config)
    both = zip(ranked, _ranked(whole, of, program, features, setting, config), strict=True)
    spilled, spills, *rest = ((a + b) / 2 for a, b in both)  # half of all lengths fill their tiles
    return Trial(config, report, (float(spilled > 0), 2 * spills, *rest), whole)


# Results on disk.


def found(
    program: Program,
    features: Mapping[str, int],
    setting: Setting,
    compiler: Callable[[], Compiler],
    *,
    limit: int = 14,
    heard: Heard | None = None,
) -> dict[str, Any] | None:
    """The figures of the best configuration, from the disk cache or searched now. compiler: called only to search."""

    def build(folder: Path) -> None:
        best = search(program, features, setting, compiler(), limit=limit, heard=heard)
        data = best.figures() if best is not None else None
        (folder / "choice.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    first = ordered(program, dict(features), setting)[0]
    text = single(program, features, setting, first).text
    name = disk.key(("search", VERSION, _fingerprint(), text, setting, sorted(features.items()), _triton(), limit))
    folder = disk.fetch("search", name, build)
    data: dict[str, Any] | None = json.loads((folder / "choice.json").read_text(encoding="utf-8"))
    return data


@cache
def _triton() -> str:
    try:
        return version("triton")
    except PackageNotFoundError:
        return ""


@cache
def _fingerprint() -> str:
    """The text of what decides: model and search. The printer's text is part of the key itself."""
    here = Path(__file__).parent
    own = [here / f"{name}.py" for name in ("ahead", "balance", "configs", "search", "space", "traits")]
    return disk.key(p.read_bytes() for p in [*own, *sorted(here.glob("machine/*.py"))])
