"""A called pattern's axes meet the caller's, argument by argument.

An axis binds to what the call's brackets say, else to the caller's axis of the same name, else to what an earlier argument has
bound it to. Then come the axes left over, where an argument has as many as its input asks for: a primed one follows its axis, a
single one binds, several bind in the order they stand in when that order is beyond doubt. It is when they are the axes of a pack,
which have no names, or when each of the caller's names begins with the formal one (h0 and hx are an h). Anything else is an error:
which axis is meant would be a guess. Axes of an argument beyond its signature ride along as batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import AttnError, AttnNameError, AttnTypeError, Span
from ...ir.expr import Apply, Expr, Index, Size, axes_of, substitute
from ...ir.nodes import Check
from ...language import tree
from .reads import single
from .scope import Scope
from .signatures import InputSpec
from .values import AxisRef, PackOf

Told = dict[str, tuple[AxisRef, Span]]
"""What the brackets of a call say: formal axis -> the caller's axis, and where that is written."""


@dataclass(frozen=True)
class Actual:
    """An argument: its input, that input's axes in order (each with what it must be, see `Binding.match`), its value and place."""

    spec: InputSpec
    leaves: list[tuple[str, Any]]
    value: Expr
    span: Span


def told(scope: Scope, name: str, bracket: tree.Bracket | None) -> Told:
    """`core[h = hx](..)`: the axes bound by the brackets of a call of a pattern."""
    out: Told = {}
    for item in bracket.items if bracket is not None else ():
        if not isinstance(item, tree.Bind) or not isinstance(item.left, tree.Name) or item.left.plain is None:
            raise AttnTypeError(
                f"the brackets of '{name}', a pattern, say which of its axes is which of yours", item.span, f"{name}[i = n](..)"
            )
        if item.left.plain in out:
            raise AttnTypeError(f"axis '{item.left.plain}' is bound twice", item.span)
        out[item.left.plain] = single(scope, item.right), item.span
    if bracket is not None and (bracket.such_that is not None or bracket.fill is not None):
        part = bracket.such_that if bracket.such_that is not None else bracket.fill
        raise AttnTypeError(
            f"the brackets of '{name}', a pattern, hold axes alone", part.span if part is not None else bracket.span
        )
    return out


