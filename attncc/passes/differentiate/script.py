"""What a backward pass consists of: phases of definitions and pair stages, and how the values they leave add up to gradients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...ir.expr import Expr, Index, Read, Reduce, axes_of, sources_of
from ...ir.nodes import Assign
from ...ir.pairs import PairStage, Part


@dataclass(frozen=True)
class Phase:
    """Definitions, then stages. Neither reads a stage of the same phase, but stages may read earlier stages."""

    definitions: tuple[Assign, ...]
    stages: tuple[PairStage, ...]


@dataclass(frozen=True)
class Backward:
    """Phases in order. tokens: definitions of parts' sources that are reads at other positions than their own, to be
    differentiated in turn. acc: names of values in the accumulation type."""

    phases: tuple[Phase, ...]
    parts: tuple[Part, ...]
    tokens: tuple[Assign, ...]
    acc: frozenset[str]

    @property
    def stages(self) -> tuple[PairStage, ...]:
        return tuple(s for phase in self.phases for s in phase.stages)


class Script:
    """Phases being written. name: gives fresh names."""

    def __init__(self, name: Callable[[str], str]) -> None:
        self.name = name
        self.phases: list[tuple[list[Assign], list[PairStage]]] = [([], [])]
        self.acc: set[str] = set()
        self.parts: list[Part] = []
        self._known: dict[tuple[tuple[str, ...], Expr], Read] = {}

    def define(self, hint: str, axes: tuple[str, ...], expr: Expr) -> Read:
        """A read of the expression's value, stored along `axes` in the accumulation type; sums over its other axes."""
        more = tuple(a for a in axes_of(expr) if a not in axes)
        expr = Reduce("sum", more, expr) if more else expr
        if isinstance(expr, Read) and expr.index == tuple(Index(a) for a in axes):
            return expr
        if (axes, expr) not in self._known:
            made_here = [name for s in self.phases[-1][1] for name in (*(f.name for f in s.finals), *(k.name for k in s.keyed))]
            if set(sources_of(expr)) & set(made_here):
                self.phases.append(([], []))
            made = Assign(self.name(hint), axes, "float", expr)
            self.phases[-1][0].append(made)
            self.acc.add(made.name)
            self._known[axes, expr] = at(made.name, axes)
        return self._known[axes, expr]

    def stage(self, stage: PairStage) -> None:
        """Run a stage next."""
        self.phases[-1][1].append(stage)
        self.acc |= {f.name for f in stage.finals if f.acc} | {k.name for k in stage.keyed}

    def done(self, tokens: tuple[Assign, ...]) -> Backward:
        """All of it, without definitions that nothing reads."""
        needed = {p.name for p in self.parts}
        phases: list[Phase] = []
        for definitions, stages in reversed(self.phases):
            needed |= {name for s in stages for name in reads_of(s)}
            kept: list[Assign] = []
            for d in reversed(definitions):
                if d.name in needed:
                    kept.append(d)
                    needed |= set(sources_of(d.expr))
            if kept or stages:
                phases.append(Phase(tuple(reversed(kept)), tuple(stages)))
        return Backward(tuple(reversed(phases)), tuple(self.parts), tokens, frozenset(self.acc))


def at(name: str, axes: tuple[str, ...]) -> Read:
    """A value at its own position."""
    return Read(name, tuple(Index(a) for a in axes), "float")


def reads_of(stage: PairStage) -> set[str]:
    """Names of the outer values that a stage reads."""
    exprs: list[Expr] = [f.expr for f in stage.finals]
    for keys in stage.keys:
        exprs += [x for p in keys.products for x in (p.row, p.key)] + [e for _, e in keys.lets]
        exprs += [keys.mask] if keys.mask is not None else []
    exprs += [x for s in stage.sums for t in s.terms for x in (t.expr, t.by) if x is not None]
    exprs += [e for e in (stage.softmax.score, stage.softmax.guard) if e is not None] if stage.softmax else []
    exprs += [x for k in stage.keyed for x in (*k.index, *(t.expr for t in k.sum.terms))]
    return {name for e in exprs for name in sources_of(e) if not name.startswith("%")}
