"""What the static model says of the default kernels: `python benchmarks/model.py`, on any machine with Triton, no GPU.

Compiles the kernels of a few patterns, forward and backward, for a target, and merges the rows of the installed Triton into
benchmarks/results/model-<target>.json; the Markdown table beside it is made from that file. Run it once with each Triton.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

PATTERNS = {
    "softmax": ("softmax", {}),
    "softmax, causal": ("softmax", {"causal": True}),
    "sigmoid": ("sigmoid_core", {}),
    "gaussian_kernel": ("gaussian_kernel", {}),
    "reversed": ("reversed_core", {}),
    "linear": ("linear", {}),
    "neighborhood2d": ("neighborhood2d", {"window": [13, 13]}),
}
COLUMNS = (
    "pattern", "pass", "kernel", "D", "Triton", "configuration", "registers", "spills", "KiB shared", "programs/SM", "MUFU",
    "others", "others, partial tiles", "others, special", "binds", "overlapped", "serial",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="cuda:90")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp16", "fp32"])
    parser.add_argument("--features", default="64,128", help="head dimensions")
    parser.add_argument("--only", default="", help="one of: " + ", ".join(PATTERNS))
    parser.add_argument("--out", default=str(Path(__file__).parent / "results"))
    options = parser.parse_args()
    stem = Path(options.out) / f"model-{options.target.replace(':', '')}"
    path = stem.with_suffix(".json")
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    for name in [options.only] if options.only else PATTERNS:
        for width in map(int, options.features.split(",")):
            fresh = list(measured(name, width, options.target, options.dtype))
            keys = {(r["pattern"], r["D"], r["dtype"], r["triton"]) for r in fresh}
            rows = [r for r in rows if (r["pattern"], r["D"], r["dtype"], r["triton"]) not in keys] + fresh
            rows.sort(key=lambda r: (list(PATTERNS).index(r["pattern"]), r["D"], r["dtype"], r["order"], r["triton"]))
            data = {"target": options.target, "rows": rows}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
            stem.with_suffix(".md").write_text(markdown(options.target, rows), encoding="utf-8")


def measured(name: str, width: int, target: str, dtype: str) -> Any:
    """The rows of a pattern at a head dimension."""
    from attncc.backends.triton.bounds import reports
    from attncc.backends.triton.machine.mix import mixes
    from attncc.backends.triton.search import figures

    from attncc.cli.opening import open_sample

    file, params = PATTERNS[name]
    _, sample = open_sample(file, None, params)
    outputs = [o.name for o in sample.program.outputs if not o.on_request]
    sizes = {a.name: width for a in sample.program.axes if a.name in ("d", "e")}
    for order, bound in enumerate(reports(sample.program, outputs, target, dtype, sizes)):
        if not bound.paired:
            continue
        report = bound.report
        loops = {m.body: m for m in mixes(report)}
        partial = loops["partial"].loop.others if "partial" in loops else None
        yield {
            "pattern": name, "D": width, "dtype": dtype, "order": order, "phase": bound.phase, "kernel": report.compiled.name,
            "triton": report.compiled.triton, "config": bound.config.to_json(), "configuration": str(bound.config),
            "others_partial": None if partial is None else round(partial, 3), **figures(report),
            "whole": None if bound.whole is None else figures(bound.whole),
        }  # fmt: skip
        print(f"{name} {width} {report.compiled.name}: {bound.config}, {report.compiled.spills} spills", file=sys.stderr)


def markdown(target: str, rows: list[dict[str, Any]]) -> str:
    """The table."""
    lines = [
        f"# The static model, {target}",
        "",
        "Default configurations, compiled without a GPU and never run (`python benchmarks/model.py`). MUFU and others: instructions a",
        "score element in full tiles, beside the matrix ones; special: of the warp-specialized form, which runs where the lengths fill",
        "their tiles. overlapped, serial: part of the tensor cores' published peak when every unit works beside every other, and when",
        "products and the rest take turns; both are bounds, latency is not modelled.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + " --- |" * len(COLUMNS),
    ]
    for row in rows:
        cells = [
            row["pattern"], row["phase"], row["kernel"].removesuffix("_kernel"), row["D"], row["triton"], row["configuration"],
            row["registers"], row["spills"], f"{row['shared'] / 1024:.0f}", row["programs"], row.get("mufu"), row.get("others"),
            row["others_partial"], (row.get("whole") or {}).get("others"), row.get("binds"),
            _share(row.get("overlapped")), _share(row.get("serial")),
        ]  # fmt: skip
        lines.append("| " + " | ".join("" if c is None else f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells) + " |")
    return "\n".join(lines) + "\n"


def _share(value: float | None) -> str | None:
    return None if value is None else f"{value:.0%}"


if __name__ == "__main__":
    main()
