"""Trees of files are kept on disk: equal to parsed ones, made again when damaged; errors are those of the parser."""

from __future__ import annotations

from pathlib import Path

import pytest

from attncc.errors import AttnSyntaxError, Source
from attncc.language.parser import parse
from attncc.runtime import library, texts


def test_kept_trees_are_parsed_trees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    source = texts.shipped_source("neighborhood")
    want = parse(source)
    assert library.parsed(source) == want
    calls: list[Source] = []
    monkeypatch.setattr(library, "parse", lambda found: (calls.append(found), parse(found))[1])
    assert library.parsed(source) == want and not calls
    (entry,) = (tmp_path / "trees").iterdir()
    (entry / "tree").write_bytes(b"no tree at all")
    assert library.parsed(source) == want and calls == [source]
    assert library.parsed(Source("other.attn", source.text)).decls[0].span.source.name == "other.attn"


def test_errors_are_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CACHE_DIR", str(tmp_path))
    for _ in range(2):
        with pytest.raises(AttnSyntaxError):
            library.parsed(Source("wrong.attn", "pattern ("))
