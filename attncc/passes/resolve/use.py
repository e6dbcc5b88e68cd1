"""A call of a built-in function, taken apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...errors import AttnNameError, AttnTypeError, Span
from ...ir.expr import Expr, kind_of
from ...language import tree
from .arithmetic import conjunction, to_expr
from .expressions import value
from .scope import Scope
from .values import Absent, AxisRef, Value


@dataclass(frozen=True)
class Use:
    """A call taken apart: the bracket (None without one), positional arguments, named ones, the such-that condition."""

    name: str
    span: Span
    bracket: tree.Bracket | None
    args: tuple[tree.Expr, ...]
    options: dict[str, tree.Expr]
    such_that: tree.Expr | None

    def only(self, *names: str) -> None:
        """Raise for an option that the function does not have."""
        for name, node in self.options.items():
            if name not in names:
                raise AttnNameError(
                    f"'{self.name}' has no option '{name}'",
                    node.span,
                    f"options: {', '.join(names)}" if names else "it has no options",
                )

    def count(self, low: int, high: int | None = None) -> None:
        """Raise unless the number of arguments fits."""
        high = low if high is None else high
        if not low <= len(self.args) <= high:
            want = str(low) if low == high else f"{low} to {high}"
            raise AttnTypeError(
                f"'{self.name}' takes {want} argument{'s' * (want != '1')}, found {len(self.args)}", self.span,
                f"write {self.name}({', '.join('abcdefgh'[:low])})",
            )  # fmt: skip

    def condition(self, scope: Scope) -> Expr | Absent | None:
        """The such-that condition, from inside the brackets or the parentheses; None when there is none or it always holds."""
        node = self.such_that or (self.bracket.such_that if self.bracket else None)
        if node is None:
            return None
        found = conjunction(scope, value(node, scope), node.span)
        if found is True or isinstance(found, Absent):
            return None if found is True else found
        out = to_expr(scope, found, node.span)
        if kind_of(out) != "bool":
            raise AttnTypeError(
                f"the part after '|' must be a condition, found a value of kind {kind_of(out)}", node.span, "compare it: x != 0"
            )
        return out

    def body(self, scope: Scope, axes: list[AxisRef], plain: Value = None) -> tuple[Value, Expr | None] | Absent:
        """The argument, or `plain` where the function takes none, and the condition, both under the primes of `axes`."""
        with scope.binding(axes):
            found = value(self.args[0], scope) if self.args else plain
            cond = None if isinstance(found, Absent) else self.condition(scope)
        if isinstance(found, Absent):
            return found
        return cond if isinstance(cond, Absent) else (found, cond)


Entry = Callable[[Scope, Use], Value]
