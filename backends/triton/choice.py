"""Which configuration a kernel gets: a pinned one, else the one that was searched for kernels like it, else the likeliest."""

from __future__ import annotations

from attncc.tile.nodes import Program

from .chosen import lookup
from .configs import Config
from .pins import REGISTRY
from .space import Setting, allowed, ordered
from .states import state_configs
from .traits import traits

_FALLBACK = (Config(64, 64, 4, 1), Config(64, 32, 4, 1), Config(32, 32, 4, 1), Config(16, 16, 4, 1))


def candidates(program: Program, features: dict[str, int], target: str, bits: int, descriptors: bool) -> tuple[Config, ...]:
    """Configurations for a program, best first; later ones are for when a compiler refuses or spills. features: sizes of its
    feature axes. bits: of an element. descriptors: whether the tensors allow descriptors."""
    setting = Setting(target, bits, descriptors)
    if (pinned := REGISTRY.find(program, features, setting)) is not None:
        return (pinned,)
    if target != "interpreter" and (states := state_configs(program, features, bits)):
        return states
    found = ordered(program, features, setting)
    of = traits(program, features)
    if target == "interpreter" or of is None:
        return found
    fallback = [c for c in _FALLBACK if allowed(of, c, setting)]
    return tuple(dict.fromkeys([*lookup(of, setting), *found[:2], *fallback]))
