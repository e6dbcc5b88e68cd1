"""Generated modules as Python modules: imported from a file, since Triton reads the source of a kernel from its file.

Under the interpreter `TRITON_INTERPRET=1` must be in the environment before triton is imported for the first time, because
triton's own library functions are decorated then. `interpret()` sets it when that is still possible.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from attncc.errors import AttnUnsupportedError

_LOADED: dict[str, ModuleType] = {}


def interpret() -> None:
    """Make sure that kernels run under Triton's interpreter in this process.

    Raises AttnUnsupportedError when triton was imported without it.
    """
    if "triton" not in sys.modules:
        os.environ["TRITON_INTERPRET"] = "1"
    import triton

    if not triton.knobs.runtime.interpret:
        raise AttnUnsupportedError(
            "tensors on the CPU need Triton's interpreter, but triton is already imported without it",
            None,
            "set TRITON_INTERPRET=1 in the environment before Python starts",
        )
    _repaired()


@cache
def _repaired() -> None:
    """Older interpreters read a loop's bounds with `int(array)`, which NumPy 2.4 refuses for their arrays of one element."""
    from triton.runtime import interpreter

    original = getattr(interpreter, "_patch_lang_tensor", None)
    if original is None or "set_attr" not in original.__code__.co_names:
        return

    def patched(tensor: Any, scope: Any) -> None:
        original(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.item()))

    interpreter._patch_lang_tensor = patched


def load(text: str, name: str = "kernels") -> ModuleType:
    """The module of a text, once a process and text."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:20]
    if digest not in _LOADED:
        folder = Path(tempfile.gettempdir()) / f"attncc-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{name}_{digest}.py"
        if not path.exists() or path.read_text() != text:
            fresh = path.with_suffix(f".{os.getpid()}")
            fresh.write_text(text)
            fresh.replace(path)
        spec = importlib.util.spec_from_file_location(f"attncc_generated_{name}_{digest}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        _LOADED[digest] = module
    return _LOADED[digest]
