"""`attncc compile FILE --target T --out DIR`: a Python module that needs torch and triton alone, the machine code, a manifest.

The module's last function has the name and the tensors of the pattern. It is written for head dimensions that are fixed here,
and for any lengths, batch and strides.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from attncc.backends.lists import call_text
from attncc.backends.lists import source as lists_source

from attncc.errors import AttnUnsupportedError
from attncc.ir.expr import Expr, Size, walk
from attncc.ir.nodes import Program
from attncc.ir.printer import show_expr
from attncc.ir.sizes import Unknown, dims_text, scalar
from attncc.schedules.costs import flops, traffic
from attncc.schedules.plan import Fused, Plan, Torch, plan
from attncc.tile.nodes import Program as Tiles
from attncc.tile.single import repeated

from .artifact_backward import passes
from .beside import Beside
from .bounds import feature_sizes
from .host import number
from .kernel import Kernel
from .machine import Compiled, Kept, Report, parse_target, units_of
from .machine.mix import mixes
from .machine.mix import to_json as model_data
from .module import Module
from .names import Names
from .run import launch_name
from .search import Compiler
from .settle import BITS, Settled, settle


def write(
    program: Program,
    outputs: Sequence[str],
    folder: Path,
    target: str,
    dtype: str = "bf16",
    sizes: Mapping[str, int] | None = None,
    title: str = "",
    name: str = "",
    worker: Compiler | None = None,
    backward: str = "",
) -> dict[str, Any]:
    """Write the files of a pattern into a folder and give the manifest.

    sizes: of axes, for head dimensions (64 where not given) and for the figures of the manifest. worker: a compiler, else a process
    is started for what the disk cache has not. backward: the form of a backward pass that is written too, "" for none. Raises
    AttnUnsupportedError when a node of the pattern cannot be a kernel, or the compiler refuses one.
    """
    name = name or program.name
    both = passes(program, outputs, backward) if backward else None
    made = both.all if both is not None else plan(program, outputs)
    _whole(made)
    given = dict(sizes or {})
    features = feature_sizes(made, given)
    with nullcontext(worker) if worker else Kept() as compiler:
        done = settle(made, features, target, dtype, compiler, title or name)
    ends = {name: made} if both is None else {f"{name}_forward": both.forward, f"{name}_backward": both.backward}
    functions = [entry(its, done.module, called, title) for called, its in ends.items()]
    module = replace(done.module, text="\n\n".join([done.module.text, helpers(done.module), *functions]))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(module.text, encoding="utf-8")
    kernels = []
    for kernel in module.kernels:
        files = _machine_code(folder, name, kernel, done.compiled[kernel.name], alone=len(module.kernels) == 1)
        kernels.append(_kernel(done, kernel, files, dtype, {**given, **features}))
        if (whole := done.whole.get(kernel.name)) is not None:
            more = _machine_code(folder, name, kernel, whole, alone=len(module.kernels) == 1, form=".whole")
            kernels[-1]["whole"] = _whole_form(done, kernel, more)
    manifest = {
        "pattern": name,
        "title": title,
        "target": target,
        "dtype": dtype,
        "triton": kernels[0]["triton"] if kernels else "",
        "module": f"{name}.py",
        "signature": _signature(next(iter(ends.values())).program),
        "fixed": features,
        "kernels": kernels,
    }
    if both is not None:
        manifest["functions"] = list(ends)
        manifest["backward"] = {
            "form": both.form,
            "deterministic": both.form == "split",
            "signature": _signature(both.backward.program),
        }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def _whole(made: Plan) -> None:
    """Raise AttnUnsupportedError unless every step is kernels alone."""
    for step in made.steps:
        if isinstance(step, Torch):
            what = getattr(step.node, "name", "") or "a node"
            raise AttnUnsupportedError(
                f"'{what}' of {made.program.name} runs on PyTorch ({step.reason}), so there is no self-contained module",
                getattr(step.node, "span", None),
                "compile the attention core as a pattern of its own",
            )
        if step.before:
            names = ", ".join(a.name for a in step.before)
            raise AttnUnsupportedError(
                f"{names} beside '{step.node.name}' of {made.program.name} runs on PyTorch, so there is no self-contained module",
                step.node.span,
                "ask for fewer outputs",
            )


def _signature(program: Program) -> dict[str, Any]:
    return {
        "inputs": [{"name": i.name, "dims": dims_text(i), "kind": i.kind} for i in program.inputs],
        "outputs": [{"name": o.name, "dims": _dims(o.dims), "kind": o.kind} for o in program.outputs],
    }


def _dims(dims: tuple[tuple[str, ...], ...]) -> str:
    return ", ".join(d[0] if len(d) == 1 else "(" + " ".join(d) + ")" if d else "1" for d in dims)


# The function with the pattern's signature.


def entry(made: Plan, module: Module, name: str, title: str = "") -> str:
    """The text of the function that takes the pattern's tensors and gives its outputs."""
    program = made.program
    names = Names({name})
    for tensor in program.inputs:
        names.of("tensor", tensor.name)
    takes = [names.of("tensor", i.name) for i in program.inputs]
    ins = ", ".join(f"{i.name} [{dims_text(i)}]" for i in program.inputs)
    outs = ", ".join(f"{o.name} [{_dims(o.dims)}]" for o in program.outputs)
    lines = [f"def {name}({', '.join(takes)}):"]
    lines += [f'    """{title.splitlines()[0] if title else name}', "", f"    {ins}", f"    -> {outs}", '    """']

    def size(axis: str) -> str:
        return names.of("size", axis)

    lines += _sizes(program, size, names)
    for step in made.steps:
        if isinstance(step, Fused) and step.right is not None:
            lines += [f"    {size(axis)} = {number(expr, size)}" for axis, expr in step.right.sizes]
    if module.features:
        fixed = ", ".join(f"{a} = {n}" for a, n in module.features.items())
        test = " or ".join(f"{size(a)} != {n}" for a, n in module.features.items())
        lines += [f"    if {test}:", f'        raise ValueError("this module was made for {fixed}")']
    for tensor in program.inputs:
        text = names.of("tensor", tensor.name)
        stored = ", ".join(" * ".join(map(size, d)) if d else "1" for d in tensor.dims)
        lines.append(f'    check("{tensor.name}", {text}, ({stored}{"," if len(tensor.dims) == 1 else ""}))')
        if any(len(d) != 1 for d in tensor.dims):
            shape = ", ".join(size(a) for d in tensor.dims for a in d)
            lines.append(f"    {text} = {text}.reshape({shape})" if shape else f"    {text} = {text}.reshape(())")
    for step in made.steps:
        assert isinstance(step, Fused)
        lines += _call(made, module, step, names, size)
        place = f"{names.of('tensor', program.inputs[0].name)}.device"
        lines += [Beside(partial(names.of, "tensor"), size, made.arrays, place).line(node) for node in step.after]
    results = [_stored(o, made, names) for o in program.outputs]
    lines.append(f"    return {', '.join(results)}")
    return "\n".join(lines) + "\n"


