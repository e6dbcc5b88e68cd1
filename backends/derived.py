"""Both passes of programs, kept on disk with all that they were made from: for whoever rewrites phases."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache

from attncc.backends.plans import about

from attncc.ir.nodes import Program
from attncc.kept import kept
from attncc.schedules import backward as passes
from attncc.schedules.backward import Differentiated, Rewrite
from attncc.schedules.tapes import Tape


def differentiated(
    program: Program, outputs: Sequence[str], rewrite: Rewrite | None = None, capped: bool = False
) -> Differentiated | None:
    """As `attncc.schedules.backward.differentiated`, tapes included."""
    name = _name(rewrite)
    if name is None:  # what has no name is no part of one
        return passes.differentiated(program, outputs, rewrite, capped)
    parts = (*about(program), *outputs, name, capped)
    found = kept(_Found, ["passes", *parts], lambda: _Found(_bare(passes.differentiated(program, outputs, rewrite, capped)))).made
    if found is None:
        return None
    made = _Kept(**{f.name: getattr(found, f.name) for f in fields(found)} | {"rewrite": rewrite})
    object.__setattr__(made, "parts", parts)
    return made


@dataclass(frozen=True)
class _Found:
    """What is kept of both passes: None where no attend has backward stages."""

    made: Differentiated | None


@dataclass(frozen=True, eq=False)
class _Kept(Differentiated):
    """Both passes with tapes from disk. parts: what names them; () in a copy with something replaced, which makes its own."""

    parts: tuple[object, ...] = field(default=(), init=False)

    def backward(self, needs: Collection[str], outputs: Collection[str]) -> Tape:
        return _tape(self, frozenset(needs), frozenset(outputs))


@lru_cache(maxsize=256)
def _tape(of: _Kept, needs: frozenset[str], outputs: frozenset[str]) -> Tape:
    def build() -> Tape:
        return Differentiated.backward(of, needs, outputs)

    return kept(Tape, ["tape", *of.parts, repr((sorted(needs), sorted(outputs)))], build) if of.parts else build()


def _bare(made: Differentiated | None) -> Differentiated | None:
    """Without the function among it."""
    return None if made is None else replace(made, rewrite=None)


def _name(rewrite: Rewrite | None) -> str | None:
    """The place of a function of the compiler, "" for none, None for another."""
    if rewrite is None:
        return ""
    module, name = getattr(rewrite, "__module__", ""), getattr(rewrite, "__qualname__", "")
    known = module.startswith("attncc.") and getattr(sys.modules.get(module), name, None) is rewrite
    return f"{module}.{name}" if known else None
