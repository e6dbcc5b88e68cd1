"""Packs: how many axes each one has, from `where rank(g) = ..`, list parameters, or the tensors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...errors import AttnTypeError
from ...language import tree
from .expressions import name_text, static
from .scope import Scope
from .signatures import InputSpec, Signature
from .values import Absent, AxisRef, Lazy, PackOf


def ranks_of_lists(scope: Scope, sig: Signature) -> None:
    """A parameter of type T[*g] given as a list says the rank of g."""
    for name, decl in sig.params.items():
        if decl.type.kind == "list" and isinstance(decl.type.length, tree.Pack):
            found = scope.names.get(name)
            given = found.given if isinstance(found, Lazy) else found
            if isinstance(given, list | tuple):
                make_pack(scope, name_text(scope, decl.type.length.name), len(given))


class scope_env:
    """Family variables bound for a while."""

    def __init__(self, scope: Scope, env: dict[str, Any]) -> None:
        self.scope, self.env = scope, env

    def __enter__(self) -> None:
        self.old = {name: self.scope.names[name] for name in self.env if name in self.scope.names}
        self.scope.names.update(self.env)

    def __exit__(self, *_: object) -> None:
        for name in self.env:
            self.scope.names.pop(name, None)
        self.scope.names.update(self.old)


def packs_in(dims: tuple[tree.Dim, ...]) -> Iterator[tree.PackDim]:
    for dim in dims:
        if isinstance(dim, tree.PackDim):
            yield dim
        elif isinstance(dim, tree.ProductDim):
            yield from packs_in(dim.factors)
        elif isinstance(dim, tree.SumDim):
            yield from packs_in(dim.parts)


def ranks(scope: Scope, equations: list[Any], specs: list[tuple[InputSpec, dict[str, Any], int]]) -> None:
    """Give every pack its axes: the rank comes from `where rank(g) = ..`, a list parameter, or the tensors."""
    for kind, where in equations:
        if kind == "rank":
            assert isinstance(where.left, tree.Call)
            name = where.left.args[0].value
            assert isinstance(name, tree.Name)
            found = static(scope, where.right, "the rank of a pack")
            if not isinstance(found, int) or found < 0:
                raise AttnTypeError("the rank of a pack is a whole number", where.span)
            make_pack(scope, name.plain or "", found)
    for _ in range(len(specs) + 1):
        for spec, env, ndim in specs:
            open_packs = [p for p in packs_in(spec.decl.dims) if (p.name.plain or "") not in scope.names]
            if len({p.name.plain for p in open_packs}) == 1 and not any(p.size is not None for p in open_packs):
                with scope_env(scope, env):
                    plain = sum(stored_count(scope, d) for d in spec.decl.dims)
                if ndim < plain:
                    raise AttnTypeError(f"'{spec.name}' has {ndim} dims, expected at least {plain}", spec.span)
                make_pack(scope, open_packs[0].name.plain or "", (ndim - plain) // len(open_packs))
    for spec, _, _ in specs:
        for pack in packs_in(spec.decl.dims):
            if (pack.name.plain or "") not in scope.names:
                make_pack(scope, pack.name.plain or "", _rank_by_size(scope, pack))


def _rank_by_size(scope: Scope, pack: tree.PackDim) -> int:
    from .expressions import value

    if pack.size is not None:
        with scope.mode(sizing=True, integral=True):
            found = value(pack.size, scope)
        if isinstance(found, PackOf):
            return len(found.items)
    raise AttnTypeError(f"the rank of '*{pack.name.plain}' is not known", pack.span, "give 'where rank(g) = ...'")


def stored_count(scope: Scope, dim: tree.Dim) -> int:
    """How many stored dims a dim takes, unknown packs counted as none."""
    if isinstance(dim, tree.PackDim):
        found = scope.find_axis(dim.name.plain or "")
        return len(found.items) if isinstance(found, PackOf) else 0
    return 1


def make_pack(scope: Scope, name: str, rank: int) -> None:
    if name in scope.names:
        return
    items = []
    for n in range(rank):
        atom = scope.builder.axis(f"{name}{n}")
        ref = AxisRef(f"{name}{n}", (atom,))
        items.append(ref)
    scope.names[name] = PackOf(tuple(items))


def settle_params(scope: Scope, declared: Mapping[str, tree.Param]) -> None:
    """Check every parameter that was given, used or not; spread single values over packs."""
    for name in declared:
        found = scope.get(name)
        kind = declared[name].type
        if kind.kind == "list" and isinstance(kind.length, tree.Pack) and not isinstance(found, PackOf | Absent):
            pack = scope.find_axis(name_text(scope, kind.length.name))
            if isinstance(pack, PackOf):
                items = found if isinstance(found, list) else [found] * len(pack.items)
                if len(items) != len(pack.items):
                    raise AttnTypeError(
                        f"parameter '{name}' has {len(items)} entries for {len(pack.items)} axes", declared[name].span
                    )
                scope.names[name] = PackOf(tuple(items))