def helpers(module: Module) -> str:
    """The text of what functions like that call."""
    lists = f"{_LISTS}\n\n{lists_source()}\n\n" if any(k.program.lists for k in module.kernels) else ""
    return lists + _CHECK


_LISTS = """# Lists of tiles, from the data that a mask reads.
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any"""


_CHECK = '''def check(name, tensor, shape):
    """Raise ValueError unless a tensor has a shape."""
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"'{name}' has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
'''


def _sizes(program: Program, size: Callable[[str], str], names: Names) -> list[str]:
    """Lines that find the size of every axis. Raises AttnUnsupportedError for one that does not follow from the tensors."""
    lines: list[str] = []
    known: set[str] = set()
    progress = True
    while progress:
        progress = False
        for axis in program.axes:
            if axis.parts:
                raise AttnUnsupportedError(f"axis {axis.name} is a sum of other axes: no self-contained module is made for it")
            if axis.name not in known and axis.size is not None and _inside(axis.size) <= known:
                lines.append(f"    {size(axis.name)} = {number(axis.size, size)}")
                known.add(axis.name)
                progress = True
        for tensor in program.inputs:
            for at, dim in enumerate(tensor.dims):
                unknown = [a for a in dim if a not in known]
                if len(unknown) == 1:
                    rest = [size(a) for a in dim if a in known]
                    over = f" // {rest[0]}" if len(rest) == 1 else f" // ({' * '.join(rest)})" if rest else ""
                    lines.append(f"    {size(unknown[0])} = {names.of('tensor', tensor.name)}.shape[{at}]{over}")
                    known.add(unknown[0])
                    progress = True
    missing = [a.name for a in program.axes if a.name not in known]
    if missing:
        raise AttnUnsupportedError(f"the size of axis {missing[0]} does not follow from the tensors alone")
    return lines


