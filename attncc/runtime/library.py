"""What texts of patterns declare: their trees, read once, on top of the shipped definitions."""

from __future__ import annotations

import pickle
import sys
from functools import cache
from importlib import resources
from pathlib import Path

from ..cache import fetch, key
from ..errors import AttnNameError, Source, Span
from ..kept import unpacked
from ..language import tree
from ..language.parser import parse
from ..passes.resolve.functions import FUNCTIONS, WORDS
from ..passes.resolve.scope import Library


@cache
def prelude() -> tree.File:
    """The shipped definitions."""
    text = resources.files("attncc.grammar").joinpath("prelude.attn").read_text(encoding="utf-8")
    return parsed(Source("prelude.attn", text))


def known(name: str) -> bool:
    """Whether the language has a function of this name: a built-in, or a shipped definition."""
    return (name in FUNCTIONS and name not in WORDS) or any(
        isinstance(d, tree.Define) and d.name == name for d in prelude().decls
    )


def parsed(source: Source) -> tree.File:
    """The tree of a file, kept on disk: the next process needs no parser for it. Raises AttnSyntaxError."""

    def build(folder: Path) -> None:
        (folder / "tree").write_bytes(pickle.dumps(parse(source)))

    try:
        data = (fetch("trees", key([_reader(), source.name, source.text]), build) / "tree").read_bytes()
    except OSError:  # no place to keep it
        return parse(source)
    found = unpacked(data)
    return found if isinstance(found, tree.File) else parse(source)


@cache
def _reader() -> str:
    """Everything that says how a text becomes a tree: all of the language, and the errors whose spans a tree carries."""
    package = resources.files("attncc")
    language = sorted((f for f in package.joinpath("language").iterdir() if f.name.endswith(".py")), key=lambda f: f.name)
    code = [file.read_bytes() for file in (package.joinpath("errors.py"), *language)]
    grammar = resources.files("attncc.grammar").joinpath("attn.lark").read_bytes()
    return key([sys.version_info[:2], grammar, *code])


def library_of(source: Source) -> tuple[Library, tree.File]:
    """The declarations of a text on top of the prelude."""
    library = Library()
    library.add(prelude())
    file = parsed(source) if source.name != "<string>" and source.text.strip() else parse(source)
    library.add(file)
    return library, file


def pick(file: tree.File, source: Source, name: str | None) -> str:
    """The pattern of a file to compile: the named one, the one called like the file, or the only one."""
    names = list(dict.fromkeys(d.name for d in file.decls if isinstance(d, tree.Pattern)))
    if name is not None:
        if name not in names:
            raise AttnNameError(f"'{source.name}' has no pattern '{name}'", None, f"patterns: {', '.join(names) or 'none'}")
        return name
    if not names:
        raise AttnNameError(f"'{source.name}' declares no pattern", Span(source, 0, 0), "pattern name(inputs) -> outputs { .. }")
    stem = Path(source.name).stem
    if stem in names:
        return stem
    if len(names) == 1:
        return names[0]
    raise AttnNameError(f"'{source.name}' declares several patterns", None, f"pass pattern=, one of: {', '.join(names)}")
