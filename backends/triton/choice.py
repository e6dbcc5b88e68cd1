"""Which configuration a kernel gets: a pinned one, else the one that was searched for kernels like it, else the likeliest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from attncc.tile.exact import exact
from attncc.tile.nodes import Program

from .balance import in_order
from .chosen import lookup
from .configs import Config
from .pins import REGISTRY
from .space import Setting, allowed, ordered
from .states import state_configs
from .traits import traits

_FALLBACK = (Config(64, 64, 4, 1), Config(64, 32, 4, 1), Config(32, 32, 4, 1), Config(16, 16, 4, 1))


def candidates(program: Program, features: dict[str, int], target: str, bits: int, descriptors: bool) -> tuple[Config, ...]:
    """Configurations for a program, best first; later ones are for when a compiler refuses or spills. features: sizes of its
    feature axes. bits: of an element; products in the accumulation type have those of 32. descriptors: whether the tensors allow
    descriptors."""
    if exact(program):
        bits, descriptors = 32, False
    setting = Setting(target, bits, descriptors)
    if (pinned := REGISTRY.find(program, features, setting)) is not None:
        return (pinned,)
    if target != "interpreter" and (states := state_configs(program, features, bits)):
        return states
    found = ordered(program, features, setting)
    of = traits(program, features)
    if target == "interpreter" or of is None:
        return found
    best = [*lookup(of, setting), *found[:2]]
    rest = [c for c in (*_lighter(best[0], of.repeated), *best[1:], *_FALLBACK) if allowed(of, c, setting)]
    order = in_order(program, features, best[0], setting).order
    return tuple(dict.fromkeys(replace(c, order=c.order or order) for c in (best[0], *rest)))


def _lighter(config: Config, repeated: bool) -> Iterator[Config]:
    """Configurations near one that take fewer registers: for programs with more around their main loop than the one searched."""
    if config.special or config.persistent:
        config = replace(config, special=0, persistent=0)
        yield config
    if config.early:
        config = replace(config, early=False)
        yield config
    if repeated and not config.flat:
        config = replace(config, flat=True)
        yield config
    yield replace(config, rest=1)
    if config.stages > 1:
        yield replace(config, stages=1)
    if config.loop > 32:
        yield replace(config, loop=config.loop // 2)
        yield replace(config, loop=config.loop // 2, rest=1)
    if config.warps < 8:
        yield replace(config, warps=8)
    if config.owner > 64:
        yield replace(config, owner=config.owner // 2)