def _inside(expr: Expr) -> set[str]:
    return {e.axis for e in walk(expr) if isinstance(e, Size)}


def _call(made: Plan, module: Module, step: Fused, names: Names, size: Callable[[str], str]) -> list[str]:
    """Lines that launch a step, in the order of mixing that costs less where there are two."""
    results = ", ".join(names.of("tensor", v.name) for v in step.values)
    floats = [names.of("tensor", i.name) for i in made.program.inputs if i.kind == "float" and i.name not in step.acc]
    lines = [f"    dtype = promoted({', '.join(floats)})"] if floats else ["    dtype = torch.float32"]

    for kernel in module.kernels:
        for found in kernel.program.lists if kernel.program.name in {k.name for k in step.kernels} else ():
            boxes = {a: f'CONFIG["{kernel.name}"]["{n}"]' for a, n in kernel.tile_names.items()}
            text = call_text(found, kernel.program, lambda n: names.of("tensor", n), size, boxes.__getitem__)
            lines.append(f"    {names.of('tensor', found.tiles)}, {names.of('tensor', found.counts)} = {text}")

    def call(right: bool) -> str:
        launch = next(x for x in module.launches if x.name == launch_name(step, right))
        given = ", ".join([*(names.of("tensor", a.name) for a in launch.inputs), *map(size, launch.sizes)])
        rest = "dtype=dtype" if launch.inputs else f"dtype=dtype, device={names.of('tensor', made.program.inputs[0].name)}.device"
        return f"{results}{',' if len(step.values) == 1 else ''} = {launch.name}({given}, {rest})"

    if step.right is None:
        return [*lines, f"    {call(False)}"]
    test = number(step.right.cheaper, size)
    return [*lines, f"    if {test}:", f"        {call(True)}", "    else:", f"        {call(False)}"]


def _stored(out: Any, made: Plan, names: Names) -> str:
    axes = made.arrays[out.value]
    wanted = tuple(a for d in out.dims for a in d)
    if not set(wanted) <= set(axes):
        raise AttnUnsupportedError(f"output {out.name} is repeated along an axis: no self-contained module is made for it")
    text = names.of("tensor", out.value)
    summed = [n for n, a in enumerate(axes) if a not in wanted]  # of a gradient: what shares one value of the input
    if summed:
        text += f".sum({tuple(summed)}).to(dtype)"
        axes = tuple(a for a in axes if a in wanted)
    if axes != wanted:
        text += f".permute({', '.join(str(axes.index(a)) for a in wanted)})"
    if any(len(d) != 1 for d in out.dims):
        text += f".reshape({', '.join(' * '.join(names.of('size', a) for a in d) if d else '1' for d in out.dims)})"
    return text


# The manifest.


def _whole_form(done: Settled, kernel: Kernel, files: dict[str, str]) -> dict[str, Any]:
    """What the manifest says of the form for lengths that fill their tiles."""
    made, report = done.whole[kernel.name], done.whole_report(kernel)
    when = " and ".join(f"{a} % {done.module.configs[kernel.name][kernel.tile_names[a]]} == 0" for a in kernel.whole)
    out: dict[str, Any] = {
        "when": when, **files, "warps": made.total_warps, "registers": made.registers, "spills": made.spills,
        "shared_memory": made.shared,
    }  # fmt: skip
    return out | ({"model": model_data(report)} if report is not None else {})


def _machine_code(folder: Path, name: str, kernel: Kernel, done: Compiled, alone: bool, form: str = "") -> dict[str, str]:
    stem = (name if alone else f"{name}.{kernel.name}") + form
    assembly = "ptx" if done.extension == "cubin" else "amdgcn"
    (folder / f"{stem}.{assembly}").write_text(done.assembly, encoding="utf-8")
    (folder / f"{stem}.{done.extension}").write_bytes(done.binary)
    return {"assembly": f"{stem}.{assembly}", "binary": f"{stem}.{done.extension}"}


