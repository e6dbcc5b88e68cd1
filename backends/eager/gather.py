"""Reads at other positions: renames, slices, windows, gathers, each done the cheapest way that is exact."""

from __future__ import annotations

import torch

from attncc.errors import AttnShapeError

from .named import Named, Value, aligned, union


def read(
    source: Named, where: list[str | int | Named], fill: Value | None, name: str, guard: Named | None = None
) -> Named:
    """`source` at one position per axis: an axis name (its own position there), a number, or an integer tensor over axes.

    Without `fill` a position outside raises AttnShapeError; with it, such a position reads `fill`. guard: where it matters; a position
    outside reads anything elsewhere.
    """
    t, labels = source.t, list(source.axes)
    valid: list[Named] = []
    spots: dict[int, str | int | Named] = {}
    taken: set[str] = set()
    for n, pos in enumerate(where):  # an axis used twice (a diagonal) is an ordinary gather the second time
        if isinstance(pos, str) and pos in taken:
            pos = Named(torch.arange(t.shape[n], device=t.device), (pos,))
        elif isinstance(pos, str):
            taken.add(pos)
        spots[n] = pos
    marks = [f"#{n}" for n in range(len(labels))]
    named = dict(zip(marks, spots.values(), strict=True))
    for mark, pos in named.items():  # single positions first
        if isinstance(pos, int):
            dim = marks.index(mark)
            size = t.shape[dim]
            if not 0 <= pos < size:
                if fill is None:
                    raise AttnShapeError(f"'{name}' is read at position {pos} of axis '{labels[dim]}', which has {size}")
                rest = [s for d, s in enumerate(t.shape) if d != dim]
                return _filled(t, rest, dim, marks, named, fill)
            t = t.select(dim, pos)
            marks.pop(dim)
            labels.pop(dim)
    axes: list[str] = []
    moved: dict[str, Named] = {}
    for mark in marks:
        pos = named[mark]
        axes.append(pos if isinstance(pos, str) else mark)
        if isinstance(pos, Named):
            moved[mark] = pos
    for group in _groups(moved):
        t, axes, inside = _gather(t, axes, group, fill is not None, name, guard)
        valid.extend(inside)
    out = Named(t, tuple(axes))
    for ok in valid:
        both = union([out, ok])
        filler = torch.as_tensor(fill if not isinstance(fill, Named) else fill.t, dtype=t.dtype, device=t.device)
        out = Named(torch.where(aligned(ok, both), aligned(out, both), filler), both)
    return out


def _filled(
    t: torch.Tensor, rest: list[int], dim: int, marks: list[str], named: dict[str, str | int | Named], fill: Value
) -> Named:
    """The whole read is outside: the fill over every axis the result has."""
    sizes: dict[str, int] = {}
    for mark, size in zip([m for d, m in enumerate(marks) if d != dim], rest, strict=True):
        pos = named[mark]
        if isinstance(pos, str):
            sizes[pos] = size
        elif isinstance(pos, Named):
            sizes.update(zip(pos.axes, pos.t.shape, strict=True))
    value = fill.t if isinstance(fill, Named) else fill
    return Named(torch.as_tensor(value, dtype=t.dtype, device=t.device).expand(list(sizes.values())), tuple(sizes))


def _groups(gathers: dict[str, Named]) -> list[dict[str, Named]]:
    """Gathered dims that share axes with one another go together."""
    groups: list[tuple[set[str], dict[str, Named]]] = []
    for mark, pos in gathers.items():
        axes, members = set(pos.axes), {mark: pos}
        for other in [g for g in groups if g[0] & axes]:
            axes |= other[0]
            members = {**other[1], **members}
            groups.remove(other)
        groups.append((axes, members))
    return [members for _, members in groups]


def _gather(
    t: torch.Tensor, axes: list[str], group: dict[str, Named], filling: bool, name: str, guard: Named | None = None
) -> tuple[torch.Tensor, list[str], list[Named]]:
    """Gather some dims of `t` at integer tensors that share axes."""
    valid: list[Named] = []
    for mark, pos in list(group.items()):
        size = t.shape[axes.index(mark)]
        outside = (pos.t < 0) | (pos.t >= size)
        if bool(outside.any()):
            if filling:
                valid.append(Named(~outside, pos.axes))
            elif (bad := _outside(pos, Named(outside, pos.axes), guard)) is not None:
                raise AttnShapeError(
                    f"'{name}' is read at position {bad}, outside an axis of {size}", None, "give a fill: x[i = .. else 0]"
                )
            if size == 0:
                t = torch.zeros(
                    [1 if a == mark else s for a, s in zip(axes, t.shape, strict=True)], dtype=t.dtype, device=t.device
                )
                size = 1
            group[mark] = Named(pos.t.clamp(0, size - 1), pos.axes)
    used = union(list(group.values()))
    if len(group) == 1 and not any(a in axes for a in used):
        mark, pos = next(iter(group.items()))
        dim = axes.index(mark)
        if pos.t.dim() == 1 and _is_run(pos.t):
            t = t.narrow(dim, int(pos.t[0]), pos.t.shape[0])
        else:
            t = (
                t.index_select(dim, pos.t.reshape(-1)).unflatten(dim, pos.t.shape)
                if pos.t.dim() != 0
                else t.select(dim, int(pos.t))
            )
        return t, [*axes[:dim], *pos.axes, *axes[dim + 1 :]], valid
    shared = [a for a in axes if a in used]
    lead = [*shared, *group]
    rest = [a for a in axes if a not in lead]
    moved = t.permute([axes.index(a) for a in (*lead, *rest)])
    index = [aligned(Named(torch.arange(moved.shape[n], device=t.device), (a,)), used) for n, a in enumerate(shared)]
    index += [aligned(group[m], used) for m in group]
    return moved[tuple(index)], [*used, *rest], valid


def _outside(pos: Named, outside: Named, guard: Named | None) -> int | None:
    """The first position outside an axis that is read where it matters."""
    if guard is None:
        return int(pos.t[outside.t].reshape(-1)[0])
    both = union([pos, guard])
    wrong = aligned(outside, both) & aligned(guard, both)
    return int(aligned(pos, both).expand(wrong.shape)[wrong][0]) if bool(wrong.any()) else None


def _is_run(t: torch.Tensor) -> bool:
    """Consecutive positions: a slice does."""
    n = t.shape[0]
    return n > 0 and bool((t == torch.arange(n, device=t.device) + t[0]).all())
