"""From FILE, --pattern and --param to an op. What the pattern still needs is filled in, and said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attncc.errors import AttnError, AttnShapeError, AttnTypeError, AttnValueError, Source
from attncc.ir.nodes import Program
from attncc.passes.resolve.overloads import choose
from attncc.runtime import texts
from attncc.runtime.library import library_of, pick
from attncc.runtime.op import Op
from attncc.testing.calls import Sample, sample
from attncc.testing.defaults import completed, variants


@dataclass(frozen=True)
class Opened:
    """An op, and the parameters that were filled in."""

    op: Op
    chosen: Mapping[str, Any]

    def line(self) -> str:
        """What was filled in, as options of the command line; "" for nothing."""
        return " ".join(f"--param {name}={_text(value)}" for name, value in self.chosen.items())


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value)


def source_of(file: str) -> tuple[Source, str | None]:
    """The text of a path, or of a shipped pattern by name, and the name of the pattern that this means."""
    if not Path(file).exists() and not file.endswith(".attn") and file.isidentifier():
        source, name = texts.find(file)
        return source, name
    return texts.read(Path(file)), None


def candidates(file: str, pattern: str | None, params: Mapping[str, Any]) -> Iterator[Op]:
    """Ops of a file, the plainest first: several where the literals of an overload or required parameters are left open."""
    source, named = source_of(file)
    library, tree = library_of(source)
    name = pick(tree, source, pattern or named)
    first: AttnError | None = None
    none = True
    for literals in variants(library, name, params):
        for full in completed(library, choose(library, name, literals, None), literals):
            try:
                op = Op.written(source, name, full)
            except (AttnTypeError, AttnValueError) as error:
                first = first or error
                continue
            none = False
            yield op
    if none and first is not None:
        raise first


def open_sample(
    file: str, pattern: str | None, params: Mapping[str, Any], *, optional: Sequence[str] = (),
    sizes: Mapping[str, int] | None = None, wish: Callable[[Program], Callable[[str], int]] | None = None,
    seed: int = 0, dtype: Any = None, device: str = "cpu",
) -> tuple[Opened, Sample]:  # fmt: skip
    """The first op for which sample data can be made, with that sample. Raises what is wrong with the first one when none is."""
    import torch

    first: AttnError | None = None
    for op in candidates(file, pattern, params):
        try:
            made = sample(
                op, seed, sizes, dtype=dtype or torch.float32, optional=tuple(optional) or None, wish=wish, device=device
            )
            _ = made.tensors  # drawn now, so that another choice of parameters can be tried
        except (AttnTypeError, AttnValueError, AttnShapeError) as error:
            first = first or error
            continue
        return Opened(op, {n: v for n, v in op.params.items() if n not in params}), made
    assert first is not None
    raise first