class Binding:
    """The axes of one call: `inner` is the called pattern's scope, `told` what the brackets of the call say."""

    def __init__(self, scope: Scope, inner: Scope, told: Told) -> None:
        self.scope, self.inner, self.told = scope, inner, told
        self.owner: dict[tuple[str, int], str] = {}  # a formal axis, and the number of its factor -> the axis it has become
        self.labels: dict[str, list[str]] = {}  # the caller's names of an axis
        self.packed: dict[str, AxisRef] = {}  # the axes of the caller's packs: g0, g1, ..
        for name, found in scope.names.items():
            if isinstance(found, AxisRef) and len(found.atoms) == 1:
                self.labels.setdefault(found.atoms[0], []).append(name)
            if isinstance(found, PackOf):
                self.packed.update((f"{name}{n}", ref) for n, ref in enumerate(found.items) if isinstance(ref, AxisRef))

    def bind(self, actuals: list[Actual]) -> dict[str, Expr]:
        """Bind every argument; give each under its final axes. Raises AttnTypeError for an axis that stays in doubt."""
        formals = {leaf for actual in actuals for leaf, _ in actual.leaves}
        for name, (_, span) in self.told.items():
            if name not in formals:
                known = ", ".join(sorted(formals))
                raise AttnNameError(f"'{self.inner.where}' has no axis '{name}' in these inputs", span, f"its axes here: {known}")
        out: dict[str, Expr] = {}
        lifted: dict[str, None] = {}
        for actual in actuals:
            pairs, free = self.pairs(actual)
            out[actual.spec.name] = self.settle(actual, pairs)
            lifted.update(dict.fromkeys(free))
        self.inner.lifted = tuple(dict.fromkeys((*self.scope.lifted, *lifted)))
        return out

    def pairs(self, actual: Actual) -> tuple[dict[str, tuple[str, ...]], list[str]]:
        """Formal axis -> the caller's atoms for one argument, and what stays free."""
        free = [a for a in axes_of(actual.value) if a not in self.scope.lifted]
        pairs: dict[str, tuple[str, ...]] = {}
        loose: list[str] = []

        def put(leaf: str, atoms: tuple[str, ...]) -> None:
            pairs[leaf] = atoms
            free[:] = [a for a in free if a not in atoms]

        for leaf, kind in sorted(actual.leaves, key=lambda one: one[0] not in self.told):  # what is said comes first
            atoms = self.match(actual, leaf, kind, free)
            if atoms is None:
                loose.append(leaf)
            else:
                put(leaf, atoms)
        for leaf in tuple(loose):  # an axis that an earlier argument has bound is the same one here, where this argument has it
            atom = self.owner.get((leaf, 0), "")
            atom = self.inner.copies.get(atom, atom)
            if atom in free and (leaf, 1) not in self.owner:
                put(leaf, (atom,))
                loose.remove(leaf)
        while loose:
            found = self.left_over(loose, free, pairs) if len(loose) == len(free) else {}
            if not found:
                raise self.doubt(actual, loose, free)
            for leaf, atom in found.items():
                put(leaf, (atom,))
                loose.remove(leaf)
        return pairs, free

    def match(self, actual: Actual, leaf: str, kind: Any, free: list[str]) -> tuple[str, ...] | None:
        """The atoms that a formal axis binds to by what the brackets say, by name, or as a direct sum that fits."""
        if leaf in self.told:
            ref, span = self.told[leaf]
            if not all(a in free for a in ref.atoms):
                own = axes_of(actual.value)
                what = "already binds" if all(a in own for a in ref.atoms) else "has no"
                message = f"argument '{actual.spec.name}' {what} axis '{ref.name}', so it is not '{leaf}'"
                raise AttnTypeError(message, span, f"it has {self.names(own)}")
            return ref.atoms
        found = kind if isinstance(kind, AxisRef) else self.scope.find_axis(leaf) or self.packed.get(leaf)
        if isinstance(found, AxisRef) and all(a in free for a in found.atoms):
            return found.atoms
        if not isinstance(kind, tuple):
            return None
        for atom in free:  # a direct sum with as many parts, of as many factors each
            parts = self.scope.builder.axes[atom].parts
            if len(parts) == len(kind) and all(len(names) in (1, len(part)) for names, part in zip(kind, parts, strict=True)):
                for names, part in zip(kind, parts, strict=True):
                    for name, atoms in zip(names, [part] if len(names) == 1 else [(a,) for a in part], strict=True):
                        self.inner.names.setdefault(name, AxisRef(name, atoms))
                return (atom,)
        return None

    def left_over(self, loose: list[str], free: list[str], pairs: dict[str, tuple[str, ...]]) -> dict[str, str]:
        """Some of the axes left over that bind now: formal axis -> the caller's atom. None where all of them are in doubt."""
        for leaf in loose:  # r' is the primed copy of what r is
            twin = self.scope.twins.get(pairs.get(leaf[:-1], ("",))[0], "") if leaf.endswith("'") else ""
            if twin in free:
                return {leaf: twin}
        leaves, atoms = loose, free
        plain = [leaf for leaf in loose if not leaf.endswith("'")], [a for a in free if a not in self.scope.twins.values()]
        if len(plain[0]) == len(plain[1]) and plain[0]:
            leaves, atoms = plain
        if len(leaves) == 1 or self.of_a_pack(leaves, atoms) or all(map(self.begins, leaves, atoms)):
            return dict(zip(leaves, atoms, strict=True))
        return {}

    def of_a_pack(self, leaves: list[str], atoms: list[str]) -> bool:
        """Whether all of the caller's axes, or all of the formal ones, are those of one pack, in its order."""
        for scope, names in ((self.scope, atoms), (self.inner, leaves)):
            for pack in scope.names.values():
                if isinstance(pack, PackOf) and all(isinstance(ref, AxisRef) for ref in pack.items):
                    inside = [name for ref in pack.items for name in (ref.atoms if scope is self.scope else (ref.name,))]
                    if [name for name in inside if name in names] == names:
                        return True
        return False

    def begins(self, leaf: str, atom: str) -> bool:
        """Whether a name the caller has for an axis begins with the formal one: h0 and hx are an h."""
        return any(name.startswith(leaf) for name in self.labels.get(atom, ()))

    def settle(self, actual: Actual, pairs: dict[str, tuple[str, ...]]) -> Expr:
        """Enter what the pairs bind into the called pattern's scope; give the argument under the axes that have come out.

        Two formal axes that meet the same axis of the caller are kept apart by a primed copy. One that meets two axes of the caller
        makes them the same: their sizes must agree, which each call checks.
        """
        builder = self.scope.builder
        at: dict[str, Expr] = {}
        for leaf, atoms in pairs.items():
            final = []
            for n, atom in enumerate(atoms):
                if (leaf, n) not in self.owner:
                    use = atom
                    if atom in self.owner.values():
                        use = builder.axis(atom, builder.axes[atom].size or Size(atom), builder.axes[atom].parts)
                        self.inner.copies[use] = atom
                    self.owner[leaf, n] = use
                here = self.owner[leaf, n]
                if here != atom:
                    at[atom] = Index(here)
                    if self.length(here) != self.length(atom):
                        what = f"axes {self.names([here, atom])} both are '{leaf}' of '{self.inner.where}', and differ in size"
                        builder.checks.append(Check(Apply("eq", (Size(here), Size(atom))), False, actual.span, what))
                final.append(here)
            self.inner.names[leaf] = AxisRef(leaf, tuple(final))
        return substitute(actual.value, at) if at else actual.value

    def length(self, atom: str) -> Expr:
        """The size of an axis, copies seen through."""
        size = self.scope.builder.axes[atom].size
        return Size(atom) if size is None else self.length(size.axis) if isinstance(size, Size) else size

    def names(self, atoms: tuple[str, ...] | list[str]) -> str:
        return ", ".join(self.labels.get(a, [a])[0] for a in atoms) or "no axes"

    def doubt(self, actual: Actual, loose: list[str], free: list[str]) -> AttnError:
        """The error for axes of an argument that nothing says the meaning of."""
        call, what = self.inner.where, ", ".join(f"'{leaf}'" for leaf in loose)
        have = self.names(axes_of(actual.value))
        if len(loose) > len(free):
            return AttnTypeError(
                f"argument '{actual.spec.name}' of '{call}' lacks the axis {what} (it has {have})"
                if len(loose) == 1
                else f"argument '{actual.spec.name}' of '{call}' lacks {len(loose) - len(free)} of the axes {what} (it has {have})",
                actual.span,
                f"axes bind by name; one of another name is bound in brackets: {call}[{loose[0]} = ..](..)",
            )
        one_of = self.names(free).replace(", ", " or ")
        return AttnTypeError(
            f"which axis of argument '{actual.spec.name}' is {what} of '{call}'? It has {self.names(free)} left over",
            actual.span,
            f"say it in brackets, {call}[{', '.join(f'{leaf} = ..' for leaf in loose)}](..), each one of {one_of}",
        )
