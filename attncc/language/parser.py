"""Text to syntax tree: `parse` for files, `parse_expr` for one expression. The grammar is grammar/attn.lark."""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import threading
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Source
from . import tree as T
from .build import Builder
from .diagnose import diagnose
from .limits import check_depth, check_text

if TYPE_CHECKING:
    from lark import Lark

_lock = threading.Lock()
_builder = Builder()
_lark: Lark | None = None


def parse(source: Source) -> T.File:
    """The tree of an `.attn` text. Raises: AttnSyntaxError."""
    return _run(source, "file")


def parse_expr(source: Source) -> T.Expr:
    """The tree of a text that is one expression. Raises: AttnSyntaxError."""
    return _run(source, "expression")


def _run(source: Source, start: str) -> Any:
    check_text(source)
    with _lock:
        parser = _parser()
        from lark.exceptions import UnexpectedInput

        _builder.source = source
        try:
            node: Any = parser.parse(source.text, start=start)
        except UnexpectedInput as error:
            raise diagnose(error, source) from None
    check_depth(node)
    return node


def _parser() -> Lark:
    """The lark parser, made on first use: importing attncc does not import lark."""
    global _lark
    if _lark is None:
        import lark

        grammar = resources.files("attncc.grammar").joinpath("attn.lark").read_text(encoding="utf-8")
        key = hashlib.sha256(f"{lark.__version__} {sys.version_info[:2]} {grammar}".encode()).hexdigest()[:16]
        path = _cache_folder() / f"grammar-{key}.lark"
        _lark = _load(path) or _make(grammar, path)
    return _lark


def _cache_folder() -> Path:
    if own := os.environ.get("ATTNCC_CACHE_DIR"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "attncc"


def _load(path: Path) -> Lark | None:
    """The tables from the user's cache (30 ms instead of 400), None when they are not there or not readable."""
    import lark

    try:
        with path.open("rb") as file:
            return lark.Lark.__new__(lark.Lark)._load(file, transformer=_builder)
    except Exception:  # a cache that cannot be read for whatever reason is only worth making again
        return None


def _make(grammar: str, path: Path) -> Lark:
    """The parser made from the grammar, and left in the cache when the folder allows."""
    import lark

    parser = lark.Lark(
        grammar, parser="lalr", lexer="contextual", start=["file", "expression"], transformer=_builder,
        keep_all_tokens=True, maybe_placeholders=False,
    )  # fmt: skip
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            parser.save(file, {"transformer"})
        os.replace(file.name, path)  # so that nobody ever reads half a file
    return parser
