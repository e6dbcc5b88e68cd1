"""The tables of the README, made from JSON: `python -m attncc.bench.readme benchmarks/results/cpu-DATE.json [README.md]`.

A table stands between `<!-- bench SUITE: FILE -->` and `<!-- bench end -->`, with the file it is made from.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from attncc.errors import AttnError, AttnUnsupportedError, AttnValueError

from .peers import PEERS
from .results import Results, read
from .table import HEADS, caption, lines, score


def block(found: Results, file: str) -> str:
    """The Markdown of a run between its marks. Raises AttnValueError for what is no result."""
    if found.kind != "full" or not found.complete:
        raise AttnValueError(f"'{file}' is a {found.kind} run{'' if found.complete else ', not of all rows'}: no results for a README")
    picture = Path(file).parent / f"{found.suite}.png"
    rows = ["| " + " | ".join(heads or "verdict" for heads in HEADS) + " |", "|" + " --- |" * len(HEADS)]
    rows += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines(found)]
    head = f"{score(found)}. Measured {caption(found)}."
    marks = (f"<!-- bench {found.suite}: {file} -->", "<!-- bench end -->")
    names = dict.fromkeys(name for row in found.rows for name in (*row.times, *row.absent, *row.extra, *row.seconds))
    words = "; ".join(f"*{name}*: {PEERS[name].about}" for name in names if name in PEERS and name != "attncc")
    return "\n".join([marks[0], head, "", f"![ratios]({picture})", "", *rows, "", f"{words}.", marks[1]])


def marked(text: str, suite: str) -> re.Match[str] | None:
    """The block of a suite in a text; group `file` names its JSON."""
    return re.search(rf"<!-- bench {suite}: (?P<file>\S+) -->\n.*?<!-- bench end -->", text, re.S)


def update(results: Path, readme: Path) -> None:
    """Put the table of a run into the README in place of the one that is there. Raises AttnValueError, AttnUnsupportedError."""
    found = read(results)
    try:
        text = readme.read_text(encoding="utf-8")
        file = results.resolve().relative_to(readme.resolve().parent).as_posix()
        old = marked(text, found.suite)
        if old is None:
            raise AttnValueError(f"'{readme}' has no place for the {found.suite} suite", None, f"<!-- bench {found.suite}: FILE -->")
        readme.write_text(text[: old.start()] + block(found, file) + text[old.end() :], encoding="utf-8")
    except (OSError, ValueError) as error:
        if isinstance(error, AttnError):
            raise
        raise AttnUnsupportedError(f"'{readme}' cannot be updated: {error}") from None


if __name__ == "__main__":
    update(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "README.md"))
