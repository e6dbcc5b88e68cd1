"""Checking a file without data: every pattern is resolved and verified in the forms that its signature offers.

A form is a choice of parameters and optional inputs: the defaults with no optional input and with all of them, then one parameter
changed at a time, then one optional input at a time. A form that the pattern refuses (a `require`, something left out that it
needs) is no error, unless the defaults are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import AttnAbsentError, AttnError, AttnShapeError, AttnValueError, Source
from ..language import tree
from ..passes.resolve.overloads import literals
from ..passes.resolve.scope import Library
from ..runtime.library import library_of, pick
from ..runtime.op import Op
from ..testing.calls import dims_of, program_of, with_params
from ..testing.defaults import completed, plain_values, strings_in

REFUSALS = (AttnValueError, AttnAbsentError, AttnShapeError)
MAX_FORMS = 200


@dataclass
class Findings:
    """Errors, one for each place and message, and notes about what could not be checked."""

    errors: list[AttnError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def findings(source: Source, only: str | None = None, params: Mapping[str, Any] | None = None) -> Findings:
    """What is wrong with a text: a syntax error alone, or the errors of each pattern (of the pattern `only`)."""
    out = Findings()
    try:
        library, file = library_of(source)
        if only is not None:
            pick(file, source, only)
    except AttnError as error:
        out.errors.append(error)
        return out
    for decl in file.decls:
        if isinstance(decl, tree.Pattern) and only in (None, decl.name):
            _pattern(library, decl, source, params or {}, out)
    distinct = {(e.line, e.column, e.message): e for e in reversed(out.errors)}
    out.errors = sorted(distinct.values(), key=lambda e: (e.line or 0, e.column or 0))
    return out


def _pattern(library: Library, decl: tree.Pattern, source: Source, params: Mapping[str, Any], out: Findings) -> None:
    own = literals(decl)
    if any(params.get(n, v) != v for n, v in own.items()):
        return  # another overload is asked for
    refused: AttnError | None = None
    guessed = False
    try:
        for full in completed(library, decl, {**own, **params}):
            guessed = len(full) > len({**own, **params})
            try:
                op = Op(library, decl, full, source)
                program_of(op)
            except REFUSALS as error:
                refused = refused or error
                continue
            out.errors += [e for e in _neighbours(op) if not isinstance(e, REFUSALS)]
            return
    except AttnError as error:
        out.errors.append(error)
        return
    if guessed or refused is None:
        out.notes.append(f"'{decl.name}' takes none of the parameters tried: give --param to check it whole")
    else:
        out.errors.append(refused)


def _forms(op: Op, choices: tuple[Any, ...]) -> Iterator[AttnError | None]:
    """The error of each choice of optional inputs, None where there is none. The inputs `None` leaves to the pattern."""
    for chosen in choices:
        try:
            program_of(op, chosen)
            yield None
        except AttnError as error:
            yield error


def _neighbours(op: Op) -> Iterator[AttnError]:
    """Errors of the forms one step from a working one."""
    words = strings_in(op._decl)
    count = 0
    optional = [n for n, (_, may_miss) in dims_of(op, 2).items() if may_miss]
    choices: list[Any] = [tuple(optional), *((n,) for n in optional)]
    yield from (e for e in _forms(op, tuple(choices)) if e is not None)
    for name, declared in op._specs.types.items():
        if name in op.params:
            continue
        for value in plain_values(declared.type, words):
            count += 1
            if count > MAX_FORMS:
                return
            try:
                changed = with_params(op, {name: value})
            except AttnError as error:
                yield error
                continue
            yield from (e for e in _forms(changed, (None,)) if e is not None)
