"""The text of a generated module: header, helper functions, kernels, launching functions."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from attncc.tile.nodes import Program, TileLoop, statements

from .choice import candidates
from .configs import Config, settings, whole_name
from .intrinsics import definitions
from .kernel import Kernel, print_kernel
from .launch import Launch, print_launch
from .names import Names
from .style import style_of

_PROMOTED = '''
def promoted(*tensors):
    """The element type that these tensors share after promotion."""
    dtype = tensors[0].dtype
    for tensor in tensors[1:]:
        dtype = torch.promote_types(dtype, tensor.dtype)
    if dtype == torch.float64:
        raise TypeError("Triton kernels take float32, bfloat16 and float16 tensors, not float64")
    return dtype
'''


_COMPUTED = '''
def computed(dtype):
    """The element type that kernels get: Triton's interpreter does not multiply bfloat16."""
    return torch.float32 if INTERPRETED and dtype == torch.bfloat16 else dtype
'''

_DESCRIBED = '''
def described(tensor):
    """The tensor, copied when a tensor descriptor cannot read it: its last stride must be 1, the others multiples of 16 bytes.
    An empty one, which no loop reads, becomes one of zeros."""
    if not tensor.numel():
        return tensor.new_zeros([max(size, 1) for size in tensor.shape])
    return tensor if describable(tensor) else tensor.clone(memory_format=torch.contiguous_format)
'''

_DESCRIBABLE = '''
def describable(*tensors):
    """Whether tensor descriptors can read these: the last stride is 1, the others and the start are multiples of 16 bytes."""
    steps = [(t.data_ptr() or 16, *(s * t.element_size() for s in t.stride()[:-1])) for t in tensors]
    return all(t.stride(-1) == 1 for t in tensors) and all(n > 0 and n % 16 == 0 for step in steps for n in step)
'''


_SCRATCH = '''
def scratch(size, alignment, stream):
    """Memory for the descriptors that a kernel makes."""
    return torch.empty(size, dtype=torch.int8, device="cuda")
'''

_FAR = '''
def far(*arrays):
    """Whether an offset along an axis of one of these (array, axis) takes more than 32 bits."""
    return any(tensor.stride(axis) * tensor.shape[axis] >= 2**31 for tensor, axis in arrays)
'''


_PROCESSORS = '''
def processors(device):
    """Multiprocessors of a device; two for Triton's interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2
'''


@dataclass(frozen=True)
class Group:
    """The kernels of one fused attend: a name, the programs in order, the values they leave."""

    name: str
    programs: tuple[Program, ...]
    keep: tuple[str, ...]


@dataclass(frozen=True)
class Module:
    """The text of a module and what is in it."""

    text: str
    kernels: tuple[Kernel, ...]
    launches: tuple[Launch, ...]
    configs: Mapping[str, dict[str, int | str]]
    features: Mapping[str, int]


def print_module(
    title: str,
    groups: Iterable[Group],
    features: dict[str, int],
    target: str,
    bits: int = 16,
    precision: str = "ieee",
    override: Config | Mapping[str, Config] | None = None,
    descriptors: bool = False,
) -> Module:
    """A module that needs torch and triton alone.

    target: `cuda:90`, `hip:gfx942`, `interpreter`, ... features: sizes of the feature axes. bits: of an element. override:
    tile sizes for every kernel instead of the table's. descriptors: read arrays through tensor descriptors.
    """
    kernels: list[Kernel] = []
    launches: list[Launch] = []
    configs: dict[str, dict[str, int | str]] = {}
    names = Names()
    for group in groups:
        own: list[Kernel] = []
        for program in (q for p in group.programs for q in (*([p.single] if p.single else []), p, *p.banded)):
            own_features = {d.axes[0]: features[d.axes[0]] for d in program.dims if d.axes[0] in features}
            name = names.fresh(f"{program.name}_kernel")
            config = override.get(name) if isinstance(override, Mapping) else override
            config = config or candidates(program, own_features, target, bits, descriptors)[0]
            kernel = print_kernel(program, own_features, name, style_of(config, target, bits, descriptors))
            configs[kernel.name] = settings(program, config, kernel.tile_names, precision)
            if kernel.whole:
                configs[whole_name(kernel.name)] = configs[kernel.name] | {"num_warps": config.special, "WHOLE": True}
                configs[kernel.name] |= {"WHOLE": False}
            own.append(kernel)
        kernels += own
        launches.append(print_launch(group.name, own, group.keep))
    used = {name for k in kernels for name in k.used}
    parts = [
        _header(title, kernels, features, target),
        "import math\n\nimport torch\nimport triton\nimport triton.language as tl\n"
        + ("from triton.tools.tensor_descriptor import TensorDescriptor\n" if any(k.descriptors for k in kernels) else "")
        + "\n"
        + "INTERPRETED = triton.knobs.runtime.interpret\n"
        + _config_text(configs)
        + "COMPILED = {}  # what the latest launch of each kernel ran\n",
        definitions(used, nvidia=not target.startswith("hip")),
        *(kernel.text for kernel in kernels),
        _PROMOTED.strip() + "\n",
        _COMPUTED.strip() + "\n",
        *([_DESCRIBABLE.strip() + "\n", _DESCRIBED.strip() + "\n"] if any(k.descriptors or k.makes for k in kernels) else []),
        *([_SCRATCH.strip() + "\n"] if any(k.makes for k in kernels) else []),
        *([_FAR.strip() + "\n"] if any(k.far for k in kernels) else []),
        *([_PROCESSORS.strip() + "\n"] if any(k.persistent for k in kernels) else []),
        *(launch.text for launch in launches),
    ]
    text = "\n\n".join(part for part in parts if part)
    return Module(text, tuple(kernels), tuple(launches), configs, features)


def _header(title: str, kernels: list[Kernel], features: dict[str, int], target: str) -> str:
    sizes = ", ".join(f"{a} = {n}" for a, n in features.items())
    lines = [title, "", f"Generated by attncc for {target}{f', {sizes}' if sizes else ''}. What was decided, and why:", ""]
    for kernel in kernels:
        lines.append(f"{kernel.name}")
        for note in (_loops(kernel), *kernel.program.notes):
            lines += textwrap.wrap(note, 126, initial_indent="  - ", subsequent_indent="    ")
    body = "\n".join(lines).replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{body}\n"""\n'


def _loops(kernel: Kernel) -> str:
    program = kernel.program
    rows = ", ".join(program.dim(program.owner).axes)
    grid = f", at each position of {', '.join(program.grid)}" if program.grid else ""
    loops = any(isinstance(s, TileLoop) for s in statements(program.body))
    taken = "tiles" if kernel.persistent else "a tile"
    return f"a program takes {taken} of {rows}{grid}{'; no value of a pair leaves it' if loops else ''}"


def _config_text(configs: Mapping[str, dict[str, int | str]]) -> str:
    lines = ["CONFIG = {"]
    for name, config in configs.items():
        inner = ", ".join(f'"{k}": {v!r}' if isinstance(v, int) else f'"{k}": "{v}"' for k, v in config.items())
        lines.append(f'    "{name}": {{{inner}}},')
    return "\n".join([*lines, "}"]) + "\n"