def _kernel(settled: Settled, kernel: Kernel, files: dict[str, str], dtype: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    module, done = settled.module, settled.compiled[kernel.name]
    program = kernel.program
    config = dict(module.configs[kernel.name])
    element = BITS[dtype] // 8
    work, moved = flops(program), traffic(program, element)
    owner = program.dim(program.owner).axes
    tiles = [] if program.shares else [f"ceil({a} / {config[kernel.tile_names[a]]})" for a in owner]
    grid = " * ".join([*tiles, *(a for a in program.grid if a not in program.ones)])
    if kernel.persistent:
        grid = f"min({grid}, {kernel.persistent} * SMs)"
    out: dict[str, Any] = {
        "name": kernel.name,
        **_when(module, program),
        **files,
        "triton": done.triton,
        "arguments": _arguments(kernel),
        "grid": grid,
        "tiles": {a: config[t] for a, t in kernel.tile_names.items()},
        "warps": done.warps,
        "stages": done.stages,
        "registers": done.registers,
        "spills": done.spills,
        "shared_memory": done.shared,
        "flops": show_expr(work).replace("|", ""),
        "bytes": show_expr(moved).replace("|", ""),
        "notes": list(program.notes),
    }
    model = _model(settled, kernel)
    if model is not None:
        out["products"] = _products(model)
        out["model"] = model_data(model)
    out["roofline"] = _roofline(work, moved, done, dtype, sizes)
    return out


def _when(module: Module, program: Tiles) -> dict[str, str]:
    """For which sizes a kernel runs, where it is one of two forms."""
    for other in (k.program for k in module.kernels if k.program.single is not None):
        if program in (other, other.single):
            test = " and ".join(f"{a} == 1" for a in repeated(other))
            return {"when": test if program == other.single else f"not ({test})"}
    return {}


def _arguments(kernel: Kernel) -> list[dict[str, str]]:
    described = [{"name": d.name, "what": f"tensor descriptor of {d.arg}, block {list(d.block)}"} for d in kernel.descriptors]
    arrays = [{"name": p, "what": f"pointer to {a}"} for a, p in kernel.pointers.items()]
    strides = [{"name": n, "what": f"stride of {a} along {x}, in elements"} for (a, x), n in kernel.strides.items()]
    sizes = [{"name": n, "what": f"size of {a}"} for n, a in zip(kernel.size_names, kernel.sizes, strict=True)]
    scalars = {s.name: s.expr for s in kernel.program.scalars}
    numbers = [
        {"name": n, "what": show_expr(scalars[s]).replace("|", "")}
        for n, s in zip(kernel.scalar_names, kernel.scalars, strict=True)
    ]
    return [*described, *arrays, *strides, *sizes, *numbers]


def _model(settled: Settled, kernel: Kernel) -> Report | None:
    """The static model, None for a target without figures."""
    try:
        return settled.report(kernel)
    except AttnUnsupportedError:
        return None


def _products(report: Report) -> dict[str, int]:
    """Matrix instructions of the kernel's loops by opcode."""
    counts: dict[str, int] = {}
    for mix in mixes(report):
        for opcode, count in mix.products.items():
            counts[opcode] = counts.get(opcode, 0) + count
    return counts


def _roofline(work: Expr, moved: Expr, done: Compiled, dtype: str, sizes: Mapping[str, int]) -> dict[str, Any]:
    """Bounds of the target's published peaks, for the given sizes; only the intensity when some are not given."""
    try:
        units = units_of(parse_target(done.target.name))
    except AttnUnsupportedError:
        return {}
    out: dict[str, Any] = {"machine": units.name, "bandwidth_gbs": units.dram_gbs}
    if dtype in units.tensor:
        out["tflops"] = round(units.peak_tflops(dtype), 1)
    try:
        operations, size = float(scalar(work, sizes)), float(scalar(moved, sizes))
    except Unknown as axis:
        out["sizes"] = f"give the size of {axis} (and every other axis) for times"
        return out
    out |= {"flops": operations, "bytes": size, "intensity": round(operations / max(size, 1.0), 2)}
    out["memory_us"] = round(size / units.dram_gbs / 1e3, 3)
    if "tflops" in out:
        out["compute_us"] = round(operations / out["tflops"] / 1e6, 3)
        out["bound"] = "compute" if out["compute_us"] >= out["memory_us"] else "memory"
    return out
