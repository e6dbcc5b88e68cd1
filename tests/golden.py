"""Run golden cases: python tests/golden.py DIR [--backend eager|cpu|triton] [--dtype D] [--only SLUG] [--strict] [--verbose]

A case is DIR/<slug>/<case>.npz (arrays `in.X`, `out.X`, `dout.X`, `grad.X`) with <case>.json beside it: attrs, tolerance, levels.
A level says: the pattern of that level, given exactly these inputs and the attrs, gives these outputs; with dout.X fed back for X
in douts, zero elsewhere, the inputs in grads receive grad.X. Every level of every case is run and prints one line; the last line
is `N passed, M failed`.

The eager backend runs in the dtype of the case (float64), within the tolerance of the case: |error| <= abs + rel * max|expected|.
The others run in float32 and are measured against the same float64 values; their rounding is allowed on top
(attncc.testing.tolerances). Integers and bools must be equal in every dtype. In float32 alone a pick may fall on the other side
of a near tie: that is accepted only where the float64 oracle moves the same entries when the inputs are changed by what float32
rounding amounts to; such a level is marked `near tie`, and its float arrays, which depend on the picks, are not compared.

A level of which a compiling backend runs nothing by a kernel says so, with the reason: it went through eager.

An operator that does not ship is MISSING: listed at the end, counted as failed under --strict only. Exit status 1 when anything
failed, 2 when there is nothing to run.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden_bindings import parameters, pattern_name

import attncc
from attncc.runtime.backends import named
from attncc.testing.compare import Comparison, compare, largest
from attncc.testing.tolerances import allowed_error, reduction_length, tolerance

BACKENDS = ("eager", "cpu", "triton")
DTYPES = {"float64": torch.float64, "float32": torch.float32}
PERTURBATIONS = 4

Tensors = dict[str, torch.Tensor]


class GoldenError(Exception):
    """A level that can not be run as the case asks."""


def shipped() -> set[str]:
    """The operators that ship: the files of attncc.patterns, whether they compile or not."""
    return {Path(file.name).stem for file in resources.files("attncc.patterns").iterdir() if file.name.endswith(".attn")}


def apply(slug: str, level: str, attrs: Mapping[str, Any], outputs: Sequence[str], tensors: Tensors, backend: str) -> Tensors:
    """Load the pattern of a level and call it: the only place that touches attncc.

    Raises GoldenError when an attr is no parameter of the pattern, or when the binding table drops one that is.
    """
    params, dropped = parameters(slug, level, attrs)
    op = attncc.load(pattern_name(slug, level), **params)
    known = set(op.signature.params)
    if not known >= params.keys():
        unknown = ", ".join(sorted(params.keys() - known))
        raise GoldenError(f"{pattern_name(slug, level)} has no parameter {unknown}, and the binding table does not say why")
    if known & dropped.keys():
        hidden = ", ".join(sorted(known & dropped.keys()))
        raise GoldenError(f"the binding table drops {hidden} at level {level}, but the pattern has such a parameter")
    result = op(outputs=tuple(outputs), backend=backend, **tensors)
    values = (result,) if len(outputs) == 1 else tuple(result)
    if len(values) != len(outputs):
        raise GoldenError(f"{len(values)} outputs returned, {len(outputs)} asked for")
    return dict(zip(outputs, values, strict=True))


@dataclass(frozen=True)
class Case:
    """One golden file and its sidecar."""

    slug: str
    name: str
    folder: Path

    @cached_property
    def about(self) -> dict[str, Any]:
        return json.loads((self.folder / f"{self.name}.json").read_text(encoding="utf-8"))

    @cached_property
    def arrays(self) -> dict[str, np.ndarray]:
        with np.load(self.folder / f"{self.name}.npz") as file:
            return {key: file[key] for key in file.files}

    @property
    def levels(self) -> list[dict[str, Any]]:
        return self.about["levels"]

    def tensor(self, key: str) -> torch.Tensor:
        """The array of an npz key, in its stored dtype."""
        if key not in self.arrays:
            raise GoldenError(f"the npz file has no {key}")
        return torch.from_numpy(np.ascontiguousarray(self.arrays[key]).reshape(self.arrays[key].shape))


def cases(folder: Path, only: str | None = None) -> Iterator[Case]:
    """Every case under a folder, sorted; a sidecar without arrays, or arrays without a sidecar, is one too (and fails)."""
    for directory in sorted(path for path in folder.iterdir() if path.is_dir() and only in (None, path.name)):
        for name in sorted({path.stem for path in directory.iterdir() if path.suffix in (".npz", ".json")}):
            yield Case(directory.name, name, directory)


def evaluate(
    case: Case, level: Mapping[str, Any], dtype: torch.dtype, backend: str, noise: tuple[float, int] | None = None
) -> Tensors:
    """Run a level forward and backward; the result has keys `out.X` and `grad.X`.

    Float arrays are cast to `dtype`. `noise` = (relative size, seed) perturbs the float inputs. A gradient that autograd does not
    reach is zero.
    """
    device = "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"
    generator = torch.Generator().manual_seed(noise[1]) if noise else None

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)

    tensors: Tensors = {}
    for name in level["inputs"]:
        tensor = case.tensor(f"in.{name}")
        if noise and tensor.is_floating_point():
            tensor = tensor * (1 + noise[0] * (2 * torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) - 1))
        tensors[name] = cast(tensor)
    for name in level["grads"]:
        if name not in tensors:
            raise GoldenError(f"a gradient is asked for {name}, which is no input of the level")
        tensors[name].requires_grad_()
    outputs = apply(case.slug, level["name"], case.about["attrs"], level["outputs"], tensors, backend)
    result = {f"out.{name}": value for name, value in outputs.items()}
    if level["grads"]:
        fed = [name for name in level["douts"] if outputs[name].requires_grad]
        wanted = [tensors[name] for name in level["grads"]]
        grads: Sequence[torch.Tensor | None] = [None] * len(wanted)
        if fed:
            upstream = [cast(case.tensor(f"dout.{name}")) for name in fed]
            grads = torch.autograd.grad([outputs[name] for name in fed], wanted, upstream, allow_unused=True)
        for name, tensor, grad in zip(level["grads"], wanted, grads, strict=True):
            result[f"grad.{name}"] = torch.zeros_like(tensor) if grad is None else grad
    return result


@dataclass(frozen=True)
class Result:
    """The outcome of one level: PASS, FAIL or MISSING."""

    slug: str
    case: str
    level: str
    status: str
    detail: str
    seconds: float = 0.0
    trace: str = ""
    eager: str = ""

    def line(self) -> str:
        why = f"; by eager: {self.eager}" if self.eager else ""
        return f"{self.slug:18} {self.case:28} {self.level:16} {self.status:7} {self.seconds:7.3f}s  {self.detail}{why}"


@dataclass(frozen=True)
class LevelCheck:
    """The comparison of one run of a level with the golden arrays."""

    case: Case
    level: Mapping[str, Any]
    dtype: torch.dtype
    backend: str
    got: Tensors

    @cached_property
    def native(self) -> bool:
        """The run has the dtype of the golden arrays, so the tolerance of the case is all there is."""
        return self.dtype == DTYPES[self.case.about["dtype"]]

    @cached_property
    def reduction(self) -> int:
        return reduction_length(self.case.arrays[f"in.{name}"].shape for name in self.level["inputs"])

    @cached_property
    def eager(self) -> Tensors:
        """The eager backend in the dtype of the run: the yardstick of allowed_error."""
        return evaluate(self.case, self.level, self.dtype, "eager")

    def compared(self, key: str, got: torch.Tensor) -> Comparison:
        masks = self.case.about.get("compare_mask") or {}
        group, name = key.split(".", 1)
        mask = self.case.tensor(masks[name]) if group == "out" and name in masks else None
        return compare(got, self.case.tensor(key), self.dtype, mask)

    def allowed(self, key: str, found: Comparison) -> float:
        """The absolute error allowed for an array."""
        given = self.case.about["tolerance"]
        own = given["abs"] + given["rel"] * found.scale
        if self.native:
            return own
        plain = own + tolerance(self.dtype, self.reduction, found.scale)
        if found.error <= plain or self.backend == "eager":
            return plain
        group = [other for other in self.got if other.split(".")[0] == key.split(".")[0] and self.is_float(other)]
        group_scale = max(largest(self.case.tensor(other)) for other in group)
        eager_error = self.compared(key, self.eager[key]).error
        return own + allowed_error(self.dtype, self.reduction, found.scale, group_scale, eager_error)

    def is_float(self, key: str) -> bool:
        return self.case.tensor(key).is_floating_point()

    @cached_property
    def near_ties(self) -> dict[str, torch.Tensor]:
        """For each integer or bool array the entries that the oracle moves when the inputs change by the rounding of the run."""
        size = tolerance(self.dtype, self.reduction, 1.0)
        keys = [key for key in self.got if not self.is_float(key)]
        moved = {key: torch.zeros(self.case.tensor(key).shape, dtype=torch.bool) for key in keys}
        for seed in range(PERTURBATIONS):
            try:
                oracle = evaluate(self.case, self.level, DTYPES[self.case.about["dtype"]], "eager", (size, seed))
            except attncc.AttnValueError:  # the change left what the operator admits, e.g. a time above 1
                continue
            for key in keys:
                moved[key] |= oracle[key].cpu() != self.case.tensor(key)
        return moved

    def tied(self, key: str) -> bool:
        """Every entry of an integer array that differs is a near tie."""
        expected = self.case.tensor(key)
        if self.native or self.is_float(key) or self.got[key].shape != expected.shape:
            return False
        return not bool(((self.got[key].detach().cpu() != expected) & ~self.near_ties[key]).any())

    def verdict(self) -> tuple[bool, str]:
        """Whether the level passes, and the figure or the reason to print."""
        worst, text = -1.0, "equal"
        ties: list[str] = []
        for key in sorted(self.got, key=self.is_float):
            if ties and self.is_float(key):
                continue
            found = self.compared(key, self.got[key])
            if found.reason is not None:
                if math.isfinite(found.error) and self.tied(key):
                    ties.append(key)
                    continue
                return False, f"{key}: {found.reason}"
            if self.is_float(key):
                allowed = self.allowed(key, found)
                ratio = found.error / allowed if allowed else (math.inf if found.error else 0.0)
                if ratio > worst:
                    worst, text = ratio, f"{key}: error {found.error:.1e}, allowed {allowed:.1e}"
        if ties:
            text = f"near tie: {', '.join(ties)}"
        return worst <= 1, text


def by_eager(case: Case, level: Mapping[str, Any], backend: str) -> str:
    """Why a backend runs nothing of a level by a kernel, so that it goes through eager; "" where it does."""
    if backend == "eager":
        return ""
    given, _ = parameters(case.slug, level["name"], case.about["attrs"])
    op = attncc.load(pattern_name(case.slug, level["name"]), **given)
    program = op.program(**{name: case.tensor(f"in.{name}") for name in level["inputs"]})
    return "; ".join(named(backend).refuses(program))


def run_level(case: Case, level: Mapping[str, Any], backend: str, dtype: torch.dtype | None = None) -> Result:
    """Run and judge one level; an exception is a failure with its first line as the reason."""
    start = time.perf_counter()
    try:
        kind = dtype or (DTYPES[case.about["dtype"]] if backend == "eager" else torch.float32)
        passed, detail = LevelCheck(case, level, kind, backend, evaluate(case, level, kind, backend)).verdict()
        status, trace, eager = "PASS" if passed else "FAIL", "", by_eager(case, level, backend)
    except Exception as error:  # whatever goes wrong in one level is that level's failure, and the run goes on
        status, trace, eager = "FAIL", traceback.format_exc(), ""
        detail = " ".join([f"{type(error).__name__}:", *str(error).strip().splitlines()[:1]])
    return Result(case.slug, case.name, level["name"], status, detail, time.perf_counter() - start, trace, eager)


def run(folder: Path, backend: str = "eager", only: str | None = None, dtype: torch.dtype | None = None) -> Iterator[Result]:
    """Run every level of every case under a folder."""
    available = shipped()
    for case in cases(folder, only):
        try:
            levels = case.levels
            levels[0]["name"], case.arrays.keys()
        except Exception as error:  # an unreadable file is the failure of its case
            yield Result(case.slug, case.name, "-", "FAIL", f"{type(error).__name__}: {error}", trace=traceback.format_exc())
            continue
        for level in levels:
            if case.slug not in available:
                yield Result(case.slug, case.name, level["name"], "MISSING", "the operator does not ship")
            else:
                yield run_level(case, level, backend, dtype)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run golden cases.")
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--backend", choices=BACKENDS, default="eager")
    parser.add_argument("--dtype", choices=DTYPES, help="default: that of the case on eager, float32 elsewhere")
    parser.add_argument("--only", metavar="SLUG", help="one operator")
    parser.add_argument("--strict", action="store_true", help="an operator that does not ship is a failure")
    parser.add_argument("--verbose", action="store_true", help="print tracebacks")
    options = parser.parse_args(arguments)

    counts = {"PASS": 0, "FAIL": 0, "MISSING": 0}
    missing: dict[str, int] = {}
    by_kernels = 0
    if not options.folder.is_dir():
        parser.error(f"no such folder: {options.folder}")
    for result in run(options.folder, options.backend, options.only, DTYPES.get(options.dtype)):
        print(result.line(), flush=True)
        if options.verbose and result.trace:
            print(result.trace)
        counts[result.status] += 1
        by_kernels += result.status == "PASS" and not result.eager
        if result.status == "MISSING":
            missing[result.slug] = missing.get(result.slug, 0) + 1
    if missing:
        print(f"missing ({counts['MISSING']} levels): " + ", ".join(f"{slug} {count}" for slug, count in missing.items()))
    failed = counts["FAIL"] + (counts["MISSING"] if options.strict else 0)
    if not sum(counts.values()):
        print(f"no cases under {options.folder}" + (f" for {options.only}" if options.only else ""))
    if options.backend != "eager":
        print(f"{by_kernels} of those that pass by kernels of {options.backend}, {counts['PASS'] - by_kernels} by eager")
    print(f"{counts['PASS']} passed, {failed} failed")
    return 1 if failed else 0 if sum(counts.values()) else 2


if __name__ == "__main__":
    sys.exit(main())
