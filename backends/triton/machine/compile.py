"""Compiles a Triton kernel for a target, without a GPU, and says what it takes."""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from attncc.backends.triton.machine.target import Target, parse_target
from attncc.backends.triton.machine.toolchain import (
    Resources,
    resources_from_amdgcn,
    resources_from_cubin,
    resources_from_log,
)

from attncc.errors import AttnUnsupportedError, AttnValueError

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One kernel to compile, as plain data.

    - `source`: the text of a Python module with a `@triton.jit` function `kernel`, or "" when `path` names the file.
    - `signature`: type of every argument that is no constant (`"*bf16"`, `"i32"`, `"fp32"`), in any order.
    - `constants`: value of every `tl.constexpr` argument.
    - `aligned`: arguments that divide by 16; None means every pointer and every integer.
    - `options`: further compiler options (`maxnreg`, `num_ctas`, `enable_fp_fusion`, ...).
    """

    kernel: str
    signature: Mapping[str, str]
    constants: Mapping[str, Any]
    target: str
    warps: int = 4
    stages: int = 3
    source: str = ""
    path: str = ""
    aligned: Sequence[str] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        return asdict(self)

    @staticmethod
    def from_json(data: Json) -> Request:
        return Request(**data)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A compiled kernel.

    `warps` is what was asked for, `total_warps` what a program is launched with: more when warps are specialised.
    `shared` is in bytes, `tensor_memory` in columns of a Blackwell SM's 512. `assembly` is PTX, or AMD assembly.
    """

    name: str
    target: Target
    warps: int
    total_warps: int
    stages: int
    programs_per_cluster: int
    resources: Resources
    shared: int
    tensor_memory: int
    binary: bytes
    assembly: str
    constants: Mapping[str, Any]
    triton: str
    seconds: float
    metadata: Mapping[str, Any]

    @property
    def registers(self) -> int:
        return self.resources.registers

    @property
    def spills(self) -> int:
        """Bytes of spill stores and loads, counted statically."""
        return self.resources.spill_stores + self.resources.spill_loads

    @property
    def extension(self) -> str:
        """What a file with `binary` is called: `cubin` or `hsaco`."""
        return "cubin" if self.target.backend == "cuda" else "hsaco"

    def to_json(self, *, binary: bool = False) -> Json:
        """Plain data; with `binary`, the machine code (base64) and the assembly too, enough for `from_json`."""
        data: Json = {
            "name": self.name, "target": self.target.name, "warps": self.warps, "total_warps": self.total_warps,
            "stages": self.stages, "programs_per_cluster": self.programs_per_cluster, "registers": self.registers,
            "stack": self.resources.stack, "spill_stores": self.resources.spill_stores,
            "spill_loads": self.resources.spill_loads, "shared": self.shared, "tensor_memory": self.tensor_memory,
            "constants": dict(self.constants), "triton": self.triton, "seconds": self.seconds, "metadata": dict(self.metadata),
        }  # fmt: skip
        if binary:
            data["binary"] = base64.b64encode(self.binary).decode()
            data["assembly"] = self.assembly
        return data

    @staticmethod
    def from_json(data: Json) -> Compiled:
        data = dict(data)
        taken = Resources(data.pop("registers"), data.pop("stack"), data.pop("spill_stores"), data.pop("spill_loads"))
        data["target"] = parse_target(data["target"])
        data["binary"] = base64.b64decode(data["binary"])
        return Compiled(resources=taken, **data)


def compile_request(request: Request) -> Compiled:
    """Compiles in this process. A crash of the compiler ends the process: searches go through `isolated.py`.

    Raises `AttnUnsupportedError` when Triton is absent, refuses the kernel, or the module has no such kernel.
    """
    _require_triton()
    with tempfile.TemporaryDirectory(prefix="attncc-") as folder:
        path = Path(request.path)
        if request.source:
            path = Path(folder) / "attncc_kernel.py"
            path.write_text(request.source)
        module = _load(path)
        kernel = getattr(module, request.kernel, None)
        if kernel is None:
            raise AttnUnsupportedError(f"the module '{path.name}' has no kernel '{request.kernel}'")
        return compile_kernel(
            kernel,
            request.signature,
            request.constants,
            parse_target(request.target),
            warps=request.warps,
            stages=request.stages,
            aligned=request.aligned,
            options=request.options,
        )


