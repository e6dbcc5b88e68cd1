"""A run as a picture: how many times as fast attncc is as each peer, with the goals."""

from __future__ import annotations

import textwrap
from pathlib import Path

from attncc.errors import AttnUnsupportedError, AttnValueError

from .results import Results
from .table import caption, score, title


def png(found: Results, path: Path) -> None:
    """Write the picture. Raises AttnValueError without ratios, AttnUnsupportedError without matplotlib or when it cannot be written."""
    rows = [(row, name) for row in found.rows if row.kind == "time" for name in row.ratios]
    if not rows or found.kind == "dry":
        raise AttnValueError("there are no ratios to draw")
    try:
        import matplotlib
    except ImportError:
        raise AttnUnsupportedError("pictures need matplotlib", None, "pip install 'attncc[viz]'") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, plot = pyplot.subplots(figsize=(11, 1.6 + 0.23 * len(rows)), layout="constrained")
    names = sorted({name for _, name in rows})
    colors = dict(zip(names, pyplot.get_cmap("tab10").colors, strict=False))  # type: ignore[attr-defined]  # a listed map has them
    seen: set[str] = set()
    labels = []
    before = ""
    for place, (row, name) in enumerate(rows):
        value = row.ratios[name]
        error = [[max(0.0, value["median"] - value["low"])], [max(0.0, value["high"] - value["median"])]]
        plot.barh(
            place, value["median"] - 1, left=1, color=colors[name], xerr=error, error_kw={"elinewidth": 0.8, "ecolor": "0.3"},
            label=None if name in seen else name,
        )  # fmt: skip
        seen.add(name)
        for goal in row.goals:
            if goal.against == name:
                plot.plot([goal.goal, goal.goal], [place - 0.45, place + 0.45], color="black", linewidth=1.6)
        plot.annotate(f" {value['median']:.2f}", (max(value["high"], 1), place), va="center", fontsize=7)
        labels.append(row.name if row.name != before else "")
        before = row.name
    plot.set_xscale("log")
    low, high = plot.get_xlim()
    plot.set_xlim(low, high * 1.3)
    ticks = [t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low <= t <= high * 1.3]
    plot.set_xticks(ticks, [f"{t:g} x" for t in ticks])
    plot.set_xticks([], minor=True)
    plot.axvline(1, color="0.3", linewidth=0.8)
    plot.set_yticks(range(len(rows)), labels, fontsize=8)
    plot.invert_yaxis()
    plot.margins(y=0.01)
    plot.set_xlabel("attncc is this many times as fast (median of rounds, quartiles; black: the goal)")
    about = "\n".join(textwrap.wrap(caption(found), 150))
    figure.suptitle(f"attncc, {title(found)}: {score(found)}\n{about}", fontsize=9)
    figure.legend(fontsize=8, loc="outside lower center", ncols=6)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise AttnUnsupportedError(f"'{path}' cannot be written: {error}") from None
    finally:
        pyplot.close(figure)
