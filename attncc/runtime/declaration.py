"""The declaration of an op: a pattern of a text with parameters. What its head says and the programs it gives are kept on disk; the
text is read when something else is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import Source, Span
from ..ir.nodes import Program
from ..kept import kept, plain

if TYPE_CHECKING:
    from ..language import tree
    from ..passes.resolve.declared import Declared
    from ..passes.resolve.scope import Library


@dataclass(frozen=True)
class Head:
    """What is known of a pattern with parameters before there are tensors. off: inputs that the parameters switch off, with their
    conditions."""

    name: str
    title: str
    span: Span
    inputs: tuple[str, ...]
    params: tuple[str, ...]
    outputs: tuple[str, ...]
    off: Mapping[str, Span]


class Declaration:
    """A pattern with parameters, among the declarations that it may name. Raises AttnError subclasses for parameters that do not fit."""

    def __init__(self, library: Library, pattern: tree.Pattern, params: Mapping[str, Any], source: Source) -> None:
        self.source, self.params, self._given = source, dict(params), (library, pattern)
        self.head = self._head()

    @cached_property
    def opened(self) -> tuple[Library, tree.Pattern]:
        """All declarations, and the pattern."""
        return self._open()

    def _open(self) -> tuple[Library, tree.Pattern]:
        return self._given

    @cached_property
    def specs(self) -> Declared:
        """Inputs, parameters and outputs as they are declared."""
        from ..passes.resolve.declared import inputs_of

        return inputs_of(*self.opened, self.params)

    def _head(self) -> Head:
        specs, (_, pattern) = self.specs, self.opened
        inputs = tuple(s.name for s in specs.inputs)
        return Head(pattern.name, pattern.title, pattern.span, inputs, specs.params, specs.outputs, dict(specs.off))

    def program(self, present: tuple[tuple[str, int], ...]) -> Program:
        """The program for present inputs and their numbers of dims, resolved and verified."""
        from ..passes.pipeline import front
        from ..passes.resolve.program import resolve

        return front(resolve(*self.opened, self.params, dict(present)))


class Written(Declaration):
    """A pattern of a text: the named one, the one called like the file, or the only one. The text is read when it has to be."""

    def __init__(self, source: Source, name: str | None, params: Mapping[str, Any]) -> None:
        self.source, self.params, self._name = source, dict(params), name
        self._about = (source.name, source.text, repr(name), repr(self.params)) if plain(self.params) else None
        self.head = kept(Head, ["head", *self._about], self._head) if self._about is not None else self._head()

    def _open(self) -> tuple[Library, tree.Pattern]:
        from ..passes.resolve.overloads import choose
        from .library import library_of, pick

        library, file = library_of(self.source)
        return library, choose(library, pick(file, self.source, self._name), self.params, None)

    def program(self, present: tuple[tuple[str, int], ...]) -> Program:
        if self._about is None:
            return super().program(present)
        return kept(Program, ["program", *self._about, repr(present)], lambda: Declaration.program(self, present))
