"""Where texts of patterns come from: files, strings, the shipped set. Nothing here reads what they say."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from ..errors import AttnNameError, AttnSyntaxError, AttnTypeError, AttnUnsupportedError, Source
from ..kept import kept


@dataclass(frozen=True)
class Shipped:
    """A shipped pattern file: its name, title (first comment line) and citation (the whole comment)."""

    name: str
    title: str
    citation: str


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
        return Source(str(path), path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        near = difflib.get_close_matches(path.stem, _stems(), 1)
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


@cache
def shipped_source(name: str) -> Source:
    """The text of a shipped file, by its name."""
    text = resources.files("attncc.patterns").joinpath(f"{name}.attn").read_text(encoding="utf-8")
    return Source(f"patterns/{name}.attn", text)


def find(name: str) -> tuple[Source, str]:
    """The shipped file that declares a pattern: `neighborhood2d`, or `sigmoid_core` in sigmoid.attn."""
    stems = _stems()
    homes = sorted((s for s in stems if name == s or name.startswith(s + "_")), key=len, reverse=True)
    for home in homes:
        source = shipped_source(home)
        if name in declared(source):
            return source, name
    near = difflib.get_close_matches(name, stems, 3)
    help = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else "attncc.patterns() lists them"
    if homes:
        inner = sorted(set(declared(shipped_source(homes[0]))))
        help = f"patterns in {homes[0]}.attn: {', '.join(inner)}"
    raise AttnNameError(f"no shipped pattern '{name}'", None, help)


def declared(source: Source) -> tuple[str, ...]:
    """The names of the patterns that a text declares. Raises AttnSyntaxError."""

    def build() -> tuple[str, ...]:
        from ..language import tree
        from .library import parsed

        return tuple(d.name for d in parsed(source).decls if isinstance(d, tree.Pattern))

    return kept(tuple, ["declared", source.name, source.text], build)


@cache
def _stems() -> tuple[str, ...]:
    """The names of all shipped pattern files, in order."""
    names = sorted(item.name for item in resources.files("attncc.patterns").iterdir())
    return tuple(name[:-5] for name in names if name.endswith(".attn"))


@cache
def patterns() -> tuple[Shipped, ...]:
    """Every shipped pattern file, by name, with the comment that heads it."""
    out = []
    for name in _stems():
        lines = []
        for line in shipped_source(name).text.splitlines():
            if not line.startswith("#"):
                break
            lines.append(line.lstrip("# ").rstrip())
        out.append(Shipped(name, lines[0] if lines else "", " ".join(lines)))
    return tuple(out)