def compile_kernel(
    kernel: Any,
    signature: Mapping[str, str],
    constants: Mapping[str, Any],
    target: Target,
    *,
    warps: int = 4,
    stages: int = 3,
    aligned: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Compiled:
    """Compiles a `@triton.jit` function in this process. Arguments as in `Request`; nothing is cached.

    Raises `AttnUnsupportedError` when Triton is absent, refuses the kernel, or runs as an interpreter, and
    `AttnValueError` when an argument has neither a type nor a value.
    """
    _require_triton()
    import triton
    from triton.compiler import ASTSource

    if not isinstance(kernel, triton.runtime.jit.JITFunction):
        raise AttnUnsupportedError(
            f"'{getattr(kernel, '__name__', kernel)}' is no compilable Triton kernel",
            help="with TRITON_INTERPRET=1 kernels are interpreted: unset it, or compile in a process of its own",
        )
    names = list(kernel.arg_names)
    if missing := [n for n in names if n not in constants and n not in signature]:
        raise AttnValueError(f"'{kernel.__name__}' needs a type or a value for {', '.join(missing)}")
    if aligned is None:
        aligned = [n for n, t in signature.items() if t.startswith("*") or t in {"i32", "i64", "u32", "u64"}]
    source = ASTSource(
        fn=kernel,
        signature={n: "constexpr" if n in constants else signature[n] for n in names},
        constexprs=dict(constants),
        attrs={(names.index(n),): [["tt.divisibility", 16]] for n in aligned},
    )
    # Contraction to fma is on unless asked otherwise: Triton's default changes between versions.
    asked = {"num_warps": warps, "num_stages": stages, "enable_fp_fusion": True, **(options or {})}
    start = time.perf_counter()
    try:
        with _fresh_cache() as log, _heard() as said:
            done = triton.compile(source, target=target.gpu(), options=asked)
    except Exception as error:  # the compiler raises all kinds
        raise AttnUnsupportedError(
            f"Triton {triton.__version__} cannot compile '{kernel.__name__}' for {target}: {_reason(error)}"
        ) from error
    if wrong := [line for line in said if line.startswith("error:")]:
        raise AttnUnsupportedError(
            f"Triton {triton.__version__} reported '{wrong[0]}' for '{kernel.__name__}' and gave a binary all the same",
            help="the binary lacks what the compiler could not do, such as assembly of another target: it is not used",
        )
    return _record(done, target, warps, stages, constants, log.getvalue(), time.perf_counter() - start)


def _reason(error: Exception) -> str:
    """The line of a compiler's message that says what is wrong: ptxas names it, Triton puts it last."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"\b(error|fatal)\s*:", line)]
    return f"{type(error).__name__}: {(named or lines or ['no message'])[0 if named else -1][:300]}"


def _record(
    done: Any, target: Target, warps: int, stages: int, constants: Mapping[str, Any], log: str, seconds: float
) -> Compiled:
    import triton

    data = done.metadata._asdict()
    if target.backend == "cuda":
        binary, assembly = done.asm["cubin"], done.asm["ptx"]
        resources = resources_from_log(log) or resources_from_cubin(binary, data["name"])
    else:
        binary, assembly = done.asm["hsaco"], done.asm["amdgcn"]
        resources = resources_from_amdgcn(assembly)
    plain = (str, int, float, bool, type(None))
    return Compiled(
        name=data["name"],
        target=target,
        warps=warps,
        total_warps=data["num_warps"],
        stages=stages,
        programs_per_cluster=data.get("num_ctas", 1),
        resources=resources,
        shared=data["shared"],
        tensor_memory=data.get("tmem_size") or 0,
        binary=binary,
        assembly=assembly,
        constants={k: v if isinstance(v, plain) else str(v) for k, v in constants.items()},
        triton=triton.__version__,
        seconds=seconds,
        metadata={k: v for k, v in data.items() if isinstance(v, plain)},
    )


@contextlib.contextmanager
def _fresh_cache() -> Iterator[io.StringIO]:
    """An empty cache for one compilation, with the log of ptxas caught.

    Only a real run of ptxas writes the log, and the record must not depend on what an earlier run left behind.
    """
    from triton import knobs

    caught = io.StringIO()
    with tempfile.TemporaryDirectory(prefix="attncc-") as folder, contextlib.ExitStack() as stack:
        for group in (knobs.cache, knobs.nvidia):
            stack.enter_context(group.scope())
        knobs.cache.dir = folder
        knobs.nvidia.dump_ptxas_log = True
        stack.enter_context(contextlib.redirect_stdout(caught))
        yield caught


@contextlib.contextmanager
def _heard() -> Iterator[list[str]]:
    """The lines that native code writes to standard error meanwhile; they still get there.

    LLVM reports some errors there only and goes on: AMD targets drop assembly they cannot read that way (Triton 3.9).
    """
    lines: list[str] = []
    sys.stderr.flush()
    start = _readable_end(2)
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        if start is None:
            os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            sys.stderr.flush()
            if start is None:
                os.dup2(kept, 2)
                file.seek(0)
                text = file.read()
                os.write(2, text)
            else:
                text = os.pread(2, os.fstat(2).st_size - start, start)
            os.close(kept)
            lines.extend(text.decode(errors="replace").splitlines())


def _readable_end(descriptor: int) -> int | None:
    """The length of the regular file that a descriptor reads and writes, as in `isolated.py`; None for anything else.

    Such a file is read in place, so that its last lines survive a crash of this process.
    """
    status = os.fstat(descriptor)
    try:
        os.pread(descriptor, 0, 0)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _require_triton() -> None:
    if importlib.util.find_spec("triton") is None:
        raise AttnUnsupportedError("Triton is not installed, so nothing can be compiled", help="pip install triton (Linux only)")


def _load(path: Path) -> ModuleType:
    name = f"_attncc_kernel_{abs(hash(path.resolve())):x}_{os.getpid()}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise AttnUnsupportedError(f"'{path}' is no Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
