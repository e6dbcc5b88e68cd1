"""The arguments of a call of a definition or pattern, resolved in the caller."""

from __future__ import annotations

from ...errors import AttnNameError, AttnTypeError, Span
from ...language import tree
from .expressions import name_text, value
from .scope import Scope
from .values import AxisRef, PackOf, Several, Value


class Arguments:
    """The arguments of a call, resolved in the caller: by position, by name, by bundle prefix, and the rest by equal name."""

    def __init__(self, scope: Scope, node: tree.Call, params: set[str]) -> None:
        self.scope, self.node = scope, node
        self.positional: list[tuple[Value, Span]] = []
        self.named: dict[str, tuple[Value, Span]] = {}
        self.loose: list[tuple[Value, Span]] = []  # positional options
        self.globs: list[str] = []
        self.rest_inputs = self.rest_params = False
        self.used: set[str] = set()
        self.kept: set[str] = set()  # parameters that '...' does not pass on
        if node.such_that is not None:
            raise AttnTypeError("'|' belongs to reductions", node.such_that.span)
        for arg in node.args:
            if isinstance(arg.value, tree.Rest):
                self.rest_inputs = self.rest_params = True
            elif isinstance(arg.value, tree.Glob):
                self.globs.append(name_text(scope, arg.value.prefix))
            elif arg.name is not None:
                self.named[name_text(scope, arg.name)] = value(arg.value, scope), arg.span
            else:
                self.positional.append((value(arg.value, scope), arg.span))
        for arg in node.options:
            if isinstance(arg.value, tree.Rest):
                self.rest_params = True
            elif arg.name is not None:
                self.named[name_text(scope, arg.name)] = value(arg.value, scope), arg.span
            elif isinstance(arg.value, tree.Name) and arg.value.plain in params:
                self.named[arg.value.plain or ""] = value(arg.value, scope), arg.span
            else:
                self.loose.append((value(arg.value, scope), arg.span))

    def caller(self, name: str) -> Value | None:
        """The caller's value of a name, None when it has none."""
        return self.scope.get(name) if name in self.scope.names else None

    def params(self, names: list[str]) -> dict[str, tuple[Value, Span]]:
        """Values given for parameters."""
        out: dict[str, tuple[Value, Span]] = {}
        free = [n for n in names if n not in self.named]
        for name, got in zip(free, self.loose, strict=False):
            out[name] = got
        if len(self.loose) > len(free):
            raise AttnTypeError("more parameters than the signature has", self.loose[-1][1])
        for name in names:
            if name in self.named:
                out[name] = self.named[name]
                self.used.add(name)
            elif self.rest_params and name not in out and name not in self.kept:
                found = self.caller(name)
                if found is not None and not isinstance(found, AxisRef | Several):
                    out[name] = found, self.node.span
        return {n: (list(v.items) if isinstance(v, PackOf) else v, s) for n, (v, s) in out.items()}

    def input(self, name: str) -> tuple[Value, Span] | None:
        """The value given for an input, None when there is none."""
        if name in self.named:
            self.used.add(name)
            return self.named[name]
        if self.positional:
            return self.positional.pop(0)
        for prefix in self.globs:
            for candidate in (prefix + name, name if name.startswith(prefix) else ""):
                found = self.caller(candidate) if candidate else None
                if found is not None:
                    return found, self.node.span
        if self.rest_inputs:
            found = self.caller(name)
            if found is not None:
                return found, self.node.span
        return None

    def finish(self, what: str) -> None:
        """Raise when something was passed that the signature has no place for."""
        if self.positional:
            raise AttnTypeError(f"too many arguments for '{what}'", self.positional[0][1])
        for name, (_, span) in self.named.items():
            if name not in self.used:
                raise AttnNameError(f"'{what}' has no input or parameter '{name}'", span)
