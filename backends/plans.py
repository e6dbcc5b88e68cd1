"""Plans of programs, kept on disk: what `attncc.schedules` gives, from an earlier process where there was one, with what calls need of
it. The schedules are imported where something has to be planned.

An entry is named by the text of a program and by where in its source each part of it is, which errors point at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from importlib import import_module

from attncc.errors import Source, Span
from attncc.ir.expr import Expr
from attncc.ir.nodes import Program, Value
from attncc.kept import kept
from attncc.schedules.steps import Fused, Plan
from attncc.schedules.tapes import Passes, Tape


def plan(program: Program, outputs: Collection[str]) -> Plan:
    """As `attncc.schedules.plan.plan`, without what steps were made from."""

    def build() -> Plan:
        from attncc.schedules import plan as schedules

        return bare(schedules.plan(program, outputs))

    return kept(Plan, ["plan", *about(program), *outputs], build)


def bare(made: Plan) -> Plan:
    """A plan without what its steps were made from."""
    return replace(made, steps=tuple(replace(s, fusion=None) if isinstance(s, Fused) else s for s in made.steps))


def both(program: Program, outputs: Sequence[str], rewrite: str, capped: bool = False) -> Both | None:
    """Both passes as calls need them, None where no attend has backward stages. rewrite: the place of a function of the schedules, as
    module and name. capped: as in `attncc.schedules.backward.differentiated`."""
    parts = (*about(program), *outputs, rewrite, capped)

    def whole() -> Passes | None:
        from attncc.backends.derived import differentiated

        module, _, name = rewrite.rpartition(".")
        return differentiated(program, outputs, getattr(import_module(module), name), capped)

    def build() -> _Found:
        made = whole()
        return _Found(None if made is None else Both(made.program, bare(made.forward), made.saved, made.acc))

    found = kept(_Found, ["both", *parts], build).made
    return None if found is None else replace(found, parts=parts, whole=whole)


@dataclass(frozen=True, eq=False)
class Both:
    """Both passes of a program, as `Passes` of the schedules. parts: what names them; whole: gives all that they were made from."""

    program: Program
    forward: Plan
    saved: tuple[Value, ...]
    acc: frozenset[str]
    parts: tuple[object, ...] = ()
    whole: Callable[[], Passes | None] | None = None
    tapes: dict[tuple[frozenset[str], frozenset[str]], Tape] = field(default_factory=dict)

    def backward(self, needs: Collection[str], outputs: Collection[str]) -> Tape:
        """The moves for the gradients of some inputs from the cotangents of some outputs."""
        key = frozenset(needs), frozenset(outputs)
        if key not in self.tapes:
            self.tapes[key] = kept(Tape, ["tape", *self.parts, repr(tuple(map(sorted, key)))], lambda: self._made.backward(*key))
        return self.tapes[key]

    @cached_property
    def _made(self) -> Passes:
        made = self.whole() if self.whole is not None else None
        assert made is not None
        return made


@dataclass(frozen=True)
class _Found:
    """What is kept of both passes: None where no attend has backward stages."""

    made: Both | None


def about(program: Program) -> tuple[str, ...]:
    """All about a program, as texts: what it says, and the pieces of source that its parts are from."""
    sources: dict[Source, int] = {}
    places = [(sources.setdefault(s.source, len(sources)), s.start, s.end) for s in _spans(program)]
    return repr(program), repr(places), *(text for source in sources for text in (source.name, source.text))


def _spans(part: object) -> Iterator[Span]:
    if isinstance(part, Span):
        yield part
    elif isinstance(part, tuple):
        for item in part:
            yield from _spans(item)
    elif is_dataclass(part) and not isinstance(part, Expr):
        for item in fields(part):
            yield from _spans(getattr(part, item.name))
