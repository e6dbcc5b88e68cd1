"""Where patterns come from: files, strings, the shipped set. Parsed once a process."""

from __future__ import annotations

import difflib
import pickle
import sys
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from ..cache import fetch, key
from ..errors import AttnError, AttnNameError, AttnSyntaxError, AttnTypeError, AttnUnsupportedError, Source
from ..language import tree
from ..language.parser import parse
from ..passes.resolve.scope import Library


@dataclass(frozen=True)
class Shipped:
    """A shipped pattern file: its name, title (first comment line) and citation (the whole comment)."""

    name: str
    title: str
    citation: str


@cache
def prelude() -> tree.File:
    """The shipped definitions."""
    text = resources.files("attncc.grammar").joinpath("prelude.attn").read_text(encoding="utf-8")
    return parsed(Source("prelude.attn", text))


def parsed(source: Source) -> tree.File:
    """The tree of a file, kept on disk: the next process needs no parser for it. Raises AttnSyntaxError."""

    def build(folder: Path) -> None:
        (folder / "tree").write_bytes(pickle.dumps(parse(source)))

    try:
        found = pickle.loads((fetch("trees", key([_reader(), source.name, source.text]), build) / "tree").read_bytes())
    except AttnError:
        raise
    except Exception:  # whatever the reason, the text can be parsed again
        return parse(source)
    return found if isinstance(found, tree.File) else parse(source)


@cache
def _reader() -> str:
    """Everything that says how a text becomes a tree."""
    package = resources.files("attncc")
    code = [package.joinpath(*path).read_bytes() for path in (("errors.py",), ("language", "tree.py"), ("language", "build.py"))]
    grammar = resources.files("attncc.grammar").joinpath("attn.lark").read_bytes()
    return key([sys.version_info[:2], grammar, *code])


def library_of(source: Source) -> tuple[Library, tree.File]:
    """The declarations of a text on top of the prelude."""
    library = Library()
    library.add(prelude())
    file = parsed(source) if source.name != "<string>" and source.text.strip() else parse(source)
    library.add(file)
    return library, file


def read(path_or_source: str | Path) -> Source:
    """The text of a path, or of a string that holds a program.

    Raises AttnUnsupportedError when there is no such file or it cannot be read, AttnSyntaxError when it is not UTF-8.
    """
    if not isinstance(path_or_source, str | Path):
        raise AttnTypeError(
            f"a pattern is a path or a text, found {type(path_or_source).__name__}", None, "attncc.compile('mine.attn')"
        )
    text = str(path_or_source)
    if isinstance(path_or_source, str) and ("\n" in text or "{" in text or not text.strip()):
        return Source("<string>", text)
    path = Path(path_or_source)
    try:
        return Source(str(path), path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, [s.name for s in patterns()], 1)
        help = f"attncc.load('{near[0]}') loads a shipped pattern" if near else "pass a path, or the text of a pattern"
        raise AttnUnsupportedError(f"no file '{text}'", None, help) from None
    except IsADirectoryError:
        raise AttnUnsupportedError(f"'{text}' is a folder", None, "pass one file") from None
    except UnicodeDecodeError:
        raise AttnSyntaxError(f"'{text}' is not UTF-8 text") from None
    except (OSError, ValueError) as error:
        shown = text if len(text) < 80 else text[:76] + " ..."
        reason = getattr(error, "strerror", None) or error
        raise AttnUnsupportedError(f"'{shown}' cannot be read: {reason}", None, "pass a path, or the text of a pattern") from None


def pick(library: Library, file: tree.File, source: Source, name: str | None) -> str:
    """The pattern of a file to compile: the named one, the one called like the file, or the only one."""
    names = list(dict.fromkeys(d.name for d in file.decls if isinstance(d, tree.Pattern)))
    if name is not None:
        if name not in names:
            raise AttnNameError(f"'{source.name}' has no pattern '{name}'", None, f"patterns: {', '.join(names) or 'none'}")
        return name
    if not names:
        raise AttnNameError(f"'{source.name}' declares no pattern", None, "pattern name(inputs) -> outputs { .. }")
    stem = Path(source.name).stem
    if stem in names:
        return stem
    if len(names) == 1:
        return names[0]
    raise AttnNameError(f"'{source.name}' declares several patterns", None, f"pass pattern=, one of: {', '.join(names)}")


@cache
def shipped_source(name: str) -> Source:
    """The text of a shipped file, by its name."""
    text = resources.files("attncc.patterns").joinpath(f"{name}.attn").read_text(encoding="utf-8")
    return Source(f"patterns/{name}.attn", text)


def find(name: str) -> tuple[Source, str]:
    """The shipped file that declares a pattern: `neighborhood2d`, or `sigmoid_core` in sigmoid.attn."""
    stems = [s.name for s in patterns()]
    homes = sorted((s for s in stems if name == s or name.startswith(s + "_")), key=len, reverse=True)
    for home in homes:
        source = shipped_source(home)
        if any(isinstance(d, tree.Pattern) and d.name == name for d in parsed(source).decls):
            return source, name
    near = difflib.get_close_matches(name, stems, 3)
    help = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "attncc.patterns() lists them"
    if homes:
        inner = sorted({d.name for d in parsed(shipped_source(homes[0])).decls if isinstance(d, tree.Pattern)})
        help = f"patterns in {homes[0]}.attn: {', '.join(inner)}"
    raise AttnNameError(f"no shipped pattern '{name}'", None, help)


@cache
def patterns() -> tuple[Shipped, ...]:
    """Every shipped pattern file, by name, with the comment that heads it."""
    out = []
    for item in sorted(resources.files("attncc.patterns").iterdir(), key=lambda p: p.name):
        if not item.name.endswith(".attn"):
            continue
        lines = []
        for line in item.read_text(encoding="utf-8").splitlines():
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("# ").rstrip())
        out.append(Shipped(item.name[:-5], lines[0] if lines else "", " ".join(lines)))
    return tuple(out)
